//! What lies in the slots of netif's rings (`public/io/netif.h`): guest's requests, our responses, extra segments.
//!
//! The header names rings from the guest's side: *tx* carries what the guest sends, *rx* what it receives. A slot is a few
//! words, loaded or stored as words; these types are the private copies that are judged.

use crate::GrantRef;

/// Flags of a tx request.
pub mod tx_flag {
    /// The TCP or UDP checksum is the pseudo-header's sum only.
    pub const CSUM_BLANK: u16 = 1;
    /// Somebody verified the checksum, or it is blank.
    pub const DATA_VALIDATED: u16 = 2;
    /// The packet goes on in the next slot.
    pub const MORE_DATA: u16 = 4;
    /// Extra segments follow.
    pub const EXTRA_INFO: u16 = 8;
}

/// Flags of an rx response. The first two are the other way round than a tx request's.
pub mod rx_flag {
    /// Somebody verified the checksum, or it is blank.
    pub const DATA_VALIDATED: u16 = 1;
    /// The TCP or UDP checksum is the pseudo-header's sum only.
    pub const CSUM_BLANK: u16 = 2;
    /// The packet goes on in the next slot.
    pub const MORE_DATA: u16 = 4;
    /// Extra segments follow.
    pub const EXTRA_INFO: u16 = 8;
}

/// What became of a tx request, or of the buffer of an rx request where it is negative.
pub mod status {
    /// Sent.
    pub const OKAY: i16 = 0;
    /// Not sent, and the request was at fault.
    pub const ERROR: i16 = -1;
    /// Not sent.
    pub const DROPPED: i16 = -2;
    /// The slot was an extra segment.
    pub const NULL: i16 = 1;
}

/// Words of a tx slot.
pub const TX_WORDS: usize = 3;
/// Words of an rx slot.
pub const RX_WORDS: usize = 2;

/// The guest wants this sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxRequest {
    /// The page.
    pub grant: GrantRef,
    /// Where in it.
    pub offset: u16,
    /// [`tx_flag`].
    pub flags: u16,
    /// Comes back in the response.
    pub id: u16,
    /// Bytes of the whole packet in its first slot, of the slot in further ones.
    pub size: u16,
}

impl TxRequest {
    /// From a slot's words.
    pub fn parse([grant, place, tail]: [u32; TX_WORDS]) -> Self {
        Self {
            grant: GrantRef(grant),
            offset: place as u16,
            flags: (place >> 16) as u16,
            id: tail as u16,
            size: (tail >> 16) as u16,
        }
    }

    /// To a slot's words.
    pub fn emit(&self) -> [u32; TX_WORDS] {
        [
            self.grant.0,
            u32::from(self.offset) | u32::from(self.flags) << 16,
            u32::from(self.id) | u32::from(self.size) << 16,
        ]
    }
}

/// What became of a tx request: the first word of its slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxResponse {
    /// The request's.
    pub id: u16,
    /// [`status`].
    pub status: i16,
}

impl TxResponse {
    /// From a slot's first word.
    pub fn parse(word: u32) -> Self {
        Self { id: word as u16, status: (word >> 16) as i16 }
    }

    /// To a slot's first word.
    pub fn emit(&self) -> u32 {
        u32::from(self.id) | u32::from(self.status as u16) << 16
    }
}

/// A page of the guest's, to receive into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RxRequest {
    /// Comes back in the response.
    pub id: u16,
    /// The page.
    pub grant: GrantRef,
}

impl RxRequest {
    /// From a slot's words.
    pub fn parse([id, grant]: [u32; RX_WORDS]) -> Self {
        Self { id: id as u16, grant: GrantRef(grant) }
    }

    /// To a slot's words.
    pub fn emit(&self) -> [u32; RX_WORDS] {
        [self.id.into(), self.grant.0]
    }
}

/// What was put into a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RxResponse {
    /// The request's.
    pub id: u16,
    /// Where in the page the data begins.
    pub offset: u16,
    /// [`rx_flag`].
    pub flags: u16,
    /// Bytes in this slot, or a negative [`status`].
    pub status: i16,
}

impl RxResponse {
    /// From a slot's words.
    pub fn parse([head, tail]: [u32; RX_WORDS]) -> Self {
        Self { id: head as u16, offset: (head >> 16) as u16, flags: tail as u16, status: (tail >> 16) as i16 }
    }

    /// To a slot's words.
    pub fn emit(&self) -> [u32; RX_WORDS] {
        [u32::from(self.id) | u32::from(self.offset) << 16, u32::from(self.flags) | u32::from(self.status as u16) << 16]
    }
}

