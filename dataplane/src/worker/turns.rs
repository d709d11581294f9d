//! Whose turn it is, and what it costs him: a worker's time, divided among guests.
//!
//! The worker reads the clock after each burst that it pulled and forwarded, and what has passed is charged: to the guest
//! that it pulled from, or, for an uplink, to the guests that the burst went to, by frames. What flushing costs at the end
//! of the breath is charged by frames too.
//!
//! A guest is **behind** when a whole burst was pulled from it: there is more. While nobody is, nobody waits. While
//! somebody is, deficit round robin is played in nanoseconds: each guest gets `weight` times a quantum a round, and is
//! passed over when that is used up, until it is used up for all who are behind. A guest that wants less than that is
//! pulled in every breath, and so waits for one burst of each of the others at most.
//!
//! An uplink's ring holds frames of many guests in one row, and nothing can be skipped in it. So when it is half full, those
//! who fill it with more than their part are [`over`](Turns::is_over), and their frames are dropped in XDP until it has
//! emptied. Before that it is a queue like any other, which bursts are for.
//!
//! All of this is done only while **some guest has another weight than 1**. Else time is charged and nobody is passed over:
//! on a core that the worker shares with its guests, passing them over while an uplink goes on being heard leaves frames
//! where they are dropped latest (measured with four routers at the paper's load: 98 % of the frames).
//!
//! Time is that of the wall clock. When the worker's thread was away in between, whoever was being served would pay for
//! it: so no more is charged at once than a long burst takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::shares::Shares;
use crate::units::{GuestId, Nanos, PortId};

/// What a guest of weight 1 may use in a round: a burst or two.
const QUANTUM: i64 = 10_000;
/// The most that is charged at once: what flushing hundreds of frames into a kernel's device takes.
const MOST: Nanos = Nanos::from_millis(1);
/// Frames that it takes to tell who fills an uplink's ring.
const EVIDENCE: u64 = 256;

/// One guest, as this worker sees it.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    /// What it may still use in `round`, in nanoseconds.
    deficit: i64,
    round: u64,
    /// The last breath in which it was behind, and the last in which it had its turn.
    behind_in: u64,
    granted_in: u64,
    /// Frames of it in this burst, and in this breath.
    burst: u32,
    breath: u32,
    /// Frames that an uplink brought for it since its ring was last empty.
    brought: u32,
    /// More of an uplink's ring than its part is for it.
    over: bool,
}

/// The accounts of a worker.
#[derive(Debug)]
pub(super) struct Turns {
    shares: Arc<Shares>,
    /// Whose a port is, by [`PortId`].
    guests: Vec<GuestId>,
    accounts: Box<[Account]>,
    /// Who has frames in this burst, and in this breath. Each has room for all guests.
    in_burst: Vec<GuestId>,
    in_breath: Vec<GuestId>,
    /// Who is behind in this breath.
    behind: Vec<GuestId>,
    /// Somebody was in the last one.
    contended: bool,
    /// Somebody has another weight than the others.
    enforced: bool,
    /// The round that is played.
    round: u64,
    breath: u64,
    /// Up to when time has been charged.
    charged: Nanos,
    /// An uplink's ring did not empty in this breath, and in the last one; and it was half full in this one.
    lags: bool,
    lagged: bool,
    half_full: bool,
    anyone_over: bool,
    /// Nanoseconds that each guest has been charged: read by anyone.
    used: Arc<[AtomicU64]>,
}

impl Turns {
    pub(super) fn new(shares: Arc<Shares>, guests: Vec<GuestId>) -> Self {
        let count = shares.len();
        Self {
            guests,
            accounts: vec![Account::default(); count].into(),
            in_burst: Vec::with_capacity(count),
            in_breath: Vec::with_capacity(count),
            behind: Vec::with_capacity(count),
            contended: false,
            enforced: false,
            round: 1,
            // So that nobody was behind in the last one.
            breath: 1,
            charged: Nanos(0),
            lags: false,
            lagged: false,
            half_full: false,
            anyone_over: false,
            used: (0..count).map(|_| AtomicU64::new(0)).collect(),
            shares,
        }
    }

