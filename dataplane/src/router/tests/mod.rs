//! The router as its neighbours see it. Packets are built and read by etherparse, which knows nothing of our code.

mod errors;
mod forwarding;
mod hostile;
mod neighbours;
mod services;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use etherparse::{IpNumber, Ipv4Header, Ipv6Header, PacketBuilder};

use super::{InterfaceAddress, InterfaceConfig, RouteConfig, Router, RouterConfig};
use crate::drops::DropReason;
use crate::forward::{Forward, Outputs};
use crate::frame::Burst;
use crate::pool::Pool;
use crate::port::Counters;
use crate::units::{Mac, Nanos, PortId};
use crate::wire::ndisc::{Kind, Message};

/// A station next to the router.
#[derive(Clone, Copy)]
pub struct Host {
    port: u16,
    mac: Mac,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
}

/// The router's two interfaces: 10.0.0.1/24 and 2001:db8::1/64 at port 0, 10.0.1.1/24 and 2001:db8:1::1/64 at port 1,
/// whose MTU is 1400.
const R0: Host = host(0, 1, [10, 0, 0, 1], [0x2001, 0xdb8, 0, 1]);
const R1: Host = host(1, 2, [10, 0, 1, 1], [0x2001, 0xdb8, 1, 1]);
/// A host at port 0.
const A: Host = host(0, 0xa, [10, 0, 0, 2], [0x2001, 0xdb8, 0, 2]);
/// A host at port 1.
const B: Host = host(1, 0xb, [10, 0, 1, 2], [0x2001, 0xdb8, 1, 2]);
/// The gateway at port 1 to 10.2.0.0/16 and 2001:db8:2::/48.
const GATEWAY: Host = host(1, 0xfe, [10, 0, 1, 254], [0x2001, 0xdb8, 1, 0xfe]);
/// A host behind it.
const FAR: Host = host(1, 0xfe, [10, 2, 3, 4], [0x2001, 0xdb8, 2, 9]);

const fn host(port: u16, mac: u8, v4: [u8; 4], v6: [u16; 4]) -> Host {
    Host {
        port,
        mac: Mac([2, 0, 0, 0, 0, mac]),
        v4: Ipv4Addr::new(v4[0], v4[1], v4[2], v4[3]),
        v6: Ipv6Addr::new(v6[0], v6[1], v6[2], 0, 0, 0, 0, v6[3]),
    }
}

fn network(r: Host, mtu: u16) -> InterfaceConfig {
    let v4 = InterfaceAddress { address: r.v4.into(), length: 24 };
    let v6 = InterfaceAddress { address: r.v6.into(), length: 64 };
    InterfaceConfig { mac: r.mac, mtu, addresses: vec![v4, v6] }
}

fn config() -> RouterConfig {
    let route = |text: &str| text.parse::<RouteConfig>().unwrap();
    RouterConfig {
        interfaces: vec![network(R0, 1500), network(R1, 1400)],
        routes: vec![route("10.2.0.0/16,via=10.0.1.254"), route("2001:db8:2::/48,via=2001:db8:1::fe")],
    }
}

/// What left: port and bytes.
type Sent = Vec<(u16, Vec<u8>)>;

/// A router with what it needs around it. When it goes, no frame may be lost.
struct Lab {
    pool: Pool,
    out: Outputs,
    counters: Vec<Arc<Counters>>,
    router: Router,
    now: Nanos,
    chunks: usize,
}

impl Lab {
    /// A router that knows nobody.
    fn new() -> Self {
        let pool = Pool::new(1024).unwrap();
        let counters: Vec<Arc<Counters>> = (0..2).map(|_| Arc::default()).collect();
        let chunks = pool.available();
        let out = Outputs::new(counters.clone());
        let router = Router::new(config()).unwrap();
        Self { pool, out, counters, router, now: Nanos::from_secs(1000), chunks }
    }

    /// A router that knows its neighbours.
    fn met() -> Self {
        let mut lab = Self::new();
        for host in [A, B, GATEWAY] {
            assert_eq!(lab.feed(host.port, &arp_request(host, own(host).v4)).len(), 1);
            assert_eq!(lab.feed(host.port, &solicitation(host, own(host).v6)).len(), 1);
        }
        lab
    }

    /// One frame comes in at a port; what leaves.
    fn feed(&mut self, port: u16, frame: &[u8]) -> Sent {
        let mut burst = Burst::new();
        burst.push(self.pool.frame_from(frame).unwrap());
        self.router.forward(&mut self.pool, PortId(port), &mut burst, &mut self.out, self.now);
        assert!(burst.is_empty());
        self.sent()
    }

