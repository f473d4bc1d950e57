//! A key set that remembers which tokens it has verified: a device shows one token for a quarter of an hour with each
//! request, and a signature takes longer to verify than a kept view to answer.
//!
//! Remembered is only what a good signature stands under, by the SHA-256 of the whole token; whether it has expired is asked
//! every time. Another key set is another verifier, which remembers nothing.

use crate::token::{Claims, KeySet, TokenError};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of tokens that one of the two generations takes, before the older one is forgotten: some ten thousand ordinary tokens.
const GENERATION_BYTES: usize = 4 * 1024 * 1024;

type Fingerprint = [u8; 32];

pub struct Verifier {
    keys: KeySet,
    seen: Mutex<Seen>,
}

/// What was verified, in two generations: what is asked for moves to the young one, and when that is full the old one goes.
#[derive(Default)]
struct Seen {
    young: HashMap<Fingerprint, Arc<Claims>>,
    old: HashMap<Fingerprint, Arc<Claims>>,
    /// Of the tokens in the young one.
    bytes: usize,
}

impl Seen {
    fn get(&mut self, fingerprint: &Fingerprint, token_bytes: usize) -> Option<Arc<Claims>> {
        if let Some(claims) = self.young.get(fingerprint) {
            return Some(Arc::clone(claims));
        }
        let claims = self.old.remove(fingerprint)?;
        self.put(*fingerprint, Arc::clone(&claims), token_bytes);
        Some(claims)
    }

    fn put(&mut self, fingerprint: Fingerprint, claims: Arc<Claims>, token_bytes: usize) {
        if self.bytes + token_bytes > GENERATION_BYTES {
            self.old = mem::take(&mut self.young);
            self.bytes = 0;
        }
        if self.young.insert(fingerprint, claims).is_none() {
            self.bytes += token_bytes;
        }
    }
}

impl Verifier {
    pub fn new(keys: KeySet) -> Self {
        Self { keys, seen: Mutex::default() }
    }

    pub fn keys(&self) -> &KeySet {
        &self.keys
    }

    /// As [`KeySet::verify`].
    pub fn verify(&self, token: &str, now: i64) -> Result<Arc<Claims>, TokenError> {
        let fingerprint = Sha256::digest(token).into();
        if let Some(claims) = self.seen().get(&fingerprint, token.len()) {
            return if claims.is_expired(now) { Err(TokenError::Expired) } else { Ok(claims) };
        }
        // Outside the lock: this is what takes long.
        let claims = Arc::new(self.keys.verify(token, now)?);
        self.seen().put(fingerprint, Arc::clone(&claims), token.len());
        Ok(claims)
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{AUDIENCE, ISSUER, LEEWAY_SECONDS, Role, sign};
    use ed25519_dalek::SigningKey;

    fn claims(user: usize) -> Claims {
        Claims {
            iss: ISSUER.into(),
            aud: AUDIENCE.into(),
            sub: format!("u{user}"),
            inst: "northside.example".into(),
            role: Role::Student,
            name: "Sam".into(),
            dev: "phone".into(),
            batches: Vec::new(),
            iat: 1_000,
            exp: 1_900,
            jti: "j".into(),
            sid: "s".into(),
        }
    }

    fn verifier(key: &SigningKey) -> Verifier {
        let mut keys = KeySet::default();
        keys.insert("k".into(), key.verifying_key());
        Verifier::new(keys)
    }

    #[test]
    fn a_remembered_token_is_good_until_it_expires_and_a_changed_one_never() {
        let key = SigningKey::from_bytes(&[3; 32]);
        let verifier = verifier(&key);
        let token = sign(&claims(1), "k", &key);
        for _ in 0..2 {
            assert_eq!(verifier.verify(&token, 1_100).as_deref(), Ok(&claims(1)));
            assert_eq!(verifier.seen().young.len(), 1, "verified once");
            assert_eq!(verifier.verify(&token, 1_900 + LEEWAY_SECONDS), Err(TokenError::Expired));
            for end in 0..token.len() {
                assert!(verifier.verify(&token[..end], 1_100).is_err(), "{end}");
            }
            let forged = sign(&claims(2), "k", &SigningKey::from_bytes(&[4; 32]));
            assert_eq!(verifier.verify(&forged, 1_100), Err(TokenError::BadSignature));
        }
        assert_eq!(verifier.seen().young.len(), 1, "what is refused is not kept");
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_is_used_stays() {
        let mut seen = Seen::default();
        let fingerprint = |n: usize| Sha256::digest(n.to_be_bytes()).into();
        let bytes = 1024;
        let fits = GENERATION_BYTES / bytes;
        seen.put(fingerprint(0), Arc::new(claims(0)), bytes);
        for n in 1..5 * fits {
            seen.put(fingerprint(n), Arc::new(claims(n)), bytes);
            assert!(seen.young.len() <= fits && seen.old.len() <= fits);
            assert!(seen.bytes <= GENERATION_BYTES);
            assert_eq!(seen.get(&fingerprint(0), bytes).as_deref(), Some(&claims(0)), "{n}");
        }
        assert_eq!(seen.get(&fingerprint(1), bytes), None, "nobody asked for it");
    }
}
