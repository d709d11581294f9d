//! A memif peer made by hand: every message and every word of shared memory is the test's to get wrong.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use pointsman_dataplane::drops::DropReason;
use pointsman_dataplane::frame::Burst;
use pointsman_dataplane::memif::ring::{COOKIE, field, ring_len};
use pointsman_dataplane::memif::wire::{AddRegion, AddRing, Init, Message, VERSION};
use pointsman_dataplane::memif::{Memif, MemifOptions, MemifPort, Role};
use pointsman_dataplane::pool::Pool;
use pointsman_dataplane::port::Port;
use pointsman_dataplane::units::Nanos;

/// Fails the test when `done` does not come true within ten seconds.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < limit, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A socket path of a test's own.
pub struct Place(pub PathBuf);

impl Place {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, SeqCst);
        let path = std::env::temp_dir().join(format!("pointsman-hostile-{}-{n}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Self(path)
    }

    pub fn options(&self, role: Role) -> MemifOptions {
        MemifOptions::new(format!("{role}0"), &self.0, 0, role)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Our side: handle, first port, and the pool of the worker that the test is.
pub struct Ours {
    pub memif: Memif,
    pub port: MemifPort,
    pub pool: Pool,
}

impl Ours {
    pub fn start(options: &MemifOptions) -> Self {
        let (memif, mut ports) = Memif::start(options).unwrap();
        Self { memif, port: ports.remove(0), pool: Pool::new(4096).unwrap() }
    }

    pub fn is_up(&mut self) -> bool {
        self.port.tick(&mut self.pool, Nanos::now());
        self.port.is_up()
    }

    pub fn send(&mut self, frame: &[u8]) {
        let mut burst: Burst = self.pool.frame_from(frame).into_iter().collect();
        self.port.push(&mut self.pool, &mut burst);
        self.port.flush(&mut self.pool);
        self.port.notify();
    }

    pub fn receive(&mut self) -> Vec<Vec<u8>> {
        let mut burst = Burst::new();
        self.port.pull(&mut self.pool, &mut burst);
        burst
            .drain(..)
            .map(|frame| {
                let bytes = self.pool.to_vec(&frame);
                self.pool.free(frame);
                bytes
            })
            .collect()
    }

    pub fn drops(&self, reason: DropReason) -> u64 {
        self.port.counters().drops.get(reason)
    }

    pub fn last_disconnect(&self) -> String {
        self.memif.state().last_disconnect.unwrap_or_default()
    }
}

/// After whatever went before: a well-behaved peer connects, and frames pass both ways.
pub fn honest_peer_works(ours: &mut Ours, options: &MemifOptions) {
    let mut peer = Ours::start(options);
    until("the honest peer", || ours.is_up() && peer.is_up());
    for len in [60, 1514, 9018] {
        let frame = vec![len as u8; len];
        for _ in 0..3 {
            ours.receive();
            peer.receive();
            ours.send(&frame);
            let mut got = Vec::new();
            until("a frame from us", || {
                got.extend(peer.receive());
                !got.is_empty()
            });
            assert_eq!(got, std::slice::from_ref(&frame));
            peer.send(&frame);
            assert_eq!(ours.receive(), std::slice::from_ref(&frame));
        }
    }
    drop(peer);
    until("the honest peer's end", || !ours.is_up());
}

/// A socket of type `SOCK_SEQPACKET` with an address.
fn socket() -> (OwnedFd, libc::sockaddr_un) {
    // SAFETY: no pointers; the descriptor is fresh. All zero is a valid address.
    unsafe {
        let fd = libc::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0);
        assert!(fd >= 0);
        let mut address: libc::sockaddr_un = std::mem::zeroed();
        address.sun_family = libc::AF_UNIX as libc::sa_family_t;
        (OwnedFd::from_raw_fd(fd), address)
    }
}

fn with_path(path: &Path) -> (OwnedFd, libc::sockaddr_un, libc::socklen_t) {
    let (fd, mut address) = socket();
    for (to, from) in address.sun_path.iter_mut().zip(path.as_os_str().as_bytes()) {
        *to = *from as libc::c_char;
    }
    (fd, address, std::mem::size_of::<libc::sockaddr_un>() as libc::socklen_t)
}

/// Listens on `path` by hand.
pub fn listen(path: &Path) -> OwnedFd {
    let (fd, address, len) = with_path(path);
    // SAFETY: the address is valid for `len` bytes.
    unsafe {
        assert_eq!(libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len), 0);
        assert_eq!(libc::listen(fd.as_raw_fd(), 8), 0);
    }
    fd
}

