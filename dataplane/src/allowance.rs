//! What a port's peer may send: a token bucket at the input of any port.
//!
//! A peer beyond its allowance is not dropped but not listened to: its frames stay in its own ring, which fills, and then
//! it is the peer's stack that waits, as it would before a slow line. So nothing is copied that is thrown away later.
//!
//! Frames are taken while the bucket is not in debt, a burst at a time, and paid for afterwards: the rate is kept in the mean,
//! and a frame larger than the bucket still passes.

use std::sync::Arc;

use crate::frame::Burst;
use crate::offload::Offloads;
use crate::pool::Pool;
use crate::port::{Counters, Port, Sleep};
use crate::units::Nanos;

/// So many bytes, refilled at a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Bytes a second, without FCS.
    pub bytes_per_second: u64,
    /// Bytes that a peer which was silent may send at once.
    pub burst: u64,
}

/// The bucket, in the time that its contents are worth.
#[derive(Debug)]
struct Bucket {
    allowance: Allowance,
    /// When it would be full again, if nobody sent any more.
    full_at: Nanos,
}

impl Bucket {
    fn worth(&self, bytes: u64) -> Nanos {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.allowance.bytes_per_second.max(1));
        Nanos(nanos.min(u128::from(u64::MAX / 4)) as u64)
    }

    /// When the bucket is no longer in debt; none: now.
    fn due(&self, now: Nanos) -> Option<Nanos> {
        let due = Nanos(self.full_at.0.saturating_sub(self.worth(self.allowance.burst).0));
        (due > now).then_some(due)
    }

    fn pay(&mut self, bytes: u64, now: Nanos) {
        self.full_at = Nanos(self.full_at.0.max(now.0).saturating_add(self.worth(bytes).0));
    }
}

/// A port whose peer may send so much and no more. What goes out passes untouched.
pub struct Limited {
    inner: Box<dyn Port>,
    bucket: Bucket,
}

impl Limited {
    /// Puts a limit before what `port`'s peer sends.
    pub fn new(port: Box<dyn Port>, allowance: Allowance) -> Self {
        Self { inner: port, bucket: Bucket { allowance, full_at: Nanos(0) } }
    }
}

impl Port for Limited {
    fn pull(&mut self, pool: &mut Pool, burst: &mut Burst) {
        let now = Nanos::now();
        if self.bucket.due(now).is_some() {
            return;
        }
        let before = burst.len();
        self.inner.pull(pool, burst);
        let bytes: u64 = burst[before..].iter().map(|frame| frame.len() as u64).sum();
        if bytes > 0 {
            self.bucket.pay(bytes, now);
        }
    }

    fn push(&mut self, pool: &mut Pool, burst: &mut Burst) {
        self.inner.push(pool, burst);
    }

    fn flush(&mut self, pool: &mut Pool) {
        self.inner.flush(pool);
    }

    fn notify(&mut self) {
        self.inner.notify();
    }

    fn tick(&mut self, pool: &mut Pool, now: Nanos) {
        self.inner.tick(pool, now);
    }

    fn arm(&mut self, sleep: &Sleep) -> bool {
        // In debt, frames that wait are no reason to stay awake: the deadline is.
        self.inner.arm(sleep) || self.bucket.due(Nanos::now()).is_some()
    }

    fn disarm(&mut self) {
        self.inner.disarm();
    }

    fn deadline(&self) -> Option<Nanos> {
        match (self.bucket.due(Nanos::now()), self.inner.deadline()) {
            (Some(ours), Some(theirs)) => Some(ours.min(theirs)),
            (ours, theirs) => ours.or(theirs),
        }
    }

    fn detach(&mut self, pool: &mut Pool) {
        self.inner.detach(pool);
    }

    fn is_up(&self) -> bool {
        self.inner.is_up()
    }

    fn is_full(&self) -> bool {
        self.inner.is_full()
    }

    fn accepts(&self) -> Offloads {
        self.inner.accepts()
    }

    fn counters(&self) -> &Arc<Counters> {
        self.inner.counters()
    }

    fn mode(&self) -> String {
        format!("{}, may send {} kbit/s", self.inner.mode(), self.bucket.allowance.bytes_per_second / 125)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(bytes_per_second: u64, burst: u64) -> Bucket {
        Bucket { allowance: Allowance { bytes_per_second, burst }, full_at: Nanos(0) }
    }

    /// Bytes that pass within a second, when frames of `len` are always there and are looked at every `step`.
    fn passed(bucket: &mut Bucket, len: u64, step: Nanos) -> u64 {
        let (mut now, mut bytes) = (Nanos::from_secs(100), 0);
        let end = now.plus(Nanos::from_secs(1));
        while now < end {
            if bucket.due(now).is_none() {
                bucket.pay(64 * len, now);
                bytes += 64 * len;
            }
            now = now.plus(step);
        }
        bytes
    }

    #[test]
    fn the_rate_is_kept_in_the_mean() {
        for (rate, len) in [(125_000_000, 60), (125_000_000, 1514), (12_500_000, 60), (12_500_000, 1514)] {
            let mut bucket = bucket(rate, 10_000);
            let bytes = passed(&mut bucket, len, Nanos::from_micros(10));
            let most = rate + 10_000 + 64 * len;
            assert!(bytes <= most && bytes >= rate * 99 / 100, "{bytes} of {rate} with frames of {len}");
        }
    }

    #[test]
    fn silence_saves_a_burst_and_no_more() {
        let mut bucket = bucket(1000, 5000);
        let now = Nanos::from_secs(1_000_000);
        let mut taken = 0;
        while bucket.due(now).is_none() {
            bucket.pay(100, now);
            taken += 100;
        }
        assert_eq!(taken, 5100, "in debt once more than the burst was taken");
        assert_eq!(bucket.due(now), Some(now.plus(Nanos::from_millis(100))));
        assert_eq!(bucket.due(now.plus(Nanos::from_millis(100))), None);
    }

    #[test]
    fn absurd_numbers_do_no_harm() {
        let mut slow = bucket(1, 0);
        slow.pay(u64::MAX, Nanos::from_secs(1));
        slow.pay(u64::MAX, Nanos::from_secs(1));
        assert!(slow.due(Nanos::from_secs(1)).is_some());
        let mut none = bucket(0, 0);
        none.pay(1, Nanos(0));
        let mut fast = bucket(u64::MAX, u64::MAX);
        fast.pay(1 << 40, Nanos::from_secs(1));
        assert!(fast.due(Nanos::from_secs(1)).is_none());
    }
}
