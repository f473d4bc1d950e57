//! Requests of guests against servers on this machine: who is reached, who is not, and over how many connections.

use super::*;
use crate::execution::Execution;
use crate::problem::whole_body;
use http::{StatusCode, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A server that answers its protocol version, redirects at `/redirect`, and never answers at `/never`.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                let tls = tls.clone();
                tokio::spawn(async move {
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let _ = match tls {
                        None => builder.serve_connection(TokioIo::new(stream), service_fn(answer)).await,
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            builder.serve_connection(TokioIo::new(stream), service_fn(answer)).await
                        }
                    };
                });
            }
        });
        Self { address, connections }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn uri(&self, scheme: &str, host: &str, path: &str) -> String {
        format!("{scheme}://{host}:{}{path}", self.address.port())
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<WasiBody>, Infallible> {
    let mut response = Response::new(whole_body(format!("{:?}", request.version())));
    match request.uri().path() {
        "/redirect" => {
            *response.status_mut() = StatusCode::FOUND;
            response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/elsewhere"));
        }
        "/never" => std::future::pending().await,
        "/whole" => {
            let body = request.into_body().collect().await.map(|body| body.to_bytes().len());
            *response.body_mut() = whole_body(format!("{body:?}"));
        }
        _ => {}
    }
    Ok(response)
}

fn outbound(shared: &Connections, hosts: &[&str]) -> OutboundHttp {
    let mut allowed = AllowedHosts::default();
    hosts.iter().try_for_each(|host| allowed.add(host)).unwrap();
    OutboundHttp::new("test".into(), allowed, shared.clone(), Patience::of(&Execution::default()))
}

/// Lets what answers clients of a [`Server`] answer requests to `self`.
fn serve_itself(shared: &Connections) {
    shared.itself().set(|stream| {
        let builder = auto::Builder::new(TokioExecutor::new());
        tokio::spawn(async move {
            let _ = builder.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
        });
    });
}

fn no_roots() -> Connections {
    Connections::new(RootCertStore::empty())
}

async fn send(outbound: &OutboundHttp, uri: &str) -> Result<Response<WasiBody>, Error> {
    send_with(outbound, uri, RequestOptions::default()).await
}

async fn send_with(
    outbound: &OutboundHttp,
    uri: &str,
    options: RequestOptions,
) -> Result<Response<WasiBody>, Error> {
    let request = Request::builder().uri(uri).body(whole_body("")).unwrap();
    let transfer = Box::new(std::future::ready(Ok(())));
    let sent = outbound.clone().send_request(request, Some(options), transfer);
    Pin::from(sent).await.map(|(response, _)| response)
}

async fn text(response: Response<WasiBody>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn a_name_that_resolves_to_this_machine_is_reached_by_its_name_and_not_by_a_wildcard() {
    let server = Server::start(None).await;
    let shared = no_roots();
    let wildcard = outbound(&shared, &["*://*:*"]);
    for host in [
        "localhost",
        "127.0.0.1",
        "127.8.8.8",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "2130706433",
        "0x7f.1",
    ] {
        let error = send(&wildcard, &server.uri("http", host, "/")).await.unwrap_err();
        assert!(
            matches!(error, Error::DestinationIpProhibited | Error::DnsError { .. }),
            "{host}: {error:?}"
        );
    }
    assert_eq!(server.connections(), 0);
    let named = outbound(&shared, &["http://localhost:*"]);
    assert_eq!(text(send(&named, &server.uri("http", "localhost", "/")).await.unwrap()).await, "HTTP/1.1");
    let error = send(&named, &server.uri("http", "127.0.0.1", "/")).await.unwrap_err();
    assert!(matches!(error, Error::HttpRequestDenied), "{error:?}");
}

#[tokio::test]
async fn metadata_addresses_are_not_tried_for_a_wildcard_nor_for_a_wide_network() {
    for entry in ["*://*:*", "http://*", "http://0.0.0.0/0:80"] {
        let outbound = outbound(&no_roots(), &[entry]);
        let error = send(&outbound, "http://169.254.169.254/latest/meta-data/").await.unwrap_err();
        assert!(matches!(error, Error::DestinationIpProhibited), "{entry}: {error:?}");
    }
    let wide = outbound(&no_roots(), &["http://::/0:80", "*://*:*"]);
    let error = send(&wide, "http://[fd00:ec2::254]/latest/meta-data/").await.unwrap_err();
    assert!(matches!(error, Error::DestinationIpProhibited), "{error:?}");
}

#[tokio::test]
async fn the_host_s_own_port_is_closed_to_guests_and_open_to_self() {
    let server = Server::start(None).await;
    let shared = no_roots();
    shared.own_addresses().set(vec![server.address]);
    let listed = outbound(&shared, &["http://127.0.0.1:*", "http://localhost:*"]);
    for host in ["127.0.0.1", "localhost"] {
        let error = send(&listed, &server.uri("http", host, "/")).await.unwrap_err();
        assert!(matches!(error, Error::DestinationIpProhibited), "{host}: {error:?}");
    }
    let error = send(&listed, "http://self/x").await.unwrap_err();
    assert!(matches!(error, Error::HttpRequestDenied), "{error:?}");
    assert_eq!(server.connections(), 0);
    let itself = outbound(&shared, &["http://self"]);
    let error = send(&itself, "http://self/").await.unwrap_err();
    assert!(matches!(error, Error::DestinationUnavailable), "nobody answers yet: {error:?}");
    serve_itself(&shared);
    assert_eq!(send(&itself, "http://self/x?y").await.unwrap().status(), 200);
    assert_eq!(send(&itself, "http://self.alt/redirect").await.unwrap().status(), 302);
    assert_eq!(server.connections(), 0, "it takes no port");
}

#[tokio::test]
async fn a_host_that_listens_everywhere_is_closed_by_each_of_its_addresses() {
    let server = Server::start(None).await;
    let shared = no_roots();
    let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, server.address.port()));
    shared.own_addresses().set(vec![everywhere]);
    let listed = outbound(&shared, &["http://127.0.0.0/8:*"]);
    for host in ["127.0.0.1", "127.0.0.2"] {
        let error = send(&listed, &server.uri("http", host, "/")).await.unwrap_err();
        assert!(matches!(error, Error::DestinationIpProhibited), "{host}: {error:?}");
    }
}

