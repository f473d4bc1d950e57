//! Changing a password, and setting one by a token that came by mail.
//!
//! Whether an address has an account shows nowhere: the answer to a forgotten password is given before anybody looks.

use super::sessions::{end_all_sessions, signed_in};
use super::{AuthError, AuthService, Tokens, check_email, hash_token, issue, note, random_bytes};
use crate::clock::unix_ms;
use crate::services::mail::{Mail, Post};
use crate::services::passwords::{MAX_PASSWORD_BYTES, MIN_PASSWORD_CHARS};
use crate::services::rate_limit::{Attempt, By};
use crate::store::{Account, ActivityKind, NO_INSTITUTE, PasswordReset, Records, StoreError};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use std::net::IpAddr;
use std::sync::Arc;
use sync_protocol::token::Claims;
use utoipa::ToSchema;
use uuid::Uuid;

/// Life of a token that sets a password: long enough for a mail that is held up, short enough for a mailbox that others
/// read later.
const RESET_MS: i64 = 60 * 60 * 1000;
/// Longest such token looked at: 43 characters, a dot, and a domain name of 253 bytes in base64.
const MAX_RESET_BYTES: usize = 43 + 1 + 338;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordResetRequest {
    pub(crate) email: String,
}

/// No `Debug`: it would show the password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPassword {
    pub(crate) token: String,
    pub(crate) password: String,
}

/// No `Debug`: it would show the passwords.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordChange {
    pub(crate) current_password: String,
    pub(crate) new_password: String,
}

impl AuthService {
    /// Sends a token that sets a password to whoever has this address. Answers before it looks for them.
    pub(crate) async fn request_password_reset(
        &self,
        request: PasswordResetRequest,
        address: Option<IpAddr>,
    ) -> Result<(), AuthError> {
        let email = check_email(&request.email)?;
        let post = self.post.clone().ok_or(AuthError::NoMail)?;
        let by = By { account: Some(&email), address };
        let now = unix_ms();
        self.limits.reserve(Attempt::Mail, by, now).await.map_err(AuthError::TooManyAttempts)?;
        let place = self.mails.clone().try_acquire_owned().map_err(|_| AuthError::Busy)?;
        let service = self.clone();
        self.afterwards.spawn(async move {
            let _place = place;
            if let Err(error) = service.send_reset(&email, &post).await {
                tracing::error!(%error, "a mail that sets a password was not sent");
            }
        });
        Ok(())
    }

    async fn send_reset(&self, email: &str, post: &Post) -> Result<(), AuthError> {
        let address = email.to_owned();
        let account = self
            .store
            .read::<_, AuthError, _>(NO_INSTITUTE, move |records| Ok(records.account_by_email(&address)?));
        let Some(account) = account.await? else { return Ok(()) };
        let institute = account.institute.clone();
        let made = self.store.write::<_, AuthError, _>(&institute, move |tx| {
            let Some(account) = tx.account(&account.user)? else { return Ok(None) };
            let random = URL_SAFE_NO_PAD.encode(random_bytes()?);
            let token = format!("{random}.{}", URL_SAFE_NO_PAD.encode(&account.institute));
            let now = unix_ms();
            let (token_hash, user) = (hash_token(&token), account.user.clone());
            tx.add_password_reset(&PasswordReset { token_hash, user, expires_at: now + RESET_MS }, now)?;
            note(tx, &account.user, ActivityKind::ResetRequested, "")?;
            let name = tx.institute()?.map_or_else(String::new, |institute| institute.name);
            Ok(Some((account, name, token)))
        });
        let Some((account, institute, token)) = made.await?.value else { return Ok(()) };
        Ok(post.send(reset_mail(&account, &institute, &post.reset_link(&token))).await?)
    }

    /// Sets the password of whoever got this token, and ends all their sessions.
    pub(crate) async fn reset_password(
        &self,
        new: NewPassword,
        address: Option<IpAddr>,
    ) -> Result<(), AuthError> {
        check_new_password("password", &new.password)?;
        let (by, now) = (By { account: None, address }, unix_ms());
        let was_wrong = |set: &Result<_, _>| matches!(set, Err(AuthError::ResetInvalid));
        let email = self.reserved(by, now, self.set_password_by(new), was_wrong).await?;
        self.limits.forgive(Attempt::Guess, &email).await;
        Ok(())
    }