/// One end of a control connection.
pub struct Talk(pub OwnedFd);

impl Talk {
    pub fn connect(path: &Path) -> Self {
        let (fd, address, len) = with_path(path);
        // SAFETY: the address is valid for `len` bytes.
        let done = unsafe { libc::connect(fd.as_raw_fd(), (&raw const address).cast(), len) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
        Self::new(fd)
    }

    pub fn accept(listener: &OwnedFd) -> Self {
        // SAFETY: the peer's address is not asked for; the descriptor is fresh.
        unsafe {
            let fd = libc::accept(listener.as_raw_fd(), std::ptr::null_mut(), std::ptr::null_mut());
            assert!(fd >= 0);
            Self::new(OwnedFd::from_raw_fd(fd))
        }
    }

    fn new(fd: OwnedFd) -> Self {
        let limit = libc::timeval { tv_sec: 10, tv_usec: 0 };
        // SAFETY: `limit` is valid for the call.
        unsafe {
            let len = std::mem::size_of_val(&limit) as libc::socklen_t;
            libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVTIMEO, (&raw const limit).cast(), len);
        }
        Self(fd)
    }

    /// Sends any bytes with any descriptors; whether that was possible.
    pub fn send_raw(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> bool {
        let mut control = vec![0u64; 64];
        let mut iov = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        // SAFETY: everything that the header points to outlives the call; the control buffer has room for 100 descriptors.
        unsafe {
            let mut header: libc::msghdr = std::mem::zeroed();
            header.msg_iov = &raw mut iov;
            header.msg_iovlen = 1;
            if !fds.is_empty() {
                header.msg_control = control.as_mut_ptr().cast();
                header.msg_controllen = libc::CMSG_SPACE(4 * fds.len() as u32) as usize;
                let first = libc::CMSG_FIRSTHDR(&raw const header);
                (*first).cmsg_level = libc::SOL_SOCKET;
                (*first).cmsg_type = libc::SCM_RIGHTS;
                (*first).cmsg_len = libc::CMSG_LEN(4 * fds.len() as u32) as usize;
                for (i, fd) in fds.iter().enumerate() {
                    libc::CMSG_DATA(first).cast::<libc::c_int>().add(i).write_unaligned(fd.as_raw_fd());
                }
            }
            libc::sendmsg(self.0.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL) == bytes.len() as isize
        }
    }

    pub fn send(&self, message: &Message, fds: &[BorrowedFd<'_>]) -> bool {
        self.send_raw(&message.encode(), fds)
    }

    /// The next message; `None` at the end. Descriptors that come along are closed, but for the last.
    pub fn receive(&self) -> Option<(Message, Option<OwnedFd>)> {
        let mut bytes = [0u8; 128];
        let mut control = [0u64; 8];
        let mut iov = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        // SAFETY: as in `send_raw`; a descriptor that came is ours.
        unsafe {
            let mut header: libc::msghdr = std::mem::zeroed();
            header.msg_iov = &raw mut iov;
            header.msg_iovlen = 1;
            header.msg_control = control.as_mut_ptr().cast();
            header.msg_controllen = std::mem::size_of_val(&control);
            let got = libc::recvmsg(self.0.as_raw_fd(), &raw mut header, 0);
            if got <= 0 {
                return None;
            }
            let first = libc::CMSG_FIRSTHDR(&raw const header);
            let fd = (!first.is_null())
                .then(|| OwnedFd::from_raw_fd(libc::CMSG_DATA(first).cast::<libc::c_int>().read_unaligned()));
            Some((Message::decode(&bytes[..got as usize]).unwrap(), fd))
        }
    }

    /// Reads on until the other side says goodbye; its reason, or "" if it just went.
    pub fn goodbye(&self) -> String {
        while let Some((message, _)) = self.receive() {
            if let Message::Disconnect { reason, .. } = message {
                return reason;
            }
        }
        String::new()
    }

    pub fn expect_ack(&self) {
        match self.receive() {
            Some((Message::Ack, _)) => {}
            other => panic!("expected an ACK, not {other:?}"),
        }
    }
}

pub fn memfd(len: u64, seals: libc::c_int) -> File {
    // SAFETY: the name is NUL-terminated; the descriptor is fresh.
    unsafe {
        let fd = libc::memfd_create(c"hostile".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING);
        assert!(fd >= 0);
        let file = File::from_raw_fd(fd);
        file.set_len(len).unwrap();
        assert_eq!(libc::fcntl(fd, libc::F_ADD_SEALS, seals), 0);
        file
    }
}

pub fn eventfd(flags: libc::c_int) -> OwnedFd {
    // SAFETY: no pointers; the descriptor is fresh.
    unsafe { OwnedFd::from_raw_fd(libc::eventfd(0, flags)) }
}

/// Descriptors of a hand-made ring, as a power of two.
pub const LOG2: u8 = 6;
pub const SIZE: u16 = 1 << LOG2;
pub const BUFFER: u32 = 2048;
const BUFFERS: u32 = 8192;

/// A region by hand: ring to the server at 0, ring from it at 4096, buffers behind.
pub struct Memory {
    pub file: File,
    base: *mut u8,
    pub len: usize,
}

// SAFETY: plain shared memory, accessed by atomics and copies only.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

/// Which of the two rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Client to server.
    S2m,
    /// Server to client.
    M2s,
}

impl Memory {
    pub fn new() -> Self {
        let len = (BUFFERS + 2 * u32::from(SIZE) * BUFFER) as usize;
        let file = memfd(len as u64, libc::F_SEAL_SHRINK);
        let memory = Self::map(file, len);
        for way in [Way::S2m, Way::M2s] {
            memory.word32(way, field::COOKIE).store(COOKIE, SeqCst);
            for slot in 0..SIZE {
                memory.describe(way, slot, [u64::from(BUFFER) << 32, u64::from(buffer(way, slot))]);
            }
        }
        memory
    }

