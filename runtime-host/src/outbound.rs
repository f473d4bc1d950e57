//! `allowed_outbound_hosts`: where a component may connect to. Nothing is allowed that no entry names, and a name that resolves
//! to a special address is not reached by a wildcard.

pub mod address;

use address::Reach;
use std::net::IpAddr;
use std::ops::Range;

/// The entries of one component.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedHosts {
    hosts: Vec<AllowedHost>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct AllowedHost {
    /// As it was written, with its variables filled in.
    text: String,
    /// None for `*`.
    scheme: Option<String>,
    host: HostPattern,
    ports: Ports,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Ports {
    Any,
    One(u16),
    /// Without its end, as in Spin.
    Range(Range<u16>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostPattern {
    Any,
    /// `*.example.com`: the part after the star, with its dot.
    Subdomains(String),
    Exact(String),
    /// One address, or a network of them.
    Network(IpAddr, u8),
    /// The application itself, through its routes.
    Itself,
    /// A component of the application, directly; `*` for each. The id without `.spin.internal`.
    Component(String),
}

/// Where a request goes that leaves the component without leaving the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Internal<'a> {
    Itself,
    Component(&'a str),
}

/// Hosts below this one are components.
const COMPONENTS_DOMAIN: &str = ".spin.internal";

/// What `host` means within the application; none for hosts outside.
pub fn internal(host: &str) -> Option<Internal<'_>> {
    match host {
        "self" | "self.alt" => Some(Internal::Itself),
        host => host.strip_suffix(COMPONENTS_DOMAIN).filter(|id| !id.is_empty()).map(Internal::Component),
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllowedHostError {
    #[error("`{0}` is not SCHEME://HOST[:PORT]; for everything write `*://*:*`")]
    NoScheme(String),
    #[error("`{0}` has a scheme that is neither `*` nor letters")]
    BadScheme(String),
    #[error("`{0}` has a path; only scheme, host and port count")]
    Path(String),
    #[error("`{0}` needs a port: its scheme has no default one")]
    NoPort(String),
    #[error("`{0}` has a port that is neither `*`, 1 to 65535, nor a range such as `8000..8010`")]
    BadPort(String),
    #[error(
        "`{0}` has a host that this node does not understand; use a name, an address, a network, `*` or `*.NAME`"
    )]
    BadHost(String),
}

impl AllowedHosts {
    pub fn add(&mut self, entry: &str) -> Result<(), AllowedHostError> {
        self.hosts.push(AllowedHost::parse(entry)?);
        Ok(())
    }

    /// How far a request to `host` may reach, once its name is resolved; none when no entry names it.
    pub fn reach(&self, scheme: &str, host: &str, port: u16) -> Option<Reach> {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        self.hosts.iter().filter_map(|allowed| allowed.reach(scheme, &host, port)).max()
    }

    /// Whether an entry gives anything under this scheme.
    pub fn names_scheme(&self, scheme: &str) -> bool {
        self.hosts.iter().any(|allowed| allowed.is_for(scheme))
    }

    /// Whether requests to the application itself, or to one of its components, are allowed.
    pub fn allows_internal(&self, scheme: &str, to: Internal<'_>) -> bool {
        self.hosts.iter().any(|allowed| allowed.is_for(scheme) && allowed.host.is(to))
    }

    /// The components that entries name.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.hosts.iter().filter_map(|allowed| match &allowed.host {
            HostPattern::Component(id) if id != "*" => Some(id.as_str()),
            _ => None,
        })
    }

    /// The entries as they were written, with their variables filled in.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.hosts.iter().map(|allowed| allowed.text.as_str())
    }
}

/// What an entry of the deprecated `allowed_http_hosts` means among `allowed_outbound_hosts`.
pub fn from_http_host(entry: &str) -> Vec<String> {
    if entry == "insecure:allow-all" {
        return vec!["http://*:*".to_owned(), "https://*:*".to_owned()];
    }
    match entry.contains("://") {
        true => vec![entry.to_owned()],
        false => vec![format!("http://{entry}"), format!("https://{entry}")],
    }
}

pub fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        "postgres" => Some(5432),
        "mysql" => Some(3306),
        "redis" | "rediss" => Some(6379),
        "mqtt" => Some(1883),
        _ => None,
    }
}

