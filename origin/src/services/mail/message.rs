//! A message as it travels (RFC 5322): plain text in UTF-8.

use super::{Mail, MailError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use uuid::Uuid;

/// Longest line of base64 (RFC 2045, section 6.8).
const LINE: usize = 76;

pub(super) fn encode(mail: &Mail, from: &str, now: i64) -> Result<Vec<u8>, MailError> {
    if !is_plain_address(&mail.to) {
        return Err(MailError::Address(mail.to.clone()));
    }
    let date = Timestamp::from_millisecond(now).unwrap_or_default().to_zoned(TimeZone::UTC);
    let date = jiff::fmt::rfc2822::to_string(&date).unwrap_or_default();
    let domain = from.rsplit_once('@').map_or("localhost", |(_, domain)| domain.trim_end_matches('>'));
    let mut message = format!(
        "From: {from}\r\nTo: {to}\r\nSubject: {subject}\r\nDate: {date}\r\nMessage-ID: <{id}@{domain}>\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\
         Auto-Submitted: auto-generated\r\n\r\n",
        to = mail.to,
        subject = mail.subject,
        id = Uuid::new_v4(),
    )
    .into_bytes();
    for line in STANDARD.encode(mail.text.replace('\n', "\r\n")).as_bytes().chunks(LINE) {
        message.extend_from_slice(line);
        message.extend_from_slice(b"\r\n");
    }
    Ok(message)
}

/// Whether an address can stand in a header as it is: one mailbox, and nothing that ends the line or begins another one.
pub(super) fn is_plain_address(address: &str) -> bool {
    let (local, domain) = address.split_once('@').unwrap_or_default();
    let plain = |part: &str, extra: &[u8]| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || extra.contains(&b))
    };
    plain(local, b".!#$%&'*+-/=?^_`{|}~") && plain(domain, b".-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_carries_its_text_whatever_the_script() {
        let mail = Mail {
            to: "tara@x.example".into(), subject: "Your password", text: "नमस्ते\n".repeat(20)
        };
        let message = String::from_utf8(encode(&mail, "Rollcall <no-reply@x.example>", 0).unwrap()).unwrap();
        let (head, body) = message.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains("To: tara@x.example\r\nSubject: Your password\r\nDate: Thu, 1 Jan 1970"),
            "{head}"
        );
        assert!(head.contains("@x.example>"), "{head}");
        assert!(body.lines().all(|line| line.len() <= LINE));
        let text = STANDARD.decode(body.replace("\r\n", "")).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), mail.text.replace('\n', "\r\n"));
    }

    #[test]
    fn an_address_cannot_bring_headers_of_its_own() {
        for bad in ["a@b\r\nBcc: c@d", "a b@c", "a@b, c@d", "a", "@b", "a@", "<a@b>", "a@b\n", "ä@b"] {
            let mail = Mail { to: bad.into(), subject: "x", text: String::new() };
            assert!(matches!(encode(&mail, "x@y", 0), Err(MailError::Address(_))), "{bad:?}");
        }
    }
}