    /// What each guest has been charged, by [`GuestId`].
    pub(super) fn used(&self) -> Arc<[AtomicU64]> {
        Arc::clone(&self.used)
    }

    /// Whose the port is.
    #[inline]
    pub(super) fn guest(&self, port: PortId) -> GuestId {
        self.guests.get(port.index()).copied().unwrap_or(GuestId::UPLINKS)
    }

    /// A port is this guest's from now on.
    pub(super) fn set_guest(&mut self, port: PortId, guest: GuestId) {
        if let Some(of) = self.guests.get_mut(port.index()) {
            *of = guest;
        }
    }

    /// A breath begins.
    #[inline]
    pub(super) fn begin(&mut self, now: Nanos) {
        self.breath += 1;
        self.charged = now;
        self.enforced = self.shares.is_weighted();
    }

    /// Whether a burst may be pulled from a port of `guest` in this breath. What is said of one of its ports holds for all.
    #[inline]
    pub(super) fn may_pull(&mut self, guest: GuestId) -> bool {
        if !self.contended || !self.enforced || guest == GuestId::UPLINKS {
            return true;
        }
        let Some(account) = self.accounts.get_mut(guest.index()) else { return true };
        if account.round != self.round {
            // A debt of the round before is paid; one of an earlier contention is forgotten.
            let debt = if account.round + 1 == self.round { account.deficit.min(0) } else { 0 };
            account.deficit = debt + QUANTUM * self.shares.weight(guest).times() as i64;
            account.round = self.round;
        }
        if account.deficit > 0 || account.granted_in == self.breath {
            account.granted_in = self.breath;
            return true;
        }
        self.note_behind(guest);
        false
    }

    /// Frames of a burst from `source` leave by `output`.
    #[inline]
    pub(super) fn count(&mut self, source: GuestId, output: PortId, frames: usize) {
        let payer = if source == GuestId::UPLINKS { self.guest(output) } else { source };
        let Some(account) = self.accounts.get_mut(payer.index()) else { return };
        if account.burst == 0 {
            self.in_burst.push(payer);
        }
        account.burst += frames as u32;
    }

    /// A burst from `source` has been pulled and forwarded; `whole` when there may be more. `now` is the time.
    #[inline]
    pub(super) fn charge(&mut self, source: GuestId, whole: bool, now: Nanos) {
        let span = now.since(self.charged).min(MOST);
        self.charged = now;
        if source != GuestId::UPLINKS {
            if whole {
                self.note_behind(source);
            }
            self.pay(source, span);
        }
        let frames: u32 = self.in_burst.iter().map(|guest| self.accounts[guest.index()].burst).sum();
        for index in 0..self.in_burst.len() {
            let guest = self.in_burst[index];
            let account = &mut self.accounts[guest.index()];
            let count = std::mem::take(&mut account.burst);
            if account.breath == 0 {
                self.in_breath.push(guest);
            }
            account.breath += count;
            if source == GuestId::UPLINKS {
                account.brought = account.brought.saturating_add(count);
                self.pay(guest, Nanos(span.0 * u64::from(count) / u64::from(frames.max(1))));
            }
        }
        self.in_burst.clear();
    }

    /// An uplink gave a whole burst, so there is more; `half_full` when it is more than half of what its ring holds.
    #[inline]
    pub(super) fn lags(&mut self, half_full: bool) {
        self.lags = self.enforced;
        self.half_full |= half_full;
    }

    /// The breath ends, everything is flushed; `idle` when nothing was pulled.
    #[inline]
    pub(super) fn end(&mut self, now: Nanos, idle: bool) {
        if idle && !self.contended && !self.lagged {
            return;
        }
        let span = now.since(self.charged).min(MOST);
        self.charged = now;
        let frames: u32 = self.in_breath.iter().map(|guest| self.accounts[guest.index()].breath).sum();
        for index in 0..self.in_breath.len() {
            let guest = self.in_breath[index];
            let count = std::mem::take(&mut self.accounts[guest.index()].breath);
            self.pay(guest, Nanos(span.0 * u64::from(count) / u64::from(frames.max(1))));
        }
        self.in_breath.clear();
        let began = !self.contended;
        self.contended = !self.behind.is_empty();
        if self.contended {
            self.next_round(began);
        }
        if self.lags || self.lagged {
            self.watch_uplinks();
        }
    }

