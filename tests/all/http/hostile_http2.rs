//! HTTP/2 that no honest client speaks, frame by frame.

use super::hostile::IMPATIENT;
use integration_tests::{PlainEdge, SOON};
use std::io::ErrorKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// How the edge ended the first stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Status(u16),
    /// The stream, or the whole connection, was refused.
    Refused,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// HPACK without compression: each field spelled out (RFC 7541, section 6.2.2).
fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            // Up to 126 bytes in the first byte, more behind it (RFC 7541, section 5.1).
            match text.len().checked_sub(127) {
                None => block.push(text.len() as u8),
                Some(mut rest) => {
                    block.push(127);
                    while rest >= 128 {
                        block.push((rest % 128 + 128) as u8);
                        rest /= 128;
                    }
                    block.push(rest as u8);
                }
            }
            block.extend(text.as_bytes());
        }
    }
    block
}

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":authority", "edge"), (":path", "/health")];

fn get_with(more: &[(&str, &str)]) -> Vec<u8> {
    fields(&[&GET[..], more].concat())
}

/// The headers of the first stream, over as many frames as they need.
fn request(block: &[u8]) -> Vec<u8> {
    let mut sent = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    let pieces: Vec<&[u8]> = block.chunks(16_384).collect();
    for (number, piece) in pieces.iter().enumerate() {
        let kind = if number == 0 { HEADERS } else { CONTINUATION };
        let ends = if number + 1 == pieces.len() { END_HEADERS } else { 0 };
        let flags = if number == 0 { ends | END_STREAM } else { ends };
        sent.extend(frame(kind, flags, 1, piece));
    }
    sent
}

async fn next_frame(stream: &mut TcpStream) -> std::io::Result<(u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut payload).await?;
    Ok((head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
}

/// The first field is the status: an entry of the static table, or its name there with a value spelled out or in Huffman code.
fn status(block: &[u8]) -> u16 {
    match block {
        [0x88, ..] => 200,
        [0x8c, ..] => 400,
        [0x8d, ..] => 404,
        // "431" in six, six and five bits of Huffman code (RFC 7541, appendix B).
        [0x48, 0x83, 0x69, 0x90, ..] | [0x48, 0x03, b'4', b'3', b'1', ..] => 431,
        [0x48, 0x82, 0x68, 0x01, ..] => 400,
        other => panic!("{:x?} is no status that the tests know", &other[..other.len().min(8)]),
    }
}

async fn outcome(edge: &PlainEdge, sent: &[u8]) -> End {
    let mut stream = edge.connect().await;
    let _ = stream.write_all(sent).await;
    let end = async {
        loop {
            match next_frame(&mut stream).await {
                Ok((HEADERS, 1, block)) => return End::Status(status(&block)),
                Ok((RST_STREAM, 1, _) | (GOAWAY, ..)) => return End::Refused,
                Ok(_) => {}
                Err(error) => {
                    let closed =
                        [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
                    assert!(closed.contains(&error.kind()), "{error}");
                    return End::Refused;
                }
            }
        }
    };
    tokio::time::timeout(SOON, end).await.expect("the edge ends a stream that makes no sense")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_http2_is_refused_and_the_next_connection_is_served() {
    let edge = PlainEdge::start(IMPATIENT).await;
    let good = request(&get_with(&[]));
    let many: Vec<(String, String)> = (0..32_769).map(|n| (format!("x-{n}"), "y".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let long = "y".repeat(60_000);
    let without = |left_out: &str| -> Vec<u8> {
        fields(&GET.into_iter().filter(|(name, _)| *name != left_out).collect::<Vec<_>>())
    };
    let table: Vec<(&str, Vec<u8>, End)> = vec![
        ("connection", get_with(&[("connection", "close")]), End::Refused),
        ("keep-alive", get_with(&[("keep-alive", "1")]), End::Refused),
        ("proxy-connection", get_with(&[("proxy-connection", "close")]), End::Refused),
        ("transfer-encoding", get_with(&[("transfer-encoding", "chunked")]), End::Refused),
        ("upgrade", get_with(&[("upgrade", "websocket")]), End::Refused),
        ("te other than trailers", get_with(&[("te", "gzip")]), End::Refused),
        ("te: trailers", get_with(&[("te", "trailers")]), End::Status(200)),
        ("a name in capitals", get_with(&[("X-A", "b")]), End::Refused),
        ("a line end in a value", get_with(&[("x-a", "b\r\nx-b: c")]), End::Refused),
        ("NUL in a value", get_with(&[("x-a", "b\0c")]), End::Refused),
        ("a pseudo-header twice", get_with(&[(":path", "/health")]), End::Refused),
        ("a pseudo-header at the end", get_with(&[("x-a", "b"), (":path", "/health")]), End::Refused),
        ("an unknown pseudo-header", get_with(&[(":protocol-x", "y")]), End::Refused),
        ("no path", without(":path"), End::Refused),
        ("no method", without(":method"), End::Refused),
        ("another host beside the authority", get_with(&[("host", "other")]), End::Status(400)),
        ("a length that is none", get_with(&[("content-length", "x")]), End::Refused),
        ("more headers than allowed", get_with(&many[..110]), End::Status(431)),
        ("32,769 headers", get_with(&many), End::Refused),
        ("a header of 60 kB", get_with(&[("x", &long)]), End::Status(431)),
    ];
    let mut wrong = Vec::new();
    for (name, block, wanted) in table {
        let got = outcome(&edge, &request(&block)).await;
        if got != wanted {
            wrong.push(format!("{name}: wanted {wanted:?}, got {got:?}"));
        }
        assert_eq!(outcome(&edge, &good).await, End::Status(200), "after {name}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(!edge.program.log().contains("panicked"), "{}", edge.program.log());
}
