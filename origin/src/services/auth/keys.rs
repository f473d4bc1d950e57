//! The keys that sign and verify access tokens and bookmarks, and how one follows another.
//!
//! A new key is published before it signs, so that every edge knows it when its first token comes; an old one stays
//! published until its last token has expired. Each process reads the keys again every [`RELOAD_EVERY`].

use super::{ACCESS_SECONDS, AuthError, random_bytes};
use crate::clock::unix_ms;
use crate::store::{NO_INSTITUTE, Store, StoreError, StoredKey, WriteTx};
use ed25519_dalek::SigningKey;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use sync_protocol::bookmark::{Bookmark, Proof, SIGNATURE_BYTES};
use sync_protocol::token::{self, Claims, KeySet, LEEWAY_SECONDS};
use sync_protocol::verifier::Verifier;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How soon a process learns of a key that another one has made.
const RELOAD_EVERY: Duration = Duration::from_secs(2);
/// A key's last token has expired so long after the next key began to sign, clocks that differ included.
const OUTLIVES_MS: i64 = (ACCESS_SECONDS + 2 * LEEWAY_SECONDS) * 1_000;
/// Keys that may be alive at a time: readers of a key set take the first 16.
const MAX_LIVE_KEYS: usize = 8;

/// One key that may sign.
struct Signer {
    kid: String,
    key: SigningKey,
    /// Proves bookmarks; derived, so that neither use says anything about the other's.
    bookmark_key: [u8; 32],
    signs_from: i64,
}

/// All keys of one reading, the last to sign first.
struct Ring {
    signers: Vec<Signer>,
    /// Of the public keys; shared by readings that found the same.
    verifier: Arc<Verifier>,
}

pub(super) struct Keys {
    ring: RwLock<Arc<Ring>>,
    published: watch::Sender<String>,
}

impl Ring {
    /// `before` is an earlier reading, whose verifier is kept where it has the same keys.
    fn of(mut stored: Vec<StoredKey>, now: i64, before: Option<&Self>) -> Result<Self, StoreError> {
        drain_dead(&mut stored, now);
        let (mut signers, mut public) = (Vec::new(), KeySet::default());
        for StoredKey { kid, secret, signs_from } in stored {
            let secret: [u8; 32] = secret
                .try_into()
                .map_err(|_| StoreError::Corrupt { what: "signing key", text: kid.clone() })?;
            let key = SigningKey::from_bytes(&secret);
            public.insert(kid.clone(), key.verifying_key());
            let mut bookmark_key = Sha256::new_with_prefix(b"rollcall bookmark\0");
            bookmark_key.update(secret);
            let bookmark_key = bookmark_key.finalize().into();
            signers.push(Signer { kid, key, bookmark_key, signs_from });
        }
        let known = before.map(|before| &before.verifier).filter(|verifier| *verifier.keys() == public);
        let verifier = known.map_or_else(|| Arc::new(Verifier::new(public)), Arc::clone);
        Ok(Self { signers, verifier })
    }

    /// The key whose turn it is.
    fn signer(&self, now: i64) -> Option<&Signer> {
        self.signers.iter().find(|signer| signer.signs_from <= now).or(self.signers.last())
    }
}

/// Takes out the keys of which no token is alive; the last to sign stand first.
fn drain_dead(stored: &mut Vec<StoredKey>, now: i64) -> Vec<StoredKey> {
    // A key is dead when a later one has signed for so long.
    let alive =
        stored.iter().position(|key| key.signs_from + OUTLIVES_MS <= now).map_or(stored.len(), |at| at + 1);
    stored.split_off(alive)
}

impl Keys {
    /// Loads the keys, or makes the first one in a new store. Blocks.
    pub(super) fn open(store: &Store) -> Result<Self, AuthError> {
        let stored = store.write_blocking::<_, AuthError, _>(NO_INSTITUTE, |tx| {
            if tx.signing_keys()?.is_empty() {
                let now = unix_ms();
                add_key(tx, now, now)?;
            }
            Ok(tx.signing_keys()?)
        })?;
        let ring = Ring::of(stored.value, unix_ms(), None)?;
        let published = watch::Sender::new(ring.verifier.keys().to_json());
        Ok(Self { ring: RwLock::new(Arc::new(ring)), published })
    }

    fn ring(&self) -> Arc<Ring> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn verify(&self, token: &str) -> Result<Arc<Claims>, token::TokenError> {
        self.ring().verifier.verify(token, unix_ms() / 1000)
    }

    pub(super) fn sign(&self, claims: &Claims, now: i64) -> String {
        let ring = self.ring();
        let signer = ring.signer(now).expect("a ring is made of at least one key");
        token::sign(claims, &signer.kid, &signer.key)
    }

    /// The bookmark with its proof.
    pub(super) fn prove(&self, institute: &str, bookmark: Bookmark, position: u64, now: i64) -> Bookmark {
        let ring = self.ring();
        let signer = ring.signer(now).expect("a ring is made of at least one key");
        let mac = bookmark_mac(&signer.bookmark_key, institute, bookmark, position).finalize().into_bytes();
        let mut signature = [0; SIGNATURE_BYTES];
        signature.copy_from_slice(&mac[..SIGNATURE_BYTES]);
        Bookmark { proof: Some(Proof { position, signature }), ..bookmark }
    }