#[tokio::test]
async fn the_host_s_own_port_is_closed_under_each_name_of_this_machine() {
    let server = Server::start(None).await;
    let shared = no_roots();
    shared.own_addresses().set(vec![server.address]);
    // Each lists the very address, so that nothing else keeps it from there.
    for host in
        ["0.0.0.0", "[::]", "[::ffff:127.0.0.1]", "[::ffff:0.0.0.0]", "[64:ff9b::7f00:1]", "[::7f00:1]"]
    {
        let listed = outbound(&shared, &[&format!("http://{host}:*")]);
        let error = send(&listed, &server.uri("http", host, "/")).await.unwrap_err();
        assert!(matches!(error, Error::DestinationIpProhibited), "{host}: {error:?}");
    }
    assert_eq!(server.connections(), 0);
    let other = Server::start(None).await;
    for host in ["0.0.0.0", "[::ffff:127.0.0.1]"] {
        let listed = outbound(&shared, &[&format!("http://{host}:*")]);
        assert_eq!(
            send(&listed, &other.uri("http", host, "/")).await.unwrap().status(),
            200,
            "another port: {host}"
        );
    }
}

#[tokio::test]
async fn a_redirect_is_given_to_the_guest_and_not_followed() {
    let server = Server::start(None).await;
    let outbound = outbound(&no_roots(), &["http://127.0.0.1:*"]);
    let response = send(&outbound, &server.uri("http", "127.0.0.1", "/redirect")).await.unwrap();
    assert_eq!(response.status(), 302);
    assert_eq!(response.headers()[header::LOCATION], "/elsewhere");
}

#[tokio::test]
async fn requests_one_after_the_other_share_a_connection_but_components_do_not() {
    let server = Server::start(None).await;
    let shared = no_roots();
    let first = outbound(&shared, &["http://127.0.0.1:*"]);
    for _ in 0..5 {
        text(send(&first, &server.uri("http", "127.0.0.1", "/")).await.unwrap()).await;
    }
    assert_eq!(server.connections(), 1);
    let second = outbound(&shared, &["http://127.0.0.1:*"]);
    text(send(&second, &server.uri("http", "127.0.0.1", "/")).await.unwrap()).await;
    assert_eq!(server.connections(), 2);
}

