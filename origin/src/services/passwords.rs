//! Passwords: Argon2id, off the async threads, a few at a time.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Verifications at a time: each takes 19 MiB and a core for some tens of milliseconds.
const CONCURRENT: usize = 4;
/// Verifications that run or wait: some seconds of work. Whoever comes after them is told to come back.
const MAX_WAITING: usize = 256;
/// Shortest new password, in characters (NIST SP 800-63B's floor).
pub(crate) const MIN_PASSWORD_CHARS: usize = 8;
/// Longest password looked at, in bytes.
pub(crate) const MAX_PASSWORD_BYTES: usize = 1024;

#[derive(Debug, thiserror::Error)]
pub(crate) enum PasswordError {
    #[error("password hash: {0}")]
    Hash(argon2::password_hash::Error),
    #[error("too many passwords are being checked")]
    Busy,
    #[error("the password workers are gone")]
    Closed,
}

/// Hashes with Argon2id's defaults (19 MiB, 2 passes), as a PHC string. Blocks for some tens of milliseconds.
pub(crate) fn hash(password: &str) -> Result<String, PasswordError> {
    let hash = Argon2::default().hash_password(password.as_bytes()).map_err(PasswordError::Hash)?;
    Ok(hash.to_string())
}

pub(crate) struct Passwords {
    turns: Arc<Semaphore>,
    /// Room to wait for a turn.
    places: Arc<Semaphore>,
    /// Of a password that nobody knows: verified when there is no account, so that an unknown address takes as long.
    decoy: String,
}

impl Passwords {
    pub(crate) fn new() -> Result<Self, PasswordError> {
        let decoy = hash(&uuid::Uuid::new_v4().to_string())?;
        let (turns, places) = (Arc::new(Semaphore::new(CONCURRENT)), Arc::new(Semaphore::new(MAX_WAITING)));
        Ok(Self { turns, places, decoy })
    }

    /// Whether the password has this hash. Without a hash the answer is no, in the same time.
    pub(crate) async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, PasswordError> {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.decoy.clone());
        let verified = self.in_turn(move || {
            let parsed = PasswordHash::new(&hash).ok()?;
            Some(Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok())
        });
        // Awaited in either case: an unknown address takes as long.
        let verified = verified.await?.unwrap_or(false);
        Ok(known && verified)
    }

    /// The hash of a new password.
    pub(crate) async fn hash(&self, password: String) -> Result<String, PasswordError> {
        self.in_turn(move || hash(&password)).await?
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PasswordError> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| PasswordError::Busy)?;
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| PasswordError::Closed)?;
        let done = tokio::task::spawn_blocking(move || {
            let _held = (place, turn);
            work()
        });
        done.await.map_err(|_| PasswordError::Closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_finds_no_place_to_wait_is_told_at_once() {
        let passwords = Passwords::new().unwrap();
        let _taken = passwords.places.clone().acquire_many_owned(MAX_WAITING as u32).await.unwrap();
        let turned_away = passwords.verify("x".into(), None).await;
        assert!(matches!(turned_away, Err(PasswordError::Busy)));
    }

    #[tokio::test]
    async fn a_hash_verifies_its_own_password_alone() {
        let passwords = Passwords::new().unwrap();
        let hash = passwords.hash("correct horse".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$"));
        assert!(passwords.verify("correct horse".into(), Some(hash.clone())).await.unwrap());
        assert!(!passwords.verify("correct horsf".into(), Some(hash)).await.unwrap());
        assert!(!passwords.verify("correct horse".into(), None).await.unwrap());
    }
}
