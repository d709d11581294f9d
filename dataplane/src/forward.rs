//! What decides: the seam between a worker and the thing that forwards.
//!
//! A worker knows how to pull and push bursts, and nothing of addresses. What it runs is a [`Forward`]: the bridge
//! domains of the engine, the router of a guest, a plain patch between two ports. The forwarder takes each burst whole
//! and hands every frame to one of the [`Outputs`], or frees it and counts why.

use std::sync::Arc;

use arrayvec::ArrayVec;

use crate::drops::DropReason;
use crate::frame::{BURST, Burst, Frame};
use crate::pool::Pool;
use crate::port::Counters;
use crate::units::{Nanos, PortId};

/// Decides where the frames of a burst go.
pub trait Forward: Send {
    /// Takes every frame of `burst`, which came in on `input`, and leaves it empty.
    fn forward(&mut self, pool: &mut Pool, input: PortId, burst: &mut Burst, out: &mut Outputs, now: Nanos);

    /// Work that is due now and then (ageing, retries), about every 10 ms. May send frames of its own.
    fn tick(&mut self, pool: &mut Pool, out: &mut Outputs, now: Nanos) {
        let _ = (pool, out, now);
    }

    /// When [`tick`](Self::tick) has something to do, if that is soon; a worker at rest wakes for it.
    fn deadline(&self) -> Option<Nanos> {
        None
    }

    /// Frames that came from another worker are staged, perhaps for ports that are the forwarder's own: it takes those.
    fn pass_on(&mut self, pool: &mut Pool, out: &mut Outputs, now: Nanos) {
        let _ = (pool, out, now);
    }

    /// The worker is about to sleep: nothing will be looked up until it calls again.
    fn rest(&mut self) {}
}

/// What leaves: frames sorted by output port, until the worker pushes them.
pub struct Outputs {
    staged: Vec<Burst>,
    /// Ports with staged frames, each once.
    dirty: Vec<PortId>,
    /// Frames beyond a burst for one port: floods and answers, never the ordinary case.
    spill: Vec<(PortId, Frame)>,
    /// Takes the spill's place while that is staged, so that neither gives its memory up.
    spare: Vec<(PortId, Frame)>,
    counters: Vec<Arc<Counters>>,
    up: Vec<bool>,
    /// Somebody looks: losses are noted one by one.
    watched: bool,
    lost: ArrayVec<Loss, BURST>,
}

/// A frame lost: its chunk, unless it was a copy that could not be made; the port that counts it; why.
pub(crate) type Loss = (Option<u32>, PortId, DropReason);

impl Outputs {
    /// Outputs to as many ports as there are `counters`, in the order of their [`PortId`].
    pub fn new(counters: Vec<Arc<Counters>>) -> Self {
        let ports = counters.len();
        Self {
            staged: (0..ports).map(|_| Burst::new()).collect(),
            dirty: Vec::with_capacity(ports),
            spill: Vec::with_capacity(4 * BURST),
            spare: Vec::with_capacity(4 * BURST),
            counters,
            up: vec![true; ports],
            watched: false,
            lost: ArrayVec::new(),
        }
    }

    /// Ports there are.
    pub fn ports(&self) -> usize {
        self.staged.len()
    }

    /// Sends `frame` out of `port` at the end of this burst.
    #[inline]
    pub fn send(&mut self, port: PortId, frame: Frame) {
        let staged = &mut self.staged[port.index()];
        if staged.is_empty() {
            self.dirty.push(port);
        }
        if let Err(full) = staged.try_push(frame) {
            self.spill.push((port, full.element()));
        }
    }

    /// Takes back what is staged for one of the ports that are `wanted`, up to a burst, into `burst`, which is empty. None:
    /// nothing is.
    #[inline]
    pub(crate) fn take(&mut self, wanted: impl Fn(PortId) -> bool, burst: &mut Burst) -> Option<PortId> {
        let at = self.dirty.iter().position(|&port| wanted(port))?;
        let port = self.dirty.swap_remove(at);
        burst.extend(self.staged[port.index()].drain(..));
        if !self.spill.is_empty() {
            self.unspill();
        }
        Some(port)
    }

    /// Ends `frame` here: frees it and counts `reason` at the port it came in on.
    #[inline]
    pub fn drop(&mut self, pool: &mut Pool, input: PortId, frame: Frame, reason: DropReason) {
        if self.watched {
            self.note(Some(frame.chunk), input, reason);
        }
        pool.free(frame);
        self.counters[input.index()].dropped(reason, 1);
    }

    /// Counts a frame lost at `input` that needs no freeing (a copy that could not be made).
    pub fn count_drop(&mut self, input: PortId, reason: DropReason) {
        if self.watched {
            self.note(None, input, reason);
        }
        self.counters[input.index()].dropped(reason, 1);
    }

    #[cold]
    fn note(&mut self, chunk: Option<u32>, port: PortId, reason: DropReason) {
        // As many as a burst has; of more, a trace tells less.
        let _ = self.lost.try_push((chunk, port, reason));
    }

    /// Begins to note losses one by one, or ends it and forgets them.
    pub(crate) fn watch(&mut self, on: bool) {
        self.watched = on;
        self.lost.clear();
    }

    /// What was lost since [`watch`](Self::watch).
    pub(crate) fn lost(&self) -> &[Loss] {
        &self.lost
    }

    /// What is staged, each frame with its port.
    pub(crate) fn staged(&self) -> impl Iterator<Item = (PortId, &Frame)> {
        let staged =
            self.dirty.iter().flat_map(|&port| self.staged[port.index()].iter().map(move |frame| (port, frame)));
        staged.chain(self.spill.iter().map(|(port, frame)| (*port, frame)))
    }

    /// Counts what is lost at `port` here from now on.
    pub(crate) fn set_counters(&mut self, port: PortId, counters: Arc<Counters>) {
        self.counters[port.index()] = counters;
    }

    /// Whether the port's peer is up: flooding to one that is not would only count drops.
    #[inline]
    pub fn is_up(&self, port: PortId) -> bool {
        self.up[port.index()]
    }

    /// What is staged, with the numbers of the ports, and nothing is staged any more.
    #[cfg(test)]
    pub(crate) fn take_all(&mut self, pool: &mut Pool) -> Vec<(u16, Vec<u8>)> {
        let mut all = Vec::new();
        self.drain(|port, burst| {
            for frame in burst.drain(..) {
                all.push((port.0, pool.to_vec(&frame)));
                pool.free(frame);
            }
        });
        all
    }

    /// Notes whether the port's peer is up.
    pub fn set_up(&mut self, port: PortId, up: bool) {
        self.up[port.index()] = up;
    }

    /// Hands every staged burst to `push`, which must leave it empty, until nothing is staged.
    #[inline]
    pub fn drain(&mut self, mut push: impl FnMut(PortId, &mut Burst)) {
        loop {
            while let Some(port) = self.dirty.pop() {
                push(port, &mut self.staged[port.index()]);
            }
            if self.spill.is_empty() {
                return;
            }
            self.unspill();
        }
    }

    /// Stages what was spilled, at most a burst a port; the rest stays for the next round, in order. What is staged of a
    /// port that spilled is older, so nothing overtakes.
    #[cold]
    fn unspill(&mut self) {
        let mut spilled = std::mem::replace(&mut self.spill, std::mem::take(&mut self.spare));
        for (port, frame) in spilled.drain(..) {
            self.send(port, frame);
        }
        self.spare = spilled;
    }
}