fn certificate() -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(include_bytes!("../../../tests/tls/localhost.crt")).unwrap()
}

fn acceptor() -> TlsAcceptor {
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("../../../tests/tls/localhost.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn https_speaks_http_2_over_one_connection_and_trusts_the_roots_alone() {
    let server = Server::start(Some(acceptor())).await;
    let mut roots = RootCertStore::empty();
    roots.add(certificate()).unwrap();
    let trusting = outbound(&Connections::new(roots), &["https://localhost:*"]);
    let uri = server.uri("https", "localhost", "/");
    let first = send(&trusting, &uri).await.unwrap();
    assert_eq!(first.version(), Version::HTTP_2);
    assert_eq!(text(first).await, "HTTP/2.0");
    text(send(&trusting, &uri).await.unwrap()).await;
    assert_eq!(server.connections(), 1);
    let distrusting = outbound(&no_roots(), &["https://localhost:*"]);
    let error = send(&distrusting, &uri).await.unwrap_err();
    assert!(matches!(error, Error::TlsCertificateError), "{error:?}");
}

#[tokio::test]
async fn a_component_has_so_many_requests_out_at_once_and_no_more() {
    let server = Server::start(None).await;
    let outbound = outbound(&no_roots(), &["http://127.0.0.1:*"]);
    let uri = server.uri("http", "127.0.0.1", "/never");
    let mut waiting: Vec<_> = (0..limits::OUTBOUND_REQUESTS)
        .map(|_| {
            let (outbound, uri) = (outbound.clone(), uri.clone());
            tokio::spawn(async move { send(&outbound, &uri).await.map(drop) })
        })
        .collect();
    while outbound.room.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    let impatient =
        || RequestOptions { connect_timeout: Some(Duration::from_millis(20)), ..RequestOptions::default() };
    let error = send_with(&outbound, &uri, impatient()).await.unwrap_err();
    assert!(matches!(error, Error::ConnectionLimitReached), "{error:?}");
    let given_up = waiting.pop().unwrap();
    given_up.abort();
    assert!(given_up.await.unwrap_err().is_cancelled());
    let quick = server.uri("http", "127.0.0.1", "/");
    assert_eq!(send(&outbound, &quick).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_server_that_is_silent_or_not_there_is_not_waited_for() {
    let server = Server::start(None).await;
    let outbound = outbound(&no_roots(), &["http://127.0.0.1:*"]);
    let options =
        RequestOptions { first_byte_timeout: Some(Duration::from_millis(20)), ..RequestOptions::default() };
    let uri = server.uri("http", "127.0.0.1", "/never");
    let error = send_with(&outbound, &uri, options).await.unwrap_err();
    assert!(matches!(error, Error::ConnectionReadTimeout), "{error:?}");
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = send(&outbound, &format!("http://{free}/")).await.unwrap_err();
    assert!(matches!(error, Error::ConnectionRefused), "{error:?}");
}

#[tokio::test]
async fn other_components_are_called_where_the_manifest_allows_it_and_exist() {
    let shared = no_roots();
    let host = crate::test_host::TestHost::new();
    let guest = host.load(Some(&crate::test_host::handler("unreachable")), "").unwrap();
    shared.siblings().set([&guest]);
    let chained = outbound(&shared, &["http://*.spin.internal"]);
    let error = send(&chained, "http://other.spin.internal/").await.unwrap_err();
    assert!(matches!(error, Error::DestinationNotFound), "{error:?}");
    // It was reached, and it trapped.
    let guest = host.load(Some(&crate::test_host::handler("unreachable")), "").unwrap();
    let request = || Request::builder().uri("http://test.spin.internal/x").body(whole_body("")).unwrap();
    let error = shared.siblings().call(&guest, request(), None).await.unwrap_err();
    assert!(matches!(error, Error::ConnectionTerminated), "{error:?}");
    let long = host
        .load(Some(&crate::test_host::handler("unreachable")), "tool.rollcall.body_bytes_max = 3")
        .unwrap();
    let large = Request::builder().uri("http://test.spin.internal/x").body(whole_body("four")).unwrap();
    let error = shared.siblings().call(&long, large, None).await.unwrap_err();
    assert!(matches!(error, Error::HttpRequestBodySize(Some(3))), "its own limit holds: {error:?}");
    let other = outbound(&shared, &["*://*:*"]);
    let error = send(&other, "http://test.spin.internal/").await.unwrap_err();
    assert!(matches!(error, Error::HttpRequestDenied), "{error:?}");
}

#[test]
fn a_guest_waits_as_long_as_its_own_request_may_take_and_longer_if_it_asks_for_that() {
    let second = Duration::from_secs;
    let execution = Execution { timeout: second(30), body_timeout: second(120), ..Execution::default() };
    let patience = Patience::of(&execution);
    let usual = patience.waits(&RequestOptions::default());
    assert_eq!(usual.connect, limits::OUTBOUND_CONNECT_TIMEOUT);
    assert_eq!((usual.first_byte, usual.between_bytes), (second(30), second(30)));
    let asked = |seconds: u64| {
        let wait = Some(second(seconds));
        let options =
            RequestOptions { connect_timeout: wait, first_byte_timeout: wait, between_bytes_timeout: wait };
        let waits = patience.waits(&options);
        assert!(waits.connect == waits.first_byte && waits.connect == waits.between_bytes);
        waits.connect
    };
    assert_eq!(asked(1), second(1));
    assert_eq!(asked(60), second(60));
    assert_eq!(asked(600), second(120), "no longer than an instance that has answered is kept");
}

#[tokio::test]
async fn the_wait_for_an_answer_begins_when_the_request_s_body_moves_no_more() {
    let server = Server::start(None).await;
    let outbound = outbound(&no_roots(), &["http://127.0.0.1:*"]);
    const WAIT: Duration = Duration::from_secs(1);
    let options = || RequestOptions { first_byte_timeout: Some(WAIT), ..RequestOptions::default() };
    // They take longer together than the answer may, and move meanwhile.
    let pieces = async_pieces([(WAIT * 2 / 5, "piece"); 4]);
    let request = Request::post(server.uri("http", "127.0.0.1", "/whole")).body(pieces).unwrap();
    let sent = outbound.clone().send_request(request, Some(options()), Box::new(std::future::ready(Ok(()))));
    let (response, _) = Pin::from(sent).await.unwrap();
    assert_eq!(text(response).await, "Ok(20)");
    let request = Request::post(server.uri("http", "127.0.0.1", "/never")).body(whole_body("x")).unwrap();
    let sent = outbound.clone().send_request(request, Some(options()), Box::new(std::future::ready(Ok(()))));
    let error = Pin::from(sent).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::ConnectionReadTimeout), "{error:?}");
}

/// A body whose pieces come each after a pause.
fn async_pieces<const N: usize>(pieces: [(Duration, &'static str); N]) -> WasiBody {
    let pieces = futures_util::stream::unfold(pieces.into_iter(), async |mut pieces| {
        let (pause, text) = pieces.next()?;
        tokio::time::sleep(pause).await;
        Some((Ok(Frame::data(Bytes::from_static(text.as_bytes()))), pieces))
    });
    http_body_util::StreamBody::new(pieces).boxed_unsync()
}

#[tokio::test]
async fn a_component_that_is_called_is_waited_for_no_longer_than_was_asked() {
    let shared = no_roots();
    let host = crate::test_host::TestHost::new();
    let looping = crate::test_host::handler("(loop $l (br $l))");
    let guest = host.load(Some(&looping), "tool.rollcall.cpu_ms = 20000").unwrap();
    shared.siblings().set([&guest]);
    let caller = outbound(&shared, &["http://test.spin.internal"]);
    let options =
        RequestOptions { first_byte_timeout: Some(Duration::from_millis(50)), ..RequestOptions::default() };
    let error = send_with(&caller, "http://test.spin.internal/", options).await.unwrap_err();
    assert!(matches!(error, Error::ConnectionReadTimeout), "{error:?}");
}
