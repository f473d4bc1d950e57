//! W3C Trace Context: which trace a request belongs to, taken from the caller or begun here, and handed on with a span of our own.

use http::{HeaderMap, HeaderName, HeaderValue};
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// `00-` trace id `-` parent id `-` flags.
const TRACEPARENT_BYTES: usize = 55;

/// A request's place in a trace: the trace, and the span that stands for this edge's part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace: u128,
    span: u64,
    flags: u8,
}

/// The trace id as the header writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(u128);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl TraceContext {
    /// Begins a trace. It is not sampled: nobody asked for it.
    pub fn begin() -> Self {
        let trace = (u128::from(random()) << 64) | u128::from(random());
        Self { trace, span: random(), flags: 0 }
    }

    /// The caller's trace with a span of our own, or a new trace when the caller sent none, two, or one that is malformed.
    ///
    /// Replaces the headers accordingly: `tracestate` means nothing without the `traceparent` that it came with.
    pub fn enter(headers: &mut HeaderMap) -> Self {
        let mut sent = headers.get_all(&TRACEPARENT).iter();
        let parent = match (sent.next(), sent.next()) {
            (Some(value), None) => parse(value.as_bytes()),
            _ => None,
        };
        let context = match parent {
            Some(parent) => Self { span: random(), ..parent },
            None => {
                headers.remove(&TRACESTATE);
                Self::begin()
            }
        };
        headers.insert(TRACEPARENT, context.header());
        context
    }

    pub fn id(&self) -> TraceId {
        TraceId(self.trace)
    }

    fn header(&self) -> HeaderValue {
        let mut text = *b"00-................................-................-..";
        write_hex(&mut text[3..35], self.trace);
        write_hex(&mut text[36..52], u128::from(self.span));
        write_hex(&mut text[53..], u128::from(self.flags));
        HeaderValue::from_bytes(&text).expect("hexadecimal digits and hyphens are a header value")
    }
}

/// Fills `place` with the last digits of `value`, in lower case. Each request has three numbers to write.
fn write_hex(place: &mut [u8], mut value: u128) {
    for digit in place.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 0xf) as usize];
        value >>= 4;
    }
}

/// Reads a `traceparent` (W3C Trace Context, section 3.2). Later versions may append fields, which are not read.
fn parse(value: &[u8]) -> Option<TraceContext> {
    let version = hex(value.get(..2)?)?;
    let longer = value.len() > TRACEPARENT_BYTES;
    if version == 0xff || (version == 0 && longer) || (longer && value[TRACEPARENT_BYTES] != b'-') {
        return None;
    }
    let dashes = [2, 35, 52].iter().all(|&at| value.get(at) == Some(&b'-'));
    let trace = hex(value.get(3..35)?)?;
    let span = hex(value.get(36..52)?)? as u64;
    let flags = hex(value.get(53..TRACEPARENT_BYTES)?)? as u8;
    // Of the flags only "sampled" is defined in version 00.
    (dashes && trace != 0 && span != 0).then_some(TraceContext { trace, span, flags: flags & 1 })
}

/// Lower case alone: the standard calls everything else invalid.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some((value << 4) | u128::from(digit))
    })
}

/// Never zero, which would be invalid. Ids must be unlikely to meet, not hard to guess, so the standard library's keyed hash
/// of a counter does, and costs no system call.
fn random() -> u64 {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    thread_local! {
        static KEYS: RandomState = RandomState::new();
    }
    KEYS.with(|keys| keys.hash_one(COUNTER.fetch_add(1, Ordering::Relaxed))).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn entered(sent: &[&str]) -> (TraceContext, HeaderMap) {
        let mut headers = HeaderMap::new();
        for value in sent {
            headers.append(TRACEPARENT, value.parse().unwrap());
        }
        headers.insert(TRACESTATE, HeaderValue::from_static("vendor=1"));
        (TraceContext::enter(&mut headers), headers)
    }

    #[test]
    fn the_callers_trace_goes_on_with_a_span_of_our_own() {
        let (context, headers) = entered(&[SAMPLE]);
        assert_eq!(context.id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let ours = headers[TRACEPARENT].to_str().unwrap();
        assert!(ours.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && ours.ends_with("-01"), "{ours}");
        assert_ne!(ours, SAMPLE, "the span is another one");
        assert_eq!(headers[TRACESTATE], "vendor=1");
    }

    #[test]
    fn what_is_invalid_or_ambiguous_is_replaced_with_its_state() {
        let invalid = [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more",
        ];
        for sent in invalid.map(|value| vec![value]).into_iter().chain([vec![], vec![SAMPLE, SAMPLE]]) {
            let (context, headers) = entered(&sent);
            assert_ne!(context.id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736", "{sent:?}");
            assert_eq!(headers.get_all(TRACEPARENT).iter().count(), 1, "{sent:?}");
            assert!(parse(headers[TRACEPARENT].as_bytes()).is_some(), "{sent:?}");
            assert!(!headers.contains_key(TRACESTATE), "{sent:?}");
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let (context, headers) = entered(&["cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03-more"]);
        assert_eq!(context.id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(headers[TRACEPARENT].to_str().unwrap().ends_with("-01"));
    }

    #[test]
    fn ids_differ_on_every_thread() {
        let ids = || (0..100).map(|_| TraceContext::begin().trace).collect::<Vec<_>>();
        let mut all: Vec<u128> =
            (0..4).map(|_| std::thread::spawn(ids)).flat_map(|thread| thread.join().unwrap()).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 400);
    }
}
