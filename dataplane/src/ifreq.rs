//! `struct ifreq` and its `ioctl`s: asking the kernel about a device by name. Control side only.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::units::Mac;

/// Whether the kernel takes it for a name (`dev_valid_name`), less the '%' that makes it a pattern.
pub(crate) fn is_device_name(device: &str) -> bool {
    let fits = (1..libc::IFNAMSIZ).contains(&device.len());
    let bad = device.bytes().any(|b| b.is_ascii_whitespace() || matches!(b, b'/' | b':' | b'%' | 0));
    fits && !bad && device != "." && device != ".."
}

/// A request about `device`.
pub(crate) fn request(device: &str) -> libc::ifreq {
    // SAFETY: all zero is a valid `ifreq`: integers, and a union of such.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays NUL.
    for (to, from) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(device.bytes()) {
        *to = from as libc::c_char;
    }
    request
}

/// Makes request `number`, which reads or writes one `T`.
pub(crate) fn ioctl<T>(fd: &OwnedFd, number: libc::Ioctl, argument: &mut T) -> io::Result<()> {
    // SAFETY: every caller passes the number of a request that reads or writes exactly one `T`.
    match unsafe { libc::ioctl(fd.as_raw_fd(), number, std::ptr::from_mut(argument)) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Brings `device` up; `socket` is of its namespace.
pub(crate) fn set_up(socket: &OwnedFd, device: &str) -> io::Result<()> {
    let mut flags = request(device);
    ioctl(socket, libc::SIOCGIFFLAGS, &mut flags)?;
    // SAFETY: the kernel has filled in the flags, and takes them from there.
    unsafe { flags.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short };
    ioctl(socket, libc::SIOCSIFFLAGS, &mut flags)
}

/// Gives `device` an Ethernet address.
pub(crate) fn set_mac(socket: &OwnedFd, device: &str, mac: Mac) -> io::Result<()> {
    let mut request = request(device);
    let mut address = libc::sockaddr { sa_family: libc::ARPHRD_ETHER, sa_data: [0; 14] };
    for (to, from) in address.sa_data.iter_mut().zip(mac.0) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_hwaddr = address;
    ioctl(socket, libc::SIOCSIFHWADDR, &mut request)
}

/// A descriptor that the kernel has just given us, or why it has not.
pub(crate) fn owned(fd: libc::c_int) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
