//! A source of traffic: a guest that sends one flow as fast as its ring takes it, or at a rate.
//!
//! It measures what a program on a ring can send, in place of a Linux stack behind it. A [`SourcePort`] is wrapped
//! around the port that it sends by: what that receives it takes in itself, and what it yields in its place are its own
//! frames, which [`Outward`] lets out again where they came from. So it sees the room that there is before it makes a
//! frame. Nothing is made that would be lost at a full ring, and nothing counts as sent that the ring has not got.

mod config;
mod pace;
mod tally;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

pub use config::{MAX_SIZE, MIN_SIZE, SourceConfig, SourceError};
pub use tally::Tally;

use crate::drops::DropReason;
use crate::forward::{Forward, Outputs};
use crate::frame::Burst;
use crate::offload::Offloads;
use crate::pool::Pool;
use crate::port::{Counters, Port, Sleep};
use crate::router::{draft, link};
use crate::units::{GuestId, Mac, Nanos, PortId};
use crate::wire::arp::{Operation, Packet};
use crate::worker::clock::Clock;
use config::Ends;
use pace::Pace;

/// How often it asks for an address that is not told.
const ASK: Nanos = Nanos::from_secs(1);
/// How soon it looks again for room, of which nobody tells, and how late. In between, when half as long again is over as it
/// has waited: so it finds half of the ring free before the other half is, and a slow peer is not kept from its work.
const LOOK: [Nanos; 2] = [Nanos::from_micros(50), Nanos::from_millis(10)];

/// The port of a source, around the one that it sends by.
#[derive(Debug)]
pub struct SourcePort<P> {
    inner: P,
    ends: Ends,
    /// The frame that is sent.
    datagram: Box<[u8]>,
    rate: Option<u64>,
    /// Once the first frame was sent, if there is a rate.
    pace: Option<Pace>,
    clock: Clock,
    tally: Arc<Tally>,
    next_ask: Nanos,
    /// What came in; empty but while it is taken in.
    arrived: Burst,
    /// Frames at the begin of the burst that was yielded last which are none of the flow's.
    arp: u64,
    /// Since when there is no room for what is due.
    blocked: Option<Nanos>,
    /// When there is something to do, though nothing arrives.
    due: Option<Nanos>,
}

impl<P: Port> SourcePort<P> {
    /// A source that sends by `inner`, and what it will have counted.
    ///
    /// # Errors
    /// There can be no such source; each reason is told with what to do.
    pub fn new(inner: P, config: &SourceConfig) -> Result<(Self, Arc<Tally>), SourceError> {
        let ends = config.ends()?;
        let tally = Arc::new(Tally::new(config.span));
        let port = Self {
            inner,
            ends,
            datagram: ends.datagram(config.size),
            rate: config.rate,
            pace: None,
            clock: Clock::new(),
            tally: Arc::clone(&tally),
            next_ask: Nanos(0),
            arrived: Burst::new(),
            arp: 0,
            blocked: None,
            due: None,
        };
        Ok((port, tally))
    }

    /// What leaves at `now`: answers, a question, or the flow.
    #[inline]
    fn yield_at(&mut self, pool: &mut Pool, burst: &mut Burst, now: Nanos) {
        if !self.arrived.is_empty() {
            self.hear(pool, burst);
        }
        (self.arp, self.due) = (burst.len() as u64, None);
        let up = self.inner.is_up();
        if !up || self.tally.is_over(now) {
            self.blocked = None;
            if !up {
                // Whoever comes is asked at once.
                self.next_ask = Nanos(0);
            }
            return;
        }
        match self.tally.is_answered() {
            true => self.make(pool, burst, now),
            false => self.ask(pool, burst, now),
        }
    }

    /// Makes as many of the flow's frames as are due, and as there is room for.
    #[inline]
    fn make(&mut self, pool: &mut Pool, burst: &mut Burst, now: Nanos) {
        let due = match (&mut self.pace, self.rate) {
            (Some(pace), _) => pace.due(now),
            (None, Some(_)) => 1,
            (None, None) => u64::MAX,
        };
        // A ring that was full is waited for until half of it is free: bursts of a few frames cost more than they bring.
        let room = if self.inner.is_full() { 0 } else { self.inner.room().saturating_sub(burst.len()) };
        let wanted = usize::try_from(due).unwrap_or(usize::MAX).min(burst.remaining_capacity());
        let mut made = 0;
        while made < wanted.min(room)
            && let Some(frame) = pool.frame_from(&self.datagram)
        {
            burst.push(frame);
            made += 1;
        }
        if made > 0 && self.tally.begin(now) {
            self.pace = self.rate.map(|rate| Pace::new(rate, now));
        }
        if let Some(pace) = &mut self.pace {
            pace.sent(made as u64);
            self.due = Some(pace.next());
        }
        self.blocked = (made < wanted).then(|| self.blocked.unwrap_or(now));
        if let Some(since) = self.blocked {
            let [soonest, latest] = LOOK;
            self.due = Some(now.plus(Nanos(now.since(since).0 / 2).clamp(soonest, latest)));
        }
    }