/// Which TCP a GSO segment is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GsoKind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
}

/// An extra segment: takes a slot behind the packet's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    /// The packet is to be cut into segments.
    Gso {
        /// Bytes of TCP payload in each.
        size: u16,
        /// The kind; none where the number is unknown.
        kind: Option<GsoKind>,
    },
    /// The guest wants frames for this group; the packet itself is a dummy.
    MulticastAdd([u8; 6]),
    /// No more of them.
    MulticastDel([u8; 6]),
    /// A flow's hash, which we do not use.
    Hash,
    /// A type that we never offered, or that does not exist.
    Unknown(u8),
}

/// The bit that tells that another extra segment follows.
const MORE: u32 = 1 << 8;

impl Extra {
    /// From a slot's first two words; and whether another follows.
    pub fn parse(head: u32, tail: u32) -> (Self, bool) {
        let [h, t] = [head.to_le_bytes(), tail.to_le_bytes()];
        let address = [h[2], h[3], t[0], t[1], t[2], t[3]];
        let extra = match h[0] {
            1 => Self::Gso {
                size: (head >> 16) as u16,
                kind: match t[0] {
                    1 => Some(GsoKind::Tcp4),
                    2 => Some(GsoKind::Tcp6),
                    _ => None,
                },
            },
            2 => Self::MulticastAdd(address),
            3 => Self::MulticastDel(address),
            4 => Self::Hash,
            other => Self::Unknown(other),
        };
        (extra, head & MORE != 0)
    }

    /// To a slot's first two words.
    pub fn emit(&self, more: bool) -> [u32; 2] {
        let (kind, rest) = match *self {
            Self::Gso { size, kind } => {
                let [low, high] = size.to_le_bytes();
                let kind = match kind {
                    Some(GsoKind::Tcp4) => 1,
                    Some(GsoKind::Tcp6) => 2,
                    None => 0,
                };
                (1, [low, high, kind, 0, 0, 0])
            }
            Self::MulticastAdd(address) => (2, address),
            Self::MulticastDel(address) => (3, address),
            Self::Hash => (4, [0; 6]),
            Self::Unknown(kind) => (kind, [0; 6]),
        };
        let [a, b, c, d, e, f] = rest;
        [u32::from_le_bytes([kind, more.into(), a, b]), u32::from_le_bytes([c, d, e, f])]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<const N: usize>(words: [u32; N]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn requests_and_responses_lie_as_the_header_says() {
        let request =
            TxRequest { grant: GrantRef(0x0403_0201), offset: 0x0605, flags: 0x0807, id: 0x0a09, size: 0x0c0b };
        assert_eq!(bytes(request.emit()), (1..=12).collect::<Vec<u8>>());
        assert_eq!(TxRequest::parse(request.emit()), request);
        let response = TxResponse { id: 0x0201, status: status::DROPPED };
        assert_eq!(response.emit().to_le_bytes(), [1, 2, 0xfe, 0xff]);
        assert_eq!(TxResponse::parse(response.emit()), response);
        let request = RxRequest { id: 0x0201, grant: GrantRef(0x0807_0605) };
        assert_eq!(bytes(request.emit()), [1, 2, 0, 0, 5, 6, 7, 8]);
        assert_eq!(RxRequest::parse([0xffff_0201, 0x0807_0605]), request);
        let response = RxResponse { id: 0x0201, offset: 0x0403, flags: 0x0605, status: -2 };
        assert_eq!(bytes(response.emit()), [1, 2, 3, 4, 5, 6, 0xfe, 0xff]);
        assert_eq!(RxResponse::parse(response.emit()), response);
    }

    #[test]
    fn extras_lie_as_the_header_says() {
        let gso = Extra::Gso { size: 1448, kind: Some(GsoKind::Tcp6) };
        assert_eq!(bytes(gso.emit(true)), [1, 1, 0xa8, 5, 2, 0, 0, 0]);
        let add = Extra::MulticastAdd([1, 0, 0x5e, 0, 0, 1]);
        assert_eq!(bytes(add.emit(false)), [2, 0, 1, 0, 0x5e, 0, 0, 1]);
        for extra in [gso, add, Extra::MulticastDel([3; 6]), Extra::Hash, Extra::Unknown(77)] {
            for more in [false, true] {
                let [head, tail] = extra.emit(more);
                assert_eq!(Extra::parse(head, tail), (extra, more));
            }
        }
    }
}
