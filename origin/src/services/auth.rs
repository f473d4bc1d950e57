//! Signing in: access tokens of 15 minutes, refresh tokens that work once.

mod keys;
mod passwords;
mod sessions;

pub(crate) use keys::rotate as rotate_keys;
pub(crate) use passwords::{NewPassword, PasswordChange, PasswordResetRequest};
pub(crate) use sessions::{
    DeviceList, DeviceRegistration, Logout, SessionList, end_all_sessions, remove_device,
};

use super::cache::Cache;
use super::mail::{MailError, Post};
use super::passwords::{MAX_PASSWORD_BYTES, PasswordError, Passwords};
use super::rate_limit::{Attempt, By, RateLimits, Shared};
use crate::clock::unix_ms;
use crate::store::{
    Account, Activity, ActivityKind, NO_INSTITUTE, OpenError, Records, RefreshToken, Store, StoreError,
    WriteTx,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keys::Keys;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use sync_protocol::bookmark::Bookmark;
use sync_protocol::token::{AUDIENCE, Claims, ISSUER, LEEWAY_SECONDS, TokenError};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use utoipa::ToSchema;
use uuid::Uuid;

/// Life of an access token, in seconds. Edges verify it offline: one that hears nothing from the origin lets a removed
/// user read for so long.
const ACCESS_SECONDS: i64 = 15 * 60;
/// An ended session's last access token has expired so long after, in seconds, clocks that differ included.
const SESSION_OUTLIVES_SECONDS: i64 = ACCESS_SECONDS + 2 * LEEWAY_SECONDS;
/// Life of a refresh token: a device that was away for longer signs in again.
const REFRESH_MS: i64 = 30 * 24 * 60 * 60 * 1000;
/// How long after its first use a refresh token may come again, in milliseconds, while nobody has used its successor: the
/// answer did not arrive. Longer than a failover takes, shorter than an access token lives.
const RETRY_MS: i64 = 10 * 60 * 1000;
/// Sessions of one user. A sign-in beyond ends the one that was used least recently.
const MAX_SESSIONS: usize = 64;
/// Longest e-mail address (RFC 5321, section 4.5.3.1.3, without the brackets).
const MAX_EMAIL_BYTES: usize = 254;
/// Longest device name.
const MAX_DEVICE_BYTES: usize = 64;
/// Longest refresh token looked at; ours have 43 characters.
const MAX_REFRESH_BYTES: usize = 128;
/// Mails that may be on their way: each holds a thread for at most half a minute.
const MAX_MAILS: usize = 64;
/// Failed sign-ins that may wait to be noted: what passwords are checked while a commit hangs.
const MAX_NOTES: usize = 1024;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    pub(crate) email: String,
    pub(crate) password: String,
    /// The device's own name for itself; without it the origin makes one.
    pub(crate) device: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refresh {
    pub(crate) refresh_token: String,
}

/// What a successful sign-in gives (RFC 6749, section 5.1).
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Tokens {
    pub(crate) access_token: String,
    pub(crate) token_type: String,
    /// Seconds.
    pub(crate) expires_in: i64,
    pub(crate) refresh_token: String,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthError {
    #[error("e-mail address or password is wrong")]
    WrongCredentials,
    #[error("too many attempts, try again in {} s", .0.as_secs().max(1))]
    TooManyAttempts(Duration),
    #[error("{field} is {problem}")]
    Field { field: &'static str, problem: String },
    #[error("the refresh token has expired")]
    RefreshExpired,
    #[error("the refresh token is not valid, sign in again")]
    RefreshInvalid,
    #[error("another request has just used the refresh token, try again unless that one was answered")]
    RefreshInFlight,
    #[error("the token is not valid any more, ask for another one")]
    ResetInvalid,
    #[error("there is no such session")]
    UnknownSession,
    #[error("there is no such device")]
    UnknownDevice,
    #[error("this origin sends no mail")]
    NoMail,
    #[error("too many are at it, try again")]
    Busy,
    #[error("too many signing keys are alive, wait until the oldest one's tokens have expired")]
    TooManyKeys,
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error(transparent)]
    Mail(#[from] MailError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Of a command on the keys, never of a request.
    #[error(transparent)]
    Open(#[from] OpenError),
}

#[derive(Clone)]
pub(crate) struct AuthService {
    store: Store,
    passwords: Arc<Passwords>,
    limits: Arc<RateLimits>,
    keys: Arc<Keys>,
    /// Absent: no mail is sent.
    post: Option<Arc<Post>>,
    mails: Arc<Semaphore>,
    notes: Arc<Semaphore>,
    /// What goes on after its request was answered.
    afterwards: TaskTracker,
}

/// What became of a refresh token. Not an error type: the revocation of a family must be committed.
enum Rotation {
    Done(Tokens),
    Expired,
    Invalid,
    InFlight,
    Reused { user: String, device: String },
}

impl AuthService {
    /// Loads the signing keys, or makes the first one in a new store. Blocks.
    pub(crate) fn open(store: Store, cache: &Cache, post: Option<Post>) -> Result<Self, AuthError> {
        let keys = Arc::new(Keys::open(&store)?);
        let passwords = Arc::new(Passwords::new()?);
        let (mails, notes) = (Arc::new(Semaphore::new(MAX_MAILS)), Arc::new(Semaphore::new(MAX_NOTES)));
        let limits = Arc::new(RateLimits::new(Shared::of(cache, &store)));
        let (post, afterwards) = (post.map(Arc::new), TaskTracker::new());
        Ok(Self { store, passwords, limits, keys, post, mails, notes, afterwards })
    }

    /// Waits for what goes on after its request was answered. No request comes any more.
    pub(crate) async fn drain(&self) {
        self.afterwards.close();
        self.afterwards.wait().await;
    }

    /// Follows what other processes do with the keys, until the process stops.
    pub(crate) async fn follow_keys(&self, stopping: CancellationToken) {
        self.keys.follow(self.store.clone(), stopping).await;
    }

    /// The public keys as a JSON Web Key Set, and whenever they change.
    pub(crate) fn key_set(&self) -> watch::Receiver<String> {
        self.keys.published()
    }

    /// Reads the signing keys again, as [`AuthService::follow_keys`] does from time to time.
    #[cfg(test)]
    pub(crate) async fn reload_keys(&self) -> Result<(), StoreError> {
        self.keys.reload(&self.store).await
    }

    /// A bookmark as it is given out, with a place in the database's log that is not before it, or 0.
    pub(crate) fn prove_bookmark(&self, institute: &str, bookmark: Bookmark, position: u64) -> Bookmark {
        self.keys.prove(institute, bookmark, position, unix_ms())
    }

    /// The bookmark, if this service gave it out for this institute.
    pub(crate) fn proven_bookmark(&self, institute: &str, bookmark: Bookmark) -> Option<Bookmark> {
        self.keys.is_proven(institute, bookmark).then_some(bookmark)
    }

    /// Checks an access token's signature and age. Whether it was revoked, [`Account::admit`] knows.
    pub(crate) fn verify(&self, token: &str) -> Result<Arc<Claims>, AuthError> {
        Ok(self.keys.verify(token)?)
    }

    pub(crate) async fn login(&self, login: Login, address: Option<IpAddr>) -> Result<Tokens, AuthError> {
        let (email, device) = check_login(&login)?;
        let now = unix_ms();
        let by = By { account: Some(&email), address };
        let guess = self.guess(&email, login.password);
        let (account, verified) =
            self.reserved(by, now, guess, |guessed| matches!(guessed, Ok((_, false)))).await?;
        let account = match account {
            Some(account) if verified => account,
            known => {
                self.note_failure(known, device);
                return Err(AuthError::WrongCredentials);
            }
        };
        let keys = self.keys.clone();
        let institute = account.institute.clone();
        let tokens = self.store.write::<_, AuthError, _>(&institute, move |tx| {
            // Sign-in looks for the address in all institutes; only the user's own knows who was deactivated.
            let account = tx.account(&account.user)?.ok_or(AuthError::WrongCredentials)?;
            let now = unix_ms();
            let sessions = tx.sessions(&account.user, now)?;
            for oldest in sessions.iter().take((sessions.len() + 1).saturating_sub(MAX_SESSIONS)) {
                tx.revoke_family(&oldest.session, now)?;
            }
            note(tx, &account.user, ActivityKind::SignedIn, &device)?;
            issue(&keys, tx, &account, (&device, &Uuid::new_v4().to_string()), now)
        });
        Ok(tokens.await?.value)
    }

    /// Counts a guess before it is looked at, and takes that back unless it was wrong.
    async fn reserved<T, E>(
        &self,
        by: By<'_>,
        now: i64,
        guess: impl Future<Output = Result<T, E>>,
        was_wrong: impl FnOnce(&Result<T, E>) -> bool,
    ) -> Result<T, AuthError>
    where
        AuthError: From<E>,
    {
        self.limits.reserve(Attempt::Guess, by, now).await.map_err(AuthError::TooManyAttempts)?;
        let guessed = guess.await;
        if !was_wrong(&guessed) {
            self.limits.give_back(Attempt::Guess, by, now).await;
        }
        Ok(guessed?)
    }

    /// Whoever has the address, and whether the password is theirs.
    async fn guess(&self, email: &str, password: String) -> Result<(Option<Account>, bool), AuthError> {
        let email = email.to_owned();
        let account = self
            .store
            .read::<_, AuthError, _>(NO_INSTITUTE, move |records| Ok(records.account_by_email(&email)?));
        let account = account.await?;
        let hash = account.as_ref().and_then(|account| account.password_hash.clone());
        let verified = self.passwords.verify(password, hash).await?;
        Ok((account, verified))
    }

    /// Notes a failed sign-in after its answer: nobody learns by waiting, or by a store that takes nothing, that the
    /// address has an account.
    fn note_failure(&self, known: Option<Account>, device: String) {
        let Some(account) = known else { return };
        let Ok(place) = self.notes.clone().try_acquire_owned() else {
            tracing::error!(user = account.user, device, "a failed sign-in is not noted, too many wait");
            return;
        };
        let store = self.store.clone();
        self.afterwards.spawn(async move {
            let _place = place;
            let user = account.user.clone();
            let noted = store.write_aside::<_, StoreError, _>(&account.institute, move |tx| {
                note(tx, &account.user, ActivityKind::SignInFailed, &device)
            });
            if let Err(error) = noted.await {
                tracing::error!(%error, user, "a failed sign-in is not noted");
            }
        });
    }

    /// Gives new tokens for a refresh token, which then works no more, unless its answer was lost: while nobody has used
    /// what it gave, it may come again for a while, and what it gave before is worth nothing then. One that comes again
    /// otherwise was stolen or copied: all tokens of that sign-in are revoked.
    pub(crate) async fn refresh(&self, refresh: Refresh) -> Result<Tokens, AuthError> {
        let arrived = unix_ms();
        if refresh.refresh_token.len() > MAX_REFRESH_BYTES {
            return Err(AuthError::RefreshInvalid);
        }
        let keys = self.keys.clone();
        let hash = hash_token(&refresh.refresh_token);
        let institute = {
            let hash = hash.clone();
            self.store.read::<_, StoreError, _>(NO_INSTITUTE, move |records| {
                records.institute_of_refresh_token(&hash)
            })
        };
        let Some(institute) = institute.await? else { return Err(AuthError::RefreshInvalid) };
        let rotation = self
            .store
            .write::<_, AuthError, _>(&institute, move |tx| rotate(&keys, tx, &hash, (arrived, unix_ms())));
        match rotation.await?.value {
            Rotation::Done(tokens) => Ok(tokens),
            Rotation::Expired => Err(AuthError::RefreshExpired),
            Rotation::Invalid => Err(AuthError::RefreshInvalid),
            Rotation::InFlight => Err(AuthError::RefreshInFlight),
            Rotation::Reused { user, device } => {
                tracing::warn!(user, device, "a rotated refresh token came again; its session is ended");
                Err(AuthError::RefreshInvalid)
            }
        }
    }
}

/// The account of whoever shows these claims, whose token must count; none for somebody who is not of the institute, or
/// not any more. In the transaction that does what they ask for.
pub(crate) fn account_of<E: From<StoreError> + From<TokenError>>(
    records: &dyn Records,
    claims: &Claims,
) -> Result<Option<Account>, E> {
    let Some(account) = records.account(&claims.sub)? else { return Ok(None) };
    account.admit(claims)?;
    Ok(Some(account))
}

impl Account {
    /// Refuses a token that was revoked.
    fn admit(&self, claims: &Claims) -> Result<(), TokenError> {
        if self.revocation.covers(claims) { Err(TokenError::Revoked) } else { Ok(()) }
    }
}

/// Adds to what is known of a user's account.
fn note(tx: &WriteTx<'_>, user: &str, kind: ActivityKind, device: &str) -> Result<(), StoreError> {
    tx.add_activity(&Activity {
        activity: Uuid::now_v7().to_string(),
        at: unix_ms(),
        user: user.to_owned(),
        kind,
        device: device.to_owned(),
    })
}

/// Makes an access token and the next refresh token of a session.
fn issue(
    keys: &Keys,
    tx: &mut WriteTx<'_>,
    account: &Account,
    (device, session): (&str, &str),
    now: i64,
) -> Result<Tokens, AuthError> {
    // A token that is made in the second in which all others were ended is dated after them.
    let iat = (now / 1000).max(account.revocation.not_before);
    let claims = Claims {
        iss: ISSUER.to_owned(),
        aud: AUDIENCE.to_owned(),
        sub: account.user.clone(),
        inst: account.institute.clone(),
        role: account.role,
        name: account.name.clone(),
        dev: device.to_owned(),
        batches: tx.batches_of(account)?,
        iat,
        exp: iat + ACCESS_SECONDS,
        jti: Uuid::new_v4().to_string(),
        sid: session.to_owned(),
    };
    let refresh_token = URL_SAFE_NO_PAD.encode(random_bytes()?);
    tx.add_refresh_token(&RefreshToken {
        token_hash: hash_token(&refresh_token),
        family: session.to_owned(),
        user: account.user.clone(),
        device: device.to_owned(),
        issued_at: now,
        expires_at: now + REFRESH_MS,
        rotated_at: None,
        revoked_at: None,
        successor: None,
    })?;
    Ok(Tokens {
        access_token: keys.sign(&claims, now),
        token_type: "Bearer".to_owned(),
        expires_in: ACCESS_SECONDS,
        refresh_token,
    })
}

/// What it means that a refresh token comes that was used before.
enum Again {
    /// Its answer was lost; this is the token that took its place, which nobody has used.
    Retry {
        unused: Vec<u8>,
    },
    /// This request was on its way when another one used the token: whichever is answered last must not undo what the
    /// other has given.
    InFlight,
    Reuse,
}

/// `arrived` is when the request came.
fn again(tx: &WriteTx<'_>, old: &RefreshToken, (arrived, now): (i64, i64)) -> Result<Again, StoreError> {
    let Some(successor) = &old.successor else { return Ok(Again::Reuse) };
    let successor = tx.refresh_token(successor)?;
    let unused = successor.filter(|token| token.rotated_at.is_none() && token.revoked_at.is_none());
    let recent = old.rotated_at.is_some_and(|first| now - first < RETRY_MS);
    Ok(match unused.filter(|_| recent) {
        None => Again::Reuse,
        Some(token) if arrived < token.issued_at => Again::InFlight,
        Some(token) => Again::Retry { unused: token.token_hash },
    })
}

/// `arrived` is when the request came.
fn rotate(
    keys: &Keys,
    tx: &mut WriteTx<'_>,
    hash: &[u8],
    (arrived, now): (i64, i64),
) -> Result<Rotation, AuthError> {
    let Some(old) = tx.refresh_token(hash)? else { return Ok(Rotation::Invalid) };
    if old.revoked_at.is_some() {
        return Ok(Rotation::Invalid);
    }
    let mut replaced = None;
    if old.rotated_at.is_some() {
        match again(tx, &old, (arrived, now))? {
            Again::Retry { unused } => replaced = Some(unused),
            Again::InFlight => return Ok(Rotation::InFlight),
            Again::Reuse => {
                sessions::end_session(tx, &old.user, &old.family, now)?;
                note(tx, &old.user, ActivityKind::TokenReused, &old.device)?;
                return Ok(Rotation::Reused { user: old.user, device: old.device });
            }
        }
    }
    if old.expires_at <= now {
        return Ok(Rotation::Expired);
    }
    let Some(account) = tx.account(&old.user)? else { return Ok(Rotation::Invalid) };
    if let Some(replaced) = replaced {
        // Should it come after all, two hold the session.
        tx.mark_rotated(&replaced, None, now)?;
    }
    let tokens = issue(keys, tx, &account, (&old.device, &old.family), now)?;
    tx.mark_rotated(&old.token_hash, Some(&hash_token(&tokens.refresh_token)), now)?;
    Ok(Rotation::Done(tokens))
}

/// Checks a sign-in's fields and gives the address, as it is looked up, and the device's name.
fn check_login(login: &Login) -> Result<(String, String), AuthError> {
    let email = check_email(&login.email)?;
    if login.password.len() > MAX_PASSWORD_BYTES {
        let problem = format!("{} bytes, the limit is {MAX_PASSWORD_BYTES}", login.password.len());
        return Err(AuthError::Field { field: "password", problem });
    }
    let Some(device) = &login.device else { return Ok((email, Uuid::new_v4().to_string())) };
    check_device(device)?;
    Ok((email, device.clone()))
}

fn check_email(email: &str) -> Result<String, AuthError> {
    if email.len() > MAX_EMAIL_BYTES {
        let problem = format!("{} bytes, the limit is {MAX_EMAIL_BYTES}", email.len());
        return Err(AuthError::Field { field: "email", problem });
    }
    let email = email.trim();
    if email.chars().any(char::is_control) {
        return Err(AuthError::Field { field: "email", problem: "not one line of text".to_owned() });
    }
    Ok(email.to_lowercase())
}

fn check_device(device: &str) -> Result<(), AuthError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if device.is_empty() || device.len() > MAX_DEVICE_BYTES || !device.bytes().all(allowed) {
        let problem = format!("not 1 to {MAX_DEVICE_BYTES} characters out of A-Z a-z 0-9 . _ -");
        return Err(AuthError::Field { field: "device", problem });
    }
    Ok(())
}

fn hash_token(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

fn random_bytes() -> Result<[u8; 32], AuthError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| StoreError::Corrupt { what: "system randomness", text: error.to_string() })?;
    Ok(bytes)
}
