//! The real thing: the kernel's `/dev/xen/*`, as Linux 5 and 6 have them.
//!
//! Three ioctl interfaces that take no direction bits in their numbers. Each file here is one device; nothing else in the
//! crate knows of ioctls. The kernel releases all of it when the process dies: mappings, channels, watches.

mod evtchn;
mod gntalloc;
mod gntdev;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::seam::{Allocator, Events, Grants, Hypervisor, Release};
use crate::xenstore::{DEVICE, SOCKET, Xenstore};
use crate::{EventPort, PAGE, XenError};

/// The domain that this process runs in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Devices;

impl Hypervisor for Devices {
    /// Through the kernel; where its device is missing, through xenstored's socket.
    fn xenstore(&self) -> Result<Xenstore, XenError> {
        Xenstore::open_device().or_else(|e| {
            Xenstore::connect(SOCKET.as_ref()).map_err(|_| {
                tracing::debug!("neither {DEVICE} nor {SOCKET} can be opened");
                e
            })
        })
    }

    fn grants(&self) -> Result<Box<dyn Grants>, XenError> {
        Ok(Box::new(gntdev::GrantDevice::new(open(gntdev::PATH)?)))
    }

    fn events(&self) -> Result<Box<dyn Events>, XenError> {
        let options = libc::O_NONBLOCK;
        Ok(Box::new(evtchn::EventDevice::new(open_with(evtchn::PATH, options)?)))
    }

    fn allocator(&self) -> Result<Box<dyn Allocator>, XenError> {
        Ok(Box::new(gntalloc::AllocDevice::new(open(gntalloc::PATH)?)))
    }
}

fn open(path: &'static str) -> Result<Arc<File>, XenError> {
    open_with(path, 0).map(Arc::new)
}

fn open_with(path: &'static str, flags: i32) -> Result<File, XenError> {
    use std::os::unix::fs::OpenOptionsExt;
    let remedy = "is this a Xen domain, is its module loaded (xen-gntdev, xen-gntalloc, xen-evtchn), and are we root?";
    let opened = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path);
    opened.map_err(|source| XenError::Open { path: path.into(), source, remedy })
}

/// The number of an ioctl without direction.
const fn number(group: u8, nr: u8, size: usize) -> libc::c_ulong {
    (size as libc::c_ulong) << 16 | (group as libc::c_ulong) << 8 | nr as libc::c_ulong
}

/// Calls the device.
///
/// # Safety
/// `argument` is what the call of this number reads and writes.
unsafe fn call<T>(file: &File, number: libc::c_ulong, argument: *mut T) -> io::Result<i32> {
    // SAFETY: the caller's word.
    match unsafe { libc::ioctl(file.as_raw_fd(), number as _, argument) } {
        -1 => Err(io::Error::last_os_error()),
        value => Ok(value),
    }
}

/// `struct ioctl_gnt*_unmap_notify`, the same for both devices.
#[repr(C)]
struct UnmapNotify {
    index: u64,
    action: u32,
    port: u32,
}

const CLEAR_BYTE: u32 = 1;
const SEND_EVENT: u32 = 2;

/// `struct ioctl_gntdev_unmap_grant_ref` and `struct ioctl_gntalloc_dealloc_gref`, which are alike.
#[repr(C)]
struct GiveUp {
    index: u64,
    count: u32,
    pad: u32,
}

/// Pages that a device keeps under an index, until they are given up. Of pages of ours the kernel then keeps those that the
/// peer still has.
#[derive(Debug)]
struct Indexed {
    file: Arc<File>,
    path: &'static str,
    /// The device's numbers of the calls with [`GiveUp`] and with [`UnmapNotify`].
    calls: [libc::c_ulong; 2],
    index: u64,
    count: u32,
}

impl Indexed {
    fn forget(&mut self) {
        let mut request = GiveUp { index: self.index, count: self.count, pad: 0 };
        // SAFETY: the structure is the one that both devices' call of this number reads.
        if let Err(e) = unsafe { call(&self.file, self.calls[0], &raw mut request) } {
            tracing::error!("{}: {} pages at {:#x} cannot be given up: {e}", self.path, self.count, self.index);
        }
    }
}

impl Release for Indexed {
    fn release(&mut self, base: NonNull<u8>, len: usize) {
        unmap(base, len);
        self.forget();
    }

    fn on_unmap(&mut self, offset: usize, port: Option<EventPort>) -> io::Result<()> {
        debug_assert!(offset < self.count as usize * PAGE);
        let action = CLEAR_BYTE | if port.is_some() { SEND_EVENT } else { 0 };
        let index = self.index + offset as u64;
        let mut notify = UnmapNotify { index, action, port: port.map_or(0, |port| port.0) };
        // SAFETY: the structure is the one that both devices' call of this number reads.
        unsafe { call(&self.file, self.calls[1], &raw mut notify) }.map(drop)
    }
}

/// An index of 64 bits that lies in two words.
fn index_of([a, b]: [u32; 2]) -> u64 {
    let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (a.to_ne_bytes(), b.to_ne_bytes());
    u64::from_ne_bytes([a0, a1, a2, a3, b0, b1, b2, b3])
}

/// Maps what a device handed out at `index`.
fn map(file: &File, index: u64, pages: usize, write: bool) -> io::Result<NonNull<u8>> {
    let access = if write { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
    let (len, at) = (pages * PAGE, index as libc::off_t);
    // SAFETY: a fresh shared mapping at an address of the kernel's choice.
    let base = unsafe { libc::mmap(std::ptr::null_mut(), len, access, libc::MAP_SHARED, file.as_raw_fd(), at) };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mmap gave address 0"))
}

fn unmap(base: NonNull<u8>, len: usize) {
    // SAFETY: the mapping is this caller's own and is given up.
    unsafe { libc::munmap(base.as_ptr().cast(), len) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_headers() {
        assert_eq!(gntdev::MAP, 0x18_4700);
        assert_eq!(gntdev::UNMAP, 0x10_4701);
        assert_eq!(gntdev::NOTIFY, 0x10_4707);
        assert_eq!(gntdev::COPY, 0x10_4708);
        assert_eq!(evtchn::BIND_INTERDOMAIN, 0x08_4501);
        assert_eq!(evtchn::BIND_UNBOUND, 0x04_4502);
        assert_eq!(evtchn::UNBIND, 0x04_4503);
        assert_eq!(evtchn::NOTIFY, 0x04_4504);
        assert_eq!(gntalloc::ALLOC, 0x18_4705);
        assert_eq!(gntalloc::DEALLOC, 0x10_4706);
        assert_eq!(gntalloc::NOTIFY, 0x10_4707);
    }

    #[test]
    fn without_xen_the_error_says_what_is_missing() {
        if std::path::Path::new(gntdev::PATH).exists() {
            // On Xen this cannot fail; there the lab's tests open everything.
            assert!(Devices.grants().is_ok());
            return;
        }
        let error = Devices.grants().unwrap_err().to_string();
        assert!(error.contains(gntdev::PATH) && error.contains("xen-gntdev"), "{error}");
    }
}
