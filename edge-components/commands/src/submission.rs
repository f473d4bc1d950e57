//! A command as the edge accepted it: checked, named by its key, with the identity of whoever gave it.

use sha2::{Digest as _, Sha256};
use sync_protocol::command::Command;
use sync_protocol::token::Claims;

/// What the origin is told, now or later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Submission {
    pub(crate) institute: String,
    pub(crate) user: String,
    pub(crate) device: String,
    pub(crate) key: String,
    /// Of the canonical command: tells a repeat from another command under the same key.
    pub(crate) hash: Vec<u8>,
    /// Claims as JSON.
    pub(crate) identity: String,
    /// Canonical JSON.
    pub(crate) command: String,
    /// Milliseconds since the Unix epoch, by the clock of the edge.
    pub(crate) accepted_at: i64,
}

impl Submission {
    pub(crate) fn new(claims: &Claims, key: String, command: &Command, accepted_at: i64) -> Self {
        let canonical = command.canonical();
        Self {
            institute: claims.inst.clone(),
            user: claims.sub.clone(),
            device: claims.dev.clone(),
            key,
            hash: Sha256::digest(&canonical).to_vec(),
            identity: serde_json::to_string(claims)
                .expect("claims are texts and numbers, which are always JSON"),
            command: String::from_utf8(canonical).expect("JSON is always UTF-8"),
            accepted_at,
        }
    }

    /// The body of `POST /edge/v1/commands`.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let key = serde_json::Value::from(self.key.as_str());
        format!(
            r#"{{"identity":{},"key":{key},"accepted_at":{},"command":{}}}"#,
            self.identity, self.accepted_at, self.command
        )
        .into_bytes()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use sync_protocol::token::Role;

    pub(crate) fn submission(device: &str, key: &str, student: &str) -> Submission {
        let claims = Claims {
            iss: "rollcall".into(),
            aud: "rollcall".into(),
            sub: "u1".into(),
            inst: "northside.example".into(),
            role: Role::Admin,
            name: "A \"quoted\" name".into(),
            dev: device.into(),
            batches: Vec::new(),
            iat: 1,
            exp: 2,
            jti: "j".into(),
            sid: String::new(),
        };
        let command = Command::EnrollStudent { student: student.into(), batch: "b1".into() };
        Submission::new(&claims, key.into(), &command, 1_700_000_000_000)
    }

    #[test]
    fn the_origin_is_told_identity_key_time_and_command() {
        let told: serde_json::Value =
            serde_json::from_slice(&submission("d1", "k\"1", "s1").to_json()).unwrap();
        assert_eq!(told["identity"]["name"], "A \"quoted\" name");
        assert_eq!(told["key"], "k\"1");
        assert_eq!(told["accepted_at"], 1_700_000_000_000_i64);
        assert_eq!(told["command"]["command"], "enroll-student");
    }
}
