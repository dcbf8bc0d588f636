//! The addresses that PP may call: public ones, and those that an operator has named.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::runtime::Network;

/// Private addresses and hosts that may be called all the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedAddresses {
    networks: Vec<Network>,
    hosts: Vec<String>,
}

impl AllowedAddresses {
    /// The most entries.
    const MOST: usize = 100;

    /// True if this address may be called for this host.
    pub(super) fn allow(&self, host: &str, address: IpAddr) -> bool {
        is_public(address)
            || self.networks.iter().any(|network| network.contains(address))
            || self.hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host))
    }
}

impl FromStr for AllowedAddresses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut allowed = Self::default();
        let entries: Vec<&str> = text
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .collect();
        if entries.len() > Self::MOST {
            return Err(format!("more than {} entries", Self::MOST));
        }
        for entry in entries {
            match entry.parse::<Network>() {
                Ok(network) => allowed.networks.push(network),
                Err(_) if is_host_name(entry) => allowed.hosts.push(entry.to_owned()),
                Err(why) => return Err(format!("`{entry}`: {why}, or hosts, as in hooks.internal")),
            }
        }
        Ok(allowed)
    }
}

fn is_host_name(text: &str) -> bool {
    let is_label = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    text.len() <= 253 && text.bytes().all(is_label) && text.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// True for addresses of the public internet.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// The registry of special addresses: RFC 6890 and its successors.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(a == 0
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (18..20).contains(&b))
        || a >= 240)
}

/// Global unicast addresses without those that carry or translate to IPv4, and documentation.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    let is_global = (0x2000..0x4000).contains(&first);
    // 2001::/23 has Teredo, benchmarks and ORCHID; 2002::/16 is 6to4; 3fff::/20 is documentation like 2001:db8::/32.
    let is_special = matches!(
        (first, second),
        (0x2001, 0..0x200 | 0xdb8) | (0x2002, _) | (0x3fff, 0..0x1000)
    );
    is_global && !is_special
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(allowed: &str, host: &str, address: &str) -> bool {
        let allowed: AllowedAddresses = allowed.parse().unwrap();
        allowed.allow(host, address.parse().unwrap())
    }

    #[test]
    fn only_public_addresses_may_be_called() {
        for public in [
            "8.8.8.8",
            "100.63.0.1",
            "172.32.0.1",
            "198.20.0.1",
            "2606:4700::1111",
            "2a00::1",
        ] {
            assert!(allows("", "hooks.example", public), "{public}");
        }
        for private in [
            "0.0.0.0",
            "0.1.2.3",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.8.8.8",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "203.0.113.7",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2001:0:1::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!allows("", "hooks.example", private), "{private}");
        }
    }

    #[test]
    fn an_operator_names_networks_addresses_and_hosts() {
        let allowed = "127.0.0.1, 10.0.0.0/8,fd00::/8,hooks.internal";
        for (host, address) in [
            ("a", "127.0.0.1"),
            ("a", "::ffff:127.0.0.1"),
            ("a", "10.200.3.4"),
            ("a", "fd00::7"),
            ("Hooks.Internal", "192.168.1.1"),
        ] {
            assert!(allows(allowed, host, address), "{host} {address}");
        }
        for (host, address) in [
            ("a", "127.0.0.2"),
            ("a", "192.168.1.1"),
            ("x.hooks.internal", "192.168.1.1"),
        ] {
            assert!(!allows(allowed, host, address), "{host} {address}");
        }
        for bad in [
            "10.0.0.0/33",
            "0.0.0.0/0",
            "::/129",
            "10.0.0",
            "a b",
            "http://a",
            "1.2.3.4/x",
        ] {
            assert!(bad.parse::<AllowedAddresses>().is_err(), "{bad}");
        }
    }
}
