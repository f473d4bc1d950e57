//! Sockets of components: where they reach, by WASI 0.2 and 0.3, and where they do not.

use integration_tests::{PlainEdge, guest};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

const GREETING: &str = "hello from a guest";

/// An edge with the guest, for which these are the entries of `allowed_outbound_hosts`.
async fn edge(allowed: &[&str]) -> PlainEdge {
    let manifest = format!(
        "spin_manifest_version = 2\napplication.name = \"sockets\"\n\n\
         [[trigger.http]]\nroute = \"/...\"\ncomponent = \"guest\"\n\n\
         [component.guest]\nsource = \"guest.wasm\"\nallowed_outbound_hosts = {allowed:?}\n"
    );
    let guest = std::fs::read(guest("sockets")).unwrap();
    PlainEdge::start_with_files("", &[("guest.wasm", guest), ("spin.toml", manifest.into_bytes())]).await
}

async fn ask(edge: &PlainEdge, path: &str, to: impl std::fmt::Display) -> String {
    let answer = reqwest::get(format!("{}{path}?{to}", edge.url())).await.unwrap();
    assert_eq!(answer.status(), 200, "{path} {to}: {}", edge.program.log());
    answer.text().await.unwrap()
}

/// A server that sends everything back, on each connection until its other end says no more.
async fn tcp_echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut said = Vec::new();
                if stream.read_to_end(&mut said).await.is_ok() {
                    // The guest may be gone.
                    let _ = stream.write_all(&said).await;
                }
            });
        }
    });
    address
}

/// The same for datagrams. Before each answer a stranger sends another, from an address that nobody has asked.
async fn udp_echo() -> SocketAddr {
    let (socket, stranger) =
        (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut said = [0; 1024];
        while let Ok((length, from)) = socket.recv_from(&mut said).await {
            stranger.send_to(b"from a stranger", from).await.unwrap();
            socket.send_to(&said[..length], from).await.unwrap();
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_reaches_the_addresses_of_its_manifest_by_tcp_and_udp() {
    let (tcp, udp) = (tcp_echo().await, udp_echo().await);
    let edge = edge(&[&format!("tcp://{tcp}"), &format!("udp://{udp}")]).await;
    for path in ["/tcp", "/3/tcp"] {
        assert_eq!(ask(&edge, path, tcp).await, GREETING, "{path}");
    }
    assert_eq!(ask(&edge, "/udp", udp).await, format!("{GREETING} from {udp}"));
    for path in ["/udp-connected", "/3/udp"] {
        assert_eq!(ask(&edge, path, udp).await, GREETING, "{path}");
    }
    // An entry is for its protocol alone.
    assert_eq!(ask(&edge, "/tcp", udp).await, "PermissionDenied");
    assert_eq!(ask(&edge, "/udp", tcp).await, "PermissionDenied");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_reaches_no_other_address() {
    let (tcp, other, udp) = (tcp_echo().await, tcp_echo().await, udp_echo().await);
    let entries: [(&str, &[String]); 4] = [
        ("nothing", &[]),
        ("other protocols", &[format!("http://{tcp}"), format!("redis://{udp}")]),
        ("a name", &[format!("*://localhost:{}", tcp.port()), format!("*://localhost:{}", udp.port())]),
        // Wildcards reach what is public.
        ("wildcards", &["*://*:*".to_owned(), "*://0.0.0.0/0:*".to_owned()]),
    ];
    for (what, entries) in entries {
        let edge = edge(&entries.iter().map(String::as_str).collect::<Vec<_>>()).await;
        for path in ["/tcp", "/udp", "/udp-connected"] {
            for to in [tcp, udp] {
                assert_eq!(ask(&edge, path, to).await, "PermissionDenied", "{what}: {path} {to}");
            }
        }
        for path in ["/3/tcp", "/3/udp"] {
            assert_eq!(ask(&edge, path, tcp).await, "ErrorCode::AccessDenied", "{what}: {path}");
        }
        assert_eq!(ask(&edge, "/tcp", "169.254.169.254:80").await, "PermissionDenied", "{what}");
    }
    let edge = edge(&[&format!("*://{tcp}")]).await;
    assert_eq!(ask(&edge, "/tcp", tcp).await, GREETING);
    assert_eq!(ask(&edge, "/tcp", other).await, "PermissionDenied");
    assert_eq!(ask(&edge, "/3/tcp", other).await, "ErrorCode::AccessDenied");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_services_and_the_host_s_own_port_stay_closed() {
    let tcp = tcp_echo().await;
    let edge = edge(&["*://127.0.0.1:*", "*://*:*", "*://169.254.0.0/15:*"]).await;
    assert_eq!(ask(&edge, "/tcp", tcp).await, GREETING);
    for to in [edge.address(), "169.254.169.254:80", "[fd00:ec2::254]:80", "10.0.0.1:80"] {
        assert_eq!(ask(&edge, "/tcp", to).await, "PermissionDenied", "{to}");
        assert_eq!(ask(&edge, "/udp", to).await, "PermissionDenied", "{to}");
    }
    for to in [edge.address(), "169.254.169.254:80", "0.0.0.1:80"] {
        assert_eq!(ask(&edge, "/3/tcp", to).await, "ErrorCode::AccessDenied", "{to}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_neither_listens_nor_looks_names_up() {
    let edge = edge(&["*://127.0.0.1:*", "*://0.0.0.0:*", "*://*:*", "*://localhost:*"]).await;
    for at in ["127.0.0.1:0", "0.0.0.0:0", "0.0.0.0:47999"] {
        assert_eq!(ask(&edge, "/listen", at).await, "PermissionDenied", "{at}");
        assert_eq!(ask(&edge, "/3/listen", at).await, "ErrorCode::AccessDenied", "{at}");
    }
    for at in ["127.0.0.1:0", "0.0.0.0:47999"] {
        assert_eq!(ask(&edge, "/bind", at).await, "PermissionDenied", "{at}");
    }
    assert_ne!(ask(&edge, "/name", "localhost").await, "1 addresses");
    assert_eq!(ask(&edge, "/3/name", "localhost").await, "ErrorCode::PermanentResolverFailure");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_has_so_many_sockets_open_and_gets_a_place_back_for_each_that_it_closes() {
    let tcp = tcp_echo().await;
    let edge = edge(&[&format!("tcp://{tcp}")]).await;
    for _ in 0..2 {
        let said = ask(&edge, "/many", tcp).await;
        assert!(said.starts_with("64 ") && said.ends_with(GREETING), "{said}");
        let said = ask(&edge, "/3/many", tcp).await;
        assert!(said.starts_with("64 ErrorCode::Other(") && said.ends_with(GREETING), "{said}");
    }
}
