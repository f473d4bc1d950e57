//! Who asks: access tokens verified offline with the origin's keys, which outlive the process in the data folder.

use crate::problem::Problem;
use crate::revocations::{Revocations, Worth};
use http::{HeaderMap, HeaderValue, header};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};
use sync_protocol::directory::DirectoryEntry;
use sync_protocol::token::{Claims, IDENTITY_HEADER, KeySet, KeySetError, TokenError};
use sync_protocol::verifier::Verifier;

/// Tells the component that the host itself asks; removed from every request that comes from outside.
pub const INTERNAL_HEADER: &str = "rollcall-internal";

/// Verifies tokens.
pub struct Identity {
    /// None until the origin has been reached once.
    verifier: RwLock<Option<Arc<Verifier>>>,
    /// Where the keys outlive the process.
    path: PathBuf,
    revocations: Revocations,
}

/// Who asks, as far as it is known.
#[derive(Debug, Clone, PartialEq)]
pub enum Asker {
    Anonymous,
    User(Arc<Claims>),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    #[error("request has no access token")]
    Missing,
    #[error("the origin's keys are not known yet")]
    KeysUnknown,
    #[error("the user is deactivated")]
    Deactivated,
    #[error(transparent)]
    Token(#[from] TokenError),
}

#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error(transparent)]
    Malformed(#[from] KeySetError),
    #[error("{0}: {1}")]
    Unwritable(PathBuf, std::io::Error),
}

impl IdentityError {
    pub fn problem(&self) -> Problem {
        match self {
            IdentityError::Missing => Problem::token_missing(),
            IdentityError::KeysUnknown => Problem::keys_unknown(),
            IdentityError::Deactivated => {
                Problem::new(http::StatusCode::UNAUTHORIZED, "user-deactivated", self.to_string())
            }
            IdentityError::Token(error) => {
                Problem::new(http::StatusCode::UNAUTHORIZED, error.code(), error.to_string())
            }
        }
    }
}

impl Identity {
    /// Starts with the keys that an earlier process left, if any.
    pub fn load(path: &Path) -> Self {
        let keys = match std::fs::read_to_string(path) {
            Ok(json) => KeySet::from_json(&json)
                .inspect_err(|error| tracing::warn!(%error, "stored keys are not used"))
                .ok(),
            Err(_) => None,
        };
        let keys = keys.filter(|keys| !keys.is_empty());
        let verifier = RwLock::new(keys.map(|keys| Arc::new(Verifier::new(keys))));
        let revocations = Revocations::load(&path.with_extension("revoked.json"));
        Self { verifier, path: path.to_owned(), revocations }
    }

    /// Takes in entries of an institute's directory; with `first`, they begin the whole of it. Blocks for the disk.
    pub fn note_members(
        &self,
        institute: &str,
        entries: &[DirectoryEntry],
        first: bool,
    ) -> Result<(), KeysError> {
        self.revocations.note(institute, entries, first, now())
    }

    /// Takes the origin's keys, as JWKS, and keeps them for later starts. Blocks for the disk.
    pub fn replace_keys(&self, jwks: &str) -> Result<(), KeysError> {
        let keys = KeySet::from_json(jwks)?;
        let verifier = Some(Arc::new(Verifier::new(keys)));
        *self.verifier.write().unwrap_or_else(PoisonError::into_inner) = verifier;
        replace_file(&self.path, jwks)
    }

    fn verifier(&self) -> Option<Arc<Verifier>> {
        self.verifier.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn verify(&self, token: Option<&str>) -> Result<Arc<Claims>, IdentityError> {
        let verifier = self.verifier().ok_or(IdentityError::KeysUnknown)?;
        let token = token.ok_or(IdentityError::Missing)?;
        let claims = verifier.verify(token, now())?;
        match self.revocations.worth(&claims) {
            Worth::Full => Ok(claims),
            Worth::Deactivated => Err(IdentityError::Deactivated),
            Worth::Revoked => Err(TokenError::Revoked.into()),
        }
    }

    /// Waits until the token of these claims is revoked: what was opened with it has to end then.
    pub async fn revoked(&self, claims: &Claims) {
        self.revocations.revoked(claims).await;
    }

    /// As [`Identity::verify`], except that a request without a token, or one that cannot be checked yet, is anonymous.
    pub fn verify_if_present(&self, token: Option<&str>) -> Result<Asker, IdentityError> {
        if token.is_none() || self.verifier().is_none() {
            return Ok(Asker::Anonymous);
        }
        Ok(Asker::User(self.verify(token)?))
    }
}

/// Seconds since the Unix epoch.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64
}

/// A crash leaves the old file or the new one.
pub(crate) fn replace_file(path: &Path, text: &str) -> Result<(), KeysError> {
    let unwritable = |error| KeysError::Unwritable(path.to_owned(), error);
    let next = path.with_extension("json.next");
    std::fs::write(&next, text).map_err(unwritable)?;
    std::fs::rename(&next, path).map_err(unwritable)
}

impl Asker {
    pub fn institute(&self) -> Option<&str> {
        match self {
            Asker::Anonymous => None,
            Asker::User(claims) => Some(&claims.inst),
        }
    }
}

/// The token of `Authorization: Bearer`. Another scheme, or two headers, are no token that verifies.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return Some("");
    }
    let value = value.to_str().unwrap_or("");
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Some(token.trim()),
        _ => Some(""),
    }
}

