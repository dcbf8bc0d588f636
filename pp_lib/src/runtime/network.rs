//! Networks of addresses, as settings name them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A network such as `10.0.3.0/24`, or one address. IPv4 addresses in the notation of IPv6 are IPv4 addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// The bits that all its addresses share, counted from the left.
    bits: u32,
}

impl Network {
    /// True if the address is in the network.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (own, width) = number(self.address);
        let (other, other_width) = number(address.to_canonical());
        width == other_width && own == other & mask(self.bits, width)
    }
}

/// The address as a number, and its bits.
fn number(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (u32::from(address).into(), 32),
        IpAddr::V6(address) => (address.into(), 128),
    }
}

/// The leftmost `bits` of `width` bits.
fn mask(bits: u32, width: u32) -> u128 {
    let all = u128::MAX >> (128 - width);
    all & !(u128::MAX.checked_shr(128 - width + bits).unwrap_or(0))
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected networks or addresses, as in 10.0.3.0/24,::1".to_owned();
        let (address, bits) = match text.trim().split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u32>().map_err(|_| wrong())?)),
            None => (text.trim(), None),
        };
        let address = address.parse::<IpAddr>().map_err(|_| wrong())?;
        let mapped = matches!(address, IpAddr::V6(_)) && matches!(address.to_canonical(), IpAddr::V4(_));
        if mapped && bits.is_some() {
            return Err("write a network of IPv4 in its own notation, as in 10.0.3.0/24".to_owned());
        }
        let address = address.to_canonical();
        let (own, width) = number(address);
        let bits = bits.unwrap_or(width);
        if bits == 0 {
            return Err("a network of 0 bits has every address; name smaller ones".to_owned());
        }
        if bits > width {
            return Err(wrong());
        }
        if own & !mask(bits, width) != 0 {
            return Err(format!(
                "the address has more than {bits} bits; write the first one of the network"
            ));
        }
        Ok(Self { address, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(network: &str, address: &str) -> bool {
        let network: Network = network.parse().unwrap();
        network.contains(address.parse().unwrap())
    }

    #[test]
    fn a_network_contains_the_addresses_that_begin_as_it_does() {
        for (network, address) in [
            ("10.0.3.0/24", "10.0.3.255"),
            ("10.0.3.0/24", "::ffff:10.0.3.1"),
            ("128.0.0.0/1", "255.0.0.1"),
            ("127.0.0.1", "127.0.0.1"),
            ("::ffff:127.0.0.1", "127.0.0.1"),
            ("2001:db8::/32", "2001:db8:ffff::1"),
            ("8000::/1", "ffff::"),
            ("::1", "::1"),
        ] {
            assert!(contains(network, address), "{address} in {network}");
        }
        for (network, address) in [
            ("10.0.3.0/24", "10.0.4.0"),
            ("10.0.3.0/24", "::10.0.3.1"),
            ("127.0.0.1", "127.0.0.2"),
            ("128.0.0.0/1", "127.0.0.1"),
            ("::1", "127.0.0.1"),
            ("::1", "::2"),
            ("2001:db8::/32", "2001:db9::"),
        ] {
            assert!(!contains(network, address), "{address} in {network}");
        }
    }

    #[test]
    fn a_text_that_is_no_network_or_has_every_address_is_refused() {
        for (text, why) in [
            ("", "as in"),
            ("proxy", "as in"),
            ("10.0.0.0/33", "as in"),
            ("10.0.0.0/-1", "as in"),
            ("10.0.0/8", "as in"),
            ("::/129", "as in"),
            ("10.0.0.7/8", "more than 8 bits"),
            ("2001:db8::1/64", "more than 64 bits"),
            ("0.0.0.0/0", "every address"),
            ("::/0", "every address"),
            ("::ffff:0.0.0.0/96", "own notation"),
        ] {
            let error = text.parse::<Network>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert_eq!("::1".parse::<Network>().unwrap().to_string(), "::1/128");
    }
}
