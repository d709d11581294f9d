//! FPM frames (`fpm_msg_hdr_t` of FRR's `fpm/fpm.h`): version, type, length with the header, and netlink messages behind it.
//!
//! The header is in network byte order. Our own agent says with two more messages what FRR never says: that it begins to
//! list everything, and that this was all. They are netlink's `NLMSG_DONE` with a word of ours, which other receivers skip.

use super::netlink::{Builder, Message, kind};

/// The only version there is.
pub const VERSION: u8 = 1;
/// Netlink messages follow (`FPM_MSG_TYPE_NETLINK`).
pub const NETLINK: u8 = 1;
/// Bytes of the header.
pub const HEADER: usize = 4;
/// Bytes of the longest frame that can be said and is aligned as it must be.
pub const LONGEST: usize = (u16::MAX as usize / ALIGN) * ALIGN;
/// Frames have lengths that keep netlink messages aligned (`FPM_MSG_ALIGNTO`).
const ALIGN: usize = 4;

/// Bytes that are no frame. Nothing behind them can be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Another protocol, or another version of it.
    #[error("FPM version {0} instead of {VERSION}: whoever sends is no FPM client; FRR needs `zebra -M dplane_fpm_nl`")]
    Version(u8),
    /// Shorter than its own header.
    #[error("an FPM frame of {0} bytes, which is less than its header: whoever sends is no FPM client")]
    Length(u16),
}

/// A frame that is there from end to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What is in it; see [`NETLINK`].
    pub kind: u8,
    /// What follows the header.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The first frame of a stream, and how many bytes of the stream it is; none: it is not whole yet.
    ///
    /// # Errors
    /// The stream is none of FPM's.
    pub fn first(stream: &'a [u8]) -> Result<Option<(Self, usize)>, FrameError> {
        let Some(&version) = stream.first() else { return Ok(None) };
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        let Some(&[_, kind, high, low]) = stream.first_chunk::<HEADER>() else { return Ok(None) };
        let len = u16::from_be_bytes([high, low]);
        if usize::from(len) < HEADER {
            return Err(FrameError::Length(len));
        }
        let whole = stream.get(HEADER..len.into());
        Ok(whole.map(|payload| (Self { kind, payload }, len.into())))
    }

    /// Whether its length keeps netlink messages aligned, as FPM demands.
    pub const fn is_aligned(&self) -> bool {
        self.payload.len().is_multiple_of(ALIGN)
    }
}

/// Puts netlink messages into a frame behind `out`; false: they are longer than a frame.
pub fn write(out: &mut Vec<u8>, messages: &[u8]) -> bool {
    let padding = messages.len().next_multiple_of(ALIGN) - messages.len();
    let Some(len) = u16::try_from(HEADER + messages.len() + padding).ok() else { return false };
    out.extend([VERSION, NETLINK]);
    out.extend(len.to_be_bytes());
    out.extend(messages);
    out.extend([0; ALIGN].iter().take(padding));
    true
}

/// What our agent says and FRR does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// Everything follows. What is not in it is gone.
    Begin,
    /// That was everything.
    End,
}

/// The word that tells our markers from anybody else's.
const WORD: [u8; 8] = *b"Pntsman\x01";

impl Marker {
    /// The marker that a message is, if it is one.
    pub fn of(message: &Message<'_>) -> Option<Self> {
        let (&[word @ .., what, _, _, _], _) = message.body::<12>().ok().filter(|_| message.kind == kind::DONE)?;
        match what {
            1 if word == WORD => Some(Self::Begin),
            2 if word == WORD => Some(Self::End),
            _ => None,
        }
    }

    /// Writes it as a message.
    pub fn write(self, out: &mut Vec<u8>) {
        let what = match self {
            Self::Begin => 1,
            Self::End => 2,
        };
        let mut body = [0; 12];
        body[..8].copy_from_slice(&WORD);
        body[8] = what;
        Builder::new(out, kind::DONE, 0, 0, &body).finish();
    }
}

#[cfg(test)]
mod tests {
    use super::super::netlink::Messages;
    use super::*;

    #[test]
    fn a_frame_is_whole_or_awaited() {
        let mut stream = Vec::new();
        assert!(write(&mut stream, &[1, 2, 3, 4, 5]));
        assert_eq!(stream, [1, 1, 0, 12, 1, 2, 3, 4, 5, 0, 0, 0]);
        for cut in 0..stream.len() {
            assert_eq!(Frame::first(&stream[..cut]), Ok(None), "{cut}");
        }
        let (frame, len) = Frame::first(&stream).unwrap().unwrap();
        assert_eq!((frame.kind, frame.payload, len), (NETLINK, &[1, 2, 3, 4, 5, 0, 0, 0][..], 12));
        assert!(frame.is_aligned());
    }

    #[test]
    fn what_is_no_frame_is_an_error_as_soon_as_it_shows() {
        assert_eq!(Frame::first(b"GET / HTTP/1.1"), Err(FrameError::Version(b'G')));
        assert_eq!(Frame::first(&[2]), Err(FrameError::Version(2)));
        assert_eq!(Frame::first(&[1, 1, 0, 3]), Err(FrameError::Length(3)));
        assert_eq!(Frame::first(&[1, 1, 0, 4]).unwrap().unwrap().1, 4);
    }

    #[test]
    fn what_is_longer_than_a_frame_is_not_written() {
        let mut out = Vec::new();
        assert!(!write(&mut out, &vec![0; LONGEST - HEADER + 1]));
        assert!(out.is_empty());
        assert!(write(&mut out, &vec![0; LONGEST - HEADER]));
        assert_eq!(Frame::first(&out).unwrap().unwrap().1, LONGEST);
    }

    #[test]
    fn markers_are_told_from_each_other_and_from_anything_else() {
        let mut bytes = Vec::new();
        Marker::Begin.write(&mut bytes);
        Marker::End.write(&mut bytes);
        Builder::new(&mut bytes, kind::DONE, 0, 0, &[0; 4]).finish();
        Builder::new(&mut bytes, kind::DONE, 0, 0, &[1; 12]).finish();
        let read: Vec<_> = Messages::new(&bytes).map(|m| Marker::of(&m.unwrap())).collect();
        assert_eq!(read, [Some(Marker::Begin), Some(Marker::End), None, None]);
    }
}
