//! `If-None-Match` (RFC 9110 section 13.1.2).

use http::HeaderMap;
use http::header::IF_NONE_MATCH;

/// Whether the device has the view of this tag already. Tags compare weakly.
pub(crate) fn not_modified(headers: &HeaderMap, etag: Option<&str>) -> bool {
    let Some(etag) = etag else { return false };
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| tag.trim() == "*" || opaque(tag) == opaque(etag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn asked(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static(value))])
    }

    #[test]
    fn tags_compare_weakly_and_in_lists() {
        assert!(not_modified(&asked("\"a\", W/\"b\""), Some("\"b\"")));
        assert!(not_modified(&asked("\"b\""), Some("W/\"b\"")));
        assert!(not_modified(&asked("*"), Some("\"b\"")));
        assert!(!not_modified(&asked("\"a\""), Some("\"b\"")));
        assert!(!not_modified(&asked("*"), None));
        assert!(!not_modified(&HeaderMap::new(), Some("\"b\"")));
    }
}
