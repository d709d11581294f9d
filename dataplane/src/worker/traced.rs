//! A burst while somebody traces: frames that match are handled one by one, and what became of each is told.

use arrayvec::ArrayVec;

use super::{Route, Worker};
use crate::drops::DropReason;
use crate::frame::{Burst, Frame};
use crate::port::Counters;
use crate::trace::{Fate, Sessions, Tracer};
use crate::units::{GuestId, Nanos, PortId};

/// Outputs of one frame that are watched for losses of their own.
const WATCHED: usize = 64;

/// What a port has lost so far, by reason.
type Lost = [u64; DropReason::ALL.len()];

impl Worker {
    /// Forwards a burst that slot `index` brought, and pushes it: frames in the order in which they came.
    #[cold]
    pub(super) fn forward_traced(&mut self, index: usize, burst: &mut Burst, now: Nanos) {
        let sessions = self.tracer.sessions();
        let (input, guest) = (self.slots[index].id, self.slots[index].guest);
        let uplink = (guest == GuestId::UPLINKS).then_some(index);
        if !Tracer::concerns(&sessions, input) {
            self.forward_plain(&sessions, input, burst, now);
            self.push(guest, uplink);
            return;
        }
        let mut plain = std::mem::take(&mut self.tracer.plain);
        for frame in burst.drain(..) {
            let hits = Tracer::hits(&sessions, input, self.pool.head(&frame));
            if hits == 0 {
                plain.push(frame);
                continue;
            }
            self.forward_plain(&sessions, input, &mut plain, now);
            self.push(guest, uplink);
            let chunk = frame.chunk;
            let fate = self.forward_one(&sessions, input, frame, now);
            let before = self.lost_so_far();
            self.push(guest, uplink);
            let fate = if self.note_lost(&before, now) { Fate::Lost } else { fate };
            self.tracer.end(&sessions, hits, chunk, input, fate, now);
        }
        self.forward_plain(&sessions, input, &mut plain, now);
        self.push(guest, uplink);
        self.tracer.plain = plain;
    }

    /// Forwards frames that nobody asks for; one that waited may come to light by them.
    fn forward_plain(&mut self, sessions: &Sessions, input: PortId, plain: &mut Burst, now: Nanos) {
        if plain.is_empty() {
            return;
        }
        if !self.tracer.is_waiting() {
            return self.forward.forward(&mut self.pool, input, plain, &mut self.out, now);
        }
        self.out.watch(true);
        self.forward.forward(&mut self.pool, input, plain, &mut self.out, now);
        self.tracer.look_for_held(sessions, &self.pool, &self.out, now);
        self.out.watch(false);
    }

    fn forward_one(&mut self, sessions: &Sessions, input: PortId, frame: Frame, now: Nanos) -> Fate {
        let chunk = frame.chunk;
        self.tracer.begin(&self.pool, input, &frame, now);
        let mut one = Burst::new();
        one.push(frame);
        self.out.watch(true);
        self.forward.forward(&mut self.pool, input, &mut one, &mut self.out, now);
        let fate = self.tracer.look(sessions, &self.pool, &self.out, now);
        let lost = self.out.lost().iter().any(|&(lost, ..)| lost == Some(chunk));
        let staged = self.out.staged().any(|(_, frame)| frame.chunk == chunk);
        self.out.watch(false);
        match fate {
            _ if lost => Fate::Lost,
            Some(fate) if staged => fate,
            // Something else left, or nothing: the frame itself waits, or has been made use of.
            _ if !self.pool.is_free(chunk) => Fate::Held,
            Some(Fate::Lost) => Fate::Lost,
            _ => Fate::Taken,
        }
    }

    /// A tick of the forwarder that may concern frames that wait.
    #[cold]
    pub(super) fn tick_traced(&mut self, now: Nanos) {
        let sessions = self.tracer.sessions();
        self.out.watch(true);
        self.forward.tick(&mut self.pool, &mut self.out, now);
        self.tracer.look_for_held(&sessions, &self.pool, &self.out, now);
        self.out.watch(false);
    }

    /// The counters that tell what is lost of frames staged for `port`.
    fn counters_of(&self, port: PortId) -> Option<&Counters> {
        match self.routes[port.index()] {
            Route::Slot(index) => Some(self.slots[index].port.counters()),
            Route::Peer(index) => Some(self.peers[index].tx.counters()),
            Route::Nowhere | Route::Forwarder => None,
        }
    }

    fn lost_so_far(&self) -> ArrayVec<(PortId, Lost), WATCHED> {
        let mut before: ArrayVec<(PortId, Lost), WATCHED> = ArrayVec::new();
        for (port, _) in self.out.staged() {
            let known = before.iter().any(|&(known, _)| known == port) || before.is_full();
            if let Some(counters) = self.counters_of(port).filter(|_| !known) {
                before.push((port, std::array::from_fn(|n| counters.drops.get(DropReason::ALL[n]))));
            }
        }
        before
    }

    /// Tells what outputs have lost since `before`; whether that is anything.
    fn note_lost(&mut self, before: &ArrayVec<(PortId, Lost), WATCHED>, now: Nanos) -> bool {
        let mut any = false;
        for (port, before) in before {
            for (&reason, &before) in DropReason::ALL.iter().zip(before) {
                let after = self.counters_of(*port).map_or(before, |counters| counters.drops.get(reason));
                if after > before {
                    any = true;
                    self.tracer.lost_at(now, *port, reason, after - before);
                }
            }
        }
        any
    }
}
