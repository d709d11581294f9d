//! A ring pair over memory and bells that came about otherwise than by memif's handshake: pages that a hypervisor shares
//! between two domains, and its events.
//!
//! The rings, the buffers and the distrust are memif's; only who shares the memory, and how one side wakes the other, is
//! the caller's. Both sides lay the memory out from the same two numbers, so nothing needs to be told about places.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::bell::{self, Bell, Wake};
use super::descriptor::MIN_BUFFER;
use super::handshake::Refusal;
use super::layout::Layout;
use super::link::{Fault, Half, Link, Mailbox, Role};
use super::port::MemifPort;
use super::region::{Mapping, Region};
use super::ring::{COOKIE, Ring};
use super::state::{MemifState, Peer, Shared};
use super::wire::MAX_LOG2_RING_SIZE;
use crate::port::Counters;

/// How long a worker is given to let go of a ring pair: it looks once a breath, and is woken for it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Size of a ring pair: both rings alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Descriptors of a ring, as a power of two: 1 to 14.
    pub log2_size: u8,
    /// Bytes of a buffer: 64 to 65,536.
    pub buffer_size: u32,
}

impl Geometry {
    /// Bytes of shared memory that it takes. None: a number is out of range.
    pub fn bytes(self) -> Option<usize> {
        let valid =
            (1..=MAX_LOG2_RING_SIZE).contains(&self.log2_size) && (MIN_BUFFER..=1 << 16).contains(&self.buffer_size);
        valid.then(|| Layout::new(1, self.log2_size, self.buffer_size).len)
    }

    /// The largest with these buffers that fits into `bytes`; none: not even the smallest does.
    pub fn fitting(bytes: usize, buffer_size: u32) -> Option<Self> {
        let sizes = (1..=MAX_LOG2_RING_SIZE).rev().map(|log2_size| Self { log2_size, buffer_size });
        sizes.into_iter().find(|geometry| geometry.bytes().is_some_and(|needed| needed <= bytes))
    }
}

/// The control side of such a ring pair. Dropping it takes the rings away from the worker.
#[derive(Debug)]
pub struct Foreign {
    mailbox: Arc<Mailbox>,
    shared: Arc<Shared>,
    link: Mutex<Option<Arc<Link>>>,
    /// Signalled by a worker that finds the peer at fault.
    alarm: Arc<OwnedFd>,
}

impl Foreign {
    /// A port that is down and counts in `counters`, and the handle to connect it by. `path` is what the state shows as its
    /// place.
    ///
    /// # Errors
    /// No descriptor left.
    pub fn new(role: Role, path: impl Into<PathBuf>, counters: Arc<Counters>) -> io::Result<(Self, MemifPort)> {
        let mailbox = Arc::new(Mailbox::new()?);
        let state = MemifState { role, socket: path.into(), id: 0, peer: None, connects: 0, last_disconnect: None };
        let shared = Arc::new(Shared::new(state));
        let port = MemifPort::new(Arc::clone(&mailbox), Arc::clone(&shared), 0, counters);
        Ok((Self { mailbox, shared, link: Mutex::default(), alarm: Arc::new(bell::create()?) }, port))
    }

    /// Client: lays rings out in `memory`, which the peer is then told of. They are used once [`Foreign::connect`] has
    /// been called, when the peer has said that it has them.
    ///
    /// # Errors
    /// The memory is too small.
    pub fn lay_out(memory: Box<dyn Mapping>, geometry: Geometry, bell: &Arc<dyn Bell>) -> Result<Rings, Refusal> {
        let (layout, region) = checked(memory, geometry)?;
        let rx = layout.place(&region, false, 0, Wake::Foreign(Arc::clone(bell)));
        let tx = layout.place(&region, true, 0, Wake::Foreign(Arc::clone(bell)));
        Ok(Rings { role: Role::Client, rx, tx, layout, region })
    }

