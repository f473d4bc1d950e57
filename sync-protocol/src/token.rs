//! Access tokens: JWS compact serialisation (RFC 7515) with EdDSA over Ed25519 (RFC 8037), typed `at+jwt` (RFC 9068).
//!
//! One algorithm, one issuer and one audience are accepted, so the header has nothing to choose. The origin signs; the
//! edge host, the origin and, under other Spin hosts, the components verify with the origin's public keys alone.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub const ISSUER: &str = "rollcall";
pub const AUDIENCE: &str = "rollcall";
/// The header in which the edge host tells a component the verified claims.
pub const IDENTITY_HEADER: &str = "rollcall-identity";
/// Longest token looked at, in bytes: the claims of a teacher of 64 batches take about 5 KiB.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// Clocks of edge and origin may differ by this much, in seconds.
pub const LEEWAY_SECONDS: i64 = 30;

/// What somebody is. A verifier from before a role does not read its tokens and refuses them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Admin,
    Teacher,
    Student,
    /// Reads what is read of the students that the directory names, and writes no document.
    Guardian,
}

impl Role {
    pub const ALL: [Role; 4] = [Role::Admin, Role::Teacher, Role::Student, Role::Guardian];

    pub fn as_str(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::Teacher => "teacher",
            Role::Student => "student",
            Role::Guardian => "guardian",
        }
    }
}

/// What a token says about its bearer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    pub iss: String,
    pub aud: String,
    /// User id.
    pub sub: String,
    /// Institute.
    pub inst: String,
    pub role: Role,
    /// The user's name, as shown to others.
    pub name: String,
    /// Device: the unit of command order and of receipts.
    pub dev: String,
    /// Batches that the user teaches or studies in.
    #[serde(default)]
    pub batches: Vec<String>,
    /// Seconds since the Unix epoch.
    pub iat: i64,
    /// Seconds since the Unix epoch.
    pub exp: i64,
    pub jti: String,
    /// The sign-in that the token descends from; empty for a token of none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sid: String,
}

impl Claims {
    /// Whether they hold no more at `now`, in seconds since the Unix epoch.
    pub(crate) fn is_expired(&self, now: i64) -> bool {
        self.exp.saturating_add(LEEWAY_SECONDS) <= now
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("token is {0} bytes, the limit is {MAX_TOKEN_BYTES}")]
    TooLong(usize),
    #[error("token is not a signed JWT of this service")]
    Malformed,
    #[error("token is signed with a key that this service does not know")]
    UnknownKey,
    #[error("token has a wrong signature")]
    BadSignature,
    #[error("token is for another service")]
    WrongAudience,
    #[error("token has expired")]
    Expired,
    #[error("token counts no more: the session was ended")]
    Revoked,
}

impl TokenError {
    /// The stable `code` of the problem details.
    pub fn code(&self) -> &'static str {
        match self {
            TokenError::Expired => "token-expired",
            TokenError::Revoked => "token-revoked",
            TokenError::TooLong(_)
            | TokenError::Malformed
            | TokenError::UnknownKey
            | TokenError::BadSignature
            | TokenError::WrongAudience => "token-invalid",
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
}

/// Signs `claims` with the key named `kid`.
pub fn sign(claims: &Claims, kid: &str, key: &SigningKey) -> String {
    let header = Header { alg: "EdDSA".into(), typ: "at+jwt".into(), kid: kid.into() };
    let encode = |bytes: Vec<u8>| URL_SAFE_NO_PAD.encode(bytes);
    let header = encode(serde_json::to_vec(&header).expect("a struct of strings is always JSON"));
    let claims = encode(serde_json::to_vec(claims).expect("a struct of strings and numbers is always JSON"));
    let signed = format!("{header}.{claims}");
    let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()).to_bytes());
    format!("{signed}.{signature}")
}

/// The origin's public keys by `kid`, as a JSON Web Key Set (RFC 7517) of OKP keys (RFC 8037).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeySet {
    keys: BTreeMap<String, VerifyingKey>,
}

#[derive(Serialize, Deserialize)]
struct Jwks {
    keys: Vec<Jwk>,
}

#[derive(Serialize, Deserialize)]
struct Jwk {
    kty: String,
    #[serde(default)]
    crv: String,
    #[serde(default)]
    kid: String,
    #[serde(default)]
    x: String,
    #[serde(rename = "use", default = "signature_use")]
    usage: String,
    #[serde(default)]
    alg: String,
}

fn signature_use() -> String {
    "sig".into()
}

/// Most keys read from a key set: one in use and the ones before it.
const MAX_KEYS: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("key set is not JWKS: {0}")]
pub struct KeySetError(String);

impl KeySet {
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub fn insert(&mut self, kid: String, key: VerifyingKey) {
        self.keys.insert(kid, key);
    }

    pub fn to_json(&self) -> String {
        let key = |(kid, key): (&String, &VerifyingKey)| Jwk {
            kty: "OKP".into(),
            crv: "Ed25519".into(),
            kid: kid.clone(),
            x: URL_SAFE_NO_PAD.encode(key.as_bytes()),
            usage: signature_use(),
            alg: "EdDSA".into(),
        };
        let jwks = Jwks { keys: self.keys.iter().map(key).collect() };
        serde_json::to_string(&jwks).expect("a struct of strings is always JSON")
    }

