//! The four rings of an AF_XDP socket, as `linux/if_xdp.h` and `Documentation/networking/af_xdp.rst` define them.
//!
//! The kernel maps each ring into our address space. One side produces, the other consumes; indices run freely and are
//! masked on use. The kernel is trusted here: what a ring holds is checked only where a mistake of ours could show.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// A descriptor of the receive and transmit rings (`struct xdp_desc`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Descriptor {
    /// Byte offset of the data in the UMEM.
    pub at: u64,
    /// Bytes of data.
    pub len: u32,
    /// `XDP_PKT_CONTD`: the frame goes on in the next descriptor (kernel 6.6).
    pub options: u32,
}

/// Which ring to map.
#[derive(Clone, Copy, Debug)]
pub struct RingKind {
    /// `XDP_*_RING` option that sets its size.
    pub option: libc::c_int,
    /// Page offset that `mmap` wants.
    pub page_offset: libc::off_t,
}

/// One mapped ring of `T` ([`Descriptor`], or `u64` addresses).
#[derive(Debug)]
pub struct Ring<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    slots: NonNull<T>,
    mask: u32,
    /// Our own index: what we produced or consumed, shown to the kernel by [`publish`](Self::publish).
    own: u32,
    /// The kernel's index when we last looked.
    seen: u32,
    map: NonNull<u8>,
    map_len: usize,
    _slots: PhantomData<T>,
}

// SAFETY: a ring is a mapping that stays put and is used by the one thread that holds it.
unsafe impl<T: Send> Send for Ring<T> {}

impl<T: Copy> Ring<T> {
    /// Sizes the ring to `entries` (a power of two) and maps it.
    ///
    /// # Errors
    /// What `setsockopt` or `mmap` said.
    pub fn map(
        socket: BorrowedFd<'_>,
        kind: RingKind,
        entries: u32,
        offsets: &libc::xdp_ring_offset,
    ) -> io::Result<Self> {
        debug_assert!(entries.is_power_of_two());
        // SAFETY: the option takes a u32, whose address and size are given.
        let set =
            unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_XDP, kind.option, (&raw const entries).cast(), 4) };
        if set != 0 {
            return Err(io::Error::last_os_error());
        }
        let map_len = offsets.desc as usize + entries as usize * size_of::<T>();
        // SAFETY: a fresh shared mapping of the socket's ring at an address of the kernel's choice.
        let map = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                map_len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                socket.as_raw_fd(),
                kind.page_offset,
            )
        };
        if map == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let map = NonNull::new(map.cast::<u8>()).ok_or_else(|| io::Error::other("mmap gave address 0"))?;
        // SAFETY: the kernel's offsets lie within the mapping that it sized, aligned for their types.
        unsafe {
            let producer: NonNull<AtomicU32> = map.add(offsets.producer as usize).cast();
            let consumer: NonNull<AtomicU32> = map.add(offsets.consumer as usize).cast();
            Ok(Self {
                producer,
                consumer,
                flags: map.add(offsets.flags as usize).cast(),
                slots: map.add(offsets.desc as usize).cast(),
                mask: entries - 1,
                own: 0,
                seen: 0,
                map,
                map_len,
                _slots: PhantomData,
            })
        }
    }

    fn load(at: NonNull<AtomicU32>, order: Ordering) -> u32 {
        // SAFETY: `at` points into the mapping, which lives as long as `self`; the kernel accesses it atomically.
        unsafe { at.as_ref() }.load(order)
    }

    /// Entries in all.
    pub fn size(&self) -> u32 {
        self.mask + 1
    }

    /// Slots that we may fill (fill and transmit rings), looking at the kernel's index only if fewer than `wanted`
    /// are known.
    #[inline]
    pub fn room(&mut self, wanted: u32) -> u32 {
        let mut room = self.size() - self.own.wrapping_sub(self.seen);
        if room < wanted {
            self.seen = Self::load(self.consumer, Ordering::Acquire);
            room = self.size() - self.own.wrapping_sub(self.seen);
        }
        room
    }

    /// How many entries the kernel has taken, modulo 2^32 (fill and transmit rings).
    #[inline]
    pub fn taken(&self) -> u32 {
        Self::load(self.consumer, Ordering::Relaxed)
    }

    /// Puts one entry; [`room`](Self::room) has told that there is a slot.
    #[inline]
    pub fn put(&mut self, entry: T) {
        // SAFETY: the masked index lies within the ring; the kernel reads the slot only after `publish_put`.
        unsafe { self.slots.add((self.own & self.mask) as usize).write(entry) };
        self.own = self.own.wrapping_add(1);
    }

    /// Shows the kernel what was put.
    #[inline]
    pub fn publish_put(&mut self) {
        // SAFETY: as in `load`.
        unsafe { self.producer.as_ref() }.store(self.own, Ordering::Release);
    }

    /// Entries that the kernel has put (receive and completion rings).
    #[inline]
    pub fn ready(&mut self) -> u32 {
        self.ready_for(1)
    }

    /// As [`ready`](Self::ready), looking at the kernel's index if fewer than `wanted` are known.
    #[inline]
    pub fn ready_for(&mut self, wanted: u32) -> u32 {
        let known = self.seen.wrapping_sub(self.own);
        if known >= wanted {
            return known;
        }
        self.seen = Self::load(self.producer, Ordering::Acquire);
        self.seen.wrapping_sub(self.own)
    }

    /// The entry `ahead` places on, of those that [`ready`](Self::ready) told of.
    #[inline]
    pub fn peek(&self, ahead: u32) -> T {
        // SAFETY: the masked index lies within the ring; the kernel wrote the slot before it moved its index.
        unsafe { self.slots.add((self.own.wrapping_add(ahead) & self.mask) as usize).read() }
    }

    /// Gives `n` consumed entries back to the kernel.
    #[inline]
    pub fn release(&mut self, n: u32) {
        self.own = self.own.wrapping_add(n);
        // SAFETY: as in `load`.
        unsafe { self.consumer.as_ref() }.store(self.own, Ordering::Release);
    }

    /// Whether the kernel sleeps on this ring and wants a system call (`XDP_RING_NEED_WAKEUP`).
    #[inline]
    pub fn needs_wakeup(&self) -> bool {
        Self::load(self.flags, Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`, unmapped only here.
        unsafe { libc::munmap(self.map.as_ptr().cast(), self.map_len) };
    }
}
