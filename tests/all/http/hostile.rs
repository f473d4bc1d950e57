//! Requests that no honest client sends, over a raw socket: what comes back, and that others notice nothing.

use integration_tests::PlainEdge;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Short, so that what is never completed ends soon; the bystander is quiet for less than its idle time.
pub(super) const IMPATIENT: &str = "[http]\nheader_timeout_ms = 500\nidle_timeout_ms = 5000\n";

const GOOD: &[u8] = b"GET /health HTTP/1.1\r\nHost: edge\r\n\r\n";

/// The statuses of the answers, in order. What is refused ends the connection, so that nothing behind it is an answer.
struct Case {
    name: &'static str,
    sent: Vec<u8>,
    statuses: &'static [u16],
    /// The problem's code, where the front itself answers.
    code: Option<&'static str>,
}

fn case(name: &'static str, sent: impl AsRef<[u8]>, statuses: &'static [u16]) -> Case {
    Case { name, sent: sent.as_ref().to_vec(), statuses, code: None }
}

fn problem(name: &'static str, sent: impl AsRef<[u8]>, statuses: &'static [u16], code: &'static str) -> Case {
    Case { code: Some(code), ..case(name, sent, statuses) }
}

/// A request for `/health` that ends its connection, with these lines among its headers.
fn with(lines: &str) -> String {
    format!("GET /health HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n{lines}\r\n")
}

fn target(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n")
}

/// A request with a body, and a second request behind it that must never be answered.
fn smuggling(lines: &str, body: &str) -> String {
    format!(
        "POST /health HTTP/1.1\r\nHost: edge\r\n{lines}\r\n{body}GET /smuggled HTTP/1.1\r\nHost: edge\r\n\r\n"
    )
}

