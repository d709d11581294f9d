#![allow(dead_code, reason = "each benchmark uses its part")]

//! Timing by the thread's own clock, on a machine that others use too.

use std::time::Duration;

use criterion::Bencher;

/// Times the CPU that `routine` takes, not what others on the core take meanwhile.
pub fn time(b: &mut Bencher<'_>, mut routine: impl FnMut()) {
    b.iter_custom(|iterations| {
        let before = thread_time();
        for _ in 0..iterations {
            routine();
        }
        thread_time() - before
    });
}

/// The CPU that this thread has taken.
pub fn thread_time() -> Duration {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid timespec that outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut t) };
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}
