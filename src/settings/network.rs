//! An IP network in CIDR notation (RFC 4632 §3.1, RFC 4291 §2.3), as a list of trusted proxies names them.
//!
//! Leaves out: names of hosts. A proxy is trusted by its address alone.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network such as `10.0.0.0/8` or `fd00::/8`; a lone address is a network of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u8,
}

impl Network {
    /// Whether the address lies in this network.
    ///
    /// An IPv4 address that a dual-stack socket reports as `::ffff:a.b.c.d` counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => masked_v4(address, self.prefix_bits) == network,
            (IpAddr::V6(network), IpAddr::V6(address)) => masked_v6(address, self.prefix_bits) == network,
            _ => false,
        }
    }

    /// Length of the prefix in bits; 0 means every address of the family.
    #[must_use]
    pub fn prefix_bits(&self) -> u8 {
        self.prefix_bits
    }
}

/// The address with all bits behind the prefix cleared.
fn masked_v4(address: Ipv4Addr, prefix_bits: u8) -> Ipv4Addr {
    // A shift by the full width is what `checked_shl` refuses: the mask of /0 has no bit set.
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix_bits)).unwrap_or(0);
    Ipv4Addr::from_bits(address.to_bits() & mask)
}

/// The address with all bits behind the prefix cleared.
fn masked_v6(address: Ipv6Addr, prefix_bits: u8) -> Ipv6Addr {
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix_bits)).unwrap_or(0);
    Ipv6Addr::from_bits(address.to_bits() & mask)
}

impl FromStr for Network {
    type Err = String;

    /// Reads `address/bits` or a lone address. The error is a sentence that names the text.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} isn't a network such as 10.0.0.0/8 or fd00::/8");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        // Addresses are compared in canonical form, so a network of mapped addresses would never match.
        if address != address.to_canonical() {
            return Err(format!("{text:?} is an IPv4 network in IPv6 form; write it as IPv4"));
        }
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match bits {
            None => width,
            Some(bits) if bits.is_empty() || !bits.bytes().all(|b| b.is_ascii_digit()) => return Err(wrong()),
            Some(bits) => match bits.parse::<u8>() {
                Ok(bits) if bits <= width => bits,
                _ => return Err(format!("{text:?} has a prefix longer than {width} bits")),
            },
        };
        let base = match address {
            IpAddr::V4(address) => IpAddr::V4(masked_v4(address, prefix_bits)),
            IpAddr::V6(address) => IpAddr::V6(masked_v6(address, prefix_bits)),
        };
        // Bits behind the prefix are a slip (a host where a network was meant, or a wrong length).
        if base != address {
            return Err(format!("{text:?} has bits behind its prefix; did you mean \"{base}/{prefix_bits}\"?"));
        }
        Ok(Self { address, prefix_bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.address, self.prefix_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    fn holds(text: &str, address: &str) -> bool {
        network(text).contains(address.parse().unwrap())
    }

    #[test]
    fn holds_its_addresses_and_no_others() {
        assert!(holds("10.0.0.0/8", "10.255.0.1"));
        assert!(!holds("10.0.0.0/8", "11.0.0.0"));
        assert!(holds("192.168.4.0/23", "192.168.5.255"));
        assert!(!holds("192.168.4.0/23", "192.168.6.0"));
        assert!(holds("fd00::/8", "fdab::1"));
        assert!(!holds("fd00::/8", "fe80::1"));
        assert!(holds("2001:db8::/33", "2001:db8:7fff::"));
        assert!(!holds("2001:db8::/33", "2001:db8:8000::"));
    }

    #[test]
    fn a_lone_address_is_a_network_of_one() {
        assert!(holds("127.0.0.1", "127.0.0.1"));
        assert!(!holds("127.0.0.1", "127.0.0.2"));
        assert!(holds("::1", "::1"));
        assert!(!holds("::1", "::2"));
        assert_eq!(network("::1").to_string(), "::1/128");
    }

    #[test]
    fn zero_bits_hold_the_whole_family_and_not_the_other() {
        assert!(holds("0.0.0.0/0", "255.1.2.3"));
        assert!(!holds("0.0.0.0/0", "2001:db8::1"));
        assert!(holds("::/0", "2001:db8::1"));
        assert!(!holds("::/0", "10.0.0.1"));
    }

    #[test]
    fn an_ipv4_address_of_a_dual_stack_socket_is_ipv4() {
        assert!(holds("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(!holds("::/0", "::ffff:10.1.2.3"));
    }

    #[test]
    fn refuses_what_is_no_network() {
        for text in ["", "/8", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0.0/+8", "10.0.0/8", "proxy", "10.0.0.0/8/8"]
        {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        assert!("10.1.2.3/8".parse::<Network>().unwrap_err().contains("10.0.0.0/8"));
        assert!("::ffff:10.0.0.0/104".parse::<Network>().unwrap_err().contains("IPv4"));
    }
}
