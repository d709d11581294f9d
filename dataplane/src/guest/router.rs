//! A software router: IPv4 and IPv6, static routes, ARP and neighbour discovery, and the ICMP errors a router owes.
//!
//! Two ways through it. The *fast path* takes a packet that needs nothing but forwarding: for our Ethernet address,
//! an honest header without options, time to live left, and a destination that the cache knows. It
//! reads and writes one cache line or two of the frame and no table but the cache. The *slow path* takes everything
//! else and decides alone what is right: the fast path never forwards what the slow one would not.
//!
//! It follows RFC 1812, RFC 4861, RFC 4443 and RFC 8200. Left out, on purpose: redirects, router advertisements,
//! duplicate address detection, multicast forwarding and MLD, reassembly (echo requests in fragments are answered in
//! fragments), and checks of the source against the routes.

use std::hash::{BuildHasher, RandomState};

use super::cache::RouteCache;
use super::config::build;
pub use super::config::{InterfaceAddress, InterfaceConfig, RouteConfig, RouterConfig, RouterError};
use super::icmp::{EchoFragments, Limiter};
use super::interface::Interface;
use super::link;
use super::neighbour::Neighbours;
use super::routes::Routes;
use crate::drops::DropReason;
use crate::forward::{Forward, Outputs};
use crate::frame::{Burst, ETHERNET_HEADER, Frame};
use crate::pool::Pool;
use crate::units::{Mac, Nanos, PortId};
use crate::wire::field::{get, get16, get32};
use crate::wire::{checksum, ipv4, ipv6};

/// How long the caches are believed at most. It bounds how late the router learns that a neighbour is still in use.
const REFRESH: Nanos = Nanos::from_secs(1);
/// How often an interface that came up tells its addresses (RFC 5227, ANNOUNCE_NUM).
const ANNOUNCEMENTS: u8 = 2;
/// Between two of these. RFC 4861 asks for a second at least.
const ANNOUNCE_INTERVAL: Nanos = Nanos::from_secs(1);

/// A router. Its ports are its interfaces, in order.
pub struct Router {
    pub(super) interfaces: Box<[Interface]>,
    pub(super) routes: Routes,
    pub(super) neighbours: Neighbours,
    pub(super) cache_v4: RouteCache<u32>,
    pub(super) cache_v6: RouteCache<u128>,
    pub(super) limiter: Limiter,
    pub(super) echo: EchoFragments,
    /// Identification of the next IPv4 packet of our own.
    pub(super) ident: u16,
    refresh_at: Nanos,
}

/// One frame's way through the slow path: where it came in, when, and what it may touch.
pub(super) struct Io<'a> {
    pub pool: &'a mut Pool,
    pub out: &'a mut Outputs,
    pub input: PortId,
    pub now: Nanos,
}

impl Io<'_> {
    pub fn drop(&mut self, frame: Frame, reason: DropReason) {
        self.out.drop(self.pool, self.input, frame, reason);
    }
}

impl Router {
    /// A router as `config` describes it, knowing no neighbour yet.
    ///
    /// # Errors
    /// The first thing in `config` that cannot be.
    pub fn new(config: RouterConfig) -> Result<Self, RouterError> {
        let (interfaces, routes) = build(&config)?;
        let seed = |n: u64| RandomState::new().hash_one(n);
        Ok(Self {
            interfaces,
            routes,
            neighbours: Neighbours::new(seed(1)),
            cache_v4: RouteCache::new(seed(2)),
            cache_v6: RouteCache::new(seed(3)),
            limiter: Limiter::new(seed(4)),
            echo: EchoFragments::default(),
            ident: 0,
            refresh_at: Nanos(0),
        })
    }

