//! Sessions of users, their devices, and the tokens that set a password.
//!
//! A session is what one sign-in began: the family of its refresh tokens, of which at most one works.

use super::error::StoreError;
use sync_protocol::revocation::Revocation;

/// A session that can be continued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Session {
    /// The family of its refresh tokens.
    pub(crate) session: String,
    pub(crate) device: String,
    /// As the device was registered; none for one that was not.
    pub(crate) device_name: Option<String>,
    pub(crate) signed_in_at: i64,
    /// When its newest tokens were made.
    pub(crate) refreshed_at: i64,
    pub(crate) expires_at: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) device: String,
    pub(crate) name: String,
    pub(crate) platform: Option<String>,
    pub(crate) registered_at: i64,
}

/// A token that sets a password, without its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PasswordReset {
    pub(crate) token_hash: Vec<u8>,
    pub(crate) user: String,
    pub(crate) expires_at: i64,
}

pub(crate) trait ReadSessions {
    /// The sessions that can be continued at `now`, the least recently used first.
    fn sessions(&self, user: &str, now: i64) -> Result<Vec<Session>, StoreError>;

    /// In order of their registration.
    fn devices(&self, user: &str) -> Result<Vec<Device>, StoreError>;

    fn password_reset(&self, token_hash: &[u8]) -> Result<Option<PasswordReset>, StoreError>;
}

pub(crate) trait WriteSessions {
    /// Ends all sessions of the user.
    fn revoke_sessions(&self, user: &str, now: i64) -> Result<(), StoreError>;

    /// Notes which of the user's access tokens count no more.
    fn set_revocation(&self, user: &str, revocation: &Revocation) -> Result<(), StoreError>;

    fn set_password(&self, user: &str, password_hash: &str) -> Result<(), StoreError>;

    /// Registers a device or names it anew.
    fn put_device(&self, user: &str, device: &Device) -> Result<(), StoreError>;

    /// Whether the device was registered.
    fn remove_device(&self, user: &str, device: &str) -> Result<bool, StoreError>;

    /// Adds a token and drops the user's expired ones.
    fn add_password_reset(&self, reset: &PasswordReset, now: i64) -> Result<(), StoreError>;

    fn remove_password_resets(&self, user: &str) -> Result<(), StoreError>;
}
