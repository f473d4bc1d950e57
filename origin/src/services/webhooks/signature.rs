//! The signature of an event: `t=UNIX_SECONDS,v1=HEX[,v1=HEX…]`, where `v1` is HMAC-SHA256 over `UNIX_SECONDS.BODY`.
//!
//! While a provider changes its secret it signs with both, and we may know both.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

pub(crate) const SIGNATURE_HEADER: &str = "stripe-signature";
/// How far the time in a signature may be from ours, in seconds: longer than the provider's repetition of one sending.
/// An event that is older is sent again with a new signature.
const TOLERANCE_SECONDS: i64 = 300;
/// Longest header looked at, and the signatures in it.
const MAX_HEADER_BYTES: usize = 1024;
const MAX_SIGNATURES: usize = 8;
/// Stands in for a secret where there is none, so that the answer takes as long.
const DECOY: &[u8] = b"no secret";

/// Whether one of the signatures was made with one of the secrets, now. Compares in constant time.
pub(super) fn verify(secrets: &[&[u8]], header: &str, body: &[u8], now: i64) -> bool {
    let Some((time, signatures)) = decode(header) else { return false };
    let in_time = time.parse::<i64>().is_ok_and(|time| (now.saturating_sub(time)).abs() <= TOLERANCE_SECONDS);
    let known = !secrets.is_empty();
    let secrets: &[&[u8]] = if known { secrets } else { &[DECOY] };
    let mut genuine = false;
    for secret in secrets {
        for signature in &signatures {
            let mac = mac(secret, time, body);
            genuine |= mac.verify_slice(signature).is_ok();
        }
    }
    known && in_time && genuine
}

fn mac(secret: &[u8], time: &str, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(body);
    mac
}

/// The time as it is written, since that is what was signed, and the signatures.
fn decode(header: &str) -> Option<(&str, Vec<Vec<u8>>)> {
    if header.len() > MAX_HEADER_BYTES {
        return None;
    }
    let (mut time, mut signatures) = (None, Vec::new());
    for part in header.split(',') {
        match part.trim().split_once('=')? {
            ("t", text) if time.is_none() => time = Some(text),
            ("t", _) => return None,
            ("v1", text) if signatures.len() < MAX_SIGNATURES => signatures.push(hex::decode(text).ok()?),
            // Schemes that we do not know.
            _ => {}
        }
    }
    Some((time?, signatures))
}

/// The header that a provider would send.
#[cfg(test)]
pub(crate) fn sign(secret: &[u8], body: &[u8], time: i64) -> String {
    let time = time.to_string();
    let signature = mac(secret, &time, body).finalize().into_bytes();
    format!("t={time},v1={}", hex::encode(signature))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"whsec_of_the_provider";

    #[test]
    fn the_scheme_is_the_providers() {
        // From `printf '1000.{}' | openssl dgst -sha256 -hmac whsec_of_the_provider`.
        let header = sign(SECRET, b"{}", 1_000);
        assert!(header.starts_with("t=1000,v1=") && header.len() == "t=1000,v1=".len() + 64);
        assert!(verify(&[SECRET], &header, b"{}", 1_000));
    }

    #[test]
    fn another_body_time_or_secret_is_refused() {
        let header = sign(SECRET, b"{}", 1_000);
        assert!(verify(&[b"old", SECRET], &header, b"{}", 1_300));
        assert!(verify(&[SECRET], &header, b"{}", 700));
        assert!(!verify(&[SECRET], &header, b"{}", 1_301), "too old");
        assert!(!verify(&[SECRET], &header, b"{}", 699), "of the future");
        assert!(!verify(&[SECRET], &header, b"{ }", 1_000));
        assert!(!verify(&[b"other"], &header, b"{}", 1_000));
        assert!(!verify(&[], &sign(DECOY, b"{}", 1_000), b"{}", 1_000), "the decoy is no secret");
        assert!(!verify(&[SECRET], &header.replace("t=1000", "t=1001"), b"{}", 1_000));
    }

    #[test]
    fn a_signature_with_both_secrets_is_taken_and_nonsense_is_not() {
        let (old, new) = (sign(b"old", b"{}", 1_000), sign(SECRET, b"{}", 1_000));
        let both = format!("{old},{}", new.split_once(',').unwrap().1);
        assert!(verify(&[SECRET], &both, b"{}", 1_000));
        for bad in [
            "",
            "t=1000",
            "v1=00",
            "t=1000,v1=xy",
            "t=,v1=00",
            "t=9223372036854775808,v1=00",
            "t=-9223372036854775808,v1=00",
            &format!("t=1,{new}"),
            &format!("{new},x={}", "y".repeat(2_000)),
        ] {
            assert!(!verify(&[SECRET], bad, b"{}", 1_000), "{bad}");
        }
    }
}
