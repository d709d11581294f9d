//! A VRF as its worker runs it: the fast path of a burst, and what leads to the slow one.
//!
//! A burst is looked up whole: first every frame's destination is read and all look-ups are under way at once, then
//! each frame gets its way out by the number of its hop. Frames keep their order, whichever path they take. Nothing is
//! allocated, and no flow is remembered.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use arrayvec::ArrayVec;

use super::board::Board;
use super::tables::{Tables, Way};
use crate::bridge::tag;
use crate::drops::DropReason;
use crate::fib::{HopId, Verdict};
use crate::forward::Outputs;
use crate::frame::{BURST, Burst, ETHERNET_HEADER, Frame};
use crate::pool::Pool;
use crate::rib::InterfaceId;
use crate::router::cache::Hop;
use crate::router::fast::{Kind, classify};
use crate::router::{Io, Router, SourceCheck, flow, link, station};
use crate::units::{Nanos, PortId};
use crate::wire::ethernet::{Header, Tci};
use crate::wire::{ipv4, ipv6};

/// Frames and bytes of a row that leaves by one interface.
#[derive(Default)]
struct Row {
    interface: Option<InterfaceId>,
    frames: u64,
    bytes: u64,
}

/// The router of a VRF.
pub struct Vrf {
    pub(super) router: Router<Tables>,
    pub(super) board: Arc<Board>,
}

impl Vrf {
    /// Routes frames, which came in on `input` and have no VLAN tag.
    pub(super) fn forward(
        &mut self,
        pool: &mut Pool,
        input: InterfaceId,
        burst: &mut Burst,
        out: &mut Outputs,
        now: Nanos,
    ) {
        self.router.routes.begin();
        let interface = &self.router.interfaces[input];
        let own = station(interface.mac);
        let check = interface.check != SourceCheck::Off;
        let shared = &interface.virtual_routers;
        let mut kinds = [Kind::Other; BURST];
        let mut v4: ArrayVec<u32, BURST> = ArrayVec::new();
        let mut v6: ArrayVec<u128, BURST> = ArrayVec::new();
        let mut bytes = 0;
        for (frame, kind) in burst.iter().zip(&mut kinds) {
            bytes += frame.len() as u64;
            *kind = classify(pool.head(frame), frame.len(), own);
            if *kind == Kind::Other
                && !shared.is_empty()
                && let Some(mac) = shared.destination(pool.head(frame))
            {
                *kind = classify(pool.head(frame), frame.len(), station(mac));
            }
            match *kind {
                Kind::V4(destination) => v4.push(destination),
                Kind::V6(destination) => v6.push(destination),
                Kind::Other => (),
            }
        }
        interface.counters.received(burst.len() as u64, bytes);
        let (mut next_v4, mut next_v6) = ([0; BURST], [0; BURST]);
        let fib = &self.router.routes.fib;
        fib.lookup_v4_burst(&v4, &mut next_v4);
        if !v6.is_empty() {
            fib.lookup_v6_burst(&v6, &mut next_v6);
        }
        let (mut next_v4, mut next_v6) = (next_v4.into_iter(), next_v6.into_iter());
        let mut row = Row::default();
        for (mut frame, kind) in burst.drain(..).zip(kinds) {
            let hop = match kind {
                Kind::V4(destination) => {
                    let next = next_v4.next().unwrap_or_default();
                    if check && !self.has_right_source(pool, input, &frame) {
                        None
                    } else {
                        self.way_v4(pool, &mut frame, destination, next, now)
                    }
                }
                Kind::V6(destination) => {
                    let next = next_v6.next().unwrap_or_default();
                    if check && !self.has_right_source(pool, input, &frame) {
                        None
                    } else {
                        self.way_v6(pool, &mut frame, destination, next, now)
                    }
                }
                Kind::Other => None,
            };
            match hop {
                Some(hop) => self.leave(pool, frame, hop, &mut row, out),
                None => self.slow(&mut Io { pool, out, input, now }, frame),
            }
        }
        self.count(&mut row);
    }

    /// The way out of an IPv4 packet whose look-up answered `next`. Its time to live is counted down if there is one.
    #[inline(always)]
    fn way_v4(&mut self, pool: &mut Pool, frame: &mut Frame, destination: u32, next: u32, now: Nanos) -> Option<Hop> {
        let Router { routes, seed, .. } = &self.router;
        let packet = || flow::v4(link::packet(pool.head(frame)), *seed);
        let Verdict::Via(id) = routes.fib.verdict_by(next, packet) else { return None };
        let hop = match routes.way(id) {
            Way::Known(hop) => *hop,
            Way::Direct(interface) => match routes.direct_v4(interface, destination) {
                Some(hop) => *hop,
                None => self.find(id, Ipv4Addr::from_bits(destination).into(), now)?,
            },
            Way::Unknown => self.find(id, Ipv4Addr::from_bits(destination).into(), now)?,
        };
        if frame.len() - ETHERNET_HEADER > usize::from(hop.mtu) {
            return None;
        }
        let header: &mut [u8; ipv4::HEADER] = pool.head_mut(frame).get_mut(ETHERNET_HEADER..)?.first_chunk_mut()?;
        ipv4::decrement_ttl(header);
        Some(hop)
    }