    /// Server: finds the rings that a client has laid out in `memory`.
    ///
    /// # Errors
    /// The memory is too small, or there are no rings in it.
    pub fn find(memory: Box<dyn Mapping>, geometry: Geometry, bell: &Arc<dyn Bell>) -> Result<Rings, Refusal> {
        let (layout, region) = checked(memory, geometry)?;
        let half = |s2m: bool| {
            // SAFETY: the layout's length, which the region has (just checked), covers both rings; offsets are multiples
            // of 64, the log2 size was checked, and the Link keeps the region.
            let ring = unsafe { Ring::new(region.base().add(layout.ring(s2m, 0)), geometry.log2_size) };
            match ring.cookie() {
                COOKIE => Ok(Half { ring, event: Wake::Foreign(Arc::clone(bell)), buffers: region.base() }),
                _ => Err(Refusal::Cookie),
            }
        };
        let (rx, tx) = (half(true)?, half(false)?);
        // In the ring that we empty, we poll until we say otherwise.
        rx.ring.set_masked(true);
        Ok(Rings { role: Role::Server, rx, tx, layout, region })
    }

    /// Hands the rings to the worker. What it had before is let go.
    pub fn connect(&self, rings: Rings, peer: Peer) {
        let Rings { role, rx, tx, layout, region } = rings;
        let link = Arc::new(Link {
            role,
            rx: Some(rx),
            tx: Some(tx),
            shape: layout.shape,
            regions: Arc::new([region]),
            fault: OnceLock::new(),
            control: Arc::clone(&self.alarm),
        });
        self.shared.change(|state| {
            state.peer = Some(peer);
            state.connects += 1;
        });
        *self.slot() = Some(Arc::clone(&link));
        self.mailbox.put(Some(link));
    }

