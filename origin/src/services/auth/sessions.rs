//! Ending sessions, and the list of them and of devices that each user has of their own.

use super::{
    AuthError, AuthService, MAX_REFRESH_BYTES, SESSION_OUTLIVES_SECONDS, account_of, check_device,
    hash_token, note,
};
use crate::clock::unix_ms;
use crate::services::local_time::LocalTime;
use crate::store::{Account, ActivityKind, Device, NO_INSTITUTE, Records, StoreError, WriteTx};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use sync_protocol::tag;
use sync_protocol::token::{Claims, TokenError};
use utoipa::ToSchema;

/// Devices that one user may register: a family's phones and tablets, several times over.
const MAX_DEVICES: usize = 32;
/// Longest name or platform of a device, in bytes.
const MAX_DEVICE_NAME_BYTES: usize = 100;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Logout {
    pub(crate) refresh_token: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeviceRegistration {
    /// As its owner calls it.
    pub(crate) name: String,
    pub(crate) platform: Option<String>,
}

/// `GET /api/auth/sessions`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SessionList {
    sessions: Vec<SessionView>,
}

#[derive(Debug, Serialize, ToSchema)]
struct SessionView {
    session: String,
    device: String,
    device_name: Option<String>,
    signed_in_at: String,
    refreshed_at: String,
    expires_at: String,
    /// The one that asks.
    current: bool,
}

/// `GET /api/auth/devices`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeviceList {
    devices: Vec<DeviceView>,
}

#[derive(Debug, Serialize, ToSchema)]
struct DeviceView {
    device: String,
    name: String,
    platform: Option<String>,
    registered_at: String,
    /// How many can be continued.
    sessions: usize,
    /// The one that asks.
    current: bool,
}

impl AuthService {
    /// Ends the session of a refresh token. The answer is the same for a token that nobody has.
    pub(crate) async fn logout(&self, logout: Logout) -> Result<(), AuthError> {
        if logout.refresh_token.len() > MAX_REFRESH_BYTES {
            return Ok(());
        }
        let hash = hash_token(&logout.refresh_token);
        let institute = {
            let hash = hash.clone();
            self.store.read::<_, AuthError, _>(NO_INSTITUTE, move |records| {
                Ok(records.institute_of_refresh_token(&hash)?)
            })
        };
        let Some(institute) = institute.await? else { return Ok(()) };
        let ended = self.store.write::<_, AuthError, _>(&institute, move |tx| {
            let Some(token) = tx.refresh_token(&hash)? else { return Ok(()) };
            note(tx, &token.user, ActivityKind::SignedOut, &token.device)?;
            Ok(end_session(tx, &token.user, &token.family, unix_ms())?)
        });
        ended.await.map(drop)
    }

    /// Ends all sessions of the user; every access token of theirs counts no more.
    pub(crate) async fn logout_everywhere(&self, claims: Arc<Claims>) -> Result<(), AuthError> {
        let institute = claims.inst.clone();
        let ended = self.store.write::<_, AuthError, _>(&institute, move |tx| {
            let mut account = signed_in(tx.records(), &claims)?;
            note(tx, &account.user, ActivityKind::SignedOutEverywhere, &claims.dev)?;
            Ok(end_all_sessions(tx, &mut account, unix_ms())?)
        });
        ended.await.map(drop)
    }

    pub(crate) async fn sessions(&self, claims: Arc<Claims>) -> Result<SessionList, AuthError> {
        let institute = claims.inst.clone();
        let list = self.store.read(&institute, move |records| {
            let account = signed_in(records, &claims)?;
            let time = local_time(records)?;
            let sessions =
                records.sessions(&account.user, unix_ms())?.into_iter().map(|session| SessionView {
                    current: session.session == claims.sid,
                    session: session.session,
                    device: session.device,
                    device_name: session.device_name,
                    signed_in_at: time.text(session.signed_in_at),
                    refreshed_at: time.text(session.refreshed_at),
                    expires_at: time.text(session.expires_at),
                });
            Ok(SessionList { sessions: sessions.collect() })
        });
        list.await
    }

    /// Ends one of the user's own sessions.
    pub(crate) async fn end_session(&self, claims: Arc<Claims>, session: String) -> Result<(), AuthError> {
        let institute = claims.inst.clone();
        let ended = self.store.write::<_, AuthError, _>(&institute, move |tx| {
            let account = signed_in(tx.records(), &claims)?;
            let now = unix_ms();
            let own = tx.sessions(&account.user, now)?.into_iter().find(|own| own.session == session);
            let own = own.ok_or(AuthError::UnknownSession)?;
            note(tx, &account.user, ActivityKind::SignedOut, &own.device)?;
            Ok(end_session(tx, &account.user, &session, now)?)
        });
        ended.await.map(drop)
    }

