//! The messages of memif version 2, as they lie on the socket: 128 bytes each, whatever the type.
//!
//! Layout: DPDK's `drivers/net/memif/memif.h`, a packed structure in the machine's byte order (both ends share memory,
//! so they share a machine). A message is decoded once into values; nothing here can fail later or panic on any input.
//! Texts come from a stranger and end up in logs and terminals, so only printable ASCII survives decoding.

/// Bytes of every message.
pub const MESSAGE_LEN: usize = 128;

/// Protocol version 2.0, the only one there is.
pub const VERSION: u16 = 0x0200;

/// Largest ring that the protocol's peers accept, as a power of two.
pub const MAX_LOG2_RING_SIZE: u8 = 14;

/// Bytes of a secret.
pub const SECRET_LEN: usize = 24;

const NAME_LEN: usize = 32;
const REASON_LEN: usize = 96;

/// Where the fields lie, by message.
mod field {
    use std::ops::Range;

    pub const TYPE: Range<usize> = 0..2;

    pub mod hello {
        use super::Range;
        pub const NAME: Range<usize> = 2..34;
        pub const MIN_VERSION: Range<usize> = 34..36;
        pub const MAX_VERSION: Range<usize> = 36..38;
        pub const MAX_REGION: Range<usize> = 38..40;
        pub const MAX_M2S_RING: Range<usize> = 40..42;
        pub const MAX_S2M_RING: Range<usize> = 42..44;
        pub const MAX_LOG2_RING_SIZE: usize = 44;
    }

    pub mod init {
        use super::Range;
        pub const VERSION: Range<usize> = 2..4;
        pub const ID: Range<usize> = 4..8;
        pub const MODE: usize = 8;
        pub const SECRET: Range<usize> = 9..33;
        pub const NAME: Range<usize> = 33..65;
    }

    pub mod add_region {
        use super::Range;
        pub const INDEX: Range<usize> = 2..4;
        pub const SIZE: Range<usize> = 4..12;
    }

    pub mod add_ring {
        use super::Range;
        pub const FLAGS: Range<usize> = 2..4;
        pub const INDEX: Range<usize> = 4..6;
        pub const REGION: Range<usize> = 6..8;
        pub const OFFSET: Range<usize> = 8..12;
        pub const LOG2_RING_SIZE: usize = 12;
        pub const PRIVATE_HEADER: Range<usize> = 13..15;
    }

    pub mod connect {
        use super::Range;
        pub const INTERFACE: Range<usize> = 2..34;
    }

    pub mod disconnect {
        use super::Range;
        pub const CODE: Range<usize> = 2..6;
        pub const REASON: Range<usize> = 6..102;
    }
}

/// Set in [`AddRing::flags`] for a ring from client to server.
const RING_S2M: u16 = 1;

/// What a server says first: what it can take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The server program.
    pub name: String,
    /// Lowest protocol version it speaks.
    pub min_version: u16,
    /// Highest protocol version it speaks.
    pub max_version: u16,
    /// Highest region index.
    pub max_region: u16,
    /// Highest index of a ring from server to client.
    pub max_m2s_ring: u16,
    /// Highest index of a ring from client to server.
    pub max_s2m_ring: u16,
    /// Largest ring, as a power of two.
    pub max_log2_ring_size: u8,
}

/// What a client answers: which interface it wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Init {
    /// Protocol version that it speaks.
    pub version: u16,
    /// Interface on this socket.
    pub id: u32,
    /// 0: Ethernet frames. Nothing else is spoken here.
    pub mode: u8,
    /// Shared secret, padded with zeros; all zero: none.
    pub secret: [u8; SECRET_LEN],
    /// The client program.
    pub name: String,
}

/// A piece of shared memory, whose descriptor comes with the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddRegion {
    /// Index by which rings and descriptors name it.
    pub index: u16,
    /// Bytes.
    pub size: u64,
}

