//! Short turns for workers that share a core.
//!
//! The scheduler lets a busy thread run for its slice, nearly 3 ms, before one that has just been woken gets its turn. An
//! engine and its guests on one core then fill each other's rings, drop what does not fit, and find them empty in their
//! own turn. With the shortest slice, a thread that was woken runs within 0.1 ms. On a core of its own it makes no
//! difference.

use std::io;

/// `struct sched_attr` of linux/sched/types.h, in its first version.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// The shortest slice that the kernel grants: 0.1 ms.
const SLICE_NANOS: u64 = 100_000;

/// Asks for the shortest slice for this thread; its policy and niceness stay. Kernels before 6.12 ignore it.
///
/// # Errors
/// What the kernel said, if it would not hear of it.
pub fn shorten() -> io::Result<()> {
    let mut attributes = Attributes { size: size_of::<Attributes>() as u32, ..Attributes::default() };
    // SAFETY: a structure of the size that is told, which outlives the call; 0 is this thread.
    let got = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, attributes.size, 0) };
    if got != 0 {
        return Err(io::Error::last_os_error());
    }
    if attributes.policy != libc::SCHED_OTHER as u32 && attributes.policy != libc::SCHED_BATCH as u32 {
        // Fixed priorities and deadlines are somebody's choice, and have no slices.
        return Ok(());
    }
    attributes.runtime = SLICE_NANOS;
    // SAFETY: as above.
    let set = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_may_shorten_its_slice() {
        shorten().unwrap();
        let mut attributes = Attributes { size: size_of::<Attributes>() as u32, ..Attributes::default() };
        // SAFETY: as in `shorten`.
        let got = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, attributes.size, 0) };
        assert_eq!((got, attributes.policy), (0, libc::SCHED_OTHER as u32));
        // Older kernels report no slice at all.
        assert!([0, SLICE_NANOS].contains(&attributes.runtime), "{}", attributes.runtime);
    }
}
