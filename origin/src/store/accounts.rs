//! Users, their refresh tokens, and the keys that sign access tokens.

use super::error::StoreError;
use super::transaction::from_json;
use sync_protocol::revocation::Revocation;
use sync_protocol::token::Role;

/// A user as sign-in and access rules need them.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) user: String,
    pub(crate) institute: String,
    pub(crate) email: String,
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) password_hash: Option<String>,
    /// Which access tokens count no more; empty where the account was looked up by its address.
    pub(crate) revocation: Revocation,
}

#[derive(Debug, Clone)]
pub(crate) struct NewUser {
    pub(crate) user: String,
    pub(crate) email: String,
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) password_hash: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct RefreshToken {
    pub(crate) token_hash: Vec<u8>,
    pub(crate) family: String,
    pub(crate) user: String,
    pub(crate) device: String,
    pub(crate) issued_at: i64,
    pub(crate) expires_at: i64,
    pub(crate) rotated_at: Option<i64>,
    pub(crate) revoked_at: Option<i64>,
    /// Hash of the token that took its place; absent too for one that was replaced before anybody used it.
    pub(crate) successor: Option<Vec<u8>>,
}

/// Who has an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AddressHolder {
    pub(crate) user: String,
    pub(crate) institute: String,
    pub(crate) role: Role,
}

/// A key that signs access tokens from a time on, until another one does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredKey {
    pub(crate) kid: String,
    pub(crate) secret: Vec<u8>,
    pub(crate) signs_from: i64,
}

/// The role that a text names.
pub(crate) fn parse_role(text: &str) -> Option<Role> {
    Role::ALL.into_iter().find(|role| role.as_str() == text)
}

/// What the column `revocation` holds.
pub(super) fn parse_revocation(json: Option<String>) -> Result<Revocation, StoreError> {
    json.map_or_else(|| Ok(Revocation::default()), |json| from_json("revocation", &json))
}

/// Somebody who was deactivated is nobody here: the directory alone still knows them.
pub(crate) trait ReadAccounts {
    /// Whoever has this address (lower case), in any institute: addresses are unique across them.
    fn account_by_email(&self, email: &str) -> Result<Option<Account>, StoreError>;

    /// Whoever has this address (lower case), in any institute, deactivated or not.
    fn holder_of_address(&self, email: &str) -> Result<Option<AddressHolder>, StoreError>;

    /// The user, if they are of this institute.
    fn account(&self, user: &str) -> Result<Option<Account>, StoreError>;

    /// Batches that the user teaches or studies in, in any institute.
    fn batches_of(&self, account: &Account) -> Result<Vec<String>, StoreError>;

    /// The institute of whoever has this refresh token; asked before any institute is named.
    fn institute_of_refresh_token(&self, token_hash: &[u8]) -> Result<Option<String>, StoreError>;

    fn refresh_token(&self, token_hash: &[u8]) -> Result<Option<RefreshToken>, StoreError>;

    /// All signing keys, the last to sign first.
    fn signing_keys(&self) -> Result<Vec<StoredKey>, StoreError>;
}

pub(crate) trait WriteAccounts {
    /// Deactivates a user of this institute, or activates one again; whether that changed anything.
    fn set_deactivated(&self, user: &str, at: Option<i64>) -> Result<bool, StoreError>;

    /// Adds a user of this institute unless the address or id is taken; whether it was added.
    fn add_user(&self, user: &NewUser, now: i64) -> Result<bool, StoreError>;

    /// Changes a user of this institute; what is absent stays. False when there is none, or somebody else has the
    /// address.
    fn change_user(&self, user: &str, name: Option<&str>, email: Option<&str>) -> Result<bool, StoreError>;

    /// Makes a user of this institute one of another role.
    fn set_role(&self, user: &str, role: Role) -> Result<(), StoreError>;

    /// Adds a token and drops the user's expired ones.
    fn add_refresh_token(&self, token: &RefreshToken) -> Result<(), StoreError>;

    /// Says that a token has been used, for the first time `now` unless it was before, and which one took its place;
    /// none for one that was replaced before anybody used it.
    fn mark_rotated(&self, token_hash: &[u8], successor: Option<&[u8]>, now: i64) -> Result<(), StoreError>;

    fn revoke_family(&self, family: &str, now: i64) -> Result<(), StoreError>;

    fn add_signing_key(&self, key: &StoredKey, now: i64) -> Result<(), StoreError>;

    fn remove_signing_key(&self, kid: &str) -> Result<(), StoreError>;
}