/// A ring in shared memory, whose eventfd comes with the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddRing {
    /// From client to server; else from server to client.
    pub s2m: bool,
    /// Index among the rings of its direction.
    pub index: u16,
    /// Region that it lies in.
    pub region: u16,
    /// Where it begins there.
    pub offset: u32,
    /// Descriptors, as a power of two.
    pub log2_size: u8,
    /// Bytes of private metadata before each frame.
    pub private_header: u16,
}

/// A message of either side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Server to client: taken, go on.
    Ack,
    /// Server to client, first.
    Hello(Hello),
    /// Client to server, second.
    Init(Init),
    /// Client to server.
    AddRegion(AddRegion),
    /// Client to server.
    AddRing(AddRing),
    /// Client to server, last: the client's interface name.
    Connect(String),
    /// Server to client, last: the server's interface name.
    Connected(String),
    /// Either side: it is over, and why.
    Disconnect {
        /// An error number; nobody gives it a meaning.
        code: u32,
        /// For people.
        reason: String,
    },
}

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not the length that all messages have.
    #[error("message of {0} bytes, not {MESSAGE_LEN}")]
    Length(usize),
    /// A type that version 2 does not know.
    #[error("unknown message type {0}")]
    Type(u16),
}

impl Message {
    /// Reads a message.
    ///
    /// # Errors
    /// The length or the type is wrong. Values within the message are for the receiver to judge.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let bytes: &[u8; MESSAGE_LEN] = bytes.try_into().map_err(|_| DecodeError::Length(bytes.len()))?;
        Ok(match get16(bytes, field::TYPE) {
            1 => Self::Ack,
            2 => Self::Hello(Hello {
                name: text(&bytes[field::hello::NAME]),
                min_version: get16(bytes, field::hello::MIN_VERSION),
                max_version: get16(bytes, field::hello::MAX_VERSION),
                max_region: get16(bytes, field::hello::MAX_REGION),
                max_m2s_ring: get16(bytes, field::hello::MAX_M2S_RING),
                max_s2m_ring: get16(bytes, field::hello::MAX_S2M_RING),
                max_log2_ring_size: bytes[field::hello::MAX_LOG2_RING_SIZE],
            }),
            3 => Self::Init(Init {
                version: get16(bytes, field::init::VERSION),
                id: get32(bytes, field::init::ID),
                mode: bytes[field::init::MODE],
                secret: secret(&bytes[field::init::SECRET]),
                name: text(&bytes[field::init::NAME]),
            }),
            4 => Self::AddRegion(AddRegion {
                index: get16(bytes, field::add_region::INDEX),
                size: get64(bytes, field::add_region::SIZE),
            }),
            5 => Self::AddRing(AddRing {
                s2m: get16(bytes, field::add_ring::FLAGS) & RING_S2M != 0,
                index: get16(bytes, field::add_ring::INDEX),
                region: get16(bytes, field::add_ring::REGION),
                offset: get32(bytes, field::add_ring::OFFSET),
                log2_size: bytes[field::add_ring::LOG2_RING_SIZE],
                private_header: get16(bytes, field::add_ring::PRIVATE_HEADER),
            }),
            6 => Self::Connect(text(&bytes[field::connect::INTERFACE])),
            7 => Self::Connected(text(&bytes[field::connect::INTERFACE])),
            8 => Self::Disconnect {
                code: get32(bytes, field::disconnect::CODE),
                reason: text(&bytes[field::disconnect::REASON]),
            },
            other => return Err(DecodeError::Type(other)),
        })
    }

    /// Writes the message. Texts that are too long are cut.
    pub fn encode(&self) -> [u8; MESSAGE_LEN] {
        let mut b = [0; MESSAGE_LEN];
        let kind: u16 = match self {
            Self::Ack => 1,
            Self::Hello(hello) => {
                put_text(&mut b[field::hello::NAME], &hello.name, NAME_LEN);
                put(&mut b[field::hello::MIN_VERSION], &hello.min_version.to_ne_bytes());
                put(&mut b[field::hello::MAX_VERSION], &hello.max_version.to_ne_bytes());
                put(&mut b[field::hello::MAX_REGION], &hello.max_region.to_ne_bytes());
                put(&mut b[field::hello::MAX_M2S_RING], &hello.max_m2s_ring.to_ne_bytes());
                put(&mut b[field::hello::MAX_S2M_RING], &hello.max_s2m_ring.to_ne_bytes());
                b[field::hello::MAX_LOG2_RING_SIZE] = hello.max_log2_ring_size;
                2
            }
            Self::Init(init) => {
                put(&mut b[field::init::VERSION], &init.version.to_ne_bytes());
                put(&mut b[field::init::ID], &init.id.to_ne_bytes());
                b[field::init::MODE] = init.mode;
                put(&mut b[field::init::SECRET], &init.secret);
                put_text(&mut b[field::init::NAME], &init.name, NAME_LEN);
                3
            }
            Self::AddRegion(region) => {
                put(&mut b[field::add_region::INDEX], &region.index.to_ne_bytes());
                put(&mut b[field::add_region::SIZE], &region.size.to_ne_bytes());
                4
            }
            Self::AddRing(ring) => {
                put(&mut b[field::add_ring::FLAGS], &(if ring.s2m { RING_S2M } else { 0 }).to_ne_bytes());
                put(&mut b[field::add_ring::INDEX], &ring.index.to_ne_bytes());
                put(&mut b[field::add_ring::REGION], &ring.region.to_ne_bytes());
                put(&mut b[field::add_ring::OFFSET], &ring.offset.to_ne_bytes());
                b[field::add_ring::LOG2_RING_SIZE] = ring.log2_size;
                put(&mut b[field::add_ring::PRIVATE_HEADER], &ring.private_header.to_ne_bytes());
                5
            }
            Self::Connect(name) => {
                put_text(&mut b[field::connect::INTERFACE], name, NAME_LEN);
                6
            }
            Self::Connected(name) => {
                put_text(&mut b[field::connect::INTERFACE], name, NAME_LEN);
                7
            }
            Self::Disconnect { code, reason } => {
                put(&mut b[field::disconnect::CODE], &code.to_ne_bytes());
                put_text(&mut b[field::disconnect::REASON], reason, REASON_LEN);
                8
            }
        };
        put(&mut b[field::TYPE], &kind.to_ne_bytes());
        b
    }

    /// The type's name, for messages to people.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Ack => "ACK",
            Self::Hello(_) => "HELLO",
            Self::Init(_) => "INIT",
            Self::AddRegion(_) => "ADD_REGION",
            Self::AddRing(_) => "ADD_RING",
            Self::Connect(_) => "CONNECT",
            Self::Connected(_) => "CONNECTED",
            Self::Disconnect { .. } => "DISCONNECT",
        }
    }
}

