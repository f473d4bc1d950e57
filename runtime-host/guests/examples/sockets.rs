//! Uses sockets as its path says, to the address in its query, and answers what came of it: by the standard library, which calls
//! WASI 0.2 on this target, and below `/3` by WASI 0.3.

// What a component exports links for wasm alone; `cargo test` builds examples for the machine that it runs on.
#![cfg(target_family = "wasm")]

use spin_sdk::http::Request;
use spin_sdk::http_service;
use std::io::{self, Read as _, Write as _};
use std::net::{
    Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket,
};
use wasip3::sockets::ip_name_lookup;
use wasip3::sockets::types::{self, ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress};
use wasip3::wit_bindgen::StreamResult;

const GREETING: &[u8] = b"hello from a guest";
/// As much as an answer may have.
const ANSWER_BYTES: usize = 1024;

#[http_service]
async fn handle(request: Request) -> String {
    let (path, to) = (request.uri().path(), request.uri().query().unwrap_or_default());
    match path.strip_prefix("/3") {
        Some(path) => run_3(path, to).await.unwrap_or_else(|error| format!("{error:?}")),
        None => run(path, to).unwrap_or_else(|error| format!("{:?}", error.kind())),
    }
}

fn run(path: &str, to: &str) -> io::Result<String> {
    match path {
        "/name" => (to, 80).to_socket_addrs().map(|found| format!("{} addresses", found.count())),
        path => with_address(path, to.parse().map_err(io::Error::other)?),
    }
}

fn with_address(path: &str, to: SocketAddr) -> io::Result<String> {
    match path {
        "/tcp" => tcp(to),
        "/udp" => udp(to),
        "/udp-connected" => udp_connected(to),
        "/listen" => TcpListener::bind(to).map(|_| "listens".to_owned()),
        "/bind" => UdpSocket::bind(to).map(|_| "bound".to_owned()),
        "/many" => many(to),
        _ => Ok("there is no such path".to_owned()),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Says something, and what comes back until the other end closes.
fn tcp(to: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(to)?;
    stream.write_all(GREETING)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES as u64).read_to_end(&mut answer)?;
    Ok(text(&answer))
}

/// A socket of the address's family.
fn udp_socket(to: SocketAddr) -> io::Result<UdpSocket> {
    match to {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)),
    }
}

fn udp(to: SocketAddr) -> io::Result<String> {
    let socket = udp_socket(to)?;
    socket.send_to(GREETING, to)?;
    let mut answer = [0; ANSWER_BYTES];
    let (length, from) = socket.recv_from(&mut answer)?;
    Ok(format!("{} from {from}", text(&answer[..length])))
}

fn udp_connected(to: SocketAddr) -> io::Result<String> {
    let socket = udp_socket(to)?;
    socket.connect(to)?;
    socket.send(GREETING)?;
    let mut answer = [0; ANSWER_BYTES];
    let length = socket.recv(&mut answer)?;
    Ok(text(&answer[..length]))
}

/// Opens connections until it gets no more, closes one, and opens another.
fn many(to: SocketAddr) -> io::Result<String> {
    let mut open = Vec::new();
    let refusal = loop {
        match TcpStream::connect(to) {
            Ok(stream) => open.push(stream),
            Err(error) => break error.kind(),
        }
    };
    let most = open.len();
    open.pop();
    Ok(format!("{most} {refusal:?} {}", tcp(to)?))
}

async fn run_3(path: &str, to: &str) -> Result<String, ErrorCode> {
    if path == "/name" {
        return Ok(match ip_name_lookup::resolve_addresses(to.to_owned()).await {
            Ok(found) => format!("{} addresses", found.len()),
            Err(error) => format!("{error:?}"),
        });
    }
    let Ok(SocketAddr::V4(to)) = to.parse() else { return Err(ErrorCode::InvalidArgument) };
    let [a, b, c, d] = to.ip().octets();
    let to = IpSocketAddress::Ipv4(Ipv4SocketAddress { port: to.port(), address: (a, b, c, d) });
    match path {
        "/tcp" => tcp_3(to).await,
        "/udp" => udp_3(to).await,
        "/listen" => listen_3(to),
        "/many" => many_3(to).await,
        _ => Ok("there is no such path".to_owned()),
    }
}

async fn connected_3(to: IpSocketAddress) -> Result<types::TcpSocket, ErrorCode> {
    let socket = types::TcpSocket::create(IpAddressFamily::Ipv4)?;
    socket.connect(to).await?;
    Ok(socket)
}

async fn tcp_3(to: IpSocketAddress) -> Result<String, ErrorCode> {
    let socket = connected_3(to).await?;
    let (mut greeting, sent) = wasip3::wit_stream::new();
    let sent = socket.send(sent);
    greeting.write_all(GREETING.to_vec()).await;
    drop(greeting);
    sent.await?;
    let (mut received, end) = socket.receive();
    let mut answer = Vec::new();
    while answer.len() < ANSWER_BYTES {
        let (result, bytes) = received.read(Vec::with_capacity(ANSWER_BYTES)).await;
        answer.extend_from_slice(&bytes);
        if !matches!(result, StreamResult::Complete(_)) {
            break;
        }
    }
    end.await?;
    Ok(text(&answer))
}

async fn udp_3(to: IpSocketAddress) -> Result<String, ErrorCode> {
    let socket = types::UdpSocket::create(IpAddressFamily::Ipv4)?;
    socket.send(GREETING.to_vec(), Some(to)).await?;
    let (answer, _) = socket.receive().await?;
    Ok(text(&answer))
}

fn listen_3(at: IpSocketAddress) -> Result<String, ErrorCode> {
    let socket = types::TcpSocket::create(IpAddressFamily::Ipv4)?;
    socket.bind(at)?;
    socket.listen().map(|_| "listens".to_owned())
}

/// As [`many`].
async fn many_3(to: IpSocketAddress) -> Result<String, ErrorCode> {
    let mut open = Vec::new();
    let refusal = loop {
        match connected_3(to).await {
            Ok(socket) => open.push(socket),
            Err(error) => break error,
        }
    };
    let most = open.len();
    open.pop();
    Ok(format!("{most} {refusal:?} {}", tcp_3(to).await?))
}