    pub fn map(file: File, len: usize) -> Self {
        let (prot, fd) = (libc::PROT_READ | libc::PROT_WRITE, file.as_raw_fd());
        // SAFETY: a fresh shared mapping.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, libc::MAP_SHARED, fd, 0) };
        assert_ne!(base, libc::MAP_FAILED);
        Self { file, base: base.cast(), len }
    }

    fn at(&self, way: Way, offset: usize) -> *mut u8 {
        let ring = if way == Way::S2m { 0 } else { 4096 };
        assert!(ring + offset < self.len);
        // SAFETY: within the mapping.
        unsafe { self.base.add(ring + offset) }
    }

    pub fn word16(&self, way: Way, offset: usize) -> &AtomicU16 {
        // SAFETY: aligned and within the mapping.
        unsafe { AtomicU16::from_ptr(self.at(way, offset).cast()) }
    }

    pub fn word32(&self, way: Way, offset: usize) -> &AtomicU32 {
        // SAFETY: aligned and within the mapping.
        unsafe { AtomicU32::from_ptr(self.at(way, offset).cast()) }
    }

    pub fn head(&self, way: Way) -> &AtomicU16 {
        self.word16(way, field::HEAD)
    }

    pub fn tail(&self, way: Way) -> &AtomicU16 {
        self.word16(way, field::TAIL)
    }

    pub fn describe(&self, way: Way, slot: u16, words: [u64; 2]) {
        let at = field::DESCRIPTORS + usize::from(slot % SIZE) * 16;
        for (i, word) in words.into_iter().enumerate() {
            // SAFETY: aligned and within the mapping.
            unsafe { AtomicU64::from_ptr(self.at(way, at + 8 * i).cast()) }.store(word, SeqCst);
        }
    }