/// A secret as it lies in a message: the text's bytes up to the first zero, padded with zeros.
pub fn secret(text: &[u8]) -> [u8; SECRET_LEN] {
    let mut secret = [0; SECRET_LEN];
    for (to, from) in secret.iter_mut().zip(text.iter().take_while(|b| **b != 0)) {
        *to = *from;
    }
    secret
}

fn get16(bytes: &[u8; MESSAGE_LEN], at: std::ops::Range<usize>) -> u16 {
    u16::from_ne_bytes(array(&bytes[at]))
}

fn get32(bytes: &[u8; MESSAGE_LEN], at: std::ops::Range<usize>) -> u32 {
    u32::from_ne_bytes(array(&bytes[at]))
}

fn get64(bytes: &[u8; MESSAGE_LEN], at: std::ops::Range<usize>) -> u64 {
    u64::from_ne_bytes(array(&bytes[at]))
}

/// The first bytes of `bytes`, which the constants in [`field`] make long enough.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    put(&mut array, bytes);
    array
}

fn put(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// Puts a text into a field of `len` bytes, with a zero behind it.
fn put_text(to: &mut [u8], text: &str, len: usize) {
    put(to, &text.as_bytes()[..text.len().min(len - 1)]);
}

/// The text up to the first zero, made harmless.
fn text(bytes: &[u8]) -> String {
    let printable = |&b: &u8| if b.is_ascii_graphic() || b == b' ' { char::from(b) } else { '?' };
    bytes.iter().take_while(|b| **b != 0).map(printable).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn samples() -> Vec<Message> {
        vec![
            Message::Ack,
            Message::Hello(Hello {
                name: "DPDK 22.11.11".into(),
                min_version: VERSION,
                max_version: VERSION,
                max_region: 255,
                max_m2s_ring: 254,
                max_s2m_ring: 253,
                max_log2_ring_size: 14,
            }),
            Message::Init(Init {
                version: VERSION,
                id: 0x0102_0304,
                mode: 0,
                secret: secret(b"swordfish"),
                name: "client".into(),
            }),
            Message::AddRegion(AddRegion { index: 1, size: 0x1_0000_2000 }),
            Message::AddRing(AddRing {
                s2m: true,
                index: 3,
                region: 1,
                offset: 0x0a0b_0c0d,
                log2_size: 10,
                private_header: 0,
            }),
            Message::Connect("net_memif0".into()),
            Message::Connected("r1.0".into()),
            Message::Disconnect { code: 7, reason: "Already connected".into() },
        ]
    }

    #[test]
    fn every_message_reads_as_it_was_written() {
        for message in samples() {
            assert_eq!(Message::decode(&message.encode()), Ok(message));
        }
    }

    /// Offsets as DPDK's packed structures have them: written out here so that a slip in `field` shows.
    #[test]
    fn bytes_lie_where_dpdk_has_them() {
        let all = samples();
        let hello = all[1].encode();
        assert_eq!(&hello[..15], b"\x02\0DPDK 22.11.11");
        assert_eq!(&hello[34..45], &[0, 2, 0, 2, 255, 0, 254, 0, 253, 0, 14]);
        let init = all[2].encode();
        assert_eq!(&init[..9], &[3, 0, 0, 2, 4, 3, 2, 1, 0]);
        assert_eq!(&init[9..19], b"swordfish\0");
        assert_eq!(&init[33..40], b"client\0");
        let region = all[3].encode();
        assert_eq!(&region[..12], &[4, 0, 1, 0, 0, 0x20, 0, 0, 1, 0, 0, 0]);
        let ring = all[4].encode();
        assert_eq!(&ring[..15], &[5, 0, 1, 0, 3, 0, 1, 0, 0x0d, 0x0c, 0x0b, 0x0a, 10, 0, 0]);
        assert_eq!(&all[5].encode()[..13], b"\x06\0net_memif0\0");
        assert_eq!(&all[6].encode()[..7], b"\x07\0r1.0\0");
        assert_eq!(&all[7].encode()[..24], b"\x08\0\x07\0\0\0Already connected\0");
    }

    #[test]
    fn wrong_lengths_and_types_are_refused() {
        let ack = Message::Ack.encode();
        assert_eq!(Message::decode(&ack[..127]), Err(DecodeError::Length(127)));
        assert_eq!(Message::decode(&[]), Err(DecodeError::Length(0)));
        assert_eq!(Message::decode(&[0; 128]), Err(DecodeError::Type(0)));
        assert_eq!(Message::decode(&[9; 128]), Err(DecodeError::Type(0x0909)));
    }

    #[test]
    fn texts_are_cut_and_made_harmless() {
        let long = Message::Connect("x".repeat(40));
        assert_eq!(Message::decode(&long.encode()), Ok(Message::Connect("x".repeat(31))));
        let mut evil = Message::Connect("a\x1b[2Jb\n".into()).encode();
        evil[33] = 0xff;
        assert_eq!(Message::decode(&evil), Ok(Message::Connect("a?[2Jb?".into())));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(message) = Message::decode(&bytes) {
                prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
            }
        }

        #[test]
        fn any_body_of_a_known_type_decodes(kind in 1u8..9, mut body in proptest::array::uniform32(any::<u8>())) {
            body[0] = kind;
            body[1] = 0;
            let bytes: Vec<u8> = body.iter().copied().cycle().take(MESSAGE_LEN).collect();
            let message = Message::decode(&bytes).unwrap();
            prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
        }
    }
}