/// The token of `?access_token=`, for clients that cannot set a header on a WebSocket. Tokens need no percent-encoding.
pub fn query_token(query: Option<&str>) -> Option<&str> {
    query?.split('&').find_map(|pair| pair.strip_prefix("access_token="))
}

/// Removes what only the host may say.
pub fn remove_host_headers(headers: &mut HeaderMap) {
    let ours = |name: &str| name.starts_with(IDENTITY_HEADER) || name == INTERNAL_HEADER;
    let names: Vec<_> = headers.keys().filter(|name| ours(name.as_str())).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Tells the component who asks.
pub fn set_identity(headers: &mut HeaderMap, claims: &Claims) {
    // JSON with its non-ASCII characters escaped, because a header holds ASCII for sure and more only perhaps.
    let json = serde_json::to_string(claims).expect("claims are strings and numbers");
    let mut ascii = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            ascii.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                ascii.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    let value = HeaderValue::try_from(ascii).expect("JSON escapes control characters, and the rest is ASCII");
    headers.insert(IDENTITY_HEADER, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_one_bearer_token_counts() {
        assert_eq!(bearer(&headers(&[])), None);
        assert_eq!(bearer(&headers(&[("authorization", "Bearer abc")])), Some("abc"));
        assert_eq!(bearer(&headers(&[("authorization", "bearer abc")])), Some("abc"));
        assert_eq!(bearer(&headers(&[("authorization", "Basic abc")])), Some(""));
        let two = headers(&[("authorization", "Bearer a"), ("authorization", "Bearer b")]);
        assert_eq!(bearer(&two), Some(""));
        assert_eq!(query_token(Some("x=1&access_token=abc")), Some("abc"));
        assert_eq!(query_token(Some("my_access_token=abc")), None);
    }

    #[test]
    fn what_only_the_host_may_say_is_removed() {
        let mut forged = headers(&[
            ("rollcall-identity", "{}"),
            ("rollcall-identity", "{}"),
            ("rollcall-identity-extra", "x"),
            ("rollcall-internal", "1"),
            ("rollcall-bookmark", "1.2"),
        ]);
        remove_host_headers(&mut forged);
        assert_eq!(forged, headers(&[("rollcall-bookmark", "1.2")]));
    }

    #[test]
    fn a_name_of_any_script_survives_the_header() {
        let claims = claims();
        let mut headers = HeaderMap::new();
        set_identity(&mut headers, &claims);
        let text = headers[IDENTITY_HEADER].to_str().unwrap();
        assert_eq!(serde_json::from_str::<Claims>(text).unwrap(), claims);
    }

    fn claims() -> Claims {
        Claims {
            iss: "rollcall".into(),
            aud: "rollcall".into(),
            sub: "u1".into(),
            inst: "northside.example".into(),
            role: sync_protocol::token::Role::Teacher,
            name: "तारा \u{1f600}\n".into(),
            dev: "phone".into(),
            batches: vec![],
            iat: 1,
            exp: 2,
            jti: "j".into(),
            sid: String::new(),
        }
    }

    #[test]
    fn a_deactivated_users_token_counts_no_more_after_a_restart_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        let mut keys = KeySet::default();
        keys.insert("k".into(), key.verifying_key());
        let claims = Claims { exp: i64::MAX - 60, ..claims() };
        let token = sync_protocol::token::sign(&claims, "k", &key);
        let entry = |active| DirectoryEntry {
            user: claims.sub.clone(),
            role: claims.role,
            active,
            batches: vec![],
            guardian_of: vec![],
            revocation: Default::default(),
        };
        let identity = Identity::load(&path);
        identity.replace_keys(&keys.to_json()).unwrap();
        assert_eq!(identity.verify(Some(&token)).as_deref(), Ok(&claims));
        identity.note_members("southside.example", &[entry(false)], false).unwrap();
        assert_eq!(
            identity.verify(Some(&token)).as_deref(),
            Ok(&claims),
            "elsewhere the id is somebody else"
        );
        identity.note_members(&claims.inst, &[entry(false)], false).unwrap();
        assert_eq!(identity.verify(Some(&token)), Err(IdentityError::Deactivated));
        let identity = Identity::load(&path);
        assert_eq!(identity.verify_if_present(Some(&token)), Err(IdentityError::Deactivated));
        identity.note_members(&claims.inst, &[], true).unwrap();
        assert_eq!(identity.verify(Some(&token)).as_deref(), Ok(&claims));
    }

    #[test]
    fn keys_outlive_the_process_and_without_them_nobody_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let identity = Identity::load(&path);
        assert_eq!(identity.verify(Some("a.b.c")), Err(IdentityError::KeysUnknown));
        assert_eq!(identity.verify_if_present(Some("a.b.c")), Ok(Asker::Anonymous));
        let key = "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw";
        let jwks = format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"k","x":"{key}"}}]}}"#);
        identity.replace_keys(&jwks).unwrap();
        let identity = Identity::load(&path);
        assert_eq!(identity.verify(None), Err(IdentityError::Missing));
        assert_eq!(identity.verify(Some("a.b.c")), Err(IdentityError::Token(TokenError::Malformed)));
        assert!(matches!(identity.replace_keys("{"), Err(KeysError::Malformed(_))));
    }
}
