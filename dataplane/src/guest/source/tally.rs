//! What a source has done, for whoever waits for its end.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::units::Nanos;

/// No time yet.
const NEVER: u64 = u64::MAX;

/// Frames and times of a source. Its worker counts; anyone reads, and may end it.
#[derive(Debug)]
#[repr(align(128))]
pub struct Tally {
    sent: AtomicU64,
    received: AtomicU64,
    answered: AtomicBool,
    /// When the first frame was sent, and when it ends: of `CLOCK_MONOTONIC`, or [`NEVER`].
    began: AtomicU64,
    ends: AtomicU64,
    span: Option<Nanos>,
}

impl Tally {
    pub(super) fn new(span: Option<Nanos>) -> Self {
        Self {
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            answered: AtomicBool::new(false),
            began: AtomicU64::new(NEVER),
            ends: AtomicU64::new(NEVER),
            span,
        }
    }

    /// Frames of the flow that the ring has got.
    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Frames that came and were dropped: all but ARP.
    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Whether the destination has said where it is.
    #[inline]
    pub fn is_answered(&self) -> bool {
        self.answered.load(Relaxed)
    }

    /// How long it will send yet; none if no end is in sight.
    pub fn left(&self, now: Nanos) -> Option<Nanos> {
        let ends = self.ends.load(Relaxed);
        (ends != NEVER).then(|| Nanos(ends).since(now))
    }

    /// How long it has sent, from its first frame until now or its end.
    pub fn elapsed(&self, now: Nanos) -> Nanos {
        // Before the first frame it is in the future.
        now.min(Nanos(self.ends.load(Relaxed))).since(Nanos(self.began.load(Relaxed)))
    }

    /// Ends the flow: it sends no more. What comes is answered until its worker stops.
    pub fn end(&self, now: Nanos) {
        self.ends.fetch_min(now.0, Relaxed);
    }

    #[inline]
    pub(super) fn is_over(&self, now: Nanos) -> bool {
        now.0 >= self.ends.load(Relaxed)
    }

    /// Frames are about to be sent; whether they are the first.
    #[inline]
    pub(super) fn begin(&self, now: Nanos) -> bool {
        let first = self.began.load(Relaxed) == NEVER;
        if first {
            self.began.store(now.0, Relaxed);
            if let Some(span) = self.span {
                self.end(now.plus(span));
            }
        }
        first
    }

    #[inline]
    pub(super) fn send(&self, frames: u64) {
        self.sent.store(self.sent.load(Relaxed) + frames, Relaxed);
    }

    pub(super) fn receive(&self) {
        self.received.store(self.received.load(Relaxed) + 1, Relaxed);
    }

    pub(super) fn answer(&self) {
        self.answered.store(true, Relaxed);
    }
}
