//! Which addresses of the internet the server may be sent to by others (RFC 9700 has no section for it; the lists are
//! IANA's special-purpose address registries, RFC 6890 and those that update it).
//!
//! A pure function of the address. It judges the address that is connected to, after the name was resolved; names are not
//! judged at all, for a name says nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address belongs to the internet at large, where anybody may be.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// Networks of IPv4 that aren't the internet at large: first address, bits of the prefix.
const SPECIAL_V4: [(Ipv4Addr, u32); 17] = [
    // RFC 791 §3.2: this network.
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    // RFC 1918: private.
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    // RFC 6598: shared by a carrier's customers. One cloud's metadata service is in here.
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    // RFC 1122 §3.2.1.3: loopback.
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // RFC 3927: link-local. The metadata services of most clouds are in here.
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    // RFC 6890 §2.1: protocol assignments. One cloud's metadata service is in here.
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    // RFC 5737: documentation.
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // RFC 7526: relays of 6to4, given up.
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    // RFC 2544: measuring.
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    // RFC 5771: multicast.
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    // RFC 1112 §4: reserved, and the broadcast address.
    (Ipv4Addr::new(240, 0, 0, 0), 4),
    // RFC 7534, RFC 7535: sinks of reverse look-ups; nobody serves documents there.
    (Ipv4Addr::new(192, 31, 196, 0), 24),
    // A public address that one cloud answers inside its machines, with their secrets.
    (Ipv4Addr::new(168, 63, 129, 16), 32),
];

fn is_public_v4(address: Ipv4Addr) -> bool {
    let bits = address.to_bits();
    !SPECIAL_V4.iter().any(|(network, prefix)| (bits ^ network.to_bits()).leading_zeros() >= *prefix)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let bits = address.to_bits();
    let in_network =
        |network: [u16; 8], prefix: u32| (bits ^ Ipv6Addr::from(network).to_bits()).leading_zeros() >= prefix;
    let embedded = |shift: u32| is_public_v4(Ipv4Addr::from_bits((bits >> shift) as u32));
    // RFC 4291 §2.5.5.2: the system connects to the IPv4 address inside.
    if in_network([0, 0, 0, 0, 0, 0xffff, 0, 0], 96) {
        return embedded(0);
    }
    // RFC 6052 §2.1: a translator (NAT64) connects to the IPv4 address inside.
    if in_network([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96) {
        return embedded(0);
    }
    // RFC 3056 §2: 6to4 goes to the IPv4 address inside.
    if in_network([0x2002, 0, 0, 0, 0, 0, 0, 0], 16) {
        return embedded(80);
    }
    // RFC 5214 §6.1: ISATAP goes to the IPv4 address in the lower half, under any prefix.
    if matches!(bits >> 32 & 0xffff_ffff, 0x0000_5efe | 0x0200_5efe) {
        return embedded(0) && in_network([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);
    }
    // RFC 4291 §2.4: global unicast as IANA gives it out; all else (loopback, link-local, unique local, multicast, the
    // translator's local prefix of RFC 8215, the discard prefix, segment routing) lies outside.
    in_network([0x2000, 0, 0, 0, 0, 0, 0, 0], 3)
        // RFC 2928: protocol assignments, Teredo, ORCHID and benchmarking among them.
        && !in_network([0x2001, 0, 0, 0, 0, 0, 0, 0], 23)
        // RFC 3849, RFC 9637: documentation.
        && !in_network([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32)
        && !in_network([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20)
        // RFC 7534: sinks of reverse look-ups.
        && !in_network([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn public(text: &str) -> bool {
        is_public(text.parse().unwrap())
    }

    #[test]
    fn the_internet_at_large() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "191.255.255.255",
            "192.0.1.0",
            "192.0.3.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "203.0.112.255",
            "203.0.114.0",
            "223.255.255.255",
            "168.63.129.15",
            "2606:4700:4700::1111",
            "2a00:1450:4001:81b::200e",
            "2001:4860:4860::8888",
            "2620:fe::fe",
            "2003::1",
            "3ffe::1",
            // The embedded address is public.
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
            "2a00::5efe:8.8.8.8",
        ] {
            assert!(public(address), "{address}");
        }
    }

    #[test]
    fn what_is_near_us_or_nowhere() {
        for address in [
            // This network, private, carrier, loopback, link-local.
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.0.1",
            "172.16.0.0",
            "172.31.255.255",
            "192.168.0.0",
            "192.168.255.255",
            // Metadata services.
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "192.0.0.192",
            "168.63.129.16",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fe80::a9fe:a9fe",
            // Documentation, measuring, sinks, multicast, reserved, broadcast.
            "192.0.2.1",
            "198.51.100.7",
            "203.0.113.255",
            "198.18.0.1",
            "198.19.255.255",
            "192.88.99.1",
            "192.31.196.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            // IPv6: unspecified, loopback, link-local, site-local, unique local, multicast, discard, segment routing.
            "::",
            "::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "fc00::1",
            "fdff:ffff::1",
            "ff02::1",
            "ff0e::1",
            "100::1",
            "5f00::1",
            // Documentation, Teredo, ORCHID, benchmarking, the translator's local prefix, sinks.
            "2001:db8::1",
            "3fff::1",
            "2001::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:20::1",
            "2001:2::1",
            "64:ff9b:1::a00:1",
            "2620:4f:8000::1",
            // An IPv4 address inside: mapped, compatible, translated, 6to4, ISATAP.
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0.0.0.0",
            "::127.0.0.1",
            "::8.8.8.8",
            "::ffff:0:127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::10.0.0.1",
            "2002:7f00:1::1",
            "2002:a00:1::1",
            "2002:a9fe:a9fe::",
            "2002:c0a8:101::5",
            "2a00::5efe:10.0.0.1",
            "2a00::200:5efe:127.0.0.1",
        ] {
            assert!(!public(address), "{address}");
        }
    }

    proptest! {
        /// However an IPv4 address is dressed up, it is judged as what it is; and the standard library's own words agree.
        #[test]
        fn an_ipv4_address_in_another_dress_is_judged_as_it_is(bits: u32, subnet: u16, host: u64) {
            let plain = Ipv4Addr::from_bits(bits);
            let expected = is_public(plain.into());
            prop_assert_eq!(is_public(plain.to_ipv6_mapped().into()), expected);
            let [high, low] = [(bits >> 16) as u16, bits as u16];
            prop_assert_eq!(is_public(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low).into()), expected);
            let lower = host.to_be_bytes();
            let part = |at: usize| u16::from_be_bytes([lower[at], lower[at + 1]]);
            let six = Ipv6Addr::new(0x2002, high, low, subnet, part(0), part(2), part(4), part(6));
            prop_assert_eq!(is_public(six.into()), expected);
            if plain.is_private() || plain.is_loopback() || plain.is_link_local() || plain.is_multicast()
                || plain.is_broadcast() || plain.is_documentation() || plain.is_unspecified()
            {
                prop_assert!(!expected, "{plain}");
            }
        }

        #[test]
        fn the_standard_library_agrees_on_ipv6(bits: u128) {
            let address = Ipv6Addr::from_bits(bits);
            if address.is_loopback() || address.is_multicast() || address.is_unspecified() || address.is_unique_local()
                || address.is_unicast_link_local()
            {
                prop_assert!(!is_public(address.into()), "{address}");
            }
        }
    }
}
