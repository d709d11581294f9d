//! Messages, one behind the other (`struct nlmsghdr`).

use crate::wire::Malformed;

use super::padded;

/// Bytes of a message's header.
pub const HEADER: usize = 16;

/// What a message is about (`nlmsg_type`).
pub mod kind {
    /// Nothing (`NLMSG_NOOP`).
    pub const NOOP: u16 = 1;
    /// A refusal, or an acknowledgement (`NLMSG_ERROR`).
    pub const ERROR: u16 = 2;
    /// The end of what was asked for (`NLMSG_DONE`).
    pub const DONE: u16 = 3;
    /// A device is there, or has changed.
    pub const NEW_LINK: u16 = libc::RTM_NEWLINK;
    /// A device is gone.
    pub const DELETE_LINK: u16 = libc::RTM_DELLINK;
    /// A device has an address.
    pub const NEW_ADDRESS: u16 = libc::RTM_NEWADDR;
    /// An address is gone.
    pub const DELETE_ADDRESS: u16 = libc::RTM_DELADDR;
    /// A route is there, or has changed.
    pub const NEW_ROUTE: u16 = libc::RTM_NEWROUTE;
    /// A route is gone.
    pub const DELETE_ROUTE: u16 = libc::RTM_DELROUTE;
    /// An entry of a neighbour table or of a bridge's (EVPN) is there.
    pub const NEW_NEIGHBOUR: u16 = libc::RTM_NEWNEIGH;
    /// Such an entry is gone.
    pub const DELETE_NEIGHBOUR: u16 = libc::RTM_DELNEIGH;
    /// A next hop object is there, or has changed.
    pub const NEW_NEXT_HOP: u16 = 104;
    /// A next hop object is gone.
    pub const DELETE_NEXT_HOP: u16 = 105;
}

/// What is wanted of a message's receiver (`nlmsg_flags`).
pub mod flag {
    /// Somebody asks for it, in contrast to the kernel telling that it has happened.
    pub const REQUEST: u16 = libc::NLM_F_REQUEST as u16;
    /// In place of what is there.
    pub const REPLACE: u16 = libc::NLM_F_REPLACE as u16;
    /// Whether or not it is there already.
    pub const CREATE: u16 = libc::NLM_F_CREATE as u16;
    /// In addition to what is there.
    pub const APPEND: u16 = libc::NLM_F_APPEND as u16;
    /// All that there is.
    pub const DUMP: u16 = libc::NLM_F_DUMP as u16;
    /// What was listed changed meanwhile (`NLM_F_DUMP_INTR`).
    pub const INTERRUPTED: u16 = 0x10;
}

mod field {
    pub const LENGTH: std::ops::Range<usize> = 0..4;
    pub const KIND: std::ops::Range<usize> = 4..6;
    pub const FLAGS: std::ops::Range<usize> = 6..8;
    pub const SEQUENCE: std::ops::Range<usize> = 8..12;
}

/// A message whose length is true.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// What it is about; see [`kind`].
    pub kind: u16,
    /// What is wanted; see [`flag`].
    pub flags: u16,
    /// The number that its sender gave it, or the number of the request that it answers.
    pub sequence: u32,
    /// All of it, with its header, without padding.
    pub bytes: &'a [u8],
}

impl<'a> Message<'a> {
    /// The first `N` bytes behind the header, which every kind of message has its own of, and the attributes behind them.
    ///
    /// # Errors
    /// It is shorter.
    pub fn body<const N: usize>(&self) -> Result<(&'a [u8; N], &'a [u8]), Malformed> {
        let body = self.bytes.get(HEADER..).unwrap_or_default();
        let (fixed, _) = body.split_first_chunk::<N>().ok_or(Malformed::Truncated)?;
        // No attribute at all need not be padded to.
        Ok((fixed, body.get(padded(N)..).unwrap_or_default()))
    }
}

/// The messages in a buffer. Ends after the first error: nobody knows where the next one would begin.
#[derive(Clone, Debug)]
pub struct Messages<'a>(&'a [u8]);

impl<'a> Messages<'a> {
    /// Those in `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let bytes = std::mem::take(&mut self.0);
        let Some(header) = bytes.first_chunk::<HEADER>() else { return Some(Err(Malformed::Truncated)) };
        let len = read32(&header[field::LENGTH]) as usize;
        let Some(message) = bytes.get(..len).filter(|_| len >= HEADER) else { return Some(Err(Malformed::Length)) };
        // The last one need not be padded.
        self.0 = bytes.get(padded(len)..).unwrap_or_default();
        Some(Ok(Message {
            kind: read16(&header[field::KIND]),
            flags: read16(&header[field::FLAGS]),
            sequence: read32(&header[field::SEQUENCE]),
            bytes: message,
        }))
    }
}

/// A number in the host's byte order; the callers' ranges are constants of its size.
fn read32(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(0, u32::from_ne_bytes)
}

fn read16(bytes: &[u8]) -> u16 {
    bytes.try_into().map_or(0, u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(len: u32, kind: u16) -> Vec<u8> {
        let mut bytes = len.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.resize(HEADER, 0);
        bytes
    }

    #[test]
    fn messages_follow_each_other_padded() {
        let bytes = [header(17, 24), vec![9, 0, 0, 0], header(16, 25)].concat();
        let read: Vec<_> = Messages::new(&bytes).map(Result::unwrap).map(|m| (m.kind, m.bytes.len())).collect();
        assert_eq!(read, [(24, 17), (25, 16)]);
    }

    #[test]
    fn no_length_leads_out_or_nowhere() {
        for (len, there) in [(0, 16), (15, 16), (17, 16), (u32::MAX, 64), (16, 15)] {
            let mut bytes = header(len, 24);
            bytes.resize(there, 0);
            let read: Vec<_> = Messages::new(&bytes).collect();
            assert_eq!(read.len(), 1, "{len} of {there}");
            assert!(read[0].is_err(), "{len} of {there}");
        }
    }

    #[test]
    fn a_body_is_whole_or_none() {
        let bytes = [header(24, 24), vec![1, 2, 3, 4, 5, 6, 7, 8]].concat();
        let message = Messages::new(&bytes).next().unwrap().unwrap();
        assert_eq!(message.body::<5>().unwrap(), (&[1, 2, 3, 4, 5], &[][..]));
        assert_eq!(message.body::<4>().unwrap(), (&[1, 2, 3, 4], &[5, 6, 7, 8][..]));
        assert_eq!(message.body::<9>(), Err(Malformed::Truncated));
    }
}
