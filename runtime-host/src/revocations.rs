//! Whose tokens count no more though they have not expired, as the directory says it; outlives the process.

use crate::identity::{KeysError, replace_file};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use sync_protocol::directory::DirectoryEntry;
use sync_protocol::revocation::Revocation;
use sync_protocol::token::Claims;
use tokio::sync::watch;

/// Revocations older than this are forgotten, in seconds: their tokens have expired long ago, and sockets that were
/// opened with them have been told.
const KEPT_SECONDS: i64 = 24 * 60 * 60;

/// How a user's tokens are restricted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Restriction {
    deactivated: bool,
    #[serde(default)]
    revocation: Revocation,
}

impl Restriction {
    fn of(entry: &DirectoryEntry) -> Option<Self> {
        let free = entry.active && entry.revocation == Revocation::default();
        (!free).then(|| Self { deactivated: !entry.active, revocation: entry.revocation.clone() })
    }
}

type Institutes = BTreeMap<String, BTreeMap<String, Restriction>>;

/// What a token is worth beside its signature and its age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Worth {
    Full,
    Deactivated,
    Revoked,
}

/// Restricted users of all institutes: few, so they are kept whole.
pub(crate) struct Revocations {
    users: RwLock<Institutes>,
    path: PathBuf,
    /// Counts changes.
    changed: watch::Sender<u64>,
}

impl Revocations {
    pub(crate) fn load(path: &Path) -> Self {
        let stored = std::fs::read_to_string(path).ok();
        let users = stored.and_then(|json| {
            serde_json::from_str(&json)
                .inspect_err(|error| tracing::warn!(%error, "the list of revoked tokens is not used"))
                .ok()
        });
        let users = RwLock::new(users.unwrap_or_default());
        Self { users, path: path.to_owned(), changed: watch::Sender::new(0) }
    }

    pub(crate) fn worth(&self, claims: &Claims) -> Worth {
        let users = self.users.read().unwrap_or_else(PoisonError::into_inner);
        match users.get(&claims.inst).and_then(|users| users.get(&claims.sub)) {
            Some(user) if user.deactivated => Worth::Deactivated,
            Some(user) if user.revocation.covers(claims) => Worth::Revoked,
            Some(_) | None => Worth::Full,
        }
    }

    /// Waits until the claims' token is revoked.
    pub(crate) async fn revoked(&self, claims: &Claims) {
        let mut changed = self.changed.subscribe();
        while self.worth(claims) != Worth::Revoked {
            if changed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Takes in entries of an institute's directory; with `first`, they begin the whole of it. Blocks for the disk.
    pub(crate) fn note(
        &self,
        institute: &str,
        entries: &[DirectoryEntry],
        first: bool,
        now: i64,
    ) -> Result<(), KeysError> {
        let json = {
            let mut users = self.users.write().unwrap_or_else(PoisonError::into_inner);
            let of_institute = users.entry(institute.to_owned()).or_default();
            let before = of_institute.clone();
            match first {
                true => of_institute.clear(),
                // Before the new ones are taken in, each of which is to be seen once at least.
                false => {
                    of_institute
                        .retain(|_, user| user.deactivated || !user.revocation.is_moot(now, KEPT_SECONDS));
                }
            }
            for entry in entries {
                match Restriction::of(entry) {
                    Some(restriction) => of_institute.insert(entry.user.clone(), restriction),
                    None => of_institute.remove(&entry.user),
                };
            }
            if *of_institute == before {
                return Ok(());
            }
            serde_json::to_string(&*users).expect("texts and numbers are always JSON")
        };
        self.changed.send_modify(|changes| *changes += 1);
        replace_file(&self.path, &json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sync_protocol::token::Role;

    fn entry(user: &str, active: bool, revocation: Revocation) -> DirectoryEntry {
        let (batches, guardian_of) = (Vec::new(), Vec::new());
        DirectoryEntry { user: user.into(), role: Role::Student, active, batches, guardian_of, revocation }
    }

    fn claims(iat: i64, sid: &str) -> Claims {
        let json = format!(
            r#"{{"iss":"rollcall","aud":"rollcall","sub":"u","inst":"i","role":"student","name":"N","dev":"d",
                "iat":{iat},"exp":{},"jti":"j","sid":"{sid}"}}"#,
            iat + 900
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn a_revocation_outlives_the_process_and_is_forgotten_when_it_is_moot() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("revoked.json");
        let mut revocation = Revocation::default();
        revocation.end_all(100);
        let revocations = Revocations::load(&path);
        revocations.note("i", &[entry("u", true, revocation)], false, 100).unwrap();
        assert_eq!(revocations.worth(&claims(99, "s")), Worth::Revoked);
        assert_eq!(revocations.worth(&claims(101, "s")), Worth::Full);
        let revocations = Revocations::load(&path);
        assert_eq!(revocations.worth(&claims(99, "s")), Worth::Revoked);
        let later = 102 + KEPT_SECONDS;
        revocations.note("i", &[entry("v", false, Revocation::default())], false, later).unwrap();
        assert_eq!(revocations.worth(&claims(99, "s")), Worth::Full);
        assert_eq!(Revocations::load(&path).worth(&claims(99, "s")), Worth::Full);
    }

    #[tokio::test]
    async fn whoever_waits_for_the_end_of_a_session_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let revocations = Revocations::load(&folder.path().join("revoked.json"));
        let mut revocation = Revocation::default();
        revocation.end_session("other", 100, 1_000);
        revocations.note("i", &[entry("u", true, revocation.clone())], true, 100).unwrap();
        let claims = claims(100, "s");
        let told = revocations.revoked(&claims);
        tokio::pin!(told);
        assert!(futures_util::poll!(&mut told).is_pending());
        revocation.end_session("s", 100, 1_000);
        revocations.note("i", &[entry("u", true, revocation)], false, 100).unwrap();
        told.await;
    }
}