    /// Whether so much comes in for the guest that others could not be heard.
    #[inline]
    pub(super) fn is_over(&self, port: PortId) -> bool {
        self.anyone_over && self.accounts.get(self.guest(port).index()).is_some_and(|account| account.over)
    }

    #[inline]
    fn pay(&mut self, guest: GuestId, span: Nanos) {
        let (Some(account), Some(used)) = (self.accounts.get_mut(guest.index()), self.used.get(guest.index())) else {
            return;
        };
        account.deficit = account.deficit.saturating_sub(span.0 as i64);
        // One writer: this worker.
        used.store(used.load(Relaxed).wrapping_add(span.0), Relaxed);
    }

    #[inline]
    fn note_behind(&mut self, guest: GuestId) {
        if !self.enforced {
            return;
        }
        let Some(account) = self.accounts.get_mut(guest.index()) else { return };
        if account.behind_in != self.breath {
            account.behind_in = self.breath;
            self.behind.push(guest);
        }
    }

    /// Ends the round when all who are behind have used up what they had: as many rounds at once as it takes until somebody
    /// has something. With the first round, when contention `began`, everybody starts anew.
    fn next_round(&mut self, began: bool) {
        let quantum = |guest: &GuestId| QUANTUM * self.shares.weight(*guest).times() as i64;
        if began {
            self.round += 2;
            for guest in &self.behind {
                let account = &mut self.accounts[guest.index()];
                (account.deficit, account.round) = (quantum(guest), self.round);
            }
            self.behind.clear();
            return;
        }
        let missing = |guest: &GuestId| match self.accounts[guest.index()].deficit {
            deficit @ ..=0 => -deficit / quantum(guest) + 1,
            _ => 0,
        };
        let rounds = self.behind.iter().map(missing).min().unwrap_or(0);
        if rounds > 0 {
            self.round += 1;
            for guest in &self.behind {
                let account = &mut self.accounts[guest.index()];
                account.deficit += rounds * quantum(guest);
                account.round = self.round;
            }
        }
        self.behind.clear();
    }