    /// Time passes; what leaves.
    fn pass(&mut self, span: Nanos) -> Sent {
        self.now = self.now.plus(span);
        self.router.tick(&mut self.pool, &mut self.out, self.now);
        self.sent()
    }

    fn sent(&mut self) -> Sent {
        self.out.take_all(&mut self.pool)
    }

    fn drops(&self, port: u16) -> Vec<(DropReason, u64)> {
        self.counters[usize::from(port)].drops.nonzero().collect()
    }

    /// One frame comes in at a port, and only this comes of it.
    fn dropped(&mut self, port: u16, frame: &[u8], reason: DropReason) {
        let before = self.counters[usize::from(port)].drops.get(reason);
        let total = self.counters[usize::from(port)].drops.total();
        assert_eq!(self.feed(port, frame), []);
        let after = &self.counters[usize::from(port)].drops;
        assert_eq!((after.get(reason), after.total()), (before + 1, total + 1), "{reason:?}: {:?}", self.drops(port));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // Long enough for an error about a frame that waited in vain to wait in vain itself.
        for _ in 0..10 {
            self.pass(Nanos::from_secs(1));
        }
        assert_eq!(self.pool.available(), self.chunks, "frames were lost");
    }
}

/// The router's interface that a host sees.
fn own(host: Host) -> Host {
    if host.port == 0 { R0 } else { R1 }
}

fn ethernet(to: Mac, from: Mac, ethertype: u16, packet: &[u8]) -> Vec<u8> {
    let mut frame = [&to.0[..], &from.0, &ethertype.to_be_bytes(), packet].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

fn arp_request(from: Host, target: Ipv4Addr) -> Vec<u8> {
    arp(Mac::BROADCAST, from.mac, 1, (from.mac, from.v4), (Mac::default(), target))
}

fn arp(to: Mac, from: Mac, operation: u8, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    let (s, t) = (sender, target);
    let head = [0, 1, 8, 0, 6, 4, 0, operation];
    let packet = [&head[..], &s.0.0, &s.1.octets(), &t.0.0, &t.1.octets()].concat();
    ethernet(to, from, 0x0806, &packet)
}

/// A host asks for an address by its solicited-node group.
fn solicitation(from: Host, target: Ipv6Addr) -> Vec<u8> {
    let group = crate::wire::ndisc::solicited_node(target);
    let message = Message::emit(Kind::Solicitation, target, from.mac, from.v6, group);
    ethernet(crate::wire::ndisc::multicast_mac(group), from.mac, 0x86dd, &icmpv6(from.v6, group, 255, &message))
}

fn icmpv6(source: Ipv6Addr, destination: Ipv6Addr, hop_limit: u8, message: &[u8]) -> Vec<u8> {
    ipv6(source, destination, hop_limit, 58, message)
}

fn ipv6(source: Ipv6Addr, destination: Ipv6Addr, hop_limit: u8, next: u8, payload: &[u8]) -> Vec<u8> {
    let header = Ipv6Header {
        traffic_class: 0,
        flow_label: Default::default(),
        payload_length: payload.len() as u16,
        next_header: IpNumber(next),
        hop_limit,
        source: source.octets(),
        destination: destination.octets(),
    };
    [&header.to_bytes()[..], payload].concat()
}

/// The header of a packet without options.
fn header_v4(source: Ipv4Addr, destination: Ipv4Addr, ttl: u8, protocol: u8, payload: usize) -> Ipv4Header {
    let mut header =
        Ipv4Header::new(payload as u16, ttl, IpNumber(protocol), source.octets(), destination.octets()).unwrap();
    header.dont_fragment = false;
    header.identification = 0x1234;
    header
}

fn ipv4(mut header: Ipv4Header, payload: &[u8]) -> Vec<u8> {
    header.header_checksum = header.calc_header_checksum();
    [&header.to_bytes()[..], payload].concat()
}

/// A UDP packet of `len` bytes of data in a frame from a host to the router.
fn udp(from: Host, to: IpAddr, ttl: u8, len: usize) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(from.mac.0, own(from).mac.0);
    let builder = match to {
        IpAddr::V4(to) => {
            builder.ip(etherparse::IpHeaders::Ipv4(header_v4(from.v4, to, ttl, 17, 0), Default::default()))
        }
        IpAddr::V6(to) => builder.ipv6(from.v6.octets(), to.octets(), ttl),
    };
    let mut frame = Vec::new();
    let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
    builder.udp(4000, 33434).write(&mut frame, &payload).unwrap();
    frame.resize(frame.len().max(60), 0);
    frame
}

/// A frame to a host from the router.
fn to_host(host: Host, ethertype: u16, packet: &[u8]) -> (u16, Vec<u8>) {
    (host.port, ethernet(host.mac, own(host).mac, ethertype, packet))
}
