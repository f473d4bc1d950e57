//! Who may say on whose behalf a request comes.

use super::lifetime::log_line;
use integration_tests::PlainEdge;

const CLAIMS: &str =
    "X-Forwarded-For: 198.51.100.9\r\nForwarded: for=198.51.100.9\r\nX-Real-IP: 198.51.100.9\r\n";

fn get(path: &str, lines: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n{lines}\r\n")
}

async fn client_of(edge: &PlainEdge, path: &str, sent: &[u8]) -> String {
    let answer = edge.exchange(sent).await;
    assert!(answer.starts_with(b"HTTP/1.1 404"), "{}", String::from_utf8_lossy(&answer));
    let line = log_line(&edge.program, path).await;
    let client = line.split(' ').find_map(|part| part.strip_prefix("client="));
    client.unwrap_or_else(|| panic!("no client in {line}")).to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forwarded_headers_count_from_listed_proxies_alone() {
    let open = PlainEdge::start("").await;
    assert_eq!(client_of(&open, "/a", get("/a", CLAIMS).as_bytes()).await, "127.0.0.1");
    let other = PlainEdge::start("[proxies]\ntrusted = [\"10.0.0.0/8\"]\n").await;
    assert_eq!(client_of(&other, "/a", get("/a", CLAIMS).as_bytes()).await, "127.0.0.1");
    let behind = PlainEdge::start("[proxies]\ntrusted = [\"127.0.0.0/8\"]\n").await;
    assert_eq!(client_of(&behind, "/a", get("/a", CLAIMS).as_bytes()).await, "198.51.100.9");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_proxy_protocol_is_required_of_listed_proxies_and_no_header_for_others() {
    let behind = PlainEdge::start("[proxies]\ntrusted = [\"127.0.0.1\"]\nproxy_protocol = true\n").await;
    let v1 = format!("PROXY TCP4 198.51.100.7 10.0.0.1 4711 80\r\n{}", get("/v1", ""));
    assert_eq!(client_of(&behind, "/v1", v1.as_bytes()).await, "198.51.100.7");
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    v2.extend([198, 51, 100, 8, 10, 0, 0, 1, 0x12, 0x67, 0, 80]);
    v2.extend(get("/v2", "").as_bytes());
    assert_eq!(client_of(&behind, "/v2", &v2).await, "198.51.100.8");
    assert_eq!(behind.exchange(get("/without", "").as_bytes()).await, b"");

    let open = PlainEdge::start("[proxies]\ntrusted = [\"10.0.0.0/8\"]\nproxy_protocol = true\n").await;
    let answer = open.exchange(v1.as_bytes()).await;
    assert!(answer.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&answer));
}
