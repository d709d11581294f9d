//! Ctrl-C. A run that is interrupted must still take down its namespaces and end its children, so a signal only raises a
//! flag, every wait looks at the flag, and the values that own kernel objects are dropped on the way out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

static RAISED: AtomicBool = AtomicBool::new(false);

extern "C" fn raise(_: libc::c_int) {
    RAISED.store(true, Ordering::Relaxed);
}

/// From now on the first SIGINT, SIGTERM or SIGHUP ends the run in order; a second one ends the process on the spot.
pub fn install() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: an all-zero sigaction is valid; the handler only stores to an atomic, which is async-signal-safe.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = raise as *const () as usize;
            action.sa_flags = libc::SA_RESETHAND;
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
}

/// An error once a signal has come.
pub fn check() -> Result<()> {
    if RAISED.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}

/// Sleeps for `span`, or until a signal comes, which is an error.
pub fn sleep(span: Duration) -> Result<()> {
    sleep_until(Instant::now() + span)
}

/// As [`sleep`], until a point in time.
pub fn sleep_until(when: Instant) -> Result<()> {
    loop {
        check()?;
        let left = when.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(Duration::from_millis(50)));
    }
}

/// Polls `ready` until it is true; an error that names `what` when `patience` is over.
pub fn wait_for(what: &str, patience: Duration, mut ready: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !ready()? {
        if start.elapsed() > patience {
            bail!("{what}: not there after {:.1} s", patience.as_secs_f64());
        }
        sleep(Duration::from_millis(10))?;
    }
    Ok(())
}
