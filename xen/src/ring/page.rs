//! The control page: who lives, and which session was served. Three words that either side may write at will; what the
//! other wrote can only make one side believe that the other has gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};

use crate::{EventPort, Shared};

/// A side of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The guest's.
    Agent,
    /// The backend's.
    Engine,
}

impl Side {
    /// Where its byte is: 1 while it lives.
    fn offset(self) -> usize {
        match self {
            Self::Agent => 0,
            Self::Engine => 64,
        }
    }
}

/// Where the number of the session is that was served last.
const SERVED: usize = 128;

#[derive(Clone, Debug)]
pub(super) struct ControlPage(Arc<Shared>);

impl ControlPage {
    /// The first of these pages, which are mapped for writing.
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self(Arc::clone(shared))
    }

    /// Has the kernel clear a side's byte when `shared`, which is that side's, goes.
    pub(super) fn when_gone(shared: &mut Shared, side: Side) -> std::io::Result<()> {
        shared.on_unmap(side.offset(), None::<EventPort>)
    }

    fn byte(&self, side: Side) -> &AtomicU8 {
        // SAFETY: within the first page, which is mapped while the Arc lives; accessed atomically only.
        unsafe { AtomicU8::from_ptr(self.0.base().as_ptr().add(side.offset())) }
    }

    fn word(&self) -> &AtomicU32 {
        // SAFETY: as above, and aligned, as the page is.
        unsafe { AtomicU32::from_ptr(self.0.base().as_ptr().add(SERVED).cast()) }
    }

    pub(super) fn lives(&self, side: Side) -> bool {
        self.byte(side).load(Relaxed) == 1
    }

    pub(super) fn set_lives(&self, side: Side, lives: bool) {
        self.byte(side).store(lives.into(), Relaxed);
    }

    pub(super) fn served(&self) -> u32 {
        self.word().load(Relaxed)
    }

    pub(super) fn set_served(&self, session: u32) {
        self.word().store(session, Relaxed);
    }
}
