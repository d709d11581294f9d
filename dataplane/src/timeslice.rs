//! Turns that suit workers which share a core with their peers.
//!
//! An engine and its guests on one core hand each other bursts. Left to itself, the scheduler does the wrong thing twice.
//! It lets whoever has just been woken interrupt the one who woke it, so that bursts shrink to a few frames and the core
//! is spent on changing places; so a worker asks for `SCHED_BATCH`, whose threads wait for their turn. And it lets a busy
//! thread run for its slice, nearly 3 ms, in which rings run over; so a worker asks for the shortest slice. On a core of
//! its own neither makes a difference. Four routers on one core forwarded 0.87 million frames a second in this way, and
//! 0.50 million without.

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

/// How nice a control thread is that has much to do: a worker on the same core gets nine tenths of it.
const NICE: i32 = 10;

/// Asks for both for this thread; its niceness stays. Kernels before 6.12 ignore the slice.
///
/// # Errors
/// What the kernel said, if it would not hear of it.
pub fn share() -> io::Result<()> {
    change(|_| {})
}

/// The same for a thread of the control side that may have seconds of work, a million routes say: workers that share its
/// core go on meanwhile.
///
/// # Errors
/// As [`share`].
pub fn stand_back() -> io::Result<()> {
    change(|attributes| attributes.nice = attributes.nice.max(NICE))
}

fn change(also: impl FnOnce(&mut Attributes)) -> io::Result<()> {
    let mut attributes = Attributes { size: size_of::<Attributes>() as u32, ..Attributes::default() };
    // SAFETY: a structure of the size that is told, which outlives the call; 0 is this thread.
    let got = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, attributes.size, 0) };
    if got != 0 {
        return Err(io::Error::last_os_error());
    }
    if ![libc::SCHED_OTHER, libc::SCHED_BATCH].contains(&(attributes.policy as i32)) {
        // Fixed priorities and deadlines are somebody's choice.
        return Ok(());
    }
    attributes.policy = libc::SCHED_BATCH as u32;
    attributes.runtime = SLICE_NANOS;
    also(&mut attributes);
    // SAFETY: as above.
    let set = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_may_share_its_core_or_stand_back() {
        let before = attributes().nice;
        let nicer = before.max(NICE);
        for (ask, nice) in [(share as fn() -> io::Result<()>, before), (stand_back, nicer), (share, nicer)] {
            ask().unwrap();
            let attributes = attributes();
            assert_eq!((attributes.policy, attributes.nice), (libc::SCHED_BATCH as u32, nice));
            // Older kernels report no slice at all.
            assert!([0, SLICE_NANOS].contains(&attributes.runtime), "{}", attributes.runtime);
        }
    }

    fn attributes() -> Attributes {
        let mut attributes = Attributes { size: size_of::<Attributes>() as u32, ..Attributes::default() };
        // SAFETY: as in `change`.
        let got = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, attributes.size, 0) };
        assert_eq!(got, 0);
        attributes
    }
}
