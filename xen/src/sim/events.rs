//! Event channels as a process of the simulated machine sees them: requests over a socket, events out of a pipe, which
//! reads as `/dev/xen/evtchn` does.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

use super::protocol::{Connection, op};
use crate::seam::Events;
use crate::{DomId, EventPort, XenError};

#[derive(Debug)]
pub(super) struct SimEvents {
    conn: Connection,
    pipe: File,
}

impl SimEvents {
    pub(super) fn new(conn: Connection, pipe: File) -> Self {
        Self { conn, pipe }
    }
}

impl Events for SimEvents {
    fn bind(&mut self, domain: DomId, remote: EventPort) -> Result<EventPort, XenError> {
        let failed = |source| XenError::Bind { domain, port: remote, source };
        self.conn.ask_value(op::BIND, &[domain.0.into(), remote.0]).map(|(port, _)| EventPort(port)).map_err(failed)
    }

    fn offer(&mut self, domain: DomId) -> Result<EventPort, XenError> {
        let offered = self.conn.ask_value(op::OFFER, &[domain.0.into()]);
        offered.map(|(port, _)| EventPort(port)).map_err(XenError::io("offering an event channel"))
    }

    fn unbind(&mut self, port: EventPort) -> io::Result<()> {
        self.conn.ask_value(op::UNBIND, &[port.0]).map(drop)
    }

    fn notify(&self, port: EventPort) -> io::Result<()> {
        self.conn.tell(op::NOTIFY, &[port.0])
    }

    fn fired(&mut self, ports: &mut [EventPort]) -> io::Result<usize> {
        let mut bytes = [0; 256];
        let want = bytes.len().min(ports.len() * 4);
        match self.pipe.read(&mut bytes[..want]) {
            Ok(read) => {
                for (port, word) in ports.iter_mut().zip(bytes[..read].chunks_exact(4)) {
                    *port = EventPort(u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
                }
                Ok(read / 4)
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(e) => Err(e),
        }
    }

    fn unmask(&mut self, ports: &[EventPort]) -> io::Result<()> {
        ports.iter().try_for_each(|port| self.conn.tell(op::UNMASK, &[port.0]))
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}
