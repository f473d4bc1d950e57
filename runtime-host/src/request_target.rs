//! What a request asks for: its path, and the host it was asked of, checked before anything is routed by them.
//!
//! A path with dot segments or control characters means one thing to a router and another to whoever normalises it, so it is
//! refused rather than interpreted; every browser and HTTP library resolves dot segments before it sends.

use crate::limits;
use crate::problem::Problem;
use bytes::{Bytes, BytesMut};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, StatusCode, Uri, Version, header};

/// Copies the head out of the buffer that it was read into.
///
/// While anything of it is held, the reader of an HTTP/1.1 connection takes another 8 KiB to see whether the client goes away,
/// so that each request would cost one, and hold one for as long as it runs. Called before anything is waited for.
pub fn detach<B>(request: &mut Request<B>) {
    let path = request.uri().path_and_query().map(|path| Bytes::copy_from_slice(path.as_str().as_bytes()));
    let uri = request.uri();
    if let (None, None, Some(Ok(path))) =
        (uri.scheme(), uri.authority(), path.map(PathAndQuery::from_maybe_shared))
    {
        *request.uri_mut() = path.into();
    }
    let headers = request.headers_mut();
    let mut values = BytesMut::with_capacity(headers.values().map(HeaderValue::len).sum());
    headers.values().for_each(|value| values.extend_from_slice(value.as_bytes()));
    let mut values = values.freeze();
    for value in headers.values_mut() {
        let copied = values.split_to(value.len());
        // It was valid before.
        if let Ok(mut copied) = HeaderValue::from_maybe_shared(copied) {
            copied.set_sensitive(value.is_sensitive());
            *value = copied;
        }
    }
}

/// Checks the target, and makes it absolute: guests build addresses with it. `Host` says afterwards what the target says.
///
/// `host` is what a proxy of ours says was asked for.
pub fn normalise<B>(
    request: &mut Request<B>,
    scheme: Scheme,
    host: Option<Authority>,
) -> Result<(), Problem> {
    let uri = request.uri();
    let target = uri.path_and_query().cloned().ok_or_else(|| bad_target("the target has no path"))?;
    if target.as_str().len() > limits::MAX_TARGET_BYTES {
        let detail = format!("the target is over {} bytes", limits::MAX_TARGET_BYTES);
        let problem = Problem::new(StatusCode::URI_TOO_LONG, "uri-too-long", detail);
        return Err(Problem { limit: Some(limits::MAX_TARGET_BYTES as u64), ..problem });
    }
    if !target.path().starts_with('/') {
        return Err(bad_target("the target is no path"));
    }
    check_path(target.path())?;
    if uri.scheme().is_some_and(|asked| *asked != Scheme::HTTP && *asked != Scheme::HTTPS) {
        return Err(bad_target("the target is neither http nor https"));
    }
    let asked = authority(request)?;
    let authority = host.unwrap_or(asked);
    let told = request.headers().get(header::HOST).is_some_and(|host| host == authority.as_str());
    if !told {
        let host = HeaderValue::try_from(authority.as_str()).map_err(|_| bad_host("the host is no host"))?;
        request.headers_mut().insert(header::HOST, host);
    }
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(authority)
        .path_and_query(target)
        .build()
        .map_err(|_| bad_target("the target is no address"))?;
    *request.uri_mut() = uri;
    Ok(())
}

fn bad_target(detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad-target", detail)
}

fn bad_host(detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad-host", detail)
}

/// Refuses what readers of a path disagree about. `%2f` is a character of its segment, as it is for routes; `;`, and empty
/// segments, are plain text.
fn check_path(path: &str) -> Result<(), Problem> {
    if path.bytes().any(|byte| byte == b'\\') {
        return Err(bad_target("the path has a backslash"));
    }
    // Nearly all paths have neither, and then there is nothing more to see.
    if !path.contains("/.") && !path.contains('%') {
        return Ok(());
    }
    for segment in path.split('/') {
        // What a second reader might see: encoded dots as dots, an encoded slash or backslash as a separator.
        let mut seen = Vec::with_capacity(segment.len());
        let mut bytes = segment.bytes();
        while let Some(byte) = bytes.next() {
            let mut ahead = bytes.clone();
            let decoded = match byte {
                b'%' => hex(ahead.next()).zip(hex(ahead.next())).map(|(high, low)| high << 4 | low),
                _ => None,
            };
            if let Some(decoded) = decoded {
                if decoded < 0x20 || decoded == 0x7f {
                    return Err(bad_target("the path has an encoded control character"));
                }
                bytes = ahead;
            }
            seen.push(decoded.unwrap_or(byte));
        }
        let mut parts = seen.split(|byte| matches!(byte, b'/' | b'\\'));
        if parts.any(|part| matches!(part, b"." | b"..")) {
            return Err(bad_target("the path has a `.` or `..` segment; resolve it before sending"));
        }
    }
    Ok(())
}

fn hex(digit: Option<u8>) -> Option<u8> {
    char::from(digit?).to_digit(16).map(|digit| digit as u8)
}

