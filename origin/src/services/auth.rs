//! Signing in: access tokens of 15 minutes, refresh tokens that work once.

use super::passwords::{MAX_PASSWORD_BYTES, PasswordError, Passwords};
use super::rate_limit::RateLimits;
use crate::clock::unix_ms;
use crate::store::{Account, NO_INSTITUTE, RefreshToken, Store, StoreError, WriteTx};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use sync_protocol::token::{self, AUDIENCE, Claims, ISSUER, KeySet, TokenError};
use utoipa::ToSchema;
use uuid::Uuid;

/// Life of an access token, in seconds. Edges verify it offline, so this is how long a removed user still reads there.
const ACCESS_SECONDS: i64 = 15 * 60;
/// Life of a refresh token: a device that was away for longer signs in again.
const REFRESH_MS: i64 = 30 * 24 * 60 * 60 * 1000;
/// Longest e-mail address (RFC 5321, section 4.5.3.1.3, without the brackets).
const MAX_EMAIL_BYTES: usize = 254;
/// Longest device name.
const MAX_DEVICE_BYTES: usize = 64;
/// Longest refresh token looked at; ours have 43 characters.
const MAX_REFRESH_BYTES: usize = 128;

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
    #[error("too many failed sign-ins, try again in {} s", .0.as_secs().max(1))]
    TooManyAttempts(Duration),
    #[error("{field} is {problem}")]
    Field { field: &'static str, problem: String },
    #[error("the refresh token has expired")]
    RefreshExpired,
    #[error("the refresh token is not valid, sign in again")]
    RefreshInvalid,
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The keys that sign and verify access tokens.
struct Keys {
    kid: String,
    signing: SigningKey,
    public: KeySet,
}

#[derive(Clone)]
pub(crate) struct AuthService {
    store: Store,
    passwords: Arc<Passwords>,
    limits: Arc<RateLimits>,
    keys: Arc<Keys>,
}

/// What became of a refresh token. Not an error type: the revocation of a family must be committed.
enum Rotation {
    Done(Tokens),
    Expired,
    Invalid,
    Reused { user: String, device: String },
}

impl AuthService {
    /// Loads the signing key, or makes it in a new store. Blocks.
    pub(crate) fn open(store: Store) -> Result<Self, AuthError> {
        let keys = Arc::new(Keys::open(&store)?);
        let passwords = Arc::new(Passwords::new()?);
        Ok(Self { store, passwords, limits: Arc::default(), keys })
    }

    /// The public keys, as a JSON Web Key Set.
    pub(crate) fn key_set(&self) -> String {
        self.keys.public.to_json()
    }

    /// Checks an access token.
    pub(crate) fn verify(&self, token: &str) -> Result<Claims, AuthError> {
        Ok(self.keys.public.verify(token, unix_ms() / 1000)?)
    }

    pub(crate) async fn login(&self, login: Login, address: Option<IpAddr>) -> Result<Tokens, AuthError> {
        let device = check_login(&login)?;
        let email = login.email.trim().to_lowercase();
        let now = unix_ms();
        self.limits.check(&email, address, now).map_err(AuthError::TooManyAttempts)?;
        let account = {
            let email = email.clone();
            self.store.read(NO_INSTITUTE, move |records| records.account_by_email(&email)).await?
        };
        let hash = account.as_ref().and_then(|account| account.password_hash.clone());
        let verified = self.passwords.verify(login.password, hash).await?;
        let Some(account) = account.filter(|_| verified) else {
            self.limits.failed(&email, address, now);
            return Err(AuthError::WrongCredentials);
        };
        let keys = self.keys.clone();
        let institute = account.institute.clone();
        let tokens = self.store.write::<_, AuthError, _>(&institute, move |tx| {
            // Sign-in looks for the address in all institutes; only the user's own knows who was deactivated.
            let account = tx.account(&account.user)?.ok_or(AuthError::WrongCredentials)?;
            keys.issue(tx, &account, &device, &Uuid::new_v4().to_string(), unix_ms())
        });
        Ok(tokens.await?.value)
    }

    /// Gives new tokens for a refresh token, which then works no more. One that comes twice was stolen or copied: all
    /// tokens of that sign-in are revoked.
    pub(crate) async fn refresh(&self, refresh: Refresh) -> Result<Tokens, AuthError> {
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
        let rotation =
            self.store.write::<_, AuthError, _>(&institute, move |tx| keys.rotate(tx, &hash, unix_ms()));
        match rotation.await?.value {
            Rotation::Done(tokens) => Ok(tokens),
            Rotation::Expired => Err(AuthError::RefreshExpired),
            Rotation::Invalid => Err(AuthError::RefreshInvalid),
            Rotation::Reused { user, device } => {
                tracing::warn!(user, device, "a rotated refresh token came again; its family is revoked");
                Err(AuthError::RefreshInvalid)
            }
        }
    }
}

impl Keys {
    fn open(store: &Store) -> Result<Self, AuthError> {
        let stored = store.write_blocking::<_, AuthError, _>(NO_INSTITUTE, |tx| {
            let mut keys = tx.signing_keys()?;
            if keys.is_empty() {
                let key = (Uuid::new_v4().to_string(), random_bytes()?.to_vec());
                tx.add_signing_key(&key.0, &key.1, unix_ms())?;
                keys.push(key);
            }
            Ok(keys)
        })?;
        let mut public = KeySet::default();
        let mut newest = None;
        for (kid, secret) in stored.value {
            let secret: [u8; 32] = secret
                .try_into()
                .map_err(|_| StoreError::Corrupt { what: "signing key", text: kid.clone() })?;
            let signing = SigningKey::from_bytes(&secret);
            public.insert(kid.clone(), signing.verifying_key());
            newest.get_or_insert((kid, signing));
        }
        let (kid, signing) = newest.expect("a key was added when there was none");
        Ok(Self { kid, signing, public })
    }

    /// Makes an access token and the next refresh token of `family`.
    fn issue(
        &self,
        tx: &mut WriteTx<'_>,
        account: &Account,
        device: &str,
        family: &str,
        now: i64,
    ) -> Result<Tokens, AuthError> {
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: account.user.clone(),
            inst: account.institute.clone(),
            role: account.role,
            name: account.name.clone(),
            dev: device.to_owned(),
            batches: tx.batches_of(account)?,
            iat: now / 1000,
            exp: now / 1000 + ACCESS_SECONDS,
            jti: Uuid::new_v4().to_string(),
        };
        let refresh_token = URL_SAFE_NO_PAD.encode(random_bytes()?);
        tx.add_refresh_token(&RefreshToken {
            token_hash: hash_token(&refresh_token),
            family: family.to_owned(),
            user: account.user.clone(),
            device: device.to_owned(),
            issued_at: now,
            expires_at: now + REFRESH_MS,
            rotated_at: None,
            revoked_at: None,
        })?;
        Ok(Tokens {
            access_token: token::sign(&claims, &self.kid, &self.signing),
            token_type: "Bearer".to_owned(),
            expires_in: ACCESS_SECONDS,
            refresh_token,
        })
    }

    fn rotate(&self, tx: &mut WriteTx<'_>, hash: &[u8], now: i64) -> Result<Rotation, AuthError> {
        let Some(old) = tx.refresh_token(hash)? else { return Ok(Rotation::Invalid) };
        if old.revoked_at.is_some() {
            return Ok(Rotation::Invalid);
        }
        if old.rotated_at.is_some() {
            tx.revoke_family(&old.family, now)?;
            return Ok(Rotation::Reused { user: old.user, device: old.device });
        }
        if old.expires_at <= now {
            return Ok(Rotation::Expired);
        }
        let Some(account) = tx.account(&old.user)? else { return Ok(Rotation::Invalid) };
        tx.mark_rotated(&old.token_hash, now)?;
        Ok(Rotation::Done(self.issue(tx, &account, &old.device, &old.family, now)?))
    }
}

/// Checks a sign-in's fields and gives the device's name.
fn check_login(login: &Login) -> Result<String, AuthError> {
    let field = |field, problem: String| AuthError::Field { field, problem };
    if login.email.len() > MAX_EMAIL_BYTES {
        let problem = format!("{} bytes, the limit is {MAX_EMAIL_BYTES}", login.email.len());
        return Err(field("email", problem));
    }
    if login.password.len() > MAX_PASSWORD_BYTES {
        let problem = format!("{} bytes, the limit is {MAX_PASSWORD_BYTES}", login.password.len());
        return Err(field("password", problem));
    }
    let Some(device) = &login.device else { return Ok(Uuid::new_v4().to_string()) };
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if device.is_empty() || device.len() > MAX_DEVICE_BYTES || !device.bytes().all(allowed) {
        let problem = format!("not 1 to {MAX_DEVICE_BYTES} characters out of A-Z a-z 0-9 . _ -");
        return Err(field("device", problem));
    }
    Ok(device.clone())
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
