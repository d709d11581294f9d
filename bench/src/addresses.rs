//! The one address plan of all testbeds: every router has a side "in", where the senders are, and a side "out", where the
//! receivers are. All peers are given the same addresses, so that the same frames cross every one of them.

use std::net::Ipv4Addr;

use pointsman_dataplane::units::Mac;

/// Most virtual routers in one testbed.
pub const MAX_ROUTERS: usize = 8;

/// Length of the prefixes on both sides.
pub const PREFIX: u8 = 16;

/// The senders' device.
pub const GENERATOR_MAC: Mac = Mac([0x02, 0x50, 0x4d, 0x10, 0xff, 0]);
/// The senders' device.
pub const GENERATOR_IP: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 1);
/// The receivers' device.
pub const SINK_MAC: Mac = Mac([0x02, 0x50, 0x4d, 0x20, 0xff, 0]);

/// Sender `i`: one host each, as in the paper, though all behind the same device.
pub const fn sender_mac(i: usize) -> Mac {
    Mac([0x02, 0x50, 0x4d, 0x10, 0, i as u8])
}

/// Sender `i`.
pub const fn sender_ip(i: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 10, 1, 1 + i as u8)
}

/// Receiver `i`.
pub const fn receiver_ip(i: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 20, 1, 1 + i as u8)
}

/// Router `i`, towards the senders.
pub const fn router_in_mac(i: usize) -> Mac {
    Mac([0x02, 0x50, 0x4d, 0x01, 0, i as u8])
}

/// Router `i`, towards the senders.
pub const fn router_in_ip(i: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 10, 2, 1 + i as u8)
}

/// Router `i`, towards the receivers.
pub const fn router_out_mac(i: usize) -> Mac {
    Mac([0x02, 0x50, 0x4d, 0x02, 0, i as u8])
}

/// Router `i`, towards the receivers.
pub const fn router_out_ip(i: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 20, 2, 1 + i as u8)
}

/// End `end` (0 or 1) of pair `i` of memifs, on the circulating client's side.
pub const fn pair_mac(i: usize, end: usize) -> Mac {
    Mac([0x02, 0x50, 0x4d, 0x30, i as u8, end as u8])
}
