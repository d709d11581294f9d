//! What workers and the XDP program tell each other: words in memory-mapped arrays, which no system call is spent on.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering::Relaxed};

use libbpf_rs::MapHandle;

use super::program::MAX_STATIONS;
use crate::shares::Weight;
use crate::units::PortId;

/// Queues whose rings are shared out among guests; as `SHARED_QUEUES` in the program.
const SHARED_QUEUES: usize = 16;

/// A mapped array of 64-bit words.
#[derive(Debug)]
struct Words {
    base: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: the mapping stays where it is until drop and is accessed only atomically.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl Words {
    fn map(map: &MapHandle, count: usize) -> io::Result<Self> {
        // SAFETY: a fresh shared mapping of an array map made with BPF_F_MMAPABLE, of the size of its elements.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                count * 8,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_fd().as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mmap gave address 0"))?;
        Ok(Self { base, count })
    }

    #[inline]
    fn get(&self, index: usize) -> Option<&AtomicU64> {
        // SAFETY: the index lies within the mapping, which lives as long as `self`.
        (index < self.count).then(|| unsafe { self.base.add(index).as_ref() })
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`, unmapped only here.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.count * 8) };
    }
}

/// The marks of guests' ports: one word each, read by the XDP program.
#[derive(Debug)]
pub struct FullMarks(Words);

impl FullMarks {
    pub(super) fn map(map: &MapHandle) -> io::Result<Self> {
        Words::map(map, MAX_STATIONS).map(Self)
    }

    /// Marks the port full or not, and tells its guest's weight.
    #[inline]
    pub fn set(&self, port: PortId, full: bool, weight: Weight) {
        if let Some(word) = self.0.get(port.index()) {
            // As `struct mark` has it in memory.
            let mut bytes = [0; 8];
            bytes[..4].copy_from_slice(&u32::from(full).to_ne_bytes());
            bytes[4..].copy_from_slice(&(weight.times() as u32).to_ne_bytes());
            word.store(u64::from_ne_bytes(bytes), Relaxed);
        }
    }
}

/// How many frames of each guest wait in the receive rings of a device, and how many may.
#[derive(Debug)]
pub struct Waiting {
    /// Two words for each guest's port at each queue: frames that came, and frames that were taken.
    frames: Words,
    /// One word a queue: how many for a port of weight 1 may wait. 0: any number.
    parts: Words,
    /// One more than the highest number of a guest's port.
    ports: AtomicU16,
    /// Interfaces of VRFs on the device itself.
    routers: AtomicU16,
}

impl Waiting {
    pub(super) fn map(frames: &MapHandle, parts: &MapHandle) -> io::Result<Self> {
        Ok(Self {
            frames: Words::map(frames, 2 * SHARED_QUEUES * MAX_STATIONS)?,
            parts: Words::map(parts, SHARED_QUEUES)?,
            ports: AtomicU16::new(0),
            routers: AtomicU16::new(0),
        })
    }

    pub(super) fn note_port(&self, port: PortId) {
        self.ports.fetch_max(port.0.saturating_add(1), Relaxed);
    }

    pub(super) fn note_router(&self) {
        self.routers.fetch_add(1, Relaxed);
    }

    /// Whether several routers' interfaces share the device, and no guest's frames are counted.
    #[inline]
    pub(super) fn is_among_routers(&self) -> bool {
        self.routers.load(Relaxed) > 1 && self.ports.load(Relaxed) == 0
    }

    /// Lets so many frames for a port of weight 1 wait in the ring of `queue`; 0: any number.
    #[inline]
    pub(super) fn set_part(&self, queue: u32, frames: u64) {
        if let Some(part) = self.parts.get(queue as usize) {
            part.store(frames, Relaxed);
        }
    }

    /// So many frames for the port have been taken out of the ring of `queue`, by the one worker that reads it.
    #[inline]
    pub(super) fn take(&self, queue: u32, port: PortId, frames: u64) {
        let Some([came, taken]) = self.of(queue, port) else { return };
        // Flooded frames are taken out for every port, and the program does not count them.
        let most = came.load(Relaxed);
        taken.store(taken.load(Relaxed).wrapping_add(frames).min(most), Relaxed);
    }

    /// The ring of `queue` is empty. Frames that came and found no room in it, or were dropped on their way to the port,
    /// are forgotten.
    #[cold]
    pub(super) fn settle(&self, queue: u32) {
        for port in 0..self.ports.load(Relaxed) {
            if let Some([came, taken]) = self.of(queue, PortId(port)) {
                taken.store(came.load(Relaxed), Relaxed);
            }
        }
    }

    #[inline]
    fn of(&self, queue: u32, port: PortId) -> Option<[&AtomicU64; 2]> {
        if port.index() >= MAX_STATIONS {
            return None;
        }
        let first = 2 * (queue as usize * MAX_STATIONS + port.index());
        Some([self.frames.get(first)?, self.frames.get(first + 1)?])
    }
}
