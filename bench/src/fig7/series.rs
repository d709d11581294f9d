//! What a run's record says: over time, before and after the move, and of the move itself.

use std::time::Duration;

use pointsman_dataplane::units::Nanos;

use super::streams::{Datagram, Piece};
use crate::figures::median;

/// How long one point of a line stands for.
pub(super) const BIN: Duration = Duration::from_millis(50);

/// The part of a run that is looked at, around the moment at which the move begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) moved: Nanos,
    /// When all was done that was to be done for it.
    pub(super) done: Nanos,
    pub(super) before: Duration,
    pub(super) after: Duration,
}

impl Window {
    fn start(&self) -> u64 {
        self.moved.0 - self.before.as_nanos() as u64
    }

    fn end(&self) -> u64 {
        self.moved.0 + self.after.as_nanos() as u64
    }

    pub(super) fn bins(&self) -> usize {
        ((self.before + self.after).as_nanos() / BIN.as_nanos()) as usize
    }

    /// Milliseconds from the move to the beginning of a bin.
    pub(super) fn at(&self, bin: usize) -> i32 {
        bin as i32 * BIN.as_millis() as i32 - self.before.as_millis() as i32
    }

    fn bin(&self, at: Nanos) -> Option<usize> {
        let bin = at.0.checked_sub(self.start())? / BIN.as_nanos() as u64;
        Some(bin as usize).filter(|&bin| bin < self.bins())
    }

    /// Mbit/s in each bin.
    pub(super) fn rates(&self, arrivals: impl Iterator<Item = (Nanos, f64)>) -> Vec<f64> {
        let mut bits = vec![0.0; self.bins()];
        for (at, more) in arrivals {
            if let Some(bin) = self.bin(at) {
                bits[bin] += more;
            }
        }
        bits.iter().map(|bits| bits / BIN.as_secs_f64() / 1e6).collect()
    }

    /// Milliseconds that those took which were sent in each bin: their median. None where all were lost.
    pub(super) fn latencies(&self, datagrams: &[Datagram]) -> Vec<Option<f64>> {
        let mut took = vec![Vec::new(); self.bins()];
        for datagram in datagrams {
            if let (Some(bin), Some(arrived)) = (self.bin(datagram.sent), datagram.arrived) {
                took[bin].push(millis(arrived.since(datagram.sent)));
            }
        }
        took.iter().map(|took| (!took.is_empty()).then(|| median(took))).collect()
    }

    /// Milliseconds that the slowest took of those sent after the move began. Zero if none arrived.
    pub(super) fn worst(&self, datagrams: &[Datagram]) -> f64 {
        let of_window = datagrams.iter().filter(|d| (self.moved.0..self.end()).contains(&d.sent.0));
        of_window.filter_map(|d| Some(millis(d.arrived?.since(d.sent)))).fold(0.0, f64::max)
    }

    /// The longest time without an arrival that ends after the move began.
    pub(super) fn gap(&self, arrivals: impl Iterator<Item = Nanos>) -> Gap {
        let mut times: Vec<u64> =
            arrivals.map(|at| at.0).filter(|at| (self.start()..self.end()).contains(at)).collect();
        times.sort_unstable();
        // Nothing at all before or after it is a gap as well.
        times.insert(0, self.start());
        times.push(self.end());
        let pairs = times.windows(2).filter(|pair| pair[1] > self.moved.0);
        let longest = pairs.max_by_key(|pair| pair[1] - pair[0]);
        let [from, to] = longest.map_or([self.start(), self.end()], |pair| [pair[0], pair[1]]);
        Gap { from: Nanos(from), to: Nanos(to) }
    }

    /// The bins of the time before the move, and as many at the end.
    pub(super) fn ends<T: Copy>(&self, bins: &[T]) -> (Vec<T>, Vec<T>) {
        let before = (self.before.as_nanos() / BIN.as_nanos()) as usize;
        (bins[..before].to_vec(), bins[bins.len() - before..].to_vec())
    }
}

/// A time without arrivals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    /// The last arrival before it.
    pub(super) from: Nanos,
    /// The first one after it.
    pub(super) to: Nanos,
}

impl Gap {
    pub(super) fn millis(&self) -> f64 {
        millis(self.to.since(self.from))
    }
}