    /// Keys of other types are passed over, as RFC 7517 section 5 asks.
    pub fn from_json(json: &str) -> Result<Self, KeySetError> {
        let jwks: Jwks = serde_json::from_str(json).map_err(|e| KeySetError(e.to_string()))?;
        let mut set = KeySet::default();
        for jwk in jwks.keys.into_iter().filter(|k| k.kty == "OKP" && k.crv == "Ed25519").take(MAX_KEYS) {
            let bytes = URL_SAFE_NO_PAD.decode(&jwk.x).map_err(|e| KeySetError(e.to_string()))?;
            let bytes: [u8; 32] = bytes.try_into().map_err(|_| KeySetError("x is not 32 bytes".into()))?;
            let key = VerifyingKey::from_bytes(&bytes).map_err(|e| KeySetError(e.to_string()))?;
            set.keys.insert(jwk.kid, key);
        }
        Ok(set)
    }

    /// Checks signature, type, issuer, audience and life of `token` at `now` (seconds since the Unix epoch).
    pub fn verify(&self, token: &str, now: i64) -> Result<Claims, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong(token.len()));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed);
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| TokenError::Malformed)?;
        if header.alg != "EdDSA" || header.typ != "at+jwt" {
            return Err(TokenError::Malformed);
        }
        let key = self.keys.get(&header.kid).ok_or(TokenError::UnknownKey)?;
        let signature = Signature::from_slice(&decode(signature)?).map_err(|_| TokenError::Malformed)?;
        key.verify_strict(signed.as_bytes(), &signature).map_err(|_| TokenError::BadSignature)?;
        let claims: Claims = serde_json::from_slice(&decode(claims)?).map_err(|_| TokenError::Malformed)?;
        if claims.iss != ISSUER || claims.aud != AUDIENCE {
            return Err(TokenError::WrongAudience);
        }
        if claims.is_expired(now) {
            return Err(TokenError::Expired);
        }
        Ok(claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            iss: ISSUER.into(),
            aud: AUDIENCE.into(),
            sub: "u1".into(),
            inst: "northside.example".into(),
            role: Role::Teacher,
            name: "Tara".into(),
            dev: "phone".into(),
            batches: vec!["b1".into()],
            iat: 1_000,
            exp: 1_900,
            jti: "j".into(),
            sid: "s".into(),
        }
    }

    fn signed() -> (KeySet, String) {
        let key = SigningKey::from_bytes(&[3; 32]);
        let mut keys = KeySet::default();
        keys.insert("k1".into(), key.verifying_key());
        (keys, sign(&claims(), "k1", &key))
    }

    #[test]
    fn a_token_is_read_back_with_keys_that_went_through_json() {
        let (keys, token) = signed();
        let keys = KeySet::from_json(&keys.to_json()).unwrap();
        assert_eq!(keys.verify(&token, 1_100), Ok(claims()));
    }

    #[test]
    fn an_expired_token_is_told_from_a_forged_one() {
        let (keys, token) = signed();
        assert_eq!(keys.verify(&token, 1_900 + LEEWAY_SECONDS), Err(TokenError::Expired));
        let other = SigningKey::from_bytes(&[4; 32]);
        assert_eq!(keys.verify(&sign(&claims(), "k1", &other), 1_100), Err(TokenError::BadSignature));
        assert_eq!(keys.verify(&sign(&claims(), "k2", &other), 1_100), Err(TokenError::UnknownKey));
    }

    #[test]
    fn an_unsigned_token_and_a_changed_claim_are_refused() {
        let (keys, token) = signed();
        let parts: Vec<&str> = token.split('.').collect();
        let none = URL_SAFE_NO_PAD.encode(br#"{"alg":"none","typ":"at+jwt","kid":"k1"}"#);
        assert_eq!(keys.verify(&format!("{none}.{}.", parts[1]), 1_100), Err(TokenError::Malformed));
        let mut forged = claims();
        forged.role = Role::Admin;
        let forged = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&forged).unwrap());
        assert_eq!(
            keys.verify(&format!("{}.{forged}.{}", parts[0], parts[2]), 1_100),
            Err(TokenError::BadSignature)
        );
    }

    /// What a node from before a role does with its tokens, by the token of a role that nobody knows yet.
    #[test]
    fn a_token_of_an_unknown_role_is_refused() {
        let (keys, _) = signed();
        let key = SigningKey::from_bytes(&[3; 32]);
        for (role, verified) in [("guardian", true), ("caretaker", false)] {
            let token = sign(&claims(), "k1", &key);
            let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
            let json = String::from_utf8(URL_SAFE_NO_PAD.decode(&parts[1]).unwrap()).unwrap();
            parts[1] = URL_SAFE_NO_PAD.encode(json.replace("teacher", role));
            let signed = format!("{}.{}", parts[0], parts[1]);
            let token =
                format!("{signed}.{}", URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()).to_bytes()));
            let read = keys.verify(&token, 1_100).map(|claims| claims.role);
            assert_eq!(
                read,
                if verified { Ok(Role::Guardian) } else { Err(TokenError::Malformed) },
                "{role}"
            );
        }
    }

    #[test]
    fn every_truncation_is_an_error() {
        let (keys, token) = signed();
        for end in 0..token.len() {
            assert!(keys.verify(&token[..end], 1_100).is_err(), "{end}");
        }
    }
}
