//! Network namespaces: entered by one thread, which then has nothing else to do.

use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// Moves the calling thread into a namespace: a name as `ip netns` has them, or a path.
///
/// # Errors
/// There is none, or we may not.
pub(crate) fn enter(netns: &Path) -> io::Result<()> {
    let file = std::fs::File::open(match netns.components().count() {
        1 if netns.is_relative() => Path::new("/run/netns").join(netns),
        _ => netns.to_owned(),
    })?;
    // SAFETY: no pointers; only the calling thread is moved.
    match unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