    /// Forwards a frame in place if that is all it needs; says through which port.
    #[inline]
    fn fast(&self, pool: &mut Pool, frame: &mut Frame, own: u64) -> Option<PortId> {
        let len = frame.len() - ETHERNET_HEADER.min(frame.len());
        let (ether, packet) = pool.head_mut(frame).split_first_chunk_mut::<ETHERNET_HEADER>()?;
        if u64::from_le_bytes(get::<0, 8, _>(ether)) & STATION != own {
            return None;
        }
        let hop = match get16::<12, _>(ether) {
            link::IPV4 => {
                let header = packet.first_chunk_mut::<{ ipv4::HEADER }>()?;
                let total = usize::from(get16::<{ ipv4::field::LENGTH }, _>(header));
                let honest = header[ipv4::field::VERSION_IHL] == 0x45
                    && (ipv4::HEADER..=len).contains(&total)
                    && header[ipv4::field::TTL] > 1
                    && checksum::holds(header);
                if !honest || ipv4::is_martian_source(get32::<{ ipv4::field::SOURCE }, _>(header)) {
                    return None;
                }
                let hop = self.cache_v4.get(get32::<{ ipv4::field::DESTINATION }, _>(header))?;
                if len > usize::from(hop.mtu) {
                    return None;
                }
                ipv4::decrement_ttl(header);
                hop
            }
            link::IPV6 => {
                let header = packet.first_chunk_mut::<{ ipv6::HEADER }>()?;
                let total = ipv6::HEADER + usize::from(get16::<{ ipv6::field::LENGTH }, _>(header));
                let honest = header[0] >> 4 == 6
                    && total <= len
                    && header[ipv6::field::HOP_LIMIT] > 1
                    && header[ipv6::field::NEXT] != ipv6::HOP_BY_HOP;
                if !honest || !is_plain_source(u64::from_be_bytes(get::<{ ipv6::field::SOURCE }, 8, _>(header))) {
                    return None;
                }
                let key = u128::from_be_bytes(get::<{ ipv6::field::DESTINATION }, 16, _>(header));
                let hop = self.cache_v6.get(key)?;
                if len > usize::from(hop.mtu) {
                    return None;
                }
                header[ipv6::field::HOP_LIMIT] -= 1;
                hop
            }
            _ => return None,
        };
        ether[..12].copy_from_slice(&hop.addresses);
        Some(hop.port)
    }

    /// Decides about a frame that needs more than forwarding, or whose destination is not in the cache.
    #[inline(never)]
    fn slow(&mut self, io: &mut Io<'_>, frame: Frame) {
        let Some(header) = link::parse(io.pool.head(&frame)) else {
            return io.drop(frame, DropReason::Runt);
        };
        let to_us = header.destination == self.interfaces[io.input.index()].mac;
        if !to_us && !header.destination.is_group() {
            return io.drop(frame, DropReason::NotForUs);
        }
        match header.ethertype {
            link::IPV4 => self.input_v4(io, frame, to_us),
            link::IPV6 => self.input_v6(io, frame, to_us),
            link::ARP => self.input_arp(io, frame, to_us),
            _ => io.drop(frame, DropReason::NotForUs),
        }
    }

    /// Whether every interface has a port to send to; else nothing can be done.
    fn fits(&self, out: &Outputs) -> bool {
        self.interfaces.len() <= out.ports()
    }
}

/// The six bytes of an address in the low bits of a little-endian word.
const STATION: u64 = (1 << 48) - 1;

fn station(mac: Mac) -> u64 {
    mac.as_u64().swap_bytes() >> 16
}

/// Whether an IPv6 source with these upper 64 bits is neither multicast, nor link-local, nor among the addresses with a
/// special meaning (all of which begin with 64 zero bits).
#[inline]
const fn is_plain_source(high: u64) -> bool {
    high != 0 && high >> 56 != 0xff && high >> 54 != 0xfe80 >> 6
}

impl Forward for Router {
    fn forward(&mut self, pool: &mut Pool, input: PortId, burst: &mut Burst, out: &mut Outputs, now: Nanos) {
        let interface = self.interfaces.get(input.index()).filter(|_| self.fits(out));
        let Some(own) = interface.map(|interface| station(interface.mac)) else {
            for frame in burst.drain(..) {
                out.drop(pool, input, frame, DropReason::NoOutput);
            }
            return;
        };
        for mut frame in burst.drain(..) {
            match self.fast(pool, &mut frame, own) {
                Some(port) => out.send(port, frame),
                None => self.slow(&mut Io { pool, out, input, now }, frame),
            }
        }
    }

    fn tick(&mut self, pool: &mut Pool, out: &mut Outputs, now: Nanos) {
        if !self.fits(out) {
            return;
        }
        if now >= self.refresh_at {
            self.forget();
            self.refresh_at = now.plus(REFRESH);
        }
        let io = &mut Io { pool, out, input: PortId(0), now };
        for index in 0..self.interfaces.len() {
            io.input = PortId(index as u16);
            let interface = &mut self.interfaces[index];
            let up = io.out.is_up(io.input);
            if up && !interface.up {
                (interface.announcements, interface.announce_at) = (ANNOUNCEMENTS, now);
            }
            interface.up = up;
            if up && interface.announcements > 0 && now >= interface.announce_at {
                interface.announcements -= 1;
                interface.announce_at = now.plus(ANNOUNCE_INTERVAL);
                self.announce_v4(io);
                self.announce_v6(io);
            }
        }
        self.attend_neighbours(io);
    }
}
