//! One HTTP request to a program on this machine.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(1);

/// Whether `GET url/health/ready` is answered with 200.
pub(crate) fn is_ready(url: &str) -> bool {
    get_status(url, "/health/ready").is_ok_and(|status| status == 200)
}

fn get_status(url: &str, path: &str) -> std::io::Result<u16> {
    let authority = url.trim_start_matches("http://");
    let address = authority.to_socket_addrs()?.next().ok_or(std::io::ErrorKind::NotFound)?;
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(
        format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    // "HTTP/1.1 200"
    let mut status_line = [0; 12];
    stream.read_exact(&mut status_line)?;
    std::str::from_utf8(&status_line[9..])
        .ok()
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| std::io::ErrorKind::InvalidData.into())
}
