//! ICMP errors: about what, to whom, how often.
//!
//! An error about an error, to a group, or to someone who cannot have sent the packet would let a stranger make us
//! flood others; so would errors without a limit (RFC 1812, 4.3.2; RFC 4443, 2.4).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::cache::Key;
use super::link;
use super::transmit::{MAX_OWN, draft};
use super::{Io, Router, Routing, Target};
use crate::frame::{ETHERNET_HEADER, Frame};
use crate::rib::InterfaceId;
use crate::units::Nanos;
use crate::wire::{icmpv4, icmpv6, ipv4, ipv6};

/// Longest IPv4 error, header included (RFC 1812, 4.3.2.3).
const MAX_V4: usize = 576;
/// Time to live of what the router sends itself (RFC 1700's recommendation, as most systems do).
pub(super) const TTL: u8 = 64;
/// Precedence of errors: internetwork control (RFC 1812, 4.3.2.5).
const ERROR_TOS: u8 = 0xc0;

impl<R: Routing> Router<R> {
    /// Tells the sender of `frame`, an IPv4 packet whose header is right, what became of it, if it may be told.
    pub(super) fn report_v4(&mut self, io: &mut Io<'_>, frame: &Frame, error: icmpv4::Error) {
        let head = io.pool.head(frame);
        let len = frame.len().saturating_sub(ETHERNET_HEADER);
        let Ok(packet) = ipv4::Packet::new_checked(link::packet(head), len) else { return };
        let header = packet.header();
        let to_group = link::parse(head).is_none_or(|header| header.destination.is_group());
        let about_error =
            header.protocol == ipv4::ICMP && !packet.payload().first().is_some_and(|&k| icmpv4::is_query(k));
        let destination = header.source;
        if to_group
            || about_error
            || header.offset() != 0
            || header.destination.is_multicast()
            || header.destination.is_broadcast()
            || ipv4::is_martian_source(destination.to_bits())
        {
            return;
        }
        // A route to ourselves or to a broadcast address: not from a neighbour's own address.
        let (interface, neighbour) = match self.routes.v4(destination, 0) {
            Some(Target::Link(interface)) => (interface, destination),
            Some(Target::Gateway(interface, IpAddr::V4(gateway))) => (interface, gateway),
            Some(Target::Gateway(interface, IpAddr::V6(_))) => (interface, destination),
            _ => return,
        };
        let Some(source) = self.speaker_v4(interface, neighbour) else { return };
        if !self.limiter.allows(destination.into(), io.now) {
            return;
        }
        let whole = link::packet(head);
        let quote = whole.get(..usize::from(header.length).min(MAX_V4 - ipv4::HEADER - icmpv4::HEADER));
        let quote = quote.unwrap_or(whole);
        self.ident = self.ident.wrapping_add(1);
        let own = ipv4::Header {
            tos: ERROR_TOS,
            length: (ipv4::HEADER + icmpv4::HEADER + quote.len()) as u16,
            ident: self.ident,
            fragment: 0,
            ttl: TTL,
            protocol: ipv4::ICMP,
            source,
            destination,
        };
        let draft = draft(link::IPV4, &[&own.emit(), &error.emit(quote), quote]);
        if let Some(frame) = self.frame_of(io, &draft) {
            self.originate_v4(io, frame, destination);
        }
    }

    /// The address that speaks to an IPv4 neighbour: one of the port's own, else any that the router has.
    pub(super) fn speaker_v4(&self, interface: InterfaceId, neighbour: Ipv4Addr) -> Option<Ipv4Addr> {
        let own = self.interfaces[interface].source_v4(neighbour);
        own.or_else(|| self.interfaces.iter().find_map(|interface| interface.all_v4().next()))
    }

    /// Tells the sender of `frame`, an IPv6 packet whose header is right, what became of it, if it may be told.
    pub(super) fn report_v6(&mut self, io: &mut Io<'_>, frame: &Frame, error: icmpv6::Error) {
        let head = io.pool.head(frame);
        let len = frame.len().saturating_sub(ETHERNET_HEADER);
        let Ok(packet) = ipv6::Packet::new_checked(link::packet(head), len) else { return };
        let header = packet.header();
        let to_group =
            header.destination.is_multicast() || link::parse(head).is_none_or(|header| header.destination.is_group());
        let destination = header.source;
        if (to_group && !error.is_for_multicast_too())
            || ipv6::is_martian_source(destination)
            || !may_report_v6(&packet)
        {
            return;
        }
        let interface = match destination.is_unicast_link_local() {
            true => io.input,
            false => match self.routes.v6(destination, 0) {
                Some(Target::Link(interface) | Target::Gateway(interface, _)) => interface,
                _ => return,
            },
        };
        let Some(source) = self.speaker_v6(interface, destination, header.destination) else { return };
        if !self.limiter.allows(destination.into(), io.now) {
            return;
        }
        let whole = link::packet(head);
        let quote = whole.get(..header.total().min(MAX_OWN - ipv6::HEADER - icmpv6::HEADER)).unwrap_or(whole);
        // The quote must fit even where the frame's first chunk holds more than the smallest MTU.
        let quote = &quote[..quote.len().min(MAX_OWN - ipv6::HEADER - icmpv6::HEADER)];
        let own = ipv6::Header {
            class: 0,
            flow: 0,
            length: (icmpv6::HEADER + quote.len()) as u16,
            next: ipv6::ICMP,
            hop_limit: TTL,
            source,
            destination,
        };
        let draft = draft(link::IPV6, &[&own.emit(), &error.emit(source, destination, quote), quote]);
        if let Some(frame) = self.frame_of(io, &draft) {
            self.originate_v6(io, frame, destination);
        }
    }

