//! A flow: UDP from one sender to one receiver, as the headers that its frames begin with.

use std::net::Ipv4Addr;

use pointsman_dataplane::units::Mac;

/// Most flows at a time; as in `traffic.bpf.c`.
pub const MAX_FLOWS: usize = 64;

/// Ethernet, IPv4 without options, UDP; as in `traffic.bpf.c`.
const HEADERS: usize = 42;

/// Flow `i` goes to this UDP port plus `i`; as in `traffic.bpf.c`.
pub(super) const PORT_FLOW_0: u16 = 9000;

/// The source port of frames that no trial counts; as in `traffic.bpf.c`. The program writes it, or the next one and the
/// checksum that goes with it.
const PORT_UNCOUNTED: u16 = 7000;

/// From whom to whom.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// The sender's address.
    pub source: Mac,
    /// The next hop's address.
    pub destination: Mac,
    /// The sender.
    pub from: Ipv4Addr,
    /// The receiver.
    pub to: Ipv4Addr,
}

impl Flow {
    /// The headers of the flow with this index, for frames of `length` bytes in memory (60 to 1514), padded with zeros.
    /// Time to live 64.
    pub fn headers(&self, index: usize, length: usize) -> [u8; 48] {
        let mut b = [0; 48];
        let total = length.saturating_sub(14) as u16;
        b[0..6].copy_from_slice(&self.destination.0);
        b[6..12].copy_from_slice(&self.source.0);
        b[12..14].copy_from_slice(&0x0800_u16.to_be_bytes());
        b[14] = 0x45;
        b[16..18].copy_from_slice(&total.to_be_bytes());
        b[20] = 0x40; // do not fragment
        b[22] = 64;
        b[23] = 17;
        b[26..30].copy_from_slice(&self.from.octets());
        b[30..34].copy_from_slice(&self.to.octets());
        let sum = checksum(&b[14..34]);
        b[24..26].copy_from_slice(&sum.to_be_bytes());
        b[34..36].copy_from_slice(&PORT_UNCOUNTED.to_be_bytes());
        b[36..38].copy_from_slice(&(PORT_FLOW_0 + index as u16).to_be_bytes());
        b[38..40].copy_from_slice(&(total - 20).to_be_bytes());
        // The pseudo-header: both addresses, the protocol, the length. All that follows is zero.
        let sum = match checksum(&[&b[26..42], &[0, 17], &b[38..40]].concat()) {
            0 => 0xffff,
            sum => sum,
        };
        b[40..42].copy_from_slice(&sum.to_be_bytes());
        debug_assert!(b[HEADERS..].iter().all(|&x| x == 0));
        b
    }
}

/// The Internet checksum (RFC 1071) of a header of even length.
fn checksum(header: &[u8]) -> u16 {
    let sum: u32 = header.chunks_exact(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOW: Flow = Flow {
        source: Mac([2, 0, 0, 0, 0, 1]),
        destination: Mac([2, 0, 0, 0, 0, 2]),
        from: Ipv4Addr::new(192, 168, 0, 1),
        to: Ipv4Addr::new(192, 168, 0, 199),
    };

    #[test]
    fn checksum_of_a_known_header() {
        // The example of RFC 1071's Wikipedia article: the field holds b861.
        let header = [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7];
        assert_eq!(checksum(&header), 0xb861);
    }

    #[test]
    fn headers_are_what_a_router_accepts() {
        for length in [60, 1514] {
            let b = FLOW.headers(3, length);
            assert_eq!(checksum(&b[14..34]), 0, "a header with its checksum sums to nothing");
            assert_eq!(usize::from(u16::from_be_bytes([b[16], b[17]])), length - 14);
            assert_eq!(usize::from(u16::from_be_bytes([b[38], b[39]])), length - 34);
            assert_eq!(u16::from_be_bytes([b[36], b[37]]), 9003);
            let datagram = [&b[26..42], &[0, 17], &b[38..40]].concat();
            assert_eq!(checksum(&datagram), 0, "and so does a datagram");
            assert_eq!(&b[0..6], &FLOW.destination.0);
            assert_eq!(&b[30..34], &[192, 168, 0, 199]);
        }
    }
}
