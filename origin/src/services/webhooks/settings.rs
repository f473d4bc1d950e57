//! The setting `payment_webhooks`: who may tell an institute of payments, with which secret.

use serde::{Deserialize, Serialize};

/// A shorter secret could be guessed.
const MIN_SECRET_BYTES: usize = 16;
const MAX_NAME_BYTES: usize = 64;

/// One entry as it is written. Several of one institute and provider: either secret is good. No `Debug`: it would show
/// the secret.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WebhookSettings {
    institute: String,
    provider: String,
    secret: String,
}

/// The entries, checked.
#[derive(Clone, Default)]
pub(crate) struct Webhooks {
    entries: Vec<WebhookSettings>,
}

impl std::fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Webhooks({} entries)", self.entries.len())
    }
}

impl Webhooks {
    /// Adds what is wrong to `faults`.
    pub(crate) fn check(entries: Vec<WebhookSettings>, faults: &mut Vec<String>) -> Self {
        for (at, entry) in entries.iter().enumerate() {
            let name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
            for (field, text) in [("institute", &entry.institute), ("provider", &entry.provider)] {
                if text.is_empty() || text.len() > MAX_NAME_BYTES || !text.bytes().all(name) {
                    faults.push(format!("payment_webhooks[{at}].{field} is {text:?}, not a name"));
                }
            }
            if entry.secret.len() < MIN_SECRET_BYTES {
                let bytes = entry.secret.len();
                faults.push(format!(
                    "payment_webhooks[{at}].secret has {bytes} bytes, it needs {MIN_SECRET_BYTES}"
                ));
            }
        }
        Self { entries }
    }

    pub(super) fn secrets(&self, institute: &str, provider: &str) -> Vec<&[u8]> {
        let of_both = |entry: &&WebhookSettings| entry.institute == institute && entry.provider == provider;
        self.entries.iter().filter(of_both).map(|entry| entry.secret.as_bytes()).collect()
    }

    #[cfg(test)]
    pub(crate) fn of(institute: &str, provider: &str, secret: &str) -> Self {
        let (institute, provider, secret) = (institute.into(), provider.into(), secret.into());
        Self { entries: vec![WebhookSettings { institute, provider, secret }] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faulty_entries_are_named_and_secrets_are_not() {
        let entry = |institute: &str, secret: &str| WebhookSettings {
            institute: institute.into(),
            provider: "stripe".into(),
            secret: secret.into(),
        };
        let mut faults = Vec::new();
        let webhooks =
            Webhooks::check(vec![entry("a b", "short"), entry("x.example", &"s".repeat(32))], &mut faults);
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(!format!("{faults:?} {webhooks:?}").contains("short"));
        assert_eq!(webhooks.secrets("x.example", "stripe").len(), 1);
        assert!(webhooks.secrets("x.example", "other").is_empty());
    }
}
