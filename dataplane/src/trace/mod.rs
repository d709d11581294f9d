//! Traces: what becomes of a flow's frames, told by the engine while it forwards.
//!
//! A worker that is asked for a trace takes the frames that match out of their bursts and handles each alone, by the same
//! forwarder as ever; then it looks at what that did: what is staged for which port, what was dropped and why. So no
//! forwarder knows of tracing. What was seen goes to the control side as [`Event`]s through a queue of fixed size: there
//! they are put together to steps, with the names and the reasons that only the control side knows.
//!
//! While nobody traces, a worker reads one flag a burst. While somebody does, it allocates nothing and waits for nobody: a
//! queue that is full costs the trace frames, which are counted, and never the worker.

mod filter;
pub mod pcapng;
mod summary;
mod tracer;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use arrayvec::ArrayVec;
use crossbeam_queue::ArrayQueue;

pub use filter::{Filter, Protocol, ends};
pub use summary::summary;
pub(crate) use tracer::{Sessions, Tracer};

use crate::drops::DropReason;
use crate::units::{Nanos, PortId};

/// Traces at a time: each is looked at for every frame.
pub const MAX_TRACES: usize = 4;
/// Bytes of a frame that are kept; longer ones are cut.
pub const SNAP: usize = 1536;
/// Events that may wait for the control side.
const QUEUE: usize = 256;

/// What happened to a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It came in by the port.
    In,
    /// It, or what was made because of it, was staged for the port.
    Out,
    /// It was lost at the port. So many, where several copies were.
    Lost(DropReason, u16),
    /// All is told.
    End(Fate),
}

/// How a frame ended, for the time being.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It left.
    Sent,
    /// It was lost, or every copy of it.
    Lost,
    /// It was for the router itself, or something else left in its place.
    Taken,
    /// It waits inside the engine: for a neighbour's address.
    Held,
}

/// Something that happened to a frame that is traced.
#[derive(Clone, Debug)]
pub struct Event {
    /// The frame's number in its trace.
    pub frame: u64,
    /// When its burst was taken in.
    pub at: Nanos,
    /// By which worker.
    pub worker: u16,
    /// At which port.
    pub port: PortId,
    /// What it was.
    pub what: What,
    /// Bytes of the frame; 0 where none is shown.
    pub len: u32,
    /// The first of them.
    pub bytes: ArrayVec<u8, SNAP>,
}

/// One trace.
#[derive(Debug)]
pub struct Session {
    id: u64,
    filter: Filter,
    /// Only frames that are lost, or wait, are told.
    drops: bool,
    /// Frames told at most.
    most: u64,
    /// Frames told so far.
    next: AtomicU64,
    /// Frames for whose story there was no room.
    untold: AtomicU64,
    events: ArrayQueue<Event>,
}

impl Session {
    /// What happened next, if something did.
    pub fn take(&self) -> Option<Event> {
        self.events.pop()
    }

    /// Frames that matched and of which nothing, or not all, was told, because too much happened at once.
    pub fn untold(&self) -> u64 {
        self.untold.load(Relaxed)
    }

    /// Whether the trace may want to know of frames that come by this port.
    fn is_of(&self, input: PortId) -> bool {
        self.next.load(Relaxed) < self.most && self.filter.port.is_none_or(|port| port == input)
    }

    /// Whether the trace wants to know of such a frame at all.
    fn wants(&self, input: PortId, head: &[u8]) -> bool {
        self.next.load(Relaxed) < self.most && self.filter.matches(input, head)
    }

    /// A number for the next frame. None: there were enough.
    fn number(&self) -> Option<u64> {
        let number = self.next.fetch_add(1, Relaxed);
        (number < self.most).then_some(number)
    }

    /// Tells what happened to frame number `frame`: all of it or nothing, as far as other workers leave room.
    fn tell(&self, frame: u64, events: &mut dyn Iterator<Item = &Event>, count: usize) {
        let mut all = self.events.capacity() - self.events.len() >= count;
        if all {
            for event in events {
                all &= self.events.push(Event { frame, ..event.clone() }).is_ok();
            }
        }
        if !all {
            self.untold.fetch_add(1, Relaxed);
        }
    }
}

/// The traces of an engine: what workers look at, and where traces begin and end.
#[derive(Debug, Default)]
pub struct Traces {
    /// Whether there is any.
    on: AtomicBool,
    sessions: ArcSwap<Vec<Arc<Session>>>,
    /// Held by who begins or ends one.
    last: Mutex<u64>,
}

/// There are as many traces as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_TRACES} traces run already, which is the most; wait for one to end, or end it")]
pub struct TooMany;

/// A trace that runs; it ends with this.
#[derive(Debug)]
pub struct Trace {
    traces: Arc<Traces>,
    session: Arc<Session>,
}

impl Traces {
    /// Whether a worker has to look closer.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    /// The traces that run.
    fn sessions(&self) -> Guard<Arc<Vec<Arc<Session>>>> {
        self.sessions.load()
    }

    /// Begins a trace of at most `most` frames that `filter` matches on their way in; if `drops`, of those that are lost.
    ///
    /// # Errors
    /// There are [`MAX_TRACES`] already.
    pub fn begin(self: &Arc<Self>, filter: Filter, drops: bool, most: u64) -> Result<Trace, TooMany> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sessions = Vec::clone(&self.sessions.load_full());
        if sessions.len() >= MAX_TRACES {
            return Err(TooMany);
        }
        *last += 1;
        let session = Arc::new(Session {
            id: *last,
            filter,
            drops,
            most,
            next: AtomicU64::new(0),
            untold: AtomicU64::new(0),
            events: ArrayQueue::new(QUEUE),
        });
        sessions.push(Arc::clone(&session));
        self.publish(sessions);
        Ok(Trace { traces: Arc::clone(self), session })
    }

    fn publish(&self, sessions: Vec<Arc<Session>>) {
        let count = sessions.len();
        self.sessions.store(Arc::new(sessions));
        self.on.store(count > 0, Relaxed);
    }
}

impl std::ops::Deref for Trace {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _last = self.traces.last.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sessions = Vec::clone(&self.traces.sessions.load_full());
        sessions.retain(|other| other.id != self.session.id);
        self.traces.publish(sessions);
    }
}

#[cfg(test)]
mod tests;
