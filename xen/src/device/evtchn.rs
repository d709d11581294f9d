//! `/dev/xen/evtchn`: event channels (`xen/evtchn.h`). Reading gives ports that fired and masks them; writing unmasks.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use super::{call, number};
use crate::seam::Events;
use crate::{DomId, EventPort, XenError};

pub(super) const PATH: &str = "/dev/xen/evtchn";

pub(super) const BIND_INTERDOMAIN: libc::c_ulong = number(b'E', 1, 8);
pub(super) const BIND_UNBOUND: libc::c_ulong = number(b'E', 2, 4);
pub(super) const UNBIND: libc::c_ulong = number(b'E', 3, 4);
pub(super) const NOTIFY: libc::c_ulong = number(b'E', 4, 4);

#[derive(Debug)]
pub(super) struct EventDevice {
    file: File,
}

impl EventDevice {
    pub(super) fn new(file: File) -> Self {
        Self { file }
    }

    /// A call whose argument is one or two words.
    fn words<const N: usize>(&self, number: libc::c_ulong, mut words: [u32; N]) -> io::Result<i32> {
        // SAFETY: the calls of this device that are used here take one word, or two for the one whose number says so; each
        // is called with as many.
        unsafe { call(&self.file, number, words.as_mut_ptr()) }
    }
}

impl Events for EventDevice {
    fn bind(&mut self, domain: DomId, remote: EventPort) -> Result<EventPort, XenError> {
        let failed = |source| XenError::Bind { domain, port: remote, source };
        let bound = self.words(BIND_INTERDOMAIN, [domain.0.into(), remote.0]);
        bound.map(|port| EventPort(port as u32)).map_err(failed)
    }

    fn offer(&mut self, domain: DomId) -> Result<EventPort, XenError> {
        let offered = self.words(BIND_UNBOUND, [domain.0.into()]);
        offered.map(|port| EventPort(port as u32)).map_err(XenError::io("offering an event channel"))
    }

    fn unbind(&mut self, port: EventPort) -> io::Result<()> {
        self.words(UNBIND, [port.0]).map(drop)
    }

    fn notify(&self, port: EventPort) -> io::Result<()> {
        self.words(NOTIFY, [port.0]).map(drop)
    }

    fn fired(&mut self, ports: &mut [EventPort]) -> io::Result<usize> {
        let mut bytes = [0; 256];
        let want = bytes.len().min(ports.len() * 4);
        if want == 0 {
            return Ok(0);
        }
        match self.file.read(&mut bytes[..want]) {
            Ok(read) => {
                for (port, word) in ports.iter_mut().zip(bytes[..read].chunks_exact(4)) {
                    *port = EventPort(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
                }
                Ok(read / 4)
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(e) => Err(e),
        }
    }

    fn unmask(&mut self, ports: &[EventPort]) -> io::Result<()> {
        for ports in ports.chunks(64) {
            let mut bytes = [0; 256];
            for (word, port) in bytes.chunks_exact_mut(4).zip(ports) {
                word.copy_from_slice(&port.0.to_ne_bytes());
            }
            self.file.write_all(&bytes[..ports.len() * 4])?;
        }
        Ok(())
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