fn lengths() -> Vec<Case> {
    let post = |lines: &str, body: &str| {
        format!("POST /health HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n{lines}\r\n{body}")
    };
    vec![
        case(
            "length before chunked",
            smuggling("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            &[200],
        ),
        case(
            "chunked before length",
            smuggling("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
            &[200],
        ),
        case("two lengths that differ", smuggling("Content-Length: 0\r\nContent-Length: 5\r\n", ""), &[400]),
        case("two lengths that agree", post("Content-Length: 2\r\nContent-Length: 2\r\n", "ab"), &[200]),
        case("a list of lengths", smuggling("Content-Length: 0, 0\r\n", ""), &[400]),
        case("a length with a sign", smuggling("Content-Length: +0\r\n", ""), &[400]),
        case("a negative length", smuggling("Content-Length: -1\r\n", ""), &[400]),
        case("a length in hexadecimal", smuggling("Content-Length: 0x0\r\n", ""), &[400]),
        case("an empty length", smuggling("Content-Length: \r\n", ""), &[400]),
        case("a length beyond 64 bits", smuggling("Content-Length: 99999999999999999999\r\n", ""), &[400]),
        case("an unknown coding", smuggling("Transfer-Encoding: identity\r\n", ""), &[400]),
        case("chunked not last", smuggling("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"), &[400]),
        case("nearly chunked", smuggling("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), &[400]),
        case(
            "chunked in HTTP/1.0",
            "POST /health HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            &[400],
        ),
        case(
            "chunked",
            post("Transfer-Encoding: chunked\r\n", "3;x=y\r\nabc\r\n0\r\nTrailer: x\r\n\r\n"),
            &[200],
        ),
        case("a chunk size that is no number", smuggling("Transfer-Encoding: chunked\r\n", "zz\r\n"), &[200]),
        case(
            "a chunk size with a sign",
            smuggling("Transfer-Encoding: chunked\r\n", "+3\r\nabc\r\n0\r\n\r\n"),
            &[200],
        ),
        case(
            "a chunk size beyond 64 bits",
            smuggling("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\n"),
            &[200],
        ),
        case(
            "a chunk without its end",
            smuggling("Transfer-Encoding: chunked\r\n", "3\r\nabcX\r\n0\r\n\r\n"),
            &[200],
        ),
    ]
}

fn headers() -> Vec<Case> {
    let many = |count: usize| (0..count).map(|n| format!("x-{n}: y\r\n")).collect::<String>();
    let long = |length: usize| format!("x: {}\r\n", "y".repeat(length));
    vec![
        case("a folded header", with("X-A: b\r\n c\r\n"), &[400]),
        case("a space in a name", with("X A: b\r\n"), &[400]),
        case("a space behind a name", with("Content-Length : 0\r\n"), &[400]),
        case("a header without a name", with(": b\r\n"), &[400]),
        case("a header without a colon", with("X-A\r\n"), &[400]),
        case("CR in a value", with("X-A: b\rX-B: c\r\n"), &[400]),
        case("NUL in a value", with("X-A: b\0c\r\n"), &[400]),
        case("NUL in a name", with("X-\0: c\r\n"), &[400]),
        case("lines that end in LF alone", "GET /health HTTP/1.1\nHost: edge\nConnection: close\n\n", &[200]),
        case("an empty line before the request", format!("\r\n{}", with("")), &[200]),
        problem("more headers than allowed", with(&many(110)), &[431], "headers-too-large"),
        problem("longer headers than allowed", with(&long(40_000)), &[431], "headers-too-large"),
        case("many more headers than allowed", with(&many(300)), &[431]),
        case("32,769 headers", with(&many(32_769)), &[431]),
        case("a header of a megabyte", with(&long(1 << 20)), &[431]),
        case("headers that never end", "GET /health HTTP/1.1\r\nHost: ed", &[]),
    ]
}

fn targets() -> Vec<Case> {
    vec![
        problem("dot segments", target("/a/../health"), &[400], "bad-target"),
        problem("one dot", target("/./health"), &[400], "bad-target"),
        problem("encoded dot segments", target("/a/%2e%2E/health"), &[400], "bad-target"),
        problem("dots behind an encoded slash", target("/a%2f..%2fhealth"), &[400], "bad-target"),
        problem("an encoded NUL", target("/health%00"), &[400], "bad-target"),
        problem("an encoded line end", target("/health%0d%0aX: y"), &[400], "bad-target").or_parser(),
        problem("an encoded slash is no slash", target("/health%2fready"), &[404], "not-found"),
        problem("an empty segment is a segment", target("//health"), &[404], "not-found"),
        problem("a path parameter is text", target("/health;x=y"), &[404], "not-found"),
        problem("a slash at the end is another path", target("/health/"), &[404], "not-found"),
        problem("a long target", target(&format!("/{}", "a".repeat(9_000))), &[414], "uri-too-long"),
        case("a target longer than any library takes", target(&format!("/{}", "a".repeat(70_000))), &[414]),
        // More than the buffer and one more read hold, so that it is never seen whole.
        case("a target beyond all bounds", target(&format!("/{}", "a".repeat(200_000))), &[431]),
        case("a space in the target", "GET /hea lth HTTP/1.1\r\nHost: edge\r\n\r\n", &[400]),
        case("an absolute target", target("http://other.example/health"), &[200]),
        case("an absolute target of the other scheme", target("https://other.example/health"), &[200]),
        problem(
            "an absolute target of no such scheme",
            target("ftp://other.example/health"),
            &[400],
            "bad-target",
        ),
        problem("a host for a target", target("other.example:80"), &[400], "bad-target"),
        problem(
            "a tunnel",
            "CONNECT other.example:80 HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n",
            &[400],
            "bad-target",
        ),
        problem(
            "a star",
            "OPTIONS * HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n",
            &[400],
            "bad-target",
        ),
    ]
}

fn hosts_and_lines() -> Vec<Case> {
    let host = |lines: &str| format!("GET /health HTTP/1.1\r\nConnection: close\r\n{lines}\r\n");
    vec![
        problem("no host", host(""), &[400], "bad-host"),
        problem("two hosts", host("Host: a\r\nHost: b\r\n"), &[400], "bad-host"),
        problem("a user in the host", host("Host: root@edge\r\n"), &[400], "bad-host"),
        problem("a path in the host", host("Host: edge/x\r\n"), &[400], "bad-host"),
        problem("a port that is none", host("Host: edge:99999\r\n"), &[400], "bad-host"),
        case("HTTP/1.0 without a host", "GET /health HTTP/1.0\r\n\r\n", &[200]),
        case("HTTP/0.9", "GET /health\r\n\r\n", &[400]),
        case("HTTP/0.9 by name", "GET /health HTTP/0.9\r\n\r\n", &[400]),
        case("HTTP/1.2", "GET /health HTTP/1.2\r\nHost: edge\r\n\r\n", &[400]),
        case("HTTP/3 in text", "GET /health HTTP/3.0\r\nHost: edge\r\n\r\n", &[400]),
        case("half of HTTP/2's preface", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", &[400]),
        case("a method that is none", "G<T /health HTTP/1.1\r\nHost: edge\r\n\r\n", &[400]),
        case("no method", " /health HTTP/1.1\r\nHost: edge\r\n\r\n", &[400]),
        case("a TLS handshake", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", &[400]),
        case("noise", [0xff; 64], &[400]),
        case("two requests at once", [GOOD, with("").as_bytes()].concat(), &[200, 200]),
    ]
}

impl Case {
    /// The parser may refuse it before the front sees it.
    fn or_parser(self) -> Self {
        Self { code: None, ..self }
    }
}

/// The statuses in an answer of HTTP/1; no body of ours has a line like theirs.
fn statuses(answer: &str) -> Vec<u16> {
    let lines = answer.split("\r\n").filter(|line| line.starts_with("HTTP/1."));
    // A body without an end of line is followed at once by the next answer.
    let after_bodies = answer.split("}HTTP/1.").skip(1);
    let first = lines.filter_map(|line| line.split(' ').nth(1));
    let more = after_bodies.filter_map(|line| line.split(' ').nth(1));
    first.chain(more).map(|status| status.parse().unwrap()).collect()
}

/// A request on a connection that was opened before.
async fn goes_on(bystander: &mut TcpStream) -> bool {
    bystander.write_all(GOOD).await.unwrap();
    let mut answer = [0; 512];
    let length = bystander.read(&mut answer).await.unwrap();
    answer[..length].starts_with(b"HTTP/1.1 200")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_requests_get_their_answer_and_harm_nobody() {
    let edge = PlainEdge::start(IMPATIENT).await;
    let mut wrong = Vec::new();
    for case in [lengths(), headers(), targets(), hosts_and_lines()].into_iter().flatten() {
        let mut bystander = edge.connect().await;
        assert!(goes_on(&mut bystander).await, "before {}", case.name);
        let answer = edge.exchange(&case.sent).await;
        let answer = String::from_utf8_lossy(&answer);
        let coded = case.code.is_none_or(|code| answer.contains(&format!("\"code\":\"{code}\"")));
        if statuses(&answer) != case.statuses || !coded {
            wrong.push(format!("{}: wanted {:?} {:?}, got:\n{answer}", case.name, case.statuses, case.code));
        }
        assert!(goes_on(&mut bystander).await, "beside {}", case.name);
        let after = edge.exchange(with("").as_bytes()).await;
        assert!(after.starts_with(b"HTTP/1.1 200"), "after {}", case.name);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(!edge.program.log().contains("panicked"), "{}", edge.program.log());
}
