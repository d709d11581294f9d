//! The wish to end, as a signal: taken by one thread, at a time of its choosing.
//!
//! Signals are blocked before the first worker starts, so that none of them interrupts a packet path, and waited for by
//! the thread that has nothing else to do.

use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

/// SIGINT and SIGTERM, blocked in this thread and in those that it starts from now on.
#[derive(Debug)]
pub struct Signals {
    set: libc::sigset_t,
}

impl Signals {
    /// Blocks them.
    ///
    /// # Errors
    /// What `pthread_sigmask` said.
    pub fn block() -> io::Result<Self> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: `sigemptyset` initialises the set, which outlives the calls.
        let set = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            libc::sigaddset(set.as_mut_ptr(), libc::SIGINT);
            libc::sigaddset(set.as_mut_ptr(), libc::SIGTERM);
            set.assume_init()
        };
        // SAFETY: a valid set; the old mask is not asked for.
        match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } {
            0 => Ok(Self { set }),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// Waits until one of them comes.
    pub fn wait(&self) {
        let mut signal = 0;
        // SAFETY: a valid set and a place for the number. EINTR cannot happen for sigwait on Linux.
        unsafe { libc::sigwait(&raw const self.set, &raw mut signal) };
    }

    /// Waits for one of them, no longer than `patience`; whether one came.
    pub fn wait_for(&self, patience: Duration) -> bool {
        let timeout = libc::timespec { tv_sec: patience.as_secs() as i64, tv_nsec: i64::from(patience.subsec_nanos()) };
        // SAFETY: a valid set and timeout; the signal's details are not asked for.
        unsafe { libc::sigtimedwait(&raw const self.set, std::ptr::null_mut(), &raw const timeout) > 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_signal_is_waited_for() {
        let signals = Signals::block().unwrap();
        assert!(!signals.wait_for(Duration::from_millis(1)));
        // SAFETY: a signal to this thread, which has it blocked.
        unsafe { libc::pthread_kill(libc::pthread_self(), libc::SIGTERM) };
        assert!(signals.wait_for(Duration::from_secs(5)));
    }
}
