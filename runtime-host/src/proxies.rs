//! The proxies in front of this edge, and what they are believed: nobody else may say on whose behalf a request comes.

use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// Which of the two ways of naming the client the proxies use. The other one is removed: a proxy that sets one passes on what
/// a client wrote into the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host`.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// Which peers are proxies of ours.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies {
    pub networks: Vec<IpNet>,
    pub header: ForwardedHeader,
    /// They begin each connection with the PROXY protocol.
    pub proxy_protocol: bool,
}

/// What a request says about its way here, as far as it is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarded {
    pub client: SocketAddr,
    pub scheme: Option<Scheme>,
    pub host: Option<Authority>,
}

impl TrustedProxies {
    fn trusts(&self, address: IpAddr) -> bool {
        // A socket that listens on both families shows IPv4 peers so.
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Whether this peer must begin with the PROXY protocol.
    pub fn send_header(&self, peer: IpAddr) -> bool {
        self.proxy_protocol && self.trusts(peer)
    }

    /// Reads and removes what the headers say that is not to be believed. `peer` is who sends the request; `client` is who it
    /// is for, which is the peer itself unless the PROXY protocol named another.
    pub fn read(&self, headers: &mut HeaderMap, peer: IpAddr, client: SocketAddr) -> Forwarded {
        let trusted = self.trusts(peer);
        let kept = |name: &str| match (trusted, self.header) {
            (false, _) => false,
            (true, ForwardedHeader::Forwarded) => name == "forwarded",
            (true, ForwardedHeader::XForwarded) => {
                matches!(name, "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host")
            }
        };
        let claims =
            |name: &str| name == "forwarded" || name == "x-real-ip" || name.starts_with("x-forwarded-");
        let removed: Vec<HeaderName> =
            headers.keys().filter(|name| claims(name.as_str()) && !kept(name.as_str())).cloned().collect();
        for name in removed {
            headers.remove(name);
        }
        let believed = Forwarded { client, scheme: None, host: None };
        match (trusted, self.header) {
            (false, _) => believed,
            (true, ForwardedHeader::XForwarded) => self.x_forwarded(headers, believed),
            (true, ForwardedHeader::Forwarded) => self.forwarded(headers, believed),
        }
    }

    /// Each proxy appends the address that it got the request from. So from the right, the first that is no proxy of ours is
    /// the client; what stands left of it is the client's own claim.
    fn client(
        &self,
        mut hops: impl Iterator<Item = Option<SocketAddr>>,
        otherwise: SocketAddr,
    ) -> SocketAddr {
        let mut client = otherwise;
        while let Some(Some(hop)) = hops.next() {
            client = hop;
            if !self.trusts(hop.ip()) {
                break;
            }
        }
        client
    }

    fn x_forwarded(&self, headers: &HeaderMap, believed: Forwarded) -> Forwarded {
        let hops: Vec<&str> = items(headers, "x-forwarded-for", ',');
        let last = |name| items(headers, name, ',').last().copied();
        Forwarded {
            client: self.client(hops.iter().rev().map(|hop| node(hop)), believed.client),
            scheme: last("x-forwarded-proto").and_then(scheme),
            host: last("x-forwarded-host").and_then(|host| host.parse().ok()),
        }
    }

    fn forwarded(&self, headers: &HeaderMap, believed: Forwarded) -> Forwarded {
        let hops: Vec<&str> = items(headers, "forwarded", ',');
        let parameter = |hop: &'_ str, wanted: &str| {
            hop.split(';').find_map(|pair| {
                let (name, value) = pair.split_once('=')?;
                let value = value.trim().trim_matches('"');
                name.trim().eq_ignore_ascii_case(wanted).then(|| value.to_owned())
            })
        };
        let of_last = |name| hops.last().and_then(|hop| parameter(hop, name));
        let nodes = hops.iter().rev().map(|hop| parameter(hop, "for").and_then(|value| node(&value)));
        Forwarded {
            client: self.client(nodes, believed.client),
            scheme: of_last("proto").as_deref().and_then(scheme),
            host: of_last("host").and_then(|host| host.parse().ok()),
        }
    }
}