/// Datagrams that were lost from the last to arrive before a gap to the first to arrive after it, and those of the later ones
/// that were sent when the router had moved: until then two flows share a link that cannot carry them.
pub(super) fn lost(datagrams: &[Datagram], gap: Gap, window: &Window) -> (usize, usize) {
    let number_at = |at: Nanos| datagrams.iter().position(|d| d.arrived == Some(at));
    let first = number_at(gap.from).unwrap_or(0);
    let next = number_at(gap.to).unwrap_or(datagrams.len());
    let count = |some: &[Datagram]| some.iter().filter(|d| d.arrived.is_none() && d.sent.0 < window.end()).count();
    let settled = datagrams.iter().position(|d| d.sent >= window.done).unwrap_or(datagrams.len());
    (count(&datagrams[first.min(next)..next]), count(&datagrams[next.max(settled)..]))
}

/// When datagrams arrived, with the bits that each holds for its user.
pub(super) fn arrivals(datagrams: &[Datagram], bits: f64) -> impl Iterator<Item = (Nanos, f64)> {
    datagrams.iter().filter_map(move |d| Some((d.arrived?, bits)))
}

/// When pieces arrived, with their bits.
pub(super) fn pieces(pieces: &[Piece]) -> impl Iterator<Item = (Nanos, f64)> {
    pieces.iter().map(|piece| (piece.at, piece.bytes as f64 * 8.0))
}

fn millis(span: Nanos) -> f64 {
    span.0 as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn window() -> Window {
        Window {
            moved: Nanos(1_000 * MS),
            done: Nanos(1_060 * MS),
            before: Duration::from_millis(100),
            after: Duration::from_millis(200),
        }
    }

    /// One each millisecond from 850 to 1250, two milliseconds under way; those sent from 1010 up to 1040 are lost.
    fn record() -> Vec<Datagram> {
        let datagram = |ms: u64| Datagram {
            sent: Nanos(ms * MS),
            arrived: (!(1010..1040).contains(&ms)).then_some(Nanos((ms + 2) * MS)),
        };
        (850..1250).map(datagram).collect()
    }

    #[test]
    fn a_run_over_time() {
        let window = window();
        assert_eq!((window.bins(), window.at(0), window.at(2)), (6, -100, 0));
        let rates = window.rates(arrivals(&record(), 1e6));
        assert_eq!(rates, [1000.0, 1000.0, 400.0, 1000.0, 1000.0, 1000.0]);
        assert_eq!(window.latencies(&record()), [Some(2.0); 6]);
        assert_eq!(window.worst(&record()), 2.0);
        let (before, after) = window.ends(&rates);
        assert_eq!((before, after), (vec![1000.0; 2], vec![1000.0; 2]));
    }

    #[test]
    fn a_gap_and_what_is_lost_in_it() {
        let window = window();
        let gap = window.gap(arrivals(&record(), 0.0).map(|a| a.0));
        assert_eq!(gap, Gap { from: Nanos(1011 * MS), to: Nanos(1042 * MS) });
        assert_eq!(gap.millis(), 31.0);
        assert_eq!(lost(&record(), gap, &window), (30, 0));
        let mut later = record();
        later[200].arrived = None;
        later[300].arrived = None;
        assert_eq!(lost(&later, gap, &window), (30, 1), "the first of the two was sent before all was done");
    }

    #[test]
    fn what_never_comes_back_is_a_gap_to_the_end() {
        let window = window();
        let record: Vec<Datagram> = record().into_iter().take_while(|d| d.sent.0 < 1_005 * MS).collect();
        let gap = window.gap(arrivals(&record, 0.0).map(|a| a.0));
        assert_eq!(gap, Gap { from: Nanos(1006 * MS), to: Nanos(1200 * MS) });
        let silent = window.gap(std::iter::empty());
        assert_eq!(silent.millis(), 300.0);
        assert_eq!(lost(&[], silent, &window), (0, 0));
    }

    #[test]
    fn a_bin_in_which_all_is_lost_has_no_latency() {
        let record: Vec<Datagram> = record()
            .into_iter()
            .map(|d| if d.sent.0 >= 1_000 * MS { Datagram { arrived: None, ..d } } else { d })
            .collect();
        assert_eq!(window().latencies(&record), [Some(2.0), Some(2.0), None, None, None, None]);
    }
}
