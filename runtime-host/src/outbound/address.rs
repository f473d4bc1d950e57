//! Addresses that are not out there in the public network, and what it takes to reach them.
//!
//! The ranges are those of IANA's registries of special-purpose addresses (RFC 6890), and the addresses under which clouds
//! answer questions about the machine, keys to it included, to whoever asks from it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far an entry of `allowed_outbound_hosts` reaches. Each reaches what the ones before it reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// A wildcard: the public network.
    Public,
    /// The name of one host: it may stand for an address of a private network or of this machine.
    Named,
    /// The address itself, or a network of its kind.
    Address,
}

struct Range {
    address: IpAddr,
    bits: u8,
    /// What it takes to get there.
    needs: Reach,
}

const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u8, needs: Reach) -> Range {
    Range { address: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), bits, needs }
}

const fn v6(address: Ipv6Addr, bits: u8, needs: Reach) -> Range {
    Range { address: IpAddr::V6(address), bits, needs }
}

/// The first that contains an address decides.
const SPECIAL: &[Range] = &[
    // Metadata services outside the link-local networks: Alibaba, Oracle, Azure, AWS, Google.
    v4(100, 100, 100, 200, 32, Reach::Address),
    v4(192, 0, 0, 192, 32, Reach::Address),
    v4(168, 63, 129, 16, 32, Reach::Address),
    v6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128, Reach::Address),
    v6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128, Reach::Address),
    // Link-local, with the metadata service 169.254.169.254 of most clouds.
    v4(169, 254, 0, 0, 16, Reach::Address),
    v6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, Reach::Address),
    // "This host": connecting there reaches this machine.
    v4(0, 0, 0, 0, 8, Reach::Address),
    v6(Ipv6Addr::UNSPECIFIED, 128, Reach::Address),
    // Multicast, broadcast, reserved.
    v4(224, 0, 0, 0, 3, Reach::Address),
    v6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, Reach::Address),
    // Loopback.
    v4(127, 0, 0, 0, 8, Reach::Named),
    v6(Ipv6Addr::LOCALHOST, 128, Reach::Named),
    // Private and shared networks.
    v4(10, 0, 0, 0, 8, Reach::Named),
    v4(172, 16, 0, 0, 12, Reach::Named),
    v4(192, 168, 0, 0, 16, Reach::Named),
    v4(100, 64, 0, 0, 10, Reach::Named),
    v6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, Reach::Named),
    v6(Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, Reach::Named),
    // Protocol assignments, benchmarks, documentation, tunnels.
    v4(192, 0, 0, 0, 24, Reach::Named),
    v4(192, 0, 2, 0, 24, Reach::Named),
    v4(198, 18, 0, 0, 15, Reach::Named),
    v4(198, 51, 100, 0, 24, Reach::Named),
    v4(203, 0, 113, 0, 24, Reach::Named),
    v6(Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, Reach::Named),
    v6(Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, Reach::Named),
    v6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, Reach::Named),
];

/// What an entry must reach for a connection to `address`.
pub fn needed(address: IpAddr) -> Reach {
    let address = embedded(address);
    let special = SPECIAL.iter().find(|range| in_network(address, range.address, range.bits));
    special.map_or(Reach::Public, |range| range.needs)
}

/// What an entry reaches that names a network: its own special addresses, unless the network is wider than their kind, as
/// `0.0.0.0/0` is.
pub fn reach_of_network(network: IpAddr, bits: u8) -> Reach {
    let network = embedded(network);
    let special = SPECIAL.iter().find(|range| in_network(network, range.address, range.bits));
    match special {
        Some(range) if bits >= range.bits => Reach::Address,
        Some(_) | None => Reach::Public,
    }
}

/// The IPv4 address to which a packet to this IPv6 address may go in the end.
pub fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let bits = v6.to_bits();
    let low = Ipv4Addr::from_bits(bits as u32);
    match v6.segments() {
        // Mapped (RFC 4291), and translated by NAT64 (RFC 6052).
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => low.into(),
        // Compatible (RFC 4291), but for `::` and `::1`.
        [0, 0, 0, 0, 0, 0, ..] if low.to_bits() > 1 => low.into(),
        // 6to4 (RFC 3056).
        [0x2002, ..] => Ipv4Addr::from_bits((bits >> 80) as u32).into(),
        _ => address,
    }
}

pub fn in_network(address: IpAddr, network: IpAddr, bits: u8) -> bool {
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

    fn of(address: &str) -> Reach {
        needed(address.parse().unwrap())
    }

    #[test]
    fn public_addresses_need_nothing_special() {
        for address in ["8.8.8.8", "123.123.123.123", "172.32.0.1", "2600::beef", "2606:4700::1111"] {
            assert_eq!(of(address), Reach::Public, "{address}");
        }
    }

    #[test]
    fn private_and_loopback_addresses_must_be_named() {
        for address in [
            "10.10.10.10",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.1.1",
            "127.0.0.1",
            "127.8.9.10",
            "192.0.0.1",
            "::1",
            "fc00::f00d",
            "fd12::1",
            "::ffff:10.10.10.10",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "::7f00:1",
            "2001:db8::1",
        ] {
            assert_eq!(of(address), Reach::Named, "{address}");
        }
    }

    #[test]
    fn metadata_services_and_their_disguises_must_be_given_by_address() {
        for address in [
            "169.254.169.254",
            "169.254.170.2",
            "fd00:ec2::254",
            "fd20:ce::254",
            "100.100.100.200",
            "192.0.0.192",
            "168.63.129.16",
            "fe80::1",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "224.0.0.1",
            "255.255.255.255",
            "ff02::1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::",
        ] {
            assert_eq!(of(address), Reach::Address, "{address}");
        }
    }

    #[test]
    fn a_network_reaches_its_own_kind_and_not_everything_that_it_contains() {
        let reach = |network: &str, bits| reach_of_network(network.parse().unwrap(), bits);
        assert_eq!(reach("10.0.0.0", 8), Reach::Address);
        assert_eq!(reach("10.1.0.0", 16), Reach::Address);
        assert_eq!(reach("169.254.169.254", 32), Reach::Address);
        assert_eq!(reach("127.0.0.1", 32), Reach::Address);
        assert_eq!(reach("0.0.0.0", 0), Reach::Public);
        assert_eq!(reach("172.0.0.0", 8), Reach::Public);
        assert_eq!(reach("100.64.0.0", 8), Reach::Public);
        assert_eq!(reach("8.8.8.0", 24), Reach::Public);
        assert_eq!(reach("::", 0), Reach::Public);
    }
}