    /// Whose password was set, by their address.
    async fn set_password_by(&self, new: NewPassword) -> Result<String, AuthError> {
        let institute = institute_of(&new.token).ok_or(AuthError::ResetInvalid)?;
        let hash = hash_token(&new.token);
        let known = {
            let hash = hash.clone();
            self.store.read::<_, AuthError, _>(&institute, move |records| {
                Ok(reset_account(records, &hash)?.is_some())
            })
        };
        if !known.await? {
            return Err(AuthError::ResetInvalid);
        }
        // Only for a token that works: hashing costs more than all else here.
        let password_hash = self.passwords.hash(new.password).await?;
        let set = self.store.write::<_, AuthError, _>(&institute, move |tx| {
            let mut account = reset_account(tx.records(), &hash)?.ok_or(AuthError::ResetInvalid)?;
            tx.set_password(&account.user, &password_hash)?;
            tx.remove_password_resets(&account.user)?;
            end_all_sessions(tx, &mut account, unix_ms())?;
            note(tx, &account.user, ActivityKind::PasswordReset, "")?;
            Ok(account.email)
        });
        Ok(set.await?.value)
    }

    /// Sets a new password, ends all sessions and begins a new one on the same device.
    pub(crate) async fn change_password(
        &self,
        claims: Arc<Claims>,
        change: PasswordChange,
        address: Option<IpAddr>,
    ) -> Result<Tokens, AuthError> {
        check_new_password("new_password", &change.new_password)?;
        let wrong = |problem: String| AuthError::Field { field: "current_password", problem };
        if change.current_password.len() > MAX_PASSWORD_BYTES {
            return Err(wrong(format!("longer than {MAX_PASSWORD_BYTES} bytes")));
        }
        let institute = claims.inst.clone();
        let account = {
            let claims = claims.clone();
            self.store.read(&institute, move |records| signed_in(records, &claims)).await?
        };
        let (by, now) = (By { account: Some(&account.email), address }, unix_ms());
        let guess = self.passwords.verify(change.current_password, account.password_hash.clone());
        if !self.reserved(by, now, guess, |verified| matches!(verified, Ok(false))).await? {
            return Err(wrong("wrong".to_owned()));
        }
        let password_hash = self.passwords.hash(change.new_password).await?;
        let keys = self.keys.clone();
        let changed = self.store.write::<_, AuthError, _>(&institute, move |tx| {
            let mut account = signed_in(tx.records(), &claims)?;
            let now = unix_ms();
            tx.set_password(&account.user, &password_hash)?;
            tx.remove_password_resets(&account.user)?;
            end_all_sessions(tx, &mut account, now)?;
            note(tx, &account.user, ActivityKind::PasswordChanged, &claims.dev)?;
            issue(&keys, tx, &account, (&claims.dev, &Uuid::new_v4().to_string()), now)
        });
        Ok(changed.await?.value)
    }
}

/// Whose password a token sets, while it does.
fn reset_account(records: &dyn Records, hash: &[u8]) -> Result<Option<Account>, StoreError> {
    let reset = records.password_reset(hash)?.filter(|reset| reset.expires_at > unix_ms());
    reset.map_or(Ok(None), |reset| records.account(&reset.user))
}

/// The institute that a token names after its random part, for the store, which finds tokens by institute.
fn institute_of(token: &str) -> Option<String> {
    if token.len() > MAX_RESET_BYTES {
        return None;
    }
    let institute = URL_SAFE_NO_PAD.decode(token.split_once('.')?.1).ok()?;
    let institute = String::from_utf8(institute).ok()?;
    (!institute.is_empty() && institute.bytes().all(|b| b.is_ascii_graphic())).then_some(institute)
}

fn check_new_password(field: &'static str, password: &str) -> Result<(), AuthError> {
    if password.chars().count() < MIN_PASSWORD_CHARS || password.len() > MAX_PASSWORD_BYTES {
        let problem = format!("not {MIN_PASSWORD_CHARS} characters to {MAX_PASSWORD_BYTES} bytes");
        return Err(AuthError::Field { field, problem });
    }
    Ok(())
}

fn reset_mail(account: &Account, institute: &str, link: &str) -> Mail {
    let act = if account.password_hash.is_some() { "choose a new password" } else { "choose a password" };
    Mail {
        to: account.email.clone(),
        subject: "Your password",
        text: format!(
            "Hello {},\n\nto {act} for {institute}, open this within an hour:\n\n{link}\n\n\
             It works once. If you did not ask for it, nothing has changed, and you need do nothing.\n",
            account.name
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_institute_or_is_none() {
        let token = |institute: &str| format!("random.{}", URL_SAFE_NO_PAD.encode(institute));
        assert_eq!(institute_of(&token("northside.example")).as_deref(), Some("northside.example"));
        for bad in
            ["", "random", "random.", "random.!", &token("a\0b"), &token("a b"), &token(&"x".repeat(300))]
        {
            assert_eq!(institute_of(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_new_password_is_neither_short_nor_endless() {
        assert!(check_new_password("password", "1234567").is_err());
        assert!(check_new_password("password", "äöüßäöüß").is_ok());
        assert!(check_new_password("password", &"x".repeat(MAX_PASSWORD_BYTES + 1)).is_err());
    }
}