    /// Takes the rings from the worker, and waits until it has let go. True when the memory is unmapped on return;
    /// false when the worker still has it, and it goes when that lets go.
    pub fn disconnect(&self, why: &str) -> bool {
        let Some(link) = self.slot().take() else { return true };
        self.shared.change(|state| {
            state.peer = None;
            state.last_disconnect = Some(why.to_owned());
        });
        self.mailbox.put(None);
        let begin = Instant::now();
        while Arc::strong_count(&link) > 1 {
            if begin.elapsed() > PATIENCE {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// How the peer broke its rings, if it did. It is to be disconnected then.
    pub fn fault(&self) -> Option<Fault> {
        self.slot().as_ref().and_then(|link| link.fault.get().copied())
    }

    /// Becomes readable when there may be a [`Foreign::fault`].
    pub fn alarm(&self) -> BorrowedFd<'_> {
        self.alarm.as_fd()
    }

    /// How it is.
    pub fn state(&self) -> MemifState {
        self.shared.get()
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Arc<Link>>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        self.mailbox.put(None);
    }
}

/// A ring pair in its memory, not yet in use.
#[derive(Debug)]
pub struct Rings {
    role: Role,
    rx: Half,
    tx: Half,
    layout: Layout,
    region: Region,
}

fn checked(memory: Box<dyn Mapping>, geometry: Geometry) -> Result<(Layout, Region), Refusal> {
    let region = Region::foreign(memory);
    match geometry.bytes() {
        Some(needed) if needed <= region.len() => {
            Ok((Layout::new(1, geometry.log2_size, geometry.buffer_size), region))
        }
        _ => Err(Refusal::RingPlace { region: 0, offset: region.len() as u32 }),
    }
}

#[cfg(test)]
mod tests {
    use std::ptr::NonNull;

    use super::*;
    use crate::frame::Burst;
    use crate::memory::Memory;
    use crate::pool::Pool;
    use crate::port::{Port, Sleep};
    use crate::units::Nanos;

    #[derive(Debug)]
    struct Pages(Arc<Memory>);

    // SAFETY: the memory is a mapping that lives as long as the Arc.
    unsafe impl Mapping for Pages {
        fn base(&self) -> NonNull<u8> {
            NonNull::new(self.0.base()).unwrap()
        }

        fn len(&self) -> usize {
            self.0.len()
        }
    }

    /// One of two ends: rings the one eventfd, hears the other.
    #[derive(Debug)]
    struct Pair(Arc<OwnedFd>, Arc<OwnedFd>);

    impl Bell for Pair {
        fn ring(&self) {
            bell::write(self.0.as_fd());
        }

        fn fd(&self) -> BorrowedFd<'_> {
            self.1.as_fd()
        }

        fn heard(&self) {
            let mut n = 0u64;
            // SAFETY: 8 bytes of room.
            unsafe { libc::read(std::os::fd::AsRawFd::as_raw_fd(&*self.1), (&raw mut n).cast(), 8) };
        }
    }

    fn peer() -> Peer {
        Peer { program: "test".into(), interface: "x".into(), rx_rings: 1, tx_rings: 1, ring_size: 8 }
    }

    struct End {
        handle: Foreign,
        port: MemifPort,
        pool: Pool,
    }

    fn connected(memory: &Arc<Memory>, geometry: Geometry) -> [End; 2] {
        let (a, b) = (Arc::new(bell::create().unwrap()), Arc::new(bell::create().unwrap()));
        let bells: [Arc<dyn Bell>; 2] = [Arc::new(Pair(Arc::clone(&a), Arc::clone(&b))), Arc::new(Pair(b, a))];
        let pages = || Box::new(Pages(Arc::clone(memory)));
        let client = Foreign::lay_out(pages(), geometry, &bells[0]).unwrap();
        let server = Foreign::find(pages(), geometry, &bells[1]).unwrap();
        [(Role::Client, client), (Role::Server, server)].map(|(role, rings)| {
            let (handle, mut port) = Foreign::new(role, "/test", Arc::default()).unwrap();
            handle.connect(rings, peer());
            let mut pool = Pool::new(64).unwrap();
            port.tick(&mut pool, Nanos::now());
            assert!(port.is_up());
            End { handle, port, pool }
        })
    }

    fn send(end: &mut End, bytes: &[u8]) {
        let mut burst = Burst::new();
        burst.push(end.pool.frame_from(bytes).unwrap());
        end.port.push(&mut end.pool, &mut burst);
        end.port.flush(&mut end.pool);
        end.port.notify();
    }

    fn receive(end: &mut End) -> Vec<Vec<u8>> {
        let mut burst = Burst::new();
        end.port.pull(&mut end.pool, &mut burst);
        let frames = burst.iter().map(|frame| end.pool.to_vec(frame)).collect();
        end.pool.free_all(burst.drain(..));
        frames
    }

    #[test]
    fn frames_cross_both_ways_and_sleepers_wake() {
        let geometry = Geometry { log2_size: 3, buffer_size: 2048 };
        let memory = Arc::new(Memory::create("test", geometry.bytes().unwrap()).unwrap());
        let mut ends = connected(&memory, geometry);
        let sleep = Sleep::new().unwrap();
        for round in 0..50u8 {
            let [client, server] = &mut ends;
            // The receiver sleeps, is rung, and hears.
            assert!(server.port.arm(&sleep));
            send(client, &[round; 60]);
            let begin = Instant::now();
            sleep.wait(Nanos::from_secs(5));
            assert!(begin.elapsed() < Duration::from_secs(4), "not woken");
            server.port.disarm(&sleep);
            assert_eq!(receive(server), [[round; 60]]);
            send(server, &[round; 5000]);
            assert_eq!(receive(client), [[round; 5000]]);
        }
    }

    /// A client that was full rings when half of the ring is free: when it has emptied that much, or all before it sleeps.
    #[test]
    fn a_client_that_was_full_rings_when_it_has_room() {
        let geometry = Geometry { log2_size: 3, buffer_size: 2048 };
        let memory = Arc::new(Memory::create("test", geometry.bytes().unwrap()).unwrap());
        let [mut client, mut server] = connected(&memory, geometry);
        let sleep = Sleep::new().unwrap();
        for round in 0..20u8 {
            while !server.port.is_full() {
                send(&mut server, &[round; 60]);
            }
            assert!(server.port.arm(&sleep) && server.port.arm_room());
            let begin = Instant::now();
            sleep.wait(Nanos::from_millis(1));
            assert!(server.port.is_full(), "nothing was taken yet");
            if round % 2 == 0 {
                receive(&mut client);
            } else {
                // What it took before the mark was set.
                let wanted = Layout::new(1, 3, 2048).ring(false, 0) + crate::memif::ring::field::WANTED;
                // SAFETY: within the memory, aligned.
                let mark = unsafe { std::sync::atomic::AtomicU16::from_ptr(memory.base().add(wanted).cast()) };
                mark.store(0, std::sync::atomic::Ordering::Relaxed);
                receive(&mut client);
                mark.store(1, std::sync::atomic::Ordering::Relaxed);
                let rest = Sleep::new().unwrap();
                assert!(client.port.arm(&rest));
                client.port.disarm(&rest);
            }
            sleep.wait(Nanos::from_secs(5));
            assert!(begin.elapsed() < Duration::from_secs(4), "round {round}: not woken");
            server.port.disarm(&sleep);
            assert!(!server.port.is_full() && !server.port.arm_room());
        }
        // The server owes nobody: a client would have it ring for each burst.
        assert!(!client.port.arm_room());
    }

    #[test]
    fn a_broken_ring_is_told_and_memory_comes_back() {
        let geometry = Geometry { log2_size: 3, buffer_size: 2048 };
        let memory = Arc::new(Memory::create("test", geometry.bytes().unwrap()).unwrap());
        let [mut client, mut server] = connected(&memory, geometry);
        send(&mut client, &[1; 60]);
        // The client's descriptor is changed to point outside.
        let at = Layout::new(1, 3, 2048).ring(true, 0) + crate::memif::ring::field::DESCRIPTORS + 8;
        // SAFETY: within the memory, aligned.
        unsafe { memory.base().add(at).cast::<u64>().write_volatile(u64::from(u32::MAX)) };
        assert!(receive(&mut server).is_empty());
        assert!(matches!(server.handle.fault(), Some(Fault::Descriptor(_))));
        assert!(!server.port.is_up());
        assert!(server.handle.disconnect("it broke its ring"));
        assert!(server.handle.state().to_string().contains("it broke its ring"));
        // A worker that never looks keeps its memory; one that does lets go.
        assert!(!client.handle.disconnect("test"));
        client.port.tick(&mut client.pool, Nanos::now());
        assert!(!client.port.is_up());
        assert_eq!(Arc::strong_count(&memory), 1);
    }

    #[test]
    fn memory_without_rings_or_too_small_is_refused() {
        let geometry = Geometry { log2_size: 3, buffer_size: 2048 };
        let bell: Arc<dyn Bell> = Arc::new(Pair(Arc::new(bell::create().unwrap()), Arc::new(bell::create().unwrap())));
        let memory = Arc::new(Memory::create("test", geometry.bytes().unwrap()).unwrap());
        assert!(matches!(Foreign::find(Box::new(Pages(Arc::clone(&memory))), geometry, &bell), Err(Refusal::Cookie)));
        for geometry in [
            Geometry { log2_size: 4, buffer_size: 2048 },
            Geometry { log2_size: 0, buffer_size: 2048 },
            Geometry { log2_size: 15, buffer_size: 64 },
            Geometry { log2_size: 3, buffer_size: 63 },
            Geometry { log2_size: 3, buffer_size: 1 << 20 },
        ] {
            let found = Foreign::find(Box::new(Pages(Arc::clone(&memory))), geometry, &bell);
            assert!(matches!(found, Err(Refusal::RingPlace { .. })), "{geometry:?}");
        }
        assert_eq!(Geometry::fitting(1024 * 4096, 2048), Some(Geometry { log2_size: 9, buffer_size: 2048 }));
        assert_eq!(Geometry::fitting(512 * 4096, 2048), Some(Geometry { log2_size: 8, buffer_size: 2048 }));
        assert_eq!(Geometry::fitting(4096, 2048), None);
    }
}