    /// Fills the next descriptors to the server with `lengths`, chained or not, and publishes them.
    pub fn publish(&self, lengths: &[u32], chained: bool) {
        let head = self.head(Way::S2m).load(SeqCst);
        for (i, len) in lengths.iter().enumerate() {
            let slot = head.wrapping_add(i as u16);
            let next = chained && i + 1 < lengths.len();
            self.describe(Way::S2m, slot, [u64::from(next) | u64::from(*len) << 32, u64::from(buffer(Way::S2m, slot))]);
        }
        self.head(Way::S2m).store(head.wrapping_add(lengths.len() as u16), SeqCst);
    }

    pub fn add_ring(&self, way: Way) -> AddRing {
        let offset = if way == Way::S2m { 0 } else { 4096 };
        AddRing { s2m: way == Way::S2m, index: 0, region: 0, offset, log2_size: LOG2, private_header: 0 }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`.
        unsafe { libc::munmap(self.base.cast(), self.len) };
    }
}

/// Changes every field of every descriptor all the time, now to what is sound and now to what is not.
pub fn scribble(memory: &Memory, seed: u64, stop: &AtomicBool) {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while !stop.load(SeqCst) {
        for slot in 0..SIZE {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            for way in [Way::S2m, Way::M2s] {
                let (len, at) = (u64::from(BUFFER), u64::from(buffer(way, slot)));
                let sound = [len << 32 | (random >> 60 & 1), at];
                // Rarely, so that the connection lives long enough to be interesting.
                let odd = random.is_multiple_of(50_000);
                let words = if odd { [random, random.rotate_left(29)] } else { sound };
                memory.describe(way, slot, words);
            }
        }
        for way in [Way::S2m, Way::M2s] {
            let tail = memory.tail(way).load(SeqCst);
            memory.head(way).store(tail.wrapping_add(SIZE), SeqCst);
        }
    }
}

/// Where a slot's buffer begins.
pub fn buffer(way: Way, slot: u16) -> u32 {
    const { assert!(ring_len(LOG2) <= 4096) };
    let first = if way == Way::S2m { BUFFERS } else { BUFFERS + u32::from(SIZE) * BUFFER };
    first + u32::from(slot % SIZE) * BUFFER
}

pub fn init() -> Init {
    Init { version: VERSION, id: 0, mode: 0, secret: [0; 24], name: "hostile".into() }
}

/// A hand-made client, connected as it should be.
pub struct Client {
    pub talk: Talk,
    pub memory: Memory,
    pub events: [OwnedFd; 2],
}

impl Client {
    /// Says what a client says, up to and without message number `upto` (5 are all).
    pub fn say(path: &Path, upto: usize) -> Self {
        Self::try_say(path, upto).unwrap_or_else(|other| panic!("not an answer to a client: {other}"))
    }

    pub fn connect(path: &Path) -> Self {
        Self::say(path, 5)
    }

    /// As [`Client::connect`], unless the server wants no client now.
    pub fn try_connect(path: &Path) -> Option<Self> {
        Self::try_say(path, 5).ok()
    }

    fn try_say(path: &Path, upto: usize) -> Result<Self, String> {
        let talk = Talk::connect(path);
        let client = Self { talk, memory: Memory::new(), events: [eventfd(0), eventfd(0)] };
        let heard = client.talk.receive().map(|(message, _)| message);
        let Some(Message::Hello(_)) = heard else { return Err(format!("{heard:?}")) };
        (0..upto).try_for_each(|message| client.say_one(message))?;
        Ok(client)
    }

    fn say_one(&self, message: usize) -> Result<(), String> {
        let memory = &self.memory;
        let (message, fd) = match message {
            0 => (Message::Init(init()), None),
            1 => (Message::AddRegion(AddRegion { index: 0, size: memory.len as u64 }), Some(memory.file.as_fd())),
            2 => (Message::AddRing(memory.add_ring(Way::S2m)), Some(self.events[0].as_fd())),
            3 => (Message::AddRing(memory.add_ring(Way::M2s)), Some(self.events[1].as_fd())),
            _ => (Message::Connect("hostile0".into()), None),
        };
        self.talk.send(&message, fd.as_slice());
        match (&message, self.talk.receive()) {
            (Message::Connect(_), Some((Message::Connected(_), _))) => Ok(()),
            (Message::Connect(_), other) => Err(format!("{other:?}")),
            (_, Some((Message::Ack, _))) => Ok(()),
            (_, other) => Err(format!("{other:?}")),
        }
    }
}
