//! What all packets of a flow share, as a number: of several ways to a destination it chooses one.
//!
//! A flow is what has the same addresses, protocol and ports (RFC 2992). Fragments have no ports but the first, so for
//! them, and for what is neither TCP nor UDP nor SCTP, addresses and protocol are all. The numbers differ from router to
//! router, or else the next one would send everything that it gets of us the same way.

use crate::wire::field::get;
use crate::wire::{ipv4, ipv6};

const SCTP: u8 = 132;
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

#[inline]
const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, ipv4::TCP | ipv4::UDP | SCTP)
}

#[inline]
fn mix(seed: u64, word: u64) -> u64 {
    let product = u128::from(seed ^ word) * u128::from(SPREAD);
    product as u64 ^ (product >> 64) as u64
}

/// Of an IPv4 packet that has a whole header.
#[inline]
pub(crate) fn v4(packet: &[u8], seed: u64) -> u32 {
    let Some(header) = packet.first_chunk::<{ ipv4::HEADER }>() else { return 0 };
    let protocol = header[ipv4::field::PROTOCOL];
    let addresses = u64::from_ne_bytes(get::<{ ipv4::field::SOURCE }, 8, _>(header));
    let fragment = u16::from_be_bytes(get::<{ ipv4::field::FRAGMENT }, 2, _>(header)) & (ipv4::MF | ipv4::OFFSET) != 0;
    let at = usize::from(header[ipv4::field::VERSION_IHL] & 0xf) * 4;
    let ports = match has_ports(protocol) && !fragment {
        true => packet.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default(),
        false => [0; 4],
    };
    mix(mix(seed, addresses), u64::from(u32::from_ne_bytes(ports)) << 8 | u64::from(protocol)) as u32
}

/// Of an IPv6 packet that has a whole header. Ports behind extension headers are not looked for.
#[inline]
pub(crate) fn v6(packet: &[u8], seed: u64) -> u32 {
    let Some(header) = packet.first_chunk::<{ ipv6::HEADER }>() else { return 0 };
    let protocol = header[ipv6::field::NEXT];
    let source = u128::from_ne_bytes(get::<{ ipv6::field::SOURCE }, 16, _>(header));
    let destination = u128::from_ne_bytes(get::<{ ipv6::field::DESTINATION }, 16, _>(header));
    let ports = match has_ports(protocol) {
        true => packet.get(ipv6::HEADER..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default(),
        false => [0; 4],
    };
    let mut hash = mix(seed, source as u64);
    for word in [(source >> 64) as u64, destination as u64, (destination >> 64) as u64] {
        hash = mix(hash, word);
    }
    mix(hash, u64::from(u32::from_ne_bytes(ports)) << 8 | u64::from(protocol)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp(source: u8, port: u8, fragment: u16) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, source, 10, 0, 1, 1];
        packet[6..8].copy_from_slice(&fragment.to_be_bytes());
        packet.extend([0x10, port, 0, 53, 0, 8, 0, 0]);
        packet
    }

    #[test]
    fn flows_spread_and_keep_together() {
        let hops: Vec<u32> = (0..=255).map(|port| v4(&udp(1, port, 0), 7) >> 30).collect();
        let counts = [0, 1, 2, 3].map(|hop| hops.iter().filter(|&&h| h == hop).count());
        assert!(counts.iter().all(|&n| n > 35), "{counts:?}");
        let mut older = udp(1, 1, 0);
        older[8] = 3;
        older[4] = 9;
        assert_eq!(v4(&older, 7), v4(&udp(1, 1, 0), 7), "neither time to live nor identification");
        assert_ne!(v4(&udp(1, 1, 0), 7), v4(&udp(1, 1, 0), 8), "each router its own");
        assert_eq!(v4(&udp(1, 1, ipv4::MF), 7), v4(&udp(1, 2, 5), 7), "fragments go one way");
        assert_eq!(v4(&[0x45], 7), 0);
        let mut six = vec![0; 48];
        six[6] = 6;
        let other = {
            let mut p = six.clone();
            p[41] = 1;
            p
        };
        assert_ne!(v6(&six, 7), v6(&other, 7));
        six[6] = 44;
        let other = {
            let mut p = six.clone();
            p[41] = 1;
            p
        };
        assert_eq!(v6(&six, 7), v6(&other, 7), "a fragment header is no ports");
    }
}