/// The items of a list that may be spread over several headers.
fn items<'a>(headers: &'a HeaderMap, name: &str, separator: char) -> Vec<&'a str> {
    let values = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or(""));
    values.flat_map(|value| value.split(separator)).map(str::trim).collect()
}

fn scheme(text: &str) -> Option<Scheme> {
    match () {
        () if text.eq_ignore_ascii_case("http") => Some(Scheme::HTTP),
        () if text.eq_ignore_ascii_case("https") => Some(Scheme::HTTPS),
        () => None,
    }
}

/// `192.0.2.7`, `192.0.2.7:80`, `2001:db8::7`, `[2001:db8::7]` or `[2001:db8::7]:80`; port 0 when there is none.
fn node(text: &str) -> Option<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().map(|address| SocketAddr::new(address, 0));
    address.or_else(|_| text.parse()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(header: ForwardedHeader) -> TrustedProxies {
        let networks = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap()).to_vec();
        TrustedProxies { networks, header, proxy_protocol: false }
    }

    fn read(header: ForwardedHeader, peer: &str, sent: &[(&'static str, &str)]) -> (Forwarded, Vec<String>) {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(*name, value.parse().unwrap());
        }
        let peer: IpAddr = peer.parse().unwrap();
        let forwarded = proxies(header).read(&mut headers, peer, SocketAddr::new(peer, 5));
        let mut left: Vec<String> = headers.keys().map(|name| name.to_string()).collect();
        left.sort_unstable();
        (forwarded, left)
    }

    const ALL: [(&str, &str); 6] = [
        ("forwarded", "for=198.51.100.9;proto=https;host=evil.example"),
        ("x-forwarded-for", "198.51.100.9"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-prefix", "/x"),
        ("x-real-ip", "198.51.100.9"),
    ];

    #[test]
    fn a_stranger_is_not_believed_and_what_it_claims_goes_no_further() {
        for header in [ForwardedHeader::XForwarded, ForwardedHeader::Forwarded] {
            let (forwarded, left) = read(header, "192.0.2.7", &ALL);
            assert_eq!(forwarded.client, "192.0.2.7:5".parse().unwrap());
            assert_eq!((forwarded.scheme, forwarded.host), (None, None));
            assert_eq!(left, [""; 0]);
        }
    }

    #[test]
    fn a_proxy_is_believed_in_its_own_header_alone() {
        let (forwarded, left) = read(ForwardedHeader::XForwarded, "10.0.0.1", &ALL);
        assert_eq!(forwarded.client, "198.51.100.9:0".parse().unwrap());
        assert_eq!(forwarded.scheme, Some(Scheme::HTTPS));
        assert_eq!(forwarded.host.unwrap(), "evil.example");
        assert_eq!(left, ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"]);
        let (forwarded, left) = read(ForwardedHeader::Forwarded, "::ffff:10.0.0.1", &ALL);
        assert_eq!(forwarded.client, "198.51.100.9:0".parse().unwrap());
        assert_eq!(left, ["forwarded"]);
    }

    #[test]
    fn the_client_is_the_last_hop_that_is_no_proxy_whatever_it_wrote_itself() {
        let client =
            |header, sent: &[(&'static str, &str)]| read(header, "10.0.0.1", sent).0.client.to_string();
        let x = ForwardedHeader::XForwarded;
        assert_eq!(client(x, &[("x-forwarded-for", "1.1.1.1, 192.0.2.7, 10.9.9.9")]), "192.0.2.7:0");
        assert_eq!(
            client(x, &[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "192.0.2.7")]),
            "192.0.2.7:0"
        );
        assert_eq!(client(x, &[("x-forwarded-for", "10.1.1.1, 10.9.9.9")]), "10.1.1.1:0");
        assert_eq!(client(x, &[("x-forwarded-for", "nonsense, 10.9.9.9")]), "10.9.9.9:0");
        assert_eq!(client(x, &[("x-forwarded-for", "nonsense")]), "10.0.0.1:5");
        let f = ForwardedHeader::Forwarded;
        let sent = "for=1.1.1.1, For=\"[2001:db8::7]:4711\";proto=http, for=10.9.9.9";
        assert_eq!(client(f, &[("forwarded", sent)]), "[2001:db8::7]:4711");
        assert_eq!(client(f, &[("forwarded", "for=_hidden")]), "10.0.0.1:5");
    }
}
