//! An event channel as a memif's bell.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use pointsman_dataplane::memif::Bell;

use crate::{EventPort, Events};

/// One channel, and the connection that holds it. One thread uses it at a time, so its lock is never waited for.
#[derive(Debug)]
pub(super) struct ChannelBell {
    events: Mutex<Box<dyn Events>>,
    port: EventPort,
    fd: OwnedFd,
}

impl ChannelBell {
    /// The only channel of `events`.
    pub(super) fn new(events: Box<dyn Events>, port: EventPort) -> io::Result<Self> {
        let fd = events.fd().try_clone_to_owned()?;
        Ok(Self { events: Mutex::new(events), port, fd })
    }
}

impl Bell for ChannelBell {
    fn ring(&self) {
        // A peer that has gone is noticed elsewhere.
        let _ = self.events.lock().unwrap_or_else(PoisonError::into_inner).notify(self.port);
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn heard(&self) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ports = [EventPort(0); 8];
        if let Ok(fired @ 1..) = events.fired(&mut ports) {
            let _ = events.unmask(&ports[..fired]);
        }
    }
}
