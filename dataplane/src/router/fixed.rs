//! A router with a handful of static routes, found through a cache of destinations: the virtual router of the benchmark.
//!
//! Its fast path reads and writes one cache line or two of a frame and no table but the cache.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, Ipv6Addr};

use super::cache::{Hop, RouteCache};
use super::config::build;
use super::punt::Policer;
use super::routes::Routes;
use super::{Io, Router, RouterConfig, RouterError, Routing, STATION, Target, fast, link, station};
use crate::drops::DropReason;
use crate::forward::{Forward, Outputs};
use crate::frame::{Burst, ETHERNET_HEADER, Frame};
use crate::pool::Pool;
use crate::rib::InterfaceId;
use crate::units::{Nanos, PortId};
use crate::wire::field::{get, get16, get32};
use crate::wire::{ipv4, ipv6};

/// How long the caches are believed at most. It bounds how late the router learns that a neighbour is still in use.
const REFRESH: Nanos = Nanos::from_secs(1);

/// Static routes, and where packets of the last second went.
pub struct Cached {
    routes: Routes,
    v4: RouteCache<u32>,
    v6: RouteCache<u128>,
    refresh_at: Nanos,
}

impl Routing for Cached {
    const MULTIPATH: bool = false;

    fn v4(&self, destination: Ipv4Addr, _flow: u32) -> Option<Target> {
        self.routes.v4(destination)
    }

    fn v6(&self, destination: Ipv6Addr, _flow: u32) -> Option<Target> {
        self.routes.v6(destination)
    }

    fn note_v4(&mut self, destination: Ipv4Addr, hop: Hop) {
        self.v4.put(destination.to_bits(), hop);
    }

    fn note_v6(&mut self, destination: Ipv6Addr, hop: Hop) {
        self.v6.put(destination.to_bits(), hop);
    }

    fn forget(&mut self) {
        self.v4.forget();
        self.v6.forget();
    }
}

impl Router<Cached> {
    /// A router as `config` describes it, whose interfaces are its worker's ports, in order.
    ///
    /// # Errors
    /// The first thing in `config` that cannot be.
    pub fn new(config: RouterConfig) -> Result<Self, RouterError> {
        let (interfaces, routes) = build(&config)?;
        let seed = |n: u64| RandomState::new().hash_one(n);
        let (v4, v6) = (RouteCache::new(seed(1)), RouteCache::new(seed(2)));
        Ok(Self::with(interfaces, Cached { routes, v4, v6, refresh_at: Nanos(0) }, Policer::none()))
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
                if !fast::is_plain_v4(header, len) {
                    return None;
                }
                let hop = self.routes.v4.get(get32::<{ ipv4::field::DESTINATION }, _>(header))?;
                if len > usize::from(hop.mtu) {
                    return None;
                }
                ipv4::decrement_ttl(header);
                hop
            }
            link::IPV6 => {
                let header = packet.first_chunk_mut::<{ ipv6::HEADER }>()?;
                if !fast::is_plain_v6(header, len) {
                    return None;
                }
                let key = u128::from_be_bytes(get::<{ ipv6::field::DESTINATION }, 16, _>(header));
                let hop = self.routes.v6.get(key)?;
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

    /// Whether every interface has a port to send to; else nothing can be done.
    fn fits(&self, out: &Outputs) -> bool {
        self.interfaces.len() <= out.ports()
    }
}

impl Forward for Router<Cached> {
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
                None => self.slow(&mut Io { pool, out, input: InterfaceId(input.0), now }, frame),
            }
        }
    }

    fn tick(&mut self, pool: &mut Pool, out: &mut Outputs, now: Nanos) {
        if !self.fits(out) {
            return;
        }
        if now >= self.routes.refresh_at {
            self.routes.forget();
            self.routes.refresh_at = now.plus(REFRESH);
        }
        self.attend(&mut Io { pool, out, input: InterfaceId(0), now });
    }

    fn deadline(&self) -> Option<Nanos> {
        self.next_announcement()
    }
}