    /// While an uplink does not empty: finds those who get more than their part of it.
    #[cold]
    fn watch_uplinks(&mut self) {
        self.lagged = std::mem::take(&mut self.lags);
        if !self.lagged {
            self.anyone_over = false;
            self.accounts.iter_mut().for_each(|account| (account.brought, account.over) = (0, false));
            return;
        }
        if !std::mem::take(&mut self.half_full) {
            return;
        }
        let weight = |guest: usize| self.shares.weight(GuestId(guest as u16)).times();
        let (mut frames, mut weights) = (0u64, 0);
        for (guest, account) in self.accounts.iter().enumerate().filter(|(_, account)| account.brought > 0) {
            frames += u64::from(account.brought);
            weights += weight(guest);
        }
        if frames < EVIDENCE {
            return;
        }
        for guest in 0..self.accounts.len() {
            let part = 5 * u64::from(self.accounts[guest].brought) * weights;
            // A fifth more than its part, so that equals leave each other alone.
            if guest != GuestId::UPLINKS.index() && part > 6 * frames * weight(guest) {
                self.accounts[guest].over = true;
                self.anyone_over = true;
            }
            self.accounts[guest].brought = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shares::{GuestTerms, Weight};

    const UPLINK: PortId = PortId(0);

    /// Guests of these weights, each with one port, from 1.
    fn turns(weights: &[u16]) -> Turns {
        // One more, who only makes weights count.
        let names: Vec<String> = (0..=weights.len()).map(|n| format!("r{n}")).collect();
        let terms = weights
            .iter()
            .chain(&[2])
            .map(|&times| GuestTerms { weight: Weight::new(times).unwrap(), ..Default::default() });
        let shares = Arc::new(Shares::new(names.iter().map(String::as_str).zip(terms), 0));
        Turns::new(shares, (0..=weights.len() as u16).map(GuestId).collect())
    }

    /// A worker's life: guests that want a burst of 64 frames at this price each in every breath, until `total` has
    /// passed. Bursts that each got.
    fn compete(turns: &mut Turns, prices: &[u64], total: Nanos) -> Vec<u64> {
        let mut now = Nanos::from_secs(1);
        let end = now.plus(total);
        let mut got = vec![0; prices.len()];
        while now < end {
            turns.begin(now);
            for (n, &price) in prices.iter().enumerate() {
                let guest = GuestId(n as u16 + 1);
                if turns.may_pull(guest) {
                    now = now.plus(Nanos(64 * price));
                    turns.count(guest, UPLINK, 64);
                    turns.charge(guest, true, now);
                    got[n] += 1;
                }
            }
            now = now.plus(Nanos(500));
            turns.end(now, false);
        }
        got
    }

    fn times(turns: &Turns, guests: usize) -> Vec<f64> {
        (1..=guests).map(|n| turns.used[n].load(Relaxed) as f64).collect()
    }

    #[test]
    fn time_is_divided_as_the_weights_say_whatever_a_frame_costs() {
        for prices in [[100, 100, 100], [60, 100, 1900], [1900, 100, 60]] {
            let mut turns = turns(&[1, 2, 4]);
            compete(&mut turns, &prices, Nanos::from_secs(1));
            let used = times(&turns, 3);
            for (n, exact) in [(1, 2.0), (2, 4.0)] {
                assert!((used[n] / used[0] / exact - 1.0).abs() < 0.02, "{used:?} at {prices:?}");
            }
        }
    }

    #[test]
    fn whoever_is_alone_has_all_and_pays_for_all() {
        let mut turns = turns(&[1, 100]);
        let got = compete(&mut turns, &[100], Nanos::from_millis(100));
        assert!(got[0] >= 14_450, "{got:?}");
        let used = turns.used[1].load(Relaxed);
        assert!(used.abs_diff(100_000_000) < 500_000, "{used}");
    }

    /// One takes all it can, seven bring a few frames a breath: these are pulled in every breath.
    #[test]
    fn who_is_not_behind_is_never_passed_over() {
        let mut turns = turns(&[1; 8]);
        let mut now = Nanos::from_secs(1);
        for _ in 0..10_000 {
            turns.begin(now);
            for n in 1..=8 {
                let flood = n == 3;
                let pulled = turns.may_pull(GuestId(n));
                assert!(flood || pulled);
                if pulled {
                    now = now.plus(Nanos(if flood { 6_400 } else { 300 }));
                    turns.charge(GuestId(n), flood, now);
                }
            }
            turns.end(now, false);
        }
    }

    /// Its ring is small, so it never gives a whole burst, and wants all the same.
    #[test]
    fn who_hides_behind_a_small_ring_gets_no_more_than_the_others() {
        let mut turns = turns(&[1, 1, 1]);
        let mut now = Nanos::from_secs(1);
        for _ in 0..20_000 {
            turns.begin(now);
            for (n, whole) in [(1, true), (2, false), (3, true)] {
                if turns.may_pull(GuestId(n)) {
                    now = now.plus(Nanos(if whole { 6_400 } else { 6_000 }));
                    turns.charge(GuestId(n), whole, now);
                }
            }
            turns.end(now, false);
        }
        let used = times(&turns, 3);
        assert!((0.8..1.05).contains(&(used[1] / used[0])) && (used[2] / used[0] - 1.0).abs() < 0.02, "{used:?}");
    }

    #[test]
    fn work_for_a_guest_is_charged_to_it_and_flushes_by_frames() {
        let mut turns = turns(&[1, 1]);
        let now = Nanos::from_secs(1);
        turns.begin(now);
        turns.count(GuestId::UPLINKS, PortId(1), 30);
        turns.count(GuestId::UPLINKS, PortId(2), 10);
        turns.charge(GuestId::UPLINKS, false, now.plus(Nanos(4_000)));
        turns.count(GuestId(2), UPLINK, 40);
        turns.charge(GuestId(2), false, now.plus(Nanos(9_000)));
        turns.end(now.plus(Nanos(17_000)), false);
        assert_eq!(times(&turns, 2), [3_000.0 + 3_000.0, 1_000.0 + 5_000.0 + 5_000.0]);
        // A worker that was away for a second has not worked for a second.
        turns.begin(now);
        turns.charge(GuestId(1), false, now.plus(Nanos::from_secs(1)));
        assert_eq!(times(&turns, 2)[0], 6_000.0 + MOST.0 as f64);
    }

    /// Two are behind, and the one who still has time goes silent. The other is heard in the breath after.
    #[test]
    fn nobody_waits_for_one_who_has_gone_silent() {
        let mut turns = turns(&[1, 100]);
        let mut now = Nanos::from_secs(1);
        let mut pulled = Vec::new();
        for breath in 0..8 {
            turns.begin(now);
            let mut any = false;
            for (guest, has_more) in [(GuestId(1), true), (GuestId(2), breath < 5)] {
                let may = turns.may_pull(guest);
                if guest == GuestId(1) {
                    pulled.push(may);
                }
                if may && has_more {
                    now = now.plus(Nanos(100_000));
                    turns.charge(guest, true, now);
                    any = true;
                }
            }
            turns.end(now, !any);
        }
        assert_eq!(pulled, [true, true, false, false, false, false, true, true]);
    }

    /// What one port of a guest used up is not held against its other one in the same breath: else that would never be heard.
    #[test]
    fn all_ports_of_a_guest_have_their_turn() {
        let mut turns = turns(&[1, 1]);
        let mut now = Nanos::from_secs(1);
        let mut second = 0;
        for _ in 0..100 {
            turns.begin(now);
            for (guest, port) in [(1, 0), (1, 1), (2, 0)] {
                if turns.may_pull(GuestId(guest)) {
                    now = now.plus(Nanos(20_000));
                    turns.charge(GuestId(guest), true, now);
                    second += port;
                }
            }
            turns.end(now, false);
        }
        assert!(second >= 30, "{second}");
        let used = times(&turns, 2);
        assert!((used[0] / used[1] - 1.0).abs() < 0.05, "{used:?}");
    }

    #[test]
    fn who_fills_an_uplinks_ring_is_over_until_it_has_emptied_and_equals_are_not() {
        let mut turns = turns(&[1, 1, 1]);
        let mut now = Nanos::from_secs(1);
        let mut breath = |turns: &mut Turns, parts: [usize; 3], half_full: bool| {
            turns.begin(now);
            for (n, frames) in parts.into_iter().enumerate().filter(|(_, frames)| *frames > 0) {
                turns.count(GuestId::UPLINKS, PortId(n as u16 + 1), frames);
            }
            now = now.plus(Nanos(6_400));
            turns.charge(GuestId::UPLINKS, parts.iter().sum::<usize>() == 64, now);
            if parts.iter().sum::<usize>() == 64 {
                turns.lags(half_full);
            }
            turns.end(now, false);
            [1, 2, 3].map(|n| turns.is_over(PortId(n)))
        };
        for _ in 0..10 {
            assert_eq!(breath(&mut turns, [60, 2, 2], false), [false; 3], "bursts are welcome");
        }
        assert_eq!(breath(&mut turns, [60, 2, 2], true), [true, false, false]);
        assert_eq!(breath(&mut turns, [60, 2, 2], false), [true, false, false], "until the ring is empty");
        assert_eq!(breath(&mut turns, [0, 10, 10], false), [false; 3]);
        for _ in 0..20 {
            assert_eq!(breath(&mut turns, [22, 21, 21], true), [false; 3]);
        }
        for _ in 0..20 {
            assert_eq!(breath(&mut turns, [0, 64, 0], true), [false; 3], "who is alone harms nobody");
        }
        for _ in 0..20 {
            breath(&mut turns, [30, 30, 4], true);
        }
        assert_eq!(breath(&mut turns, [0, 64, 0], true)[..2], [true, true], "two may share the blame");
        // Nothing comes any more, because nothing else came: they are heard again.
        turns.begin(now);
        turns.end(now, true);
        assert!(!turns.is_over(PortId(1)) && !turns.is_over(PortId(2)));
    }
}