    /// Whether a bookmark of this institute was proven with a key that is alive. One of a dead key is older than anything
    /// that is served: its key has not signed for longer than a replica or a cache may be behind.
    pub(super) fn is_proven(&self, institute: &str, bookmark: Bookmark) -> bool {
        let Some(proof) = bookmark.proof else { return false };
        self.ring().signers.iter().any(|signer| {
            let mac = bookmark_mac(&signer.bookmark_key, institute, bookmark, proof.position);
            mac.verify_truncated_left(&proof.signature).is_ok()
        })
    }

    /// The public keys as a JSON Web Key Set, and whenever they change.
    pub(super) fn published(&self) -> watch::Receiver<String> {
        self.published.subscribe()
    }

    /// Reads the keys again.
    pub(super) async fn reload(&self, store: &Store) -> Result<(), StoreError> {
        let stored = store.read::<_, StoreError, _>(NO_INSTITUTE, |records| records.signing_keys()).await?;
        if stored.is_empty() {
            return Err(StoreError::Corrupt { what: "signing keys", text: "none".to_owned() });
        }
        let ring = Ring::of(stored, unix_ms(), Some(&self.ring()))?;
        let json = ring.verifier.keys().to_json();
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
        self.published.send_if_modified(|published| {
            let changed = *published != json;
            *published = json;
            changed
        });
        Ok(())
    }

    /// Follows what other processes do with the keys, until the process stops.
    pub(super) async fn follow(&self, store: Store, stopping: CancellationToken) {
        let mut ticks = tokio::time::interval(RELOAD_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if let Err(error) = self.reload(&store).await {
                tracing::warn!(%error, "signing keys not read again");
            }
        }
    }
}

fn bookmark_mac(key: &[u8; 32], institute: &str, bookmark: Bookmark, position: u64) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for number in [bookmark.epoch, bookmark.revision, position] {
        mac.update(&number.to_be_bytes());
    }
    // Last, since its length varies.
    mac.update(institute.as_bytes());
    mac
}

fn add_key(tx: &WriteTx<'_>, now: i64, signs_from: i64) -> Result<StoredKey, AuthError> {
    let key = StoredKey { kid: Uuid::new_v4().to_string(), secret: random_bytes()?.to_vec(), signs_from };
    tx.add_signing_key(&key, now)?;
    Ok(key)
}

/// What a rotation did.
#[derive(Debug)]
pub(crate) struct KeyRotation {
    pub(crate) kid: String,
    /// Unix milliseconds.
    pub(crate) signs_from: i64,
    /// Keys of which no token was alive any more.
    pub(crate) removed: usize,
}

/// Adds a key that signs from `lead` on, and removes the dead ones.
pub(crate) fn rotate(tx: &mut WriteTx<'_>, now: i64, lead: Duration) -> Result<KeyRotation, AuthError> {
    let mut stored = tx.signing_keys()?;
    let dead = drain_dead(&mut stored, now);
    for key in &dead {
        tx.remove_signing_key(&key.kid)?;
    }
    if stored.len() >= MAX_LIVE_KEYS {
        return Err(AuthError::TooManyKeys);
    }
    let signs_from = now + i64::try_from(lead.as_millis()).unwrap_or(i64::MAX / 2);
    let key = add_key(tx, now, signs_from)?;
    Ok(KeyRotation { kid: key.kid, signs_from, removed: dead.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(kid: &str, signs_from: i64) -> StoredKey {
        StoredKey { kid: kid.to_owned(), secret: vec![kid.as_bytes()[0]; 32], signs_from }
    }

    fn ring(now: i64) -> Ring {
        Ring::of(vec![stored("c", 3_000_000), stored("b", 2_000_000), stored("a", 0)], now, None).unwrap()
    }

    #[test]
    fn a_key_signs_in_its_turn_and_is_published_from_before_until_its_tokens_are_dead() {
        let at = |now: i64| {
            let ring = ring(now);
            let kids = ring.signers.iter().map(|signer| signer.kid.as_str()).collect::<String>();
            (ring.signer(now).unwrap().kid.clone(), kids)
        };
        assert_eq!(at(1_999_999), ("a".into(), "cba".into()));
        assert_eq!(at(2_000_000), ("b".into(), "cba".into()));
        assert_eq!(at(2_000_000 + OUTLIVES_MS - 1), ("b".into(), "cba".into()));
        assert_eq!(at(2_000_000 + OUTLIVES_MS), ("b".into(), "cb".into()));
        assert_eq!(at(3_000_000 + OUTLIVES_MS), ("c".into(), "c".into()));
        assert_eq!(ring(3_000_000 + OUTLIVES_MS).verifier.keys().to_json().matches("\"kid\"").count(), 1);
    }
}