    /// Asks all stations who has the destination's address, if that is due.
    #[cold]
    fn ask(&mut self, pool: &mut Pool, burst: &mut Burst, now: Nanos) {
        if now >= self.next_ask {
            let Ends { mac, own, to } = self.ends;
            let (operation, target_mac) = (Operation::Request, Mac::default());
            let request = Packet { operation, sender_mac: mac, sender: own, target_mac, target: to };
            self.arp += u64::from(say(pool, burst, &request, Mac::BROADCAST));
            self.next_ask = now.plus(ASK);
        }
        self.due = Some(self.next_ask);
    }

    /// Takes in what arrived: of ARP, what concerns the two ends; nothing else.
    #[cold]
    fn hear(&mut self, pool: &mut Pool, burst: &mut Burst) {
        let Self { arrived, inner, ends, datagram, tally, .. } = self;
        let counters = inner.counters();
        for frame in arrived.drain(..) {
            let head = pool.head(&frame);
            let header = link::parse(head);
            let packet = Packet::parse(link::packet(head));
            pool.free(frame);
            let Some(header) = header.filter(|header| header.ethertype == link::ARP) else {
                tally.receive();
                counters.dropped(DropReason::NoService, 1);
                continue;
            };
            if header.destination != ends.mac && !header.destination.is_group() {
                counters.dropped(DropReason::NotForUs, 1);
                continue;
            }
            // Someone else with our address is not believed, and neither is our own echo.
            let Some(packet) = packet.ok().filter(|packet| {
                packet.sender_mac.is_station() && packet.sender_mac != ends.mac && packet.sender != ends.own
            }) else {
                counters.dropped(DropReason::NeighbourInvalid, 1);
                continue;
            };
            if packet.sender == ends.to {
                // An answer, an announcement, or a question of its own: each tells where it is now.
                link::set_addresses(datagram, link::addresses(packet.sender_mac, ends.mac));
                tally.answer();
            }
            if packet.operation == Operation::Request && packet.target == ends.own {
                say(pool, burst, &answer(&packet, ends.own, ends.mac), packet.sender_mac);
            }
        }
    }
}

/// That `own` is at `mac`, to whoever asked.
fn answer(request: &Packet, own: Ipv4Addr, mac: Mac) -> Packet {
    let (operation, target_mac) = (Operation::Reply, request.sender_mac);
    Packet { operation, sender_mac: mac, sender: own, target_mac, target: request.sender }
}

/// Adds an ARP packet to the burst; whether there was a place and a chunk for it.
fn say(pool: &mut Pool, burst: &mut Burst, packet: &Packet, to: Mac) -> bool {
    if burst.is_full() {
        return false;
    }
    let mut bytes = draft(link::ARP, &[&packet.emit()]);
    link::set_addresses(&mut bytes, link::addresses(to, packet.sender_mac));
    let frame = pool.frame_from(&bytes);
    frame.map(|frame| burst.push(frame)).is_some()
}

impl<P: Port> Port for SourcePort<P> {
    #[inline]
    fn pull(&mut self, pool: &mut Pool, burst: &mut Burst) {
        self.inner.pull(pool, &mut self.arrived);
        let now = self.clock.now();
        self.yield_at(pool, burst, now);
    }

    #[inline]
    fn push(&mut self, pool: &mut Pool, burst: &mut Burst) {
        let before = self.inner.counters().tx_frames.load(Relaxed);
        self.inner.push(pool, burst);
        let sent = self.inner.counters().tx_frames.load(Relaxed).wrapping_sub(before);
        // They go in order, and what is none of the flow's goes first.
        self.tally.send(sent.saturating_sub(std::mem::take(&mut self.arp)));
    }

    fn source(&mut self, guest: GuestId) {
        self.inner.source(guest);
    }

    #[inline]
    fn flush(&mut self, pool: &mut Pool) {
        self.inner.flush(pool);
    }

    fn notify(&mut self) {
        self.inner.notify();
    }

    fn tick(&mut self, pool: &mut Pool, now: Nanos) {
        self.inner.tick(pool, now);
    }

    fn arm(&mut self, sleep: &Sleep) -> bool {
        if self.blocked.is_some() && !self.inner.is_full() && self.inner.room() > 0 {
            return false;
        }
        self.inner.arm(sleep)
    }

    fn disarm(&mut self, sleep: &Sleep) {
        self.inner.disarm(sleep);
        // The processor's clock may have stood still.
        self.clock.read();
    }

    fn is_unsent(&self) -> bool {
        self.inner.is_unsent()
    }

    fn deadline(&self) -> Option<Nanos> {
        Nanos::earlier(self.due, self.inner.deadline())
    }

    fn detach(&mut self, pool: &mut Pool) {
        self.inner.detach(pool);
    }

    fn is_up(&self) -> bool {
        self.inner.is_up()
    }

    fn is_full(&self) -> bool {
        self.inner.is_full()
    }

    fn arm_room(&mut self) -> bool {
        self.inner.arm_room()
    }

    fn room(&mut self) -> usize {
        self.inner.room()
    }

    fn accepts(&self) -> Offloads {
        self.inner.accepts()
    }

    fn counters(&self) -> &Arc<Counters> {
        self.inner.counters()
    }

    fn mode(&self) -> String {
        format!("source to {}, {}", self.ends.to, self.inner.mode())
    }
}

/// Lets every frame out by the port that yielded it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outward;

impl Forward for Outward {
    #[inline]
    fn forward(&mut self, _: &mut Pool, input: PortId, burst: &mut Burst, out: &mut Outputs, _: Nanos) {
        for frame in burst.drain(..) {
            out.send(input, frame);
        }
    }
}
