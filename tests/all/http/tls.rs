//! TLS towards clients, and towards the origin.

use http_body_util::Empty;
use hyper::{Request, Version, body::Bytes};
use hyper_util::rt::{TokioExecutor, TokioIo};
use integration_tests::{Edge, Origin, Person, PlainEdge, SOON, until, workspace};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// `openssl`'s work: an authority, and two certificates of it for localhost.
fn file(name: &str) -> PathBuf {
    workspace().join("tests/tls").join(name)
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(file(name)).unwrap()
}

async fn connect(address: &str, protocols: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file("ca.pem")).unwrap()).unwrap();
    let provider = rustls::crypto::ring::default_provider();
    let mut config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

fn seen_certificate(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

fn certificate(name: &str) -> Vec<u8> {
    CertificateDer::from_pem_file(file(name)).unwrap().to_vec()
}

async fn secure_edge() -> PlainEdge {
    PlainEdge::start_with_files(
        "[tls]\ncertificate = \"tls.pem\"\nkey = \"tls.key\"\n",
        &[("tls.pem", read("first.pem")), ("tls.key", read("first.key"))],
    )
    .await
}

/// An application with a component that asks what its query says, and may ask itself.
fn asking_itself() -> Vec<(&'static str, Vec<u8>)> {
    let manifest = "spin_manifest_version = 2\napplication.name = \"asks\"\n
[[trigger.http]]\nroute = \"/fetch\"\ncomponent = \"fetch\"\n
[component.fetch]\nsource = \"fetch.wasm\"\nallowed_outbound_hosts = [\"http://self\"]\n";
    let wasm = std::fs::read(integration_tests::guest("fetch")).unwrap();
    vec![("spin.toml", manifest.as_bytes().to_vec()), ("fetch.wasm", wasm)]
}

const ASK_ITSELF: &str =
    "GET /fetch?http://self/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_asks_its_own_application_whatever_clients_have_to_speak() {
    let mut files = asking_itself();
    files.extend([("tls.pem", read("first.pem")), ("tls.key", read("first.key"))]);
    let settings = "[tls]\ncertificate = \"tls.pem\"\nkey = \"tls.key\"\n";
    let edge = PlainEdge::start_with_files(settings, &files).await;
    let mut stream = connect(edge.address(), &[]).await.unwrap();
    stream.write_all(ASK_ITSELF.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));

    let settings = "[proxies]\ntrusted = [\"127.0.0.0/8\"]\nproxy_protocol = true\n";
    let behind = PlainEdge::start_with_files(settings, &asking_itself()).await;
    let proxied = format!("PROXY TCP4 198.51.100.7 10.0.0.1 4711 80\r\n{ASK_ITSELF}");
    let answer = behind.exchange(proxied.as_bytes()).await;
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

async fn health(stream: &mut TlsStream<TcpStream>) -> bool {
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = [0; 512];
    let length = stream.read(&mut answer).await.unwrap();
    answer[..length].starts_with(b"HTTP/1.1 200")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http1_and_http2_are_spoken_as_the_client_asks() {
    let edge = secure_edge().await;
    assert!(edge.url().starts_with("https://"), "{}", edge.url());
    for protocols in [&[][..], &["http/1.1"]] {
        let mut stream = connect(edge.address(), protocols).await.unwrap();
        assert!(health(&mut stream).await, "{protocols:?}");
    }
    let stream = connect(edge.address(), &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("https://localhost/health").body(Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_2));
    // Who speaks no TLS gets no answer that could be mistaken for one.
    let answer = edge.exchange(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(!answer.starts_with(b"HTTP/"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_certificate_is_taken_while_connections_stand_and_a_broken_one_is_not() {
    let edge = secure_edge().await;
    let mut standing = connect(edge.address(), &[]).await.unwrap();
    assert_eq!(seen_certificate(&standing), certificate("first.pem"));

    edge.write("tls.pem", "no certificate");
    edge.program.send(rustix::process::Signal::HUP);
    until("the fault to be told", SOON, async || {
        edge.program.log().contains("the new certificate is not used").then_some(())
    })
    .await;
    let stream = connect(edge.address(), &[]).await.unwrap();
    assert_eq!(seen_certificate(&stream), certificate("first.pem"));

    edge.write("tls.key", read("second.key"));
    edge.write("tls.pem", read("second.pem"));
    until("the new certificate", SOON, async || {
        let stream = connect(edge.address(), &[]).await.unwrap();
        (seen_certificate(&stream) == certificate("second.pem")).then_some(())
    })
    .await;
    assert!(health(&mut standing).await, "the connection of before goes on");
}

/// Takes TLS off and passes the bytes on.
async fn tls_in_front_of(origin: String) -> String {
    let chain = vec![CertificateDer::from_pem_file(file("first.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(file("first.key")).unwrap();
    let config = ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, origin) = (acceptor.clone(), origin.clone());
            tokio::spawn(async move {
                let Ok(mut client) = acceptor.accept(stream).await else { return };
                let mut server = TcpStream::connect(origin).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    format!("https://localhost:{port}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_link_speaks_tls_and_trusts_the_configured_authority_alone() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start(&folder.path().join("origin")).await;
    let secure = tls_in_front_of(origin.address().to_owned()).await;
    let ca = file("ca.pem");
    let trusting = Edge::start_with(
        &folder.path().join("edge"),
        &secure,
        &[
            ("ROLLCALL_EDGE_ORIGIN_CA", ca.to_str().unwrap()),
            ("ROLLCALL_EDGE_LOG", "info,runtime_host=debug"),
        ],
    )
    .await;
    // A token that nobody signed is known to be none as soon as the link has brought the origin's keys.
    let nobody = Person::stranger(trusting.url()).with_token("a.b.c");
    until("the keys to come over the link", SOON, async || {
        (nobody.get("/api/teachers/dashboard").await.status == 401).then_some(())
    })
    .await;

    let wary = Edge::start_with(
        &folder.path().join("wary"),
        &secure,
        &[("ROLLCALL_EDGE_LOG", "info,runtime_host=debug")],
    )
    .await;
    until("the wary edge to refuse", SOON, async || {
        wary.program.log().contains("UnknownIssuer").then_some(())
    })
    .await;
    assert!(!wary.program.log().contains("link up"), "{}", wary.program.log());
}
