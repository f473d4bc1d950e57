//! The PROXY protocol, versions 1 and 2: a proxy that passes bytes on says first whose they are.
//!
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>

use bytes::{Buf as _, Bytes, BytesMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::io::{AsyncRead, AsyncReadExt as _};

const SIGNATURE_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const HEADER_V2_BYTES: usize = 16;
/// What version 1 says itself, with the line's end.
const MAX_V1_BYTES: usize = 107;
/// Addresses and extensions of version 2. Those of TLS with a client certificate are the longest in use.
const MAX_V2_BYTES: usize = 4 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum ProxyHeaderError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("the connection begins with no PROXY header, which this peer must send")]
    Missing,
    #[error("the header is malformed")]
    Malformed,
    #[error("the header is over {MAX_V2_BYTES} bytes")]
    TooLong,
}

/// What the proxy said.
#[derive(Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// None for the proxy's own connections, such as health checks.
    pub source: Option<SocketAddr>,
    /// What was read after the header.
    pub rest: Bytes,
}

/// Reads the header that must stand first.
pub async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<ProxyHeader, ProxyHeaderError> {
    let mut read = BytesMut::with_capacity(512);
    loop {
        if let Some((source, length)) = parse(&read)? {
            read.advance(length);
            return Ok(ProxyHeader { source, rest: read.freeze() });
        }
        if stream.read_buf(&mut read).await? == 0 {
            return Err(ProxyHeaderError::Missing);
        }
    }
}

/// The source and the length of the header, or none when there is more to come.
fn parse(read: &[u8]) -> Result<Option<(Option<SocketAddr>, usize)>, ProxyHeaderError> {
    let begins = |signature: &[u8]| read.starts_with(&signature[..signature.len().min(read.len())]);
    match () {
        () if begins(SIGNATURE_V2) => parse_v2(read),
        () if begins(b"PROXY ") => parse_v1(read),
        () => Err(ProxyHeaderError::Missing),
    }
}

fn parse_v1(read: &[u8]) -> Result<Option<(Option<SocketAddr>, usize)>, ProxyHeaderError> {
    let Some(end) = read.windows(2).position(|pair| pair == b"\r\n") else {
        return match read.len() < MAX_V1_BYTES {
            true => Ok(None),
            false => Err(ProxyHeaderError::Malformed),
        };
    };
    let line = std::str::from_utf8(&read[..end]).map_err(|_| ProxyHeaderError::Malformed)?;
    let words: Vec<&str> = line.split(' ').collect();
    let source = match words[..] {
        [_, "UNKNOWN", ..] => None,
        [_, family @ ("TCP4" | "TCP6"), source, _, port, _] => {
            let address: IpAddr = source.parse().map_err(|_| ProxyHeaderError::Malformed)?;
            let port = port.parse().map_err(|_| ProxyHeaderError::Malformed)?;
            if address.is_ipv4() != (family == "TCP4") {
                return Err(ProxyHeaderError::Malformed);
            }
            Some(SocketAddr::new(address, port))
        }
        _ => return Err(ProxyHeaderError::Malformed),
    };
    Ok(Some((source, end + 2)))
}

fn parse_v2(read: &[u8]) -> Result<Option<(Option<SocketAddr>, usize)>, ProxyHeaderError> {
    let Some(header) = read.first_chunk::<HEADER_V2_BYTES>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
    if length > MAX_V2_BYTES {
        return Err(ProxyHeaderError::TooLong);
    }
    let Some(addresses) = read.get(HEADER_V2_BYTES..HEADER_V2_BYTES + length) else { return Ok(None) };
    // The first half is the version, the second the command.
    let source = match (header[12], header[13] >> 4) {
        // LOCAL, or a family that is no address of the network.
        (0x20, _) | (0x21, 0 | 3) => None,
        (0x21, 1) => {
            let bytes = addresses.first_chunk::<12>().ok_or(ProxyHeaderError::Malformed)?;
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *bytes;
            Some(SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low])))
        }
        (0x21, 2) => {
            let bytes = addresses.first_chunk::<36>().ok_or(ProxyHeaderError::Malformed)?;
            let address = bytes.first_chunk::<16>().ok_or(ProxyHeaderError::Malformed)?;
            Some(SocketAddr::new(Ipv6Addr::from(*address).into(), u16::from_be_bytes([bytes[32], bytes[33]])))
        }
        _ => return Err(ProxyHeaderError::Malformed),
    };
    Ok(Some((source, HEADER_V2_BYTES + length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let mut header = SIGNATURE_V2.to_vec();
        header.extend([command, family]);
        header.extend((addresses.len() as u16).to_be_bytes());
        header.extend(addresses);
        header
    }

    async fn read_all(mut bytes: &[u8]) -> Result<ProxyHeader, ProxyHeaderError> {
        read(&mut bytes).await
    }

    #[tokio::test]
    async fn both_versions_name_the_source_and_leave_what_follows() {
        let mut ipv4 = vec![192, 0, 2, 7, 10, 0, 0, 1];
        ipv4.extend([0xde, 0xad, 0x01, 0xbb]);
        // An extension, which is skipped.
        ipv4.extend([4, 0, 1, 0]);
        let mut ipv6 = Ipv6Addr::LOCALHOST.octets().to_vec();
        ipv6.extend(Ipv6Addr::UNSPECIFIED.octets());
        ipv6.extend([0, 80, 0, 81]);
        for (header, source) in [
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 57005 443\r\n".to_vec(), Some("192.0.2.7:57005")),
            (b"PROXY TCP6 2001:db8::7 ::1 1 2\r\n".to_vec(), Some("[2001:db8::7]:1")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (v2(0x21, 0x11, &ipv4), Some("192.0.2.7:57005")),
            (v2(0x21, 0x21, &ipv6), Some("[::1]:80")),
            (v2(0x20, 0x00, &[]), None),
        ] {
            let bytes = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
            let read = read_all(&bytes).await.unwrap();
            assert_eq!(read.source, source.map(|source| source.parse().unwrap()));
            assert_eq!(read.rest, b"GET / HTTP/1.1\r\n"[..]);
            // However it is cut, it is the same header.
            for cut in 0..header.len() {
                assert!(matches!(parse(&header[..cut]), Ok(None)), "{header:?} cut at {cut}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        for bad in [
            &b""[..],
            b"GET / HTTP/1.1\r\n\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 57005\r\n",
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 70000 443\r\n",
            b"PROXY TCP4 192.0.2.7",
            &[b'P', b'R', b'O', b'X', b'Y', b' '].repeat(30),
            &v2(0x31, 0x11, &[0; 12]),
            &v2(0x21, 0x11, &[0; 11]),
            &v2(0x21, 0x21, &[0; 12]),
            &v2(0x21, 0x11, &[0; MAX_V2_BYTES + 1]),
        ] {
            assert!(read_all(bad).await.is_err(), "{bad:?}");
        }
    }
}
