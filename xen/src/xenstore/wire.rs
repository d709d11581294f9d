//! Xenstore's messages (`public/io/xs_wire.h`): a header of four words, then at most 4096 bytes.

/// Bytes of a header.
pub const HEADER: usize = 16;
/// Most bytes behind a header; more of them end the connection.
pub const MAX_PAYLOAD: usize = 4096;
/// Most bytes of an absolute path, its NUL not counted.
pub const MAX_PATH: usize = 3072;
/// Most bytes of a path relative to the caller's home.
pub const MAX_RELATIVE: usize = 2048;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $value:literal,)*) => {
        /// What a message is (`enum xsd_sockmsg_type`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Kind { $($(#[$doc])* $name = $value,)* }

        impl Kind {
            /// The kind of that number.
            pub fn from_u32(value: u32) -> Option<Self> {
                match value { $($value => Some(Self::$name),)* _ => None }
            }
        }
    };
}

kinds! {
    /// Names of a node's children.
    Directory = 1,
    /// A node's value.
    Read = 2,
    /// Who may read and write a node.
    GetPerms = 3,
    /// Wants events for a path and all below.
    Watch = 4,
    /// No more of them.
    Unwatch = 5,
    /// Begins a transaction.
    TransactionStart = 6,
    /// Ends one: `T` commits, `F` forgets.
    TransactionEnd = 7,
    /// The kernel was told of a domain.
    Introduce = 8,
    /// The kernel was told that a domain has gone.
    Release = 9,
    /// A domain's home.
    GetDomainPath = 10,
    /// Sets a value, making the node and its parents.
    Write = 11,
    /// Makes a node.
    Mkdir = 12,
    /// Removes a node and all below.
    Rm = 13,
    /// Sets who may.
    SetPerms = 14,
    /// Something changed; sent without being asked.
    WatchEvent = 15,
    /// An errno's name.
    Error = 16,
    /// Whether a domain was introduced.
    IsDomainIntroduced = 17,
    /// Forgets all watches and transactions of this connection.
    ResetWatches = 21,
    /// A part of a long list of children.
    DirectoryPart = 22,
}

/// A message's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// [`Kind`], or a number that we do not know.
    pub kind: u32,
    /// Comes back in the answer.
    pub request: u32,
    /// Transaction, or 0.
    pub transaction: u32,
    /// Bytes that follow.
    pub len: u32,
}

impl Header {
    /// Reads a header.
    pub fn parse(bytes: &[u8; HEADER]) -> Self {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Self { kind: word(0), request: word(4), transaction: word(8), len: word(12) }
    }

    /// Writes a header.
    pub fn emit(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        for (at, word) in [self.kind, self.request, self.transaction, self.len].into_iter().enumerate() {
            bytes[at * 4..at * 4 + 4].copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

/// A whole message.
pub fn message(kind: u32, request: u32, transaction: u32, payload: &[u8]) -> Vec<u8> {
    let header = Header { kind, request, transaction, len: payload.len() as u32 };
    [&header.emit(), payload].concat()
}

/// The strings of a payload in which every one ends with NUL. What follows the last NUL is not one of them.
pub fn strings(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    let end = payload.iter().rposition(|byte| *byte == 0).map_or(0, |at| at + 1);
    payload[..end].split_inclusive(|byte| *byte == 0).map(|part| &part[..part.len() - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_as_written() {
        let header = Header { kind: Kind::Write as u32, request: 7, transaction: u32::MAX, len: 4096 };
        assert_eq!(Header::parse(&header.emit()), header);
        assert_eq!(message(11, 7, 0, b"a\0b")[..17], *b"\x0b\0\0\0\x07\0\0\0\0\0\0\0\x03\0\0\0a");
    }

    #[test]
    fn strings_end_at_their_nul() {
        let all = |payload| strings(payload).collect::<Vec<_>>();
        assert_eq!(all(b"a\0bc\0"), [&b"a"[..], b"bc"]);
        assert_eq!(all(b"a\0bc"), [&b"a"[..]]);
        assert_eq!(all(b"\0\0"), [&b""[..], b""]);
        assert!(all(b"").is_empty());
    }
}