    pub(crate) async fn devices(&self, claims: Arc<Claims>) -> Result<DeviceList, AuthError> {
        let institute = claims.inst.clone();
        let list = self.store.read(&institute, move |records| {
            let account = signed_in(records, &claims)?;
            let time = local_time(records)?;
            let sessions = records.sessions(&account.user, unix_ms())?;
            let devices = records.devices(&account.user)?.into_iter().map(|device| DeviceView {
                sessions: sessions.iter().filter(|session| session.device == device.device).count(),
                current: device.device == claims.dev,
                device: device.device,
                name: device.name,
                platform: device.platform,
                registered_at: time.text(device.registered_at),
            });
            Ok(DeviceList { devices: devices.collect() })
        });
        list.await
    }

    /// Registers one of the user's own devices, or names it anew.
    pub(crate) async fn register_device(
        &self,
        claims: Arc<Claims>,
        device: String,
        registration: DeviceRegistration,
    ) -> Result<(), AuthError> {
        check_device(&device)?;
        check_text("name", &registration.name)?;
        registration.platform.as_deref().map_or(Ok(()), |platform| check_text("platform", platform))?;
        let institute = claims.inst.clone();
        let registered = self.store.write::<_, AuthError, _>(&institute, move |tx| {
            let account = signed_in(tx.records(), &claims)?;
            let known = tx.devices(&account.user)?;
            if known.len() >= MAX_DEVICES && !known.iter().any(|known| known.device == device) {
                let problem = format!("one too many, the limit is {MAX_DEVICES}: remove another one");
                return Err(AuthError::Field { field: "device", problem });
            }
            note(tx, &account.user, ActivityKind::DeviceRegistered, &device)?;
            let DeviceRegistration { name, platform } = registration;
            let device = Device { device, name, platform, registered_at: unix_ms() };
            Ok(tx.put_device(&account.user, &device)?)
        });
        registered.await.map(drop)
    }

    /// Removes one of the user's own devices and ends its sessions.
    pub(crate) async fn remove_device(&self, claims: Arc<Claims>, device: String) -> Result<(), AuthError> {
        check_device(&device)?;
        let institute = claims.inst.clone();
        let removed = self.store.write::<_, AuthError, _>(&institute, move |tx| {
            let account = signed_in(tx.records(), &claims)?;
            let removed = remove_device(tx, &account.user, &device)?;
            if removed.registered || removed.sessions > 0 { Ok(()) } else { Err(AuthError::UnknownDevice) }
        });
        removed.await.map(drop)
    }
}

/// The account of whoever shows these claims, as long as their token counts.
pub(super) fn signed_in(records: &dyn Records, claims: &Claims) -> Result<Account, AuthError> {
    Ok(account_of::<AuthError>(records, claims)?.ok_or(TokenError::Revoked)?)
}

/// What there was of a device.
pub(crate) struct RemovedDevice {
    pub(crate) registered: bool,
    /// How many were ended.
    pub(crate) sessions: usize,
}

/// Removes a device of a user and ends its sessions, for the user and for admins.
pub(crate) fn remove_device(
    tx: &mut WriteTx<'_>,
    user: &str,
    device: &str,
) -> Result<RemovedDevice, StoreError> {
    // Now, even when the command waited: sessions are ended up to the moment when it has its effect.
    let now = unix_ms();
    let registered = tx.remove_device(user, device)?;
    let mut sessions = tx.sessions(user, now)?;
    sessions.retain(|session| session.device == device);
    for session in &sessions {
        end_session(tx, user, &session.session, now)?;
    }
    if registered || !sessions.is_empty() {
        note(tx, user, ActivityKind::DeviceRemoved, device)?;
    }
    Ok(RemovedDevice { registered, sessions: sessions.len() })
}

/// Ends one session: its refresh tokens here, its access tokens wherever the directory is followed.
pub(super) fn end_session(
    tx: &mut WriteTx<'_>,
    user: &str,
    session: &str,
    now: i64,
) -> Result<(), StoreError> {
    tx.revoke_family(session, now)?;
    // Somebody who was deactivated has no token that counts.
    let Some(mut account) = tx.account(user)? else { return Ok(()) };
    let seconds = now / 1000;
    account.revocation.end_session(session, seconds, seconds + SESSION_OUTLIVES_SECONDS);
    tx.set_revocation(user, &account.revocation)?;
    tx.touch(tag::member(user));
    Ok(())
}

/// Ends all sessions; the account is told, so that tokens can be made for it afterwards.
pub(crate) fn end_all_sessions(
    tx: &mut WriteTx<'_>,
    account: &mut Account,
    now: i64,
) -> Result<(), StoreError> {
    tx.revoke_sessions(&account.user, now)?;
    account.revocation.end_all(now / 1000);
    tx.set_revocation(&account.user, &account.revocation)?;
    tx.touch(tag::member(&account.user));
    Ok(())
}

fn local_time(records: &dyn Records) -> Result<LocalTime, StoreError> {
    let zone = records.institute()?.map_or_else(|| "UTC".to_owned(), |institute| institute.time_zone);
    LocalTime::new(&zone)
}

fn check_text(field: &'static str, text: &str) -> Result<(), AuthError> {
    if text.trim().is_empty() || text.len() > MAX_DEVICE_NAME_BYTES || text.chars().any(char::is_control) {
        let problem = format!("not 1 to {MAX_DEVICE_NAME_BYTES} bytes of visible text");
        return Err(AuthError::Field { field, problem });
    }
    Ok(())
}