    /// The same of an IPv6 packet.
    #[inline(always)]
    fn way_v6(&mut self, pool: &mut Pool, frame: &mut Frame, destination: u128, next: u32, now: Nanos) -> Option<Hop> {
        let Router { routes, seed, .. } = &self.router;
        let packet = || flow::v6(link::packet(pool.head(frame)), *seed);
        let Verdict::Via(id) = routes.fib.verdict_by(next, packet) else { return None };
        let hop = match routes.way(id) {
            Way::Known(hop) => *hop,
            Way::Direct(interface) => match routes.direct_v6(interface, destination) {
                Some(hop) => *hop,
                None => self.find(id, Ipv6Addr::from_bits(destination).into(), now)?,
            },
            Way::Unknown => self.find(id, Ipv6Addr::from_bits(destination).into(), now)?,
        };
        if frame.len() - ETHERNET_HEADER > usize::from(hop.mtu) {
            return None;
        }
        *pool.head_mut(frame).get_mut(ETHERNET_HEADER + ipv6::field::HOP_LIMIT)? -= 1;
        Some(hop)
    }

    /// Finds the way out to a hop whose neighbour is known, and notes it.
    #[inline(never)]
    fn find(&mut self, id: HopId, destination: IpAddr, now: Nanos) -> Option<Hop> {
        let router = &mut self.router;
        let hop = router.routes.fib.hop(id);
        // Whoever changes a table may name an interface that is not there.
        if usize::from(hop.interface.0) >= router.interfaces.len() {
            return None;
        }
        let mac = router.neighbours.known(hop.interface, hop.gateway.unwrap_or(destination), now)?;
        let out = router.hop(hop.interface, mac);
        match hop.gateway {
            Some(_) => router.routes.note(id, out),
            None => router.routes.note_direct(id, destination, out),
        }
        Some(out)
    }

    #[inline(never)]
    fn has_right_source(&self, pool: &Pool, input: InterfaceId, frame: &Frame) -> bool {
        let packet = link::packet(pool.head(frame));
        let source: IpAddr = match packet.first().map(|byte| byte >> 4) {
            Some(4) => match packet.get(ipv4::field::SOURCE..).and_then(<[u8]>::first_chunk::<4>) {
                Some(source) => (*source).into(),
                None => return false,
            },
            _ => match packet.get(ipv6::field::SOURCE..).and_then(<[u8]>::first_chunk::<16>) {
                Some(source) => (*source).into(),
                None => return false,
            },
        };
        self.router.is_right_source(input, source)
    }

    #[inline(always)]
    fn leave(&self, pool: &mut Pool, mut frame: Frame, hop: Hop, row: &mut Row, out: &mut Outputs) {
        if row.interface != Some(hop.interface) {
            self.count(row);
            row.interface = Some(hop.interface);
        }
        row.frames += 1;
        row.bytes += frame.len() as u64;
        link::set_addresses(pool.head_mut(&mut frame), hop.addresses);
        if hop.vlan == 0 {
            return out.send(hop.port, frame);
        }
        match tag::push(pool, frame, Tci(hop.vlan)) {
            Ok(frame) => out.send(hop.port, frame),
            Err(reason) => out.count_drop(hop.port, reason),
        }
    }

    #[inline]
    fn count(&self, row: &mut Row) {
        if let Some(interface) = row.interface {
            self.router.interfaces[interface].counters.sent(row.frames, row.bytes);
        }
        *row = Row::default();
    }

    /// A frame for the slow path. A priority tag is no tag (802.1Q-2018, 6.9.1).
    fn slow(&mut self, io: &mut Io<'_>, frame: Frame) {
        let frame = match Header::parse(io.pool.head(&frame)).ok().and_then(|header| header.tag()) {
            Some(tci) if tci.vid() == 0 => match tag::pop(io.pool, frame) {
                Ok(frame) => frame,
                Err(reason) => return io.out.count_drop(self.router.interfaces[io.input].port, reason),
            },
            _ => frame,
        };
        // The tag of an interface has been taken off; a frame with another is in no VLAN of its.
        match Header::parse(io.pool.head(&frame)) {
            Ok(header) if header.tag().is_some() || header.is_stacked() => {
                self.router.drop(io, frame, DropReason::VlanNotAllowed);
            }
            _ => self.router.slow(io, frame),
        }
    }

    /// Sends what the stack behind the punt port of `interface` has sent: as it is, but only from the interface's address
    /// or a virtual router's.
    pub(super) fn pass_from_stack(
        &mut self,
        pool: &mut Pool,
        (port, interface): (PortId, InterfaceId),
        burst: &mut Burst,
        out: &mut Outputs,
        now: Nanos,
    ) {
        for frame in burst.drain(..) {
            let known = &mut self.router.interfaces[interface];
            let wrong = match Header::parse(pool.head(&frame)) {
                Err(_) => Some(DropReason::Runt),
                Ok(header) if header.tag().is_some() || header.is_stacked() => Some(DropReason::VlanNotAllowed),
                Ok(header) if header.src() != known.mac && !known.virtual_routers.stack_sent(header.src()) => {
                    Some(DropReason::SourceSpoofed)
                }
                Ok(_) => None,
            };
            if let Some(reason) = wrong {
                known.punted.dropped(reason, 1);
                out.drop(pool, port, frame, reason);
                continue;
            }
            known.punted.sent(1, frame.len() as u64);
            self.router.send(&mut Io { pool, out, input: interface, now }, interface, frame);
        }
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, pool: &mut Pool, out: &mut Outputs, now: Nanos) {
        self.router.routes.tick(now);
        self.router.routes.begin();
        self.router.attend(&mut Io { pool, out, input: InterfaceId(0), now });
        self.board.show(&self.router.neighbours, now);
    }
}
