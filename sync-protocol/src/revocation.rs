//! Which of a user's access tokens count no more, though they have not expired.
//!
//! Tokens are verified offline, so their end has to be told: the link brings it with the user's entry in the directory.
//! What is kept is bounded, and moot once the last token that it names has expired.

use crate::token::Claims;
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// Sessions of one user that are kept apart. When more end within the life of a token, all tokens of the user end.
pub const MAX_ENDED_SESSIONS: usize = 16;

/// The end of some or all access tokens of one user. Times are seconds since the Unix epoch, as in the tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct Revocation {
    /// Tokens issued before count no more; 0 for none.
    #[n(0)]
    pub not_before: i64,
    #[n(1)]
    #[serde(default)]
    pub ended: Vec<EndedSession>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct EndedSession {
    /// As in the claim `sid`.
    #[n(0)]
    pub session: String,
    /// The session's last token has expired by then.
    #[n(1)]
    pub until: i64,
}

impl Revocation {
    pub fn covers(&self, claims: &Claims) -> bool {
        claims.iat < self.not_before
            || (!claims.sid.is_empty() && self.ended.iter().any(|ended| ended.session == claims.sid))
    }

    /// Whether no token that lives at most `life` seconds can still be covered at `now`.
    pub fn is_moot(&self, now: i64, life: i64) -> bool {
        self.not_before + life <= now && self.ended.iter().all(|ended| ended.until <= now)
    }

    /// Ends all tokens issued until `now`. One issued in the same second afterwards is dated [`Self::not_before`].
    pub fn end_all(&mut self, now: i64) {
        self.not_before = self.not_before.max(now + 1);
        self.ended.clear();
    }

    /// Ends the tokens of one session, the last of which expires before `until`.
    pub fn end_session(&mut self, session: &str, now: i64, until: i64) {
        self.ended.retain(|ended| ended.until > now && ended.session != session);
        if self.ended.len() >= MAX_ENDED_SESSIONS {
            return self.end_all(now);
        }
        self.ended.push(EndedSession { session: session.to_owned(), until });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::Role;

    fn claims(iat: i64, sid: &str) -> Claims {
        Claims {
            iss: "rollcall".into(),
            aud: "rollcall".into(),
            sub: "u".into(),
            inst: "i".into(),
            role: Role::Student,
            name: "N".into(),
            dev: "d".into(),
            batches: vec![],
            iat,
            exp: iat + 900,
            jti: "j".into(),
            sid: sid.into(),
        }
    }

    #[test]
    fn the_end_of_all_covers_the_same_second_and_nothing_that_is_dated_after_it() {
        let mut revocation = Revocation::default();
        assert!(!revocation.covers(&claims(0, "")));
        revocation.end_all(100);
        assert!(revocation.covers(&claims(100, "a")));
        assert!(!revocation.covers(&claims(revocation.not_before, "a")));
        revocation.end_all(50);
        assert_eq!(revocation.not_before, 101, "a clock that is behind takes nothing back");
        assert!(!revocation.is_moot(1_000, 900) && revocation.is_moot(1_001, 900));
    }

    #[test]
    fn one_session_ends_alone_until_too_many_have() {
        let mut revocation = Revocation::default();
        revocation.end_session("s", 100, 1_000);
        assert!(revocation.covers(&claims(100, "s")) && !revocation.covers(&claims(100, "t")));
        assert!(!revocation.covers(&claims(100, "")), "a token of no session is not of this one");
        assert!(!revocation.is_moot(999, 900) && revocation.is_moot(1_000, 900));
        for n in 0..MAX_ENDED_SESSIONS - 1 {
            revocation.end_session(&n.to_string(), 100, 1_000);
        }
        assert_eq!((revocation.ended.len(), revocation.not_before), (MAX_ENDED_SESSIONS, 0));
        revocation.end_session("one more", 200, 1_100);
        assert!(revocation.ended.is_empty() && revocation.covers(&claims(200, "t")));
        revocation.end_session("later", 2_000, 3_000);
        revocation.end_session("later still", 3_000, 4_000);
        assert_eq!(revocation.ended.len(), 1, "what is moot is forgotten");
    }
}