/// The host that the client asked for. An absolute target decides over `Host` (RFC 9112, section 3.2.2); HTTP/2 has no excuse
/// for two that differ (RFC 9113, section 8.3.1).
fn authority<B>(request: &Request<B>) -> Result<Authority, Problem> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => return Err(bad_host("the request has two Host headers")),
        (Some(host), None) => {
            let host = Authority::try_from(host.as_bytes());
            Some(host.map_err(|_| bad_host("the Host header is no host"))?)
        }
        (None, _) => None,
    };
    let asked = request.uri().authority();
    if let (Some(asked), Some(host)) = (asked, &host)
        && request.version() == Version::HTTP_2
        && asked != host
    {
        return Err(bad_host(":authority and Host differ"));
    }
    let authority = match (asked.cloned().or(host), request.version()) {
        (Some(authority), _) => authority,
        // HTTP/1.0 knows no Host.
        (None, Version::HTTP_10) => Authority::from_static("localhost"),
        (None, _) => return Err(bad_host("the request has no Host header")),
    };
    if authority.as_str().contains('@') {
        return Err(bad_host("the host has a user in it"));
    }
    // The parser lets a port pass that is no number.
    let port = authority.as_str().strip_prefix(authority.host()).unwrap_or("");
    match port.is_empty() || authority.port_u16().is_some() {
        true if !authority.host().is_empty() => Ok(authority),
        _ => Err(bad_host("the host is no host")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalised(uri: &str, version: Version, hosts: &[&str]) -> Result<Request<()>, Problem> {
        let mut request = Request::builder().uri(uri).version(version);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        let mut request = request.body(()).unwrap();
        normalise(&mut request, Scheme::HTTP, None).map(|()| request)
    }

    #[test]
    fn paths_that_two_readers_read_differently_are_refused() {
        let path = |path: &str| normalised(path, Version::HTTP_11, &["edge.example"]).map(drop);
        for bad in [
            "/../secret",
            "/a/..",
            "/a/./b",
            "/.",
            "/%2e%2e/secret",
            "/a/.%2E/b",
            "/a%2f..%2fb",
            "/a/..%5cb",
            "/a%00b",
            "/a%0d%0ab",
            "/a%7f",
        ] {
            assert_eq!(path(bad).unwrap_err().code, "bad-target", "{bad}");
        }
        for good in [
            "/",
            "//",
            "/a//b",
            "/a%2fb",
            "/.well-known/x",
            "/...",
            "/a/..b",
            "/a;v=1/b",
            "/100%",
            "/%zz",
            "/%F0%9F%98%80",
            "/a?x=../..",
        ] {
            assert_eq!(path(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn a_detached_head_is_the_same_and_lets_go_of_what_it_was_read_into() {
        let read = Bytes::from(b"/a/b?c=deedge.examplegzip".to_vec());
        let path = PathAndQuery::from_maybe_shared(read.slice(..9)).unwrap();
        let value = |range| HeaderValue::from_maybe_shared(read.slice(range)).unwrap();
        let mut request = Request::builder().uri(path).body(()).unwrap();
        let headers = request.headers_mut();
        headers.append(header::HOST, value(9..21));
        headers.append(header::ACCEPT_ENCODING, value(21..25));
        headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static("br"));
        headers.append(header::ACCEPT, HeaderValue::from_static(""));
        let (uri, before) = (request.uri().to_string(), format!("{:?}", request.headers()));
        detach(&mut request);
        assert_eq!((request.uri().to_string(), format!("{:?}", request.headers())), (uri, before));
        assert!(read.is_unique());
    }

    #[test]
    fn an_absolute_target_decides_over_the_host_header() {
        let request = normalised("http://other.example/a?b", Version::HTTP_11, &["edge.example"]).unwrap();
        assert_eq!(request.uri(), "http://other.example/a?b");
        assert_eq!(request.headers()[header::HOST], "other.example");
        let both = normalised("http://other.example/", Version::HTTP_2, &["edge.example"]);
        assert_eq!(both.unwrap_err().code, "bad-host");
        assert!(normalised("http://edge.example/", Version::HTTP_2, &["edge.example"]).is_ok());
        assert_eq!(normalised("ftp://edge.example/", Version::HTTP_11, &[]).unwrap_err().code, "bad-target");
    }

    #[test]
    fn a_host_is_one_host() {
        let host = |version, hosts: &[&str]| {
            normalised("/", version, hosts).map(|request| request.uri().authority().unwrap().to_string())
        };
        assert_eq!(host(Version::HTTP_11, &["edge.example:3000"]).unwrap(), "edge.example:3000");
        assert_eq!(host(Version::HTTP_11, &["[::1]:3000"]).unwrap(), "[::1]:3000");
        assert_eq!(host(Version::HTTP_10, &[]).unwrap(), "localhost");
        for bad in
            [&[][..], &["a", "b"], &["a b"], &["a/b"], &["user@edge"], &["edge:99999"], &[""], &[":80"]]
        {
            assert_eq!(host(Version::HTTP_11, bad).unwrap_err().code, "bad-host", "{bad:?}");
        }
    }

    #[test]
    fn a_long_target_is_refused_with_the_limit() {
        let path = format!("/{}", "a".repeat(limits::MAX_TARGET_BYTES));
        let problem = normalised(&path, Version::HTTP_11, &["edge"]).unwrap_err();
        assert_eq!((problem.status, problem.limit), (StatusCode::URI_TOO_LONG, Some(8192)));
    }
}
