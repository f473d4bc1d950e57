//! Who asks: the claims that the edge host verified, or, under other hosts, the bearer token verified here.

use crate::now_ms;
use crate::origin::{Call, Origin};
use crate::problem::Problem;
use http::header::AUTHORIZATION;
use http::{Method, Request, StatusCode};
use serde::{Deserialize, Serialize};
use spin_sdk::key_value::Store;
use sync_protocol::token::{Claims, IDENTITY_HEADER, KeySet, TokenError};

/// Where the origin publishes its keys.
const KEYS_PATH: &str = "/.well-known/jwks.json";
/// Where they are kept in the key-value store `default`.
const KEYS_STORED: &str = "identity/jwks";
/// Keys are asked for again after this. A key that the origin withdraws is accepted for so long.
const KEYS_LIFE_MS: i64 = 5 * 60 * 1000;
/// A token of an unknown key makes the keys be asked for again, though not more often than this.
const KEYS_REFETCH_MS: i64 = 10 * 1000;
/// Sixteen keys take 2 KiB.
const KEYS_BYTES_MAX: usize = 64 * 1024;

#[derive(Serialize, Deserialize)]
struct StoredKeys {
    fetched_at_ms: i64,
    jwks: String,
}

/// Whether the host verifies tokens and says who asks, which is what the variable `identity` = `host` declares.
pub async fn identified_by_host() -> bool {
    spin_sdk::variables::get("identity").await.is_ok_and(|identity| identity == "host")
}

/// The claims of whoever sent `request`.
///
/// Header `rollcall-identity` is believed only where the host puts it there; it means nothing elsewhere.
pub async fn identity<B>(request: &Request<B>) -> Result<Claims, Problem> {
    if identified_by_host().await {
        let claims = request.headers().get(IDENTITY_HEADER).ok_or_else(Problem::token_missing)?;
        return serde_json::from_slice(claims.as_bytes())
            .map_err(|e| Problem::misconfigured(&format!("header {IDENTITY_HEADER}: {e}")));
    }
    let header = request.headers().get(AUTHORIZATION).ok_or_else(Problem::token_missing)?;
    let token = header.to_str().ok().and_then(bearer).ok_or(TokenError::Malformed)?.to_owned();
    verify(&token).await
}

/// The token of an `Authorization` value; the scheme's name has no case (RFC 9110 section 11.1).
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

async fn verify(token: &str) -> Result<Claims, Problem> {
    let store = Store::open_default().await.map_err(|error| {
        eprintln!("key-value store: {error}");
        Problem::store_unavailable()
    })?;
    let now_ms = now_ms();
    let stored: Option<StoredKeys> =
        store.get(KEYS_STORED).await.ok().flatten().and_then(|json| serde_json::from_slice(&json).ok());
    let age_ms = stored.as_ref().map_or(i64::MAX, |stored| now_ms.saturating_sub(stored.fetched_at_ms));
    let known = stored.and_then(|stored| KeySet::from_json(&stored.jwks).ok());

    let verdict = known.as_ref().map(|keys| keys.verify(token, now_ms / 1000));
    let unknown_key = matches!(verdict, None | Some(Err(TokenError::UnknownKey)));
    if age_ms < KEYS_REFETCH_MS || (age_ms < KEYS_LIFE_MS && !unknown_key) {
        return Ok(verdict.unwrap_or(Err(TokenError::UnknownKey))?);
    }
    match fetch_keys(&store, now_ms).await {
        Ok(keys) => Ok(keys.verify(token, now_ms / 1000)?),
        // Without the origin, the keys that it last published still tell a good token from a bad one.
        Err(problem) => verdict.map_or(Err(problem), |verdict| Ok(verdict?)),
    }
}

async fn fetch_keys(store: &Store, now_ms: i64) -> Result<KeySet, Problem> {
    let call = Call::new(Method::GET, KEYS_PATH, KEYS_BYTES_MAX);
    let answer = Origin::configured().await?.send(call).await?;
    if answer.status != StatusCode::OK {
        eprintln!("origin answered {} for its keys", answer.status);
        return Err(Problem::origin_unavailable());
    }
    let jwks = String::from_utf8_lossy(&answer.body).into_owned();
    let keys = KeySet::from_json(&jwks).map_err(|error| {
        eprintln!("keys of the origin: {error}");
        Problem::origin_unavailable()
    })?;
    let stored = serde_json::to_vec(&StoredKeys { fetched_at_ms: now_ms, jwks })
        .expect("a number and a text are always JSON");
    if let Err(error) = store.set(KEYS_STORED, stored).await {
        eprintln!("keys of the origin cannot be kept: {error}");
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_is_told_from_other_schemes() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer abc"), Some("abc"));
        assert_eq!(bearer("Basic abc"), None);
        assert_eq!(bearer("abc"), None);
    }
}
