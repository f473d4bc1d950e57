//! Passwords: Argon2id, off the async threads, a few at a time.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Verifications at a time: each takes 19 MiB and a core for some tens of milliseconds.
const CONCURRENT: usize = 4;
/// Longest password looked at, in bytes.
pub(crate) const MAX_PASSWORD_BYTES: usize = 1024;

#[derive(Debug, thiserror::Error)]
pub(crate) enum PasswordError {
    #[error("password hash: {0}")]
    Hash(argon2::password_hash::Error),
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
    /// Of a password that nobody knows: verified when there is no account, so that an unknown address takes as long.
    decoy: String,
}

impl Passwords {
    pub(crate) fn new() -> Result<Self, PasswordError> {
        let decoy = hash(&uuid::Uuid::new_v4().to_string())?;
        Ok(Self { turns: Arc::new(Semaphore::new(CONCURRENT)), decoy })
    }

    /// Whether the password has this hash. Without a hash the answer is no, in the same time.
    pub(crate) async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, PasswordError> {
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| PasswordError::Closed)?;
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.decoy.clone());
        let verified = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let parsed = PasswordHash::new(&hash).ok()?;
            Some(Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok())
        });
        let verified = verified.await.map_err(|_| PasswordError::Closed)?;
        Ok(known && verified.unwrap_or(false))
    }
}
