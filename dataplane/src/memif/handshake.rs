//! What two sides tell each other before the first frame: memory, rings, and that all of it is sound.
//!
//! The client proposes: its [`Proposal`] is the memory, laid out, and the messages that describe it, one to be sent for
//! each answer. The server collects what it is offered in an [`Offer`] and checks it as a whole when the client connects:
//! until then nothing of the client's memory is read. No I/O happens here.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use super::bell::{self, Wake};
use super::descriptor::DESCRIPTOR_LEN;
use super::layout::Layout;
use super::link::{BufferShape, Half, Link, Role};
use super::region::{MAX_BYTES, MAX_REGIONS, Region, RegionError};
use super::ring::{COOKIE, Ring, ring_len};
use super::wire::{AddRegion, AddRing, Hello, Init, MAX_LOG2_RING_SIZE, Message, SECRET_LEN, VERSION};

/// The name under which we present ourselves to a peer.
pub(super) const PROGRAM: &str = concat!("pointsman ", env!("CARGO_PKG_VERSION"));

/// Why a peer is turned away. The text goes to it, and into our state.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Not version 2.0.
    #[error("incompatible memif version")]
    Version,
    /// IP or punt mode.
    #[error("only Ethernet mode is supported")]
    Mode,
    /// The secret is missing or wrong.
    #[error("incorrect secret")]
    Secret,
    /// No such interface on this socket.
    #[error("no interface with id {0} on this socket")]
    UnknownId(u32),
    /// Someone has it.
    #[error("id {0} is already connected")]
    AlreadyConnected(u32),
    /// A message out of turn.
    #[error("unexpected {0} message")]
    Unexpected(&'static str),
    /// Bytes that are no message.
    #[error("{0}")]
    Malformed(#[from] super::wire::DecodeError),
    /// A descriptor missing, or too many.
    #[error("{got} file descriptors with a {message} message, not {want}")]
    Fds {
        /// The message.
        message: &'static str,
        /// What came.
        got: usize,
        /// What it takes.
        want: usize,
    },
    /// More descriptors than are even looked at.
    #[error("too many file descriptors")]
    TooManyFds,
    /// Regions come in order and there are only so many.
    #[error("region index {got}, where {want} comes next of at most {MAX_REGIONS}")]
    RegionIndex {
        /// What came.
        got: u16,
        /// What should.
        want: u16,
    },
    /// A region that is not safe.
    #[error("{0}")]
    Region(#[from] RegionError),
    /// More rings than the interface has, or one twice.
    #[error("ring {index} is beyond the {rings} of this interface, or was added before")]
    RingIndex {
        /// What came.
        index: u16,
        /// Rings there are in that direction.
        rings: u16,
    },
    /// A size that no ring has.
    #[error("ring of 2^{0} descriptors: want at most 2^{MAX_LOG2_RING_SIZE}")]
    RingSize(u8),
    /// It is not in the memory that was added, or badly aligned.
    #[error("ring at offset {offset} does not lie in region {region}")]
    RingPlace {
        /// The region.
        region: u16,
        /// Where it should begin.
        offset: u32,
    },
    /// There is no ring where one should be.
    #[error("no cookie at the ring's start")]
    Cookie,
    /// The descriptor that came with a ring is something else.
    #[error("interrupt descriptor is not an eventfd")]
    NotAnEventfd,
    /// Connected without a single ring.
    #[error("no rings")]
    NoRings,
    /// Our own trouble.
    #[error("out of memory: {0}")]
    Memory(#[from] io::Error),
    /// Nothing was heard for too long.
    #[error("handshake took too long")]
    TimedOut,
}

/// What a server's interface checks of an [`Init`].
pub(super) fn check_init(init: &Init, secret: &[u8; SECRET_LEN]) -> Result<(), Refusal> {
    if init.version != VERSION {
        return Err(Refusal::Version);
    }
    if init.mode != 0 {
        return Err(Refusal::Mode);
    }
    let differ = init.secret.iter().zip(secret).fold(0, |acc, (a, b)| acc | (a ^ b));
    if *secret != [0; SECRET_LEN] && differ != 0 {
        return Err(Refusal::Secret);
    }
    Ok(())
}

/// Exactly the descriptors that a message takes.
pub(super) fn expect_fds(
    message: &Message,
    fds: &mut dyn ExactSizeIterator<Item = OwnedFd>,
) -> Result<Option<OwnedFd>, Refusal> {
    let want = match message {
        Message::AddRegion(_) | Message::AddRing(_) => 1,
        _ => 0,
    };
    match fds.len() {
        got if got == want => Ok(fds.next()),
        got => Err(Refusal::Fds { message: message.kind(), got, want }),
    }
}

/// What a client has offered so far.
#[derive(Debug)]
pub(super) struct Offer {
    regions: Vec<Region>,
    s2m: Vec<Option<(AddRing, OwnedFd)>>,
    m2s: Vec<Option<(AddRing, OwnedFd)>>,
}

impl Offer {
    /// For an interface of `rings` rings in each direction.
    pub(super) fn new(rings: u16) -> Self {
        let none = || (0..rings).map(|_| None).collect();
        Self { regions: Vec::new(), s2m: none(), m2s: none() }
    }

    pub(super) fn add_region(&mut self, add: AddRegion, fd: OwnedFd) -> Result<(), Refusal> {
        let want = self.regions.len() as u16;
        if add.index != want || want >= MAX_REGIONS {
            return Err(Refusal::RegionIndex { got: add.index, want });
        }
        let total: u64 = self.regions.iter().map(|r| r.len() as u64).sum();
        if total.saturating_add(add.size) > MAX_BYTES {
            return Err(RegionError::Size(add.size).into());
        }
        self.regions.push(Region::adopt(fd, add.size)?);
        Ok(())
    }

    pub(super) fn add_ring(&mut self, add: AddRing, event: OwnedFd) -> Result<(), Refusal> {
        let rings = if add.s2m { &mut self.s2m } else { &mut self.m2s };
        let count = rings.len() as u16;
        let bad_index = Refusal::RingIndex { index: add.index, rings: count };
        match rings.get_mut(add.index as usize) {
            Some(slot @ None) => {
                if add.log2_size > MAX_LOG2_RING_SIZE {
                    return Err(Refusal::RingSize(add.log2_size));
                }
                if !bell::is_eventfd(event.as_fd()) {
                    return Err(Refusal::NotAnEventfd);
                }
                *slot = Some((add, event));
                Ok(())
            }
            _ => Err(bad_index),
        }
    }

    /// Checks the whole and makes a link for every queue that has a ring; the polling flag is set in the rings that we
    /// empty.
    pub(super) fn complete(self, control: &Arc<OwnedFd>) -> Result<Vec<Option<Arc<Link>>>, Refusal> {
        let regions: Arc<[Region]> = self.regions.into();
        let half = |ring: Option<(AddRing, OwnedFd)>| match ring {
            None => Ok(None),
            Some((add, event)) => place(&regions, add, event).map(Some),
        };
        let mut links = Vec::new();
        for (s2m, m2s) in self.s2m.into_iter().zip(self.m2s) {
            let (rx, tx) = (half(s2m)?, half(m2s)?);
            if rx.is_none() && tx.is_none() {
                links.push(None);
                continue;
            }
            if let Some(rx) = &rx {
                rx.ring.set_masked(true);
            }
            links.push(Some(Arc::new(Link {
                role: Role::Server,
                rx,
                tx,
                shape: BufferShape::default(),
                regions: Arc::clone(&regions),
                fault: OnceLock::new(),
                control: Arc::clone(control),
            })));
        }
        if links.iter().all(Option::is_none) {
            return Err(Refusal::NoRings);
        }
        Ok(links)
    }
}

/// Finds the ring in the memory that was offered.
fn place(regions: &[Region], add: AddRing, event: OwnedFd) -> Result<Half, Refusal> {
    let misplaced = Refusal::RingPlace { region: add.region, offset: add.offset };
    let Some(region) = regions.get(add.region as usize) else { return Err(misplaced) };
    let end = add.offset as usize + ring_len(add.log2_size);
    if end > region.len() || !(add.offset as usize).is_multiple_of(DESCRIPTOR_LEN) {
        return Err(misplaced);
    }
    // SAFETY: the ring ends within the region (just checked), whose base is aligned to a page and the offset to 16; the
    // log2 size was checked when the ring was added. The Link that the ring goes into keeps the region.
    let ring = unsafe { Ring::new(region.base().add(add.offset as usize), add.log2_size) };
    if ring.cookie() != COOKIE {
        return Err(Refusal::Cookie);
    }
    Ok(Half { ring, event: Wake::Eventfd(Arc::new(event)), buffers: region.base() })
}

/// What a client wants of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) id: u32,
    pub(super) rings: u16,
    pub(super) log2_ring_size: u8,
    pub(super) buffer_size: u32,
    pub(super) secret: [u8; SECRET_LEN],
}

/// Memory and rings that a client proposes, and what is still to be said about them.
#[derive(Debug)]
pub(super) struct Proposal {
    regions: Arc<[Region]>,
    halves: Vec<(Half, Half)>,
    shape: BufferShape,
    messages: VecDeque<(Message, Option<Arc<OwnedFd>>)>,
}

impl Proposal {
    /// Answers a server's hello: no more than it takes, no more than is wished.
    pub(super) fn new(hello: &Hello, wish: &Wish, interface: &str) -> Result<Self, Refusal> {
        if hello.min_version > VERSION || hello.max_version < VERSION {
            return Err(Refusal::Version);
        }
        let most = hello.max_s2m_ring.min(hello.max_m2s_ring).saturating_add(1);
        let rings = wish.rings.min(most);
        let log2_size = wish.log2_ring_size.min(hello.max_log2_ring_size);
        let layout = Layout::new(rings, log2_size, wish.buffer_size);
        let region = Region::create(layout.len)?;
        let file = Arc::new(region.file()?);
        let init = Init { version: VERSION, id: wish.id, mode: 0, secret: wish.secret, name: PROGRAM.into() };
        let mut messages = VecDeque::from([
            (Message::Init(init), None),
            (Message::AddRegion(AddRegion { index: 0, size: region.len() as u64 }), Some(file)),
        ]);
        let mut halves = Vec::new();
        for s2m in [true, false] {
            for index in 0..rings {
                let event = Arc::new(bell::create()?);
                let half = layout.place(&region, s2m, index, Wake::Eventfd(Arc::clone(&event)));
                let offset = layout.ring(s2m, index) as u32;
                let add = AddRing { s2m, index, region: 0, offset, log2_size, private_header: 0 };
                messages.push_back((Message::AddRing(add), Some(event)));
                halves.push(half);
            }
        }
        messages.push_back((Message::Connect(interface.into()), None));
        let m2s = halves.split_off(rings as usize);
        Ok(Self {
            regions: Arc::new([region]),
            halves: halves.into_iter().zip(m2s).collect(),
            shape: layout.shape,
            messages,
        })
    }

    /// The next message to send, with its descriptor; `None` when all was said.
    pub(super) fn next(&mut self) -> Option<(Message, Option<Arc<OwnedFd>>)> {
        self.messages.pop_front()
    }

    /// Whether the server may say that we are connected: all was said.
    pub(super) fn is_complete(&self) -> bool {
        self.messages.is_empty()
    }

    /// A link for every ring pair.
    pub(super) fn complete(self, control: &Arc<OwnedFd>) -> Vec<Option<Arc<Link>>> {
        let link = |(s2m, m2s)| {
            Some(Arc::new(Link {
                role: Role::Client,
                rx: Some(m2s),
                tx: Some(s2m),
                shape: self.shape,
                regions: Arc::clone(&self.regions),
                fault: OnceLock::new(),
                control: Arc::clone(control),
            }))
        };
        self.halves.into_iter().map(link).collect()
    }
}
