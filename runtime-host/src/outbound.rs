//! `allowed_outbound_hosts`: where a component may connect to. Nothing is allowed that no entry names.

use std::net::IpAddr;

/// The entries of one component.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedHosts {
    hosts: Vec<AllowedHost>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct AllowedHost {
    /// None for `*`.
    scheme: Option<String>,
    host: HostPattern,
    /// None for `*`.
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostPattern {
    Any,
    /// `*.example.com`: the part after the star, with its dot.
    Subdomains(String),
    Exact(String),
    Network(IpAddr, u8),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllowedHostError {
    #[error("`{0}` is not SCHEME://HOST[:PORT]")]
    NoScheme(String),
    #[error("`{0}` has a path; only scheme, host and port count")]
    Path(String),
    #[error("`{0}` needs a port: its scheme has no default one")]
    NoPort(String),
    #[error("`{0}` has a port that is neither `*` nor 1 to 65535")]
    BadPort(String),
    #[error(
        "`{0}` has a host that this node does not understand; use a name, an address, a network, `*` or `*.NAME`"
    )]
    BadHost(String),
}

impl AllowedHosts {
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, AllowedHostError> {
        let hosts = entries.into_iter().map(AllowedHost::parse).collect::<Result<_, _>>()?;
        Ok(Self { hosts })
    }

    pub fn allows(&self, scheme: &str, host: &str, port: u16) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        self.hosts.iter().any(|allowed| allowed.allows(scheme, &host, port))
    }
}

pub fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

impl AllowedHost {
    fn parse(text: &str) -> Result<Self, AllowedHostError> {
        let whole = || text.to_owned();
        let (scheme, rest) = text.split_once("://").ok_or_else(|| AllowedHostError::NoScheme(whole()))?;
        if scheme.is_empty() {
            return Err(AllowedHostError::NoScheme(whole()));
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = split_port(rest);
        let scheme = (scheme != "*").then(|| scheme.to_ascii_lowercase());
        let port = match port {
            Some("*") => None,
            Some(port) if port.contains('/') => return Err(AllowedHostError::Path(whole())),
            Some(port) => match port.parse::<u16>() {
                Ok(port) if port > 0 => Some(port),
                _ => return Err(AllowedHostError::BadPort(whole())),
            },
            None => match scheme.as_deref().and_then(default_port) {
                Some(port) => Some(port),
                None => return Err(AllowedHostError::NoPort(whole())),
            },
        };
        let host = HostPattern::parse(host).ok_or_else(|| match host.contains('/') {
            true => AllowedHostError::Path(whole()),
            false => AllowedHostError::BadHost(whole()),
        })?;
        Ok(Self { scheme, host, port })
    }

    fn allows(&self, scheme: &str, host: &str, port: u16) -> bool {
        self.scheme.as_deref().is_none_or(|allowed| allowed == scheme)
            && self.port.is_none_or(|allowed| allowed == port)
            && self.host.matches(host)
    }
}

/// Splits off `:PORT`; an IPv6 address stands in brackets.
fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    }
}

impl HostPattern {
    fn parse(host: &str) -> Option<Self> {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        if host == "*" {
            return Some(Self::Any);
        }
        if let Some((address, bits)) = host.split_once('/') {
            let address: IpAddr = address.parse().ok()?;
            let bits: u8 = bits.parse().ok()?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            return (bits <= most).then_some(Self::Network(address, bits));
        }
        if host.parse::<IpAddr>().is_ok() {
            return Some(Self::Exact(host));
        }
        let (wildcard, name) = match host.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, host.as_str()),
        };
        // `self` and `*.spin.internal` mean other components to Spin; connecting to a host of that name would be wrong.
        let internal = name == "self" || name == "spin.internal" || name.ends_with(".spin.internal");
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if name.is_empty() || internal || !name.chars().all(allowed) {
            return None;
        }
        Some(if wildcard { Self::Subdomains(format!(".{name}")) } else { Self::Exact(host) })
    }

    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(allowed) => allowed == host,
            Self::Subdomains(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
            Self::Network(network, bits) => {
                host.parse::<IpAddr>().is_ok_and(|address| in_network(address, *network, *bits))
            }
        }
    }
}

fn in_network(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            address.to_bits() & mask == network.to_bits() & mask
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            address.to_bits() & mask == network.to_bits() & mask
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(entry: &str, scheme: &str, host: &str, port: u16) -> bool {
        AllowedHosts::parse([entry]).unwrap().allows(scheme, host, port)
    }

    #[test]
    fn nothing_is_allowed_by_no_entry() {
        assert!(!AllowedHosts::default().allows("http", "localhost", 80));
    }

    #[test]
    fn scheme_host_and_port_must_all_match() {
        let entry = "http://127.0.0.1:8080";
        assert!(allows(entry, "http", "127.0.0.1", 8080));
        assert!(allows("http://127.0.0.1:8080/", "http", "127.0.0.1", 8080));
        assert!(!allows(entry, "https", "127.0.0.1", 8080));
        assert!(!allows(entry, "http", "127.0.0.1", 80));
        assert!(!allows(entry, "http", "127.0.0.2", 8080));
        assert!(allows("https://example.com", "https", "Example.COM", 443));
    }

    #[test]
    fn wildcards_stand_for_schemes_subdomains_and_ports() {
        assert!(allows("*://localhost:*", "redis", "localhost", 6379));
        assert!(allows("https://*", "https", "anything.example", 443));
        assert!(allows("https://*.example.com", "https", "a.b.example.com", 443));
        assert!(!allows("https://*.example.com", "https", "example.com", 443));
        assert!(!allows("https://*.example.com", "https", "evilexample.com", 443));
    }

    #[test]
    fn networks_and_bracketed_addresses_are_understood() {
        assert!(allows("http://10.1.0.0/16:80", "http", "10.1.2.3", 80));
        assert!(!allows("http://10.1.0.0/16:80", "http", "10.2.2.3", 80));
        assert!(allows("http://[::1]:80", "http", "[::1]", 80));
        assert!(allows("http://0.0.0.0/0:80", "http", "8.8.8.8", 80));
    }

    #[test]
    fn malformed_entries_are_told_apart() {
        let error = |entry| AllowedHosts::parse([entry]).unwrap_err();
        assert!(matches!(error("example.com"), AllowedHostError::NoScheme(_)));
        assert!(matches!(error("https://example.com/path"), AllowedHostError::Path(_)));
        assert!(matches!(error("https://example.com:80/path"), AllowedHostError::Path(_)));
        assert!(matches!(error("redis://example.com"), AllowedHostError::NoPort(_)));
        assert!(matches!(error("http://example.com:0"), AllowedHostError::BadPort(_)));
        assert!(matches!(error("http://self"), AllowedHostError::BadHost(_)));
        assert!(matches!(error("http://a b"), AllowedHostError::BadHost(_)));
    }
}
