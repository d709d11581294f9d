//! What a worker remembers while it traces: the story of the frame in hand, and the frames that wait inside the engine.
//!
//! All memory is set aside when the worker is made.

use std::sync::Arc;

use arrayvec::ArrayVec;

use super::{Event, Fate, MAX_TRACES, Session, Traces, What};
use crate::drops::DropReason;
use crate::forward::Outputs;
use crate::frame::{Burst, Frame};
use crate::pool::Pool;
use crate::units::{Nanos, PortId};

/// Events of one frame at most. A flood to more ports is told in part.
const STORY: usize = 80;
/// Frames that wait and are remembered.
const HELD: usize = 32;

/// In which traces a frame is told, by their places among the sessions.
pub(crate) type Hits = u8;
const _: () = assert!(MAX_TRACES <= Hits::BITS as usize);

/// A frame that waits inside the engine.
#[derive(Clone, Copy, Debug)]
struct Held {
    chunk: u32,
    session: u64,
    frame: u64,
    input: PortId,
}

/// A worker's part of every trace.
#[derive(Debug, Default)]
pub(crate) struct Tracer {
    traces: Arc<Traces>,
    worker: u16,
    story: Vec<Event>,
    held: ArrayVec<Held, HELD>,
    /// Frames that do not match, in a row.
    pub(crate) plain: Burst,
}

/// The traces that run, as they were when a burst began.
pub(crate) type Sessions = arc_swap::Guard<Arc<Vec<Arc<Session>>>>;

impl Tracer {
    pub(crate) fn new(traces: Arc<Traces>, worker: u16) -> Self {
        Self { traces, worker, story: Vec::with_capacity(STORY), ..Self::default() }
    }

    /// Whether anybody traces.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.traces.is_on()
    }

    /// The traces that run. Frames that wait and are of no trace any more are forgotten.
    pub(crate) fn sessions(&mut self) -> Sessions {
        let sessions = self.traces.sessions();
        self.held.retain(|held| sessions.iter().any(|session| session.id == held.session));
        sessions
    }

    /// Whether any frame that comes by `input` can be told: if not, a burst is forwarded as ever.
    pub(crate) fn concerns(sessions: &Sessions, input: PortId) -> bool {
        sessions.iter().any(|session| session.is_of(input))
    }

    /// In which traces the frame is to be told.
    pub(crate) fn hits(sessions: &Sessions, input: PortId, head: &[u8]) -> Hits {
        let hit = |(n, session): (usize, &Arc<Session>)| Hits::from(session.wants(input, head)) << n;
        sessions.iter().take(MAX_TRACES).enumerate().map(hit).fold(0, |hits, hit| hits | hit)
    }

    /// Whether frames wait that are to be told of.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.held.is_empty()
    }

    /// Begins the story of `frame`.
    pub(crate) fn begin(&mut self, pool: &Pool, input: PortId, frame: &Frame, now: Nanos) {
        self.story.clear();
        self.note(now, input, What::In, Some((pool, frame)));
    }

    fn event(&self, now: Nanos, port: PortId, what: What, frame: Option<(&Pool, &Frame)>) -> Event {
        let mut bytes = ArrayVec::new();
        for part in frame.into_iter().flat_map(|(pool, frame)| pool.slices(frame)) {
            let room = part.len().min(bytes.remaining_capacity());
            let _ = bytes.try_extend_from_slice(&part[..room]);
        }
        let len = frame.map_or(0, |(_, frame)| frame.len() as u32);
        Event { frame: 0, at: now, worker: self.worker, port, what, len, bytes }
    }

    fn note(&mut self, now: Nanos, port: PortId, what: What, frame: Option<(&Pool, &Frame)>) {
        // The last place is the end's.
        if self.story.len() + 1 < self.story.capacity() || matches!(what, What::End(_)) {
            let event = self.event(now, port, what, frame);
            self.story.push(event);
        }
    }

    /// Adds to the story what the forwarder has staged and lost. Whatever of that is a frame that waited is told as such.
    pub(crate) fn look(&mut self, sessions: &Sessions, pool: &Pool, out: &Outputs, now: Nanos) -> Option<Fate> {
        let (mut sent, mut lost) = (false, false);
        for (port, frame) in out.staged() {
            if !self.release(sessions, frame.chunk, now, (port, What::Out, Some((pool, frame))), Fate::Sent) {
                sent = true;
                self.note(now, port, What::Out, Some((pool, frame)));
            }
        }
        for &(chunk, port, reason) in out.lost() {
            let what = What::Lost(reason, 1);
            if !chunk.is_some_and(|chunk| self.release(sessions, chunk, now, (port, what, None), Fate::Lost)) {
                lost = true;
                self.note(now, port, what, None);
            }
        }
        match (sent, lost) {
            (true, false) => Some(Fate::Sent),
            (_, true) => Some(Fate::Lost),
            (false, false) => None,
        }
    }

    /// Tells of frames that waited what the forwarder has done with them; no other is in hand.
    pub(crate) fn look_for_held(&mut self, sessions: &Sessions, pool: &Pool, out: &Outputs, now: Nanos) {
        for (port, frame) in out.staged() {
            self.release(sessions, frame.chunk, now, (port, What::Out, Some((pool, frame))), Fate::Sent);
        }
        for &(chunk, port, reason) in out.lost() {
            if let Some(chunk) = chunk {
                self.release(sessions, chunk, now, (port, What::Lost(reason, 1), None), Fate::Lost);
            }
        }
        // What ended in another way: its chunk must not be taken for the next frame's in it.
        self.held.retain(|held| !pool.is_free(held.chunk));
    }

    /// Tells the end of a frame that waited, in `chunk`. False: none did.
    fn release(
        &mut self,
        sessions: &Sessions,
        chunk: u32,
        now: Nanos,
        (port, what, frame): (PortId, What, Option<(&Pool, &Frame)>),
        fate: Fate,
    ) -> bool {
        let mut any = false;
        while let Some(at) = self.held.iter().position(|held| held.chunk == chunk) {
            let held = self.held.swap_remove(at);
            any = true;
            if let Some(session) = sessions.iter().find(|session| session.id == held.session) {
                let events = [self.event(now, port, what, frame), self.event(now, held.input, What::End(fate), None)];
                session.tell(held.frame, &mut events.iter(), events.len());
            }
        }
        any
    }

    /// Adds what an output did not take.
    pub(crate) fn lost_at(&mut self, now: Nanos, port: PortId, reason: DropReason, frames: u64) {
        self.note(now, port, What::Lost(reason, frames.min(u64::from(u16::MAX)) as u16), None);
    }

    /// Ends the story of the frame that was in `chunk`, and tells it.
    pub(crate) fn end(&mut self, sessions: &Sessions, hits: Hits, chunk: u32, input: PortId, fate: Fate, now: Nanos) {
        self.note(now, input, What::End(fate), None);
        for (n, session) in sessions.iter().enumerate().filter(|(n, _)| hits & 1 << n != 0) {
            debug_assert!(n < MAX_TRACES);
            let lost = self.story.iter().any(|event| matches!(event.what, What::Lost(..)));
            if session.drops && !lost && fate != Fate::Held {
                continue;
            }
            let Some(frame) = session.number() else { continue };
            session.tell(frame, &mut self.story.iter(), self.story.len());
            if fate == Fate::Held {
                // One too many is told as waiting for ever.
                let _ = self.held.try_push(Held { chunk, session: session.id, frame, input });
            }
        }
        self.story.clear();
    }
}