    /// The address that answers a packet to `addressed`: that one if it is ours (RFC 4443, 2.2 a), else the port's.
    fn speaker_v6(&self, interface: InterfaceId, destination: Ipv6Addr, addressed: Ipv6Addr) -> Option<Ipv6Addr> {
        if self.routes.v6(addressed, 0) == Some(Target::Local) {
            return Some(addressed);
        }
        self.interfaces[interface].source_v6(destination)
    }
}

/// Whether an error about `packet` is allowed by what it carries: no error, no redirect, no later fragment, which
/// might be either.
fn may_report_v6(packet: &ipv6::Packet<'_>) -> bool {
    // A chain that leads nowhere cannot be told from one that leads to an error.
    let Ok(upper) = ipv6::upper(packet) else { return false };
    if upper.fragment.is_some_and(|fragment| fragment.offset != 0) {
        return false;
    }
    let kind = packet.payload().get(upper.at - ipv6::HEADER);
    upper.protocol != ipv6::ICMP || kind.is_some_and(|&kind| !icmpv6::is_error(kind) && kind != icmpv6::REDIRECT)
}

/// A token bucket as one number: when it would be full again.
#[derive(Clone, Copy, Default)]
struct Bucket(Nanos);

impl Bucket {
    fn has_token(self, interval: Nanos, burst: u64, now: Nanos) -> bool {
        self.0.since(now).0 <= interval.0 * (burst - 1)
    }

    fn take(&mut self, interval: Nanos, now: Nanos) {
        self.0 = self.0.max(now).plus(interval);
    }
}

/// Who shares a bucket: so many destinations have one each.
const BUCKETS: usize = 256;
/// Errors to one destination: 20 a second, as many at once. A traceroute with three probes a hop gets all of its.
const ONE_INTERVAL: Nanos = Nanos::from_millis(50);
const ONE_BURST: u64 = 20;
/// Errors to all: 1000 a second, 100 at once.
const ALL_INTERVAL: Nanos = Nanos::from_millis(1);
const ALL_BURST: u64 = 100;

/// How many errors may still be sent, in all and to each destination.
pub(super) struct Limiter {
    all: Bucket,
    each: Box<[Bucket; BUCKETS]>,
    seed: u64,
}

impl Limiter {
    pub fn new(seed: u64) -> Self {
        Self { all: Bucket::default(), each: Box::new([Bucket::default(); BUCKETS]), seed }
    }

    /// Whether one more may go to `destination`; if so it is counted.
    fn allows(&mut self, destination: IpAddr, now: Nanos) -> bool {
        let bits = match destination {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits(),
        };
        let each = &mut self.each[(bits.spread(self.seed) >> 32) as usize % BUCKETS];
        let allowed = each.has_token(ONE_INTERVAL, ONE_BURST, now) && self.all.has_token(ALL_INTERVAL, ALL_BURST, now);
        if allowed {
            each.take(ONE_INTERVAL, now);
            self.all.take(ALL_INTERVAL, now);
        }
        allowed
    }
}

/// Echo requests that come in fragments, by source, destination and identification.
pub(super) type EchoKey = (IpAddr, IpAddr, u32);

/// The echo requests whose first fragment was answered lately: their later fragments are answered too, each with a
/// fragment of the reply. Without this memory two routers could send a stray fragment to and fro for ever.
#[derive(Default)]
pub(super) struct EchoFragments {
    entries: [Option<(EchoKey, Nanos)>; 16],
    next: usize,
}

impl EchoFragments {
    /// How long the fragments of a request may take.
    const LIFE: Nanos = Nanos::from_secs(1);

    /// Remembers a request whose first fragment was answered.
    pub fn note(&mut self, key: EchoKey, now: Nanos) {
        if let Some(entry) = self.entries.get_mut(self.next) {
            *entry = Some((key, now.plus(Self::LIFE)));
        }
        self.next = (self.next + 1) % self.entries.len();
    }

    /// Whether a later fragment belongs to such a request.
    pub fn knows(&self, key: EchoKey, now: Nanos) -> bool {
        self.entries.iter().flatten().any(|&(known, until)| known == key && now <= until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0a00_0000 + n).into()
    }

    #[test]
    fn each_destination_has_a_limit_and_all_together_too() {
        let mut limiter = Limiter::new(1);
        let mut sent = |destination, now| (0..1000).filter(|_| limiter.allows(address(destination), now)).count();
        let now = Nanos::from_secs(100);
        assert_eq!(sent(1, now), 20);
        assert_eq!(sent(1, now.plus(Nanos::from_millis(49))), 0);
        assert_eq!(sent(1, now.plus(Nanos::from_millis(50))), 1);
        assert_eq!(sent(1, now.plus(Nanos::from_secs(10))), 20);
        let later = now.plus(Nanos::from_secs(20));
        assert_eq!((0..50).map(|n| sent(n, later)).sum::<usize>(), 100);
        assert!(sent(200, later.plus(Nanos::from_millis(5))) <= 5);
    }

    #[test]
    fn only_fragments_of_an_answered_request_are_known() {
        let mut echo = EchoFragments::default();
        let key = (address(1), address(2), 7);
        assert!(!echo.knows(key, Nanos(0)));
        echo.note(key, Nanos(0));
        assert!(echo.knows(key, Nanos::from_millis(999)));
        assert!(!echo.knows(key, Nanos::from_millis(1001)));
        assert!(!echo.knows((address(1), address(2), 8), Nanos(0)));
        for n in 0..16 {
            echo.note((address(1), address(3), n), Nanos(0));
        }
        assert!(!echo.knows(key, Nanos(0)), "sixteen at a time");
    }
}
