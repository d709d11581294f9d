//! Whose turn it is, and what it costs him: a worker's time, divided among guests.
//!
//! The worker reads the clock after each burst that it pulled and forwarded, and what has passed is charged: to the guest
//! that it pulled from, or, for an uplink, to the guests that the burst went to, by frames. What flushing costs at the end
//! of the breath is charged by frames too.
//!
//! What an uplink brings counts as used time, but nobody waits for his turn because of it: an uplink's ring holds frames of
//! many guests in one row, none can be skipped, and a guest that was not heard meanwhile would only fill up. The XDP program
//! lets each guest have its part of that ring, by its weight ([`Port::sorted`](crate::port::Port::sorted)).
//!
//! A guest is **behind** when a whole burst was pulled from it: there is more. While nobody is, nobody waits. While
//! somebody is, deficit round robin is played in nanoseconds: each guest gets `weight` times a quantum a round, and is
//! passed over when that is used up, until it is used up for all who are behind. A guest that wants less than that is
//! pulled in every breath, and so waits for one burst of each of the others at most.
//!
//! Time is that of the wall clock. When the worker's thread was away in between, whoever was being served would pay for
//! it: so no more is charged at once than a long burst takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::shares::{Shares, Weight};
use crate::units::{GuestId, Nanos, PortId};

/// What a guest of weight 1 may use in a round: a burst or two.
const QUANTUM: i64 = 10_000;
/// The most that is charged at once: what flushing hundreds of frames into a kernel's device takes.
const MOST: Nanos = Nanos::from_millis(1);

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
    /// Of those in this breath: the ones that it sent.
    sent: u32,
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
    /// The round that is played.
    round: u64,
    breath: u64,
    /// Up to when time has been charged.
    charged: Nanos,
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
            round: 1,
            // So that nobody was behind in the last one.
            breath: 1,
            charged: Nanos(0),
            used: (0..count).map(|_| AtomicU64::new(0)).collect(),
            shares,
        }
    }

    /// What each guest has been charged, by [`GuestId`].
    pub(super) fn used(&self) -> Arc<[AtomicU64]> {
        Arc::clone(&self.used)
    }

    /// The weight of a port's guest.
    pub(super) fn weight(&self, port: PortId) -> Weight {
        self.shares.weight(self.guest(port))
    }

    /// Whose the port is.
    #[inline]
    fn guest(&self, port: PortId) -> GuestId {
        self.guests.get(port.index()).copied().unwrap_or(GuestId::UPLINKS)
    }

    /// A port is this guest's from now on. With its first port a guest begins anew: somebody else had its place before.
    pub(super) fn set_guest(&mut self, port: PortId, guest: GuestId) {
        if guest != GuestId::UPLINKS && !self.guests.contains(&guest) {
            if let Some(account) = self.accounts.get_mut(guest.index()) {
                *account = Account::default();
            }
            if let Some(used) = self.used.get(guest.index()) {
                used.store(0, Relaxed);
            }
        }
        if let Some(of) = self.guests.get_mut(port.index()) {
            *of = guest;
        }
    }

    /// A port is nobody's.
    pub(super) fn forget(&mut self, port: PortId) {
        self.set_guest(port, GuestId::UPLINKS);
    }

    /// A breath begins.
    #[inline]
    pub(super) fn begin(&mut self, now: Nanos) {
        self.breath += 1;
        self.charged = now;
    }

    /// Whether a burst may be pulled from a port of `guest` in this breath. What is said of one of its ports holds for all.
    #[inline]
    pub(super) fn may_pull(&mut self, guest: GuestId) -> bool {
        if !self.contended || guest == GuestId::UPLINKS {
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
            self.spend(source, span);
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
                self.pay(guest, Nanos(span.0 * u64::from(count) / u64::from(frames.max(1))));
            } else {
                account.sent += count;
            }
        }
        self.in_burst.clear();
    }

    /// The breath ends, everything is flushed; `idle` when nothing was pulled.
    #[inline]
    pub(super) fn end(&mut self, now: Nanos, idle: bool) {
        if idle && !self.contended {
            return;
        }
        let span = now.since(self.charged).min(MOST);
        self.charged = now;
        let frames: u32 = self.in_breath.iter().map(|guest| self.accounts[guest.index()].breath).sum();
        for index in 0..self.in_breath.len() {
            let guest = self.in_breath[index];
            let account = &mut self.accounts[guest.index()];
            let (count, sent) = (std::mem::take(&mut account.breath), std::mem::take(&mut account.sent));
            let part = |count| Nanos(span.0 * u64::from(count) / u64::from(frames.max(1)));
            self.pay(guest, part(count));
            self.spend(guest, part(sent));
        }
        self.in_breath.clear();
        let began = !self.contended;
        self.contended = !self.behind.is_empty();
        if self.contended {
            self.next_round(began);
        }
    }

    #[inline]
    fn pay(&mut self, guest: GuestId, span: Nanos) {
        if let Some(used) = self.used.get(guest.index()) {
            // One writer: this worker.
            used.store(used.load(Relaxed).wrapping_add(span.0), Relaxed);
        }
    }

    #[inline]
    fn spend(&mut self, guest: GuestId, span: Nanos) {
        if let Some(account) = self.accounts.get_mut(guest.index()) {
            account.deficit = account.deficit.saturating_sub(span.0 as i64);
        }
    }

    #[inline]
    fn note_behind(&mut self, guest: GuestId) {
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shares::{GuestTerms, Weight};

    const UPLINK: PortId = PortId(0);

    /// Guests of these weights, each with one port, from 1.
    fn turns(weights: &[u16]) -> Turns {
        let names: Vec<String> = (0..weights.len()).map(|n| format!("r{n}")).collect();
        let terms =
            weights.iter().map(|&times| GuestTerms { weight: Weight::new(times).unwrap(), ..Default::default() });
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
    fn who_takes_another_s_place_has_used_nothing() {
        let mut turns = turns(&[1, 1]);
        compete(&mut turns, &[100, 100], Nanos::from_millis(10));
        assert!(times(&turns, 2)[0] > 0.0);
        turns.forget(PortId(1));
        turns.set_guest(PortId(1), GuestId(1));
        assert_eq!(times(&turns, 2)[0], 0.0);
        // A second port is no new guest.
        let before = times(&turns, 2)[1];
        turns.set_guest(PortId(1), GuestId(2));
        assert!(before > 0.0 && times(&turns, 2)[1] == before);
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

    /// What is sent to a guest costs it nothing of its own turn: it would fill up unheard.
    #[test]
    fn what_an_uplink_brings_is_not_held_against_who_it_is_for() {
        let mut turns = turns(&[1, 1]);
        let mut now = Nanos::from_secs(1);
        let mut heard = [0u32; 2];
        for _ in 0..1000 {
            turns.begin(now);
            turns.count(GuestId::UPLINKS, PortId(1), 64);
            now = now.plus(Nanos(50_000));
            turns.charge(GuestId::UPLINKS, true, now);
            for (n, heard) in heard.iter_mut().enumerate() {
                let guest = GuestId(n as u16 + 1);
                if turns.may_pull(guest) {
                    now = now.plus(Nanos(6_400));
                    turns.count(guest, UPLINK, 64);
                    turns.charge(guest, true, now);
                    *heard += 1;
                }
            }
            turns.end(now, false);
        }
        assert!(heard[0] >= 490 && heard[0].abs_diff(heard[1]) <= 2, "{heard:?}");
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
}
