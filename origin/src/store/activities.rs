//! What users do with their accounts: when they sign in and out, from which devices, and who fails to.

use super::error::StoreError;
use super::retention::Trimmed;

/// Entries are read as the collection `ACTIVITIES`.
#[derive(Debug, Clone)]
pub(crate) struct Activity {
    /// UUID of version 7: the order of activities is the order of time.
    pub(crate) activity: String,
    pub(crate) at: i64,
    pub(crate) user: String,
    pub(crate) kind: ActivityKind,
    /// The device's own name for itself; empty where none takes part.
    pub(crate) device: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ActivityKind {
    SignedIn,
    /// A wrong password.
    SignInFailed,
    SignedOut,
    SignedOutEverywhere,
    /// A refresh token came twice.
    TokenReused,
    PasswordChanged,
    ResetRequested,
    PasswordReset,
    DeviceRegistered,
    DeviceRemoved,
}

impl ActivityKind {
    /// As it is stored.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ActivityKind::SignedIn => "signed-in",
            ActivityKind::SignInFailed => "sign-in-failed",
            ActivityKind::SignedOut => "signed-out",
            ActivityKind::SignedOutEverywhere => "signed-out-everywhere",
            ActivityKind::TokenReused => "token-reused",
            ActivityKind::PasswordChanged => "password-changed",
            ActivityKind::ResetRequested => "reset-requested",
            ActivityKind::PasswordReset => "password-reset",
            ActivityKind::DeviceRegistered => "device-registered",
            ActivityKind::DeviceRemoved => "device-removed",
        }
    }
}

pub(crate) trait WriteActivities {
    /// Nothing changes an activity once it is there.
    fn add_activity(&self, activity: &Activity) -> Result<(), StoreError>;

    /// Drops what is older than `before` (Unix milliseconds), at most `limit` rows. Where months are kept apart,
    /// one that is older goes whole, and of all institutes.
    fn trim_activities(&self, before: i64, limit: u32) -> Result<Trimmed, StoreError>;
}