impl AllowedHost {
    fn parse(text: &str) -> Result<Self, AllowedHostError> {
        let text = text.trim();
        let whole = || text.to_owned();
        let (scheme, rest) = text.split_once("://").ok_or_else(|| AllowedHostError::NoScheme(whole()))?;
        if scheme != "*" && (scheme.is_empty() || !scheme.chars().all(|c| c.is_ascii_alphabetic())) {
            return Err(AllowedHostError::BadScheme(whole()));
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = split_port(rest);
        let scheme = (scheme != "*").then(|| scheme.to_ascii_lowercase());
        let ports = match port {
            Some(port) if port.contains('/') => return Err(AllowedHostError::Path(whole())),
            Some(port) => Ports::parse(port).ok_or_else(|| AllowedHostError::BadPort(whole()))?,
            None => match scheme.as_deref().and_then(default_port) {
                Some(port) => Ports::One(port),
                None => return Err(AllowedHostError::NoPort(whole())),
            },
        };
        let host = HostPattern::parse(host).ok_or_else(|| match host.contains('/') {
            true => AllowedHostError::Path(whole()),
            false => AllowedHostError::BadHost(whole()),
        })?;
        Ok(Self { text: whole(), scheme, host, ports })
    }

    fn is_for(&self, scheme: &str) -> bool {
        self.scheme.as_deref().is_none_or(|allowed| allowed == scheme)
    }

    fn reach(&self, scheme: &str, host: &str, port: u16) -> Option<Reach> {
        let matches = self.is_for(scheme) && self.ports.contain(port);
        if matches { self.host.reach(host) } else { None }
    }
}

impl Ports {
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Any);
        }
        let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
        match text.split_once("..") {
            Some((start, end)) => {
                let (start, end) = (number(start)?, number(end)?);
                (start < end).then_some(Self::Range(start..end))
            }
            None => number(text).map(Self::One),
        }
    }

    fn contain(&self, port: u16) -> bool {
        match self {
            Self::Any => true,
            Self::One(allowed) => *allowed == port,
            Self::Range(range) => range.contains(&port),
        }
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
        match internal(&host) {
            Some(Internal::Itself) => return Some(Self::Itself),
            Some(Internal::Component(id)) => return Some(Self::Component(id.to_owned())),
            None => {}
        }
        let most = |address: IpAddr| if address.is_ipv4() { 32 } else { 128 };
        if let Some((address, bits)) = host.split_once('/') {
            let address: IpAddr = address.parse().ok()?;
            let bits: u8 = bits.parse().ok()?;
            return (bits <= most(address)).then_some(Self::Network(address, bits));
        }
        if let Ok(address) = host.parse::<IpAddr>() {
            return Some(Self::Network(address, most(address)));
        }
        let (wildcard, name) = match host.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, host.as_str()),
        };
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if name.is_empty() || name.starts_with('.') || !name.chars().all(allowed) {
            return None;
        }
        Some(if wildcard { Self::Subdomains(format!(".{name}")) } else { Self::Exact(host) })
    }

    fn reach(&self, host: &str) -> Option<Reach> {
        match self {
            Self::Any => Some(Reach::Public),
            Self::Exact(allowed) => (allowed == host).then_some(Reach::Named),
            Self::Subdomains(suffix) => {
                (host.len() > suffix.len() && host.ends_with(suffix.as_str())).then_some(Reach::Public)
            }
            Self::Network(network, bits) => {
                let address = host.parse::<IpAddr>().ok()?;
                let within = address::in_network(address, *network, *bits);
                within.then(|| address::reach_of_network(*network, *bits))
            }
            Self::Itself | Self::Component(_) => None,
        }
    }

    fn is(&self, to: Internal<'_>) -> bool {
        match (self, to) {
            (Self::Itself | Self::Any, Internal::Itself) => true,
            (Self::Component(allowed), Internal::Component(id)) => allowed == "*" || allowed == id,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed<const N: usize>(entries: [&str; N]) -> Result<AllowedHosts, AllowedHostError> {
        let mut hosts = AllowedHosts::default();
        entries.iter().try_for_each(|entry| hosts.add(entry)).map(|()| hosts)
    }

    fn allows(entry: &str, scheme: &str, host: &str, port: u16) -> bool {
        allowed([entry]).unwrap().reach(scheme, host, port).is_some()
    }

    #[test]
    fn nothing_is_allowed_by_no_entry() {
        assert_eq!(AllowedHosts::default().reach("http", "localhost", 80), None);
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
    fn ports_may_be_a_range_without_its_end_or_the_scheme_s_own() {
        assert!(allows("http://a.example:8000..8010", "http", "a.example", 8000));
        assert!(!allows("http://a.example:8000..8010", "http", "a.example", 8010));
        assert!(allows("redis://a.example", "redis", "a.example", 6379));
        assert!(allows("postgres://a.example", "postgres", "a.example", 5432));
    }

    #[test]
    fn entries_of_allowed_http_hosts_mean_both_schemes() {
        assert_eq!(from_http_host("a.example:8080"), ["http://a.example:8080", "https://a.example:8080"]);
        assert_eq!(from_http_host("https://a.example"), ["https://a.example"]);
        assert_eq!(from_http_host("insecure:allow-all"), ["http://*:*", "https://*:*"]);
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
        let error = |entry| allowed([entry]).unwrap_err();
        assert!(matches!(error("example.com"), AllowedHostError::NoScheme(_)));
        assert!(matches!(error("https://example.com/path"), AllowedHostError::Path(_)));
        assert!(matches!(error("https://example.com:80/path"), AllowedHostError::Path(_)));
        assert!(matches!(error("ftp://example.com"), AllowedHostError::NoPort(_)));
        assert!(matches!(error("*"), AllowedHostError::NoScheme(_)));
        assert!(matches!(error("{http,https}://a"), AllowedHostError::BadScheme(_)));
        assert!(matches!(error("http://a:9..8"), AllowedHostError::BadPort(_)));
        assert!(matches!(error("http://a.*.b"), AllowedHostError::BadHost(_)));
        assert!(matches!(error("http://*a.b"), AllowedHostError::BadHost(_)));
        assert!(matches!(error("http://example.com:0"), AllowedHostError::BadPort(_)));
        assert!(matches!(error("http://.spin.internal"), AllowedHostError::BadHost(_)));
        assert!(matches!(error("http://a b"), AllowedHostError::BadHost(_)));
    }

    #[test]
    fn a_wildcard_reaches_less_than_a_name_and_that_less_than_an_address() {
        let reach = |entry, host| allowed([entry]).unwrap().reach("http", host, 80).unwrap();
        assert_eq!(reach("*://*:*", "10.0.0.1"), Reach::Public);
        assert_eq!(reach("http://*.a.example", "x.a.example"), Reach::Public);
        assert_eq!(reach("http://a.example", "a.example"), Reach::Named);
        assert_eq!(reach("http://localhost", "localhost"), Reach::Named);
        assert_eq!(reach("http://169.254.169.254", "169.254.169.254"), Reach::Address);
        assert_eq!(reach("http://[::1]", "[0:0:0:0:0:0:0:1]"), Reach::Address);
        assert_eq!(reach("http://0.0.0.0/0", "127.0.0.1"), Reach::Public);
        let both = allowed(["*://*:*", "http://a.example"]).unwrap();
        assert_eq!(both.reach("http", "a.example", 80), Some(Reach::Named));
    }

    #[test]
    fn the_application_and_its_components_are_named_by_entries_of_their_own() {
        let hosts = allowed(["http://self", "http://worker.spin.internal"]).unwrap();
        assert!(hosts.allows_internal("http", Internal::Itself));
        assert!(!hosts.allows_internal("https", Internal::Itself));
        assert!(hosts.allows_internal("http", Internal::Component("worker")));
        assert!(!hosts.allows_internal("http", Internal::Component("other")));
        assert_eq!(hosts.components().collect::<Vec<_>>(), ["worker"]);
        assert_eq!(hosts.reach("http", "self", 80), None);
        let each = allowed(["http://*.spin.internal"]).unwrap();
        assert!(each.allows_internal("http", Internal::Component("other")));
        let everything = allowed(["*://*:*"]).unwrap();
        assert!(everything.allows_internal("http", Internal::Itself));
        assert!(!everything.allows_internal("http", Internal::Component("worker")));
    }
}
