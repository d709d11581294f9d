//! The routes that several owners want for one prefix, best first. Most prefixes have one: then it costs 16 bytes.

use super::route::Origin;
use crate::fib::NextHopId;

/// One owner's route for a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) origin: Origin,
    pub(super) metric: u32,
    /// What it does, by the next-hop entry that says so.
    pub(super) set: NextHopId,
    /// The synchronisation in which it was said last.
    pub(super) mark: u16,
}

impl Candidate {
    fn key(&self) -> (Origin, u32) {
        (self.origin, self.metric)
    }
}

/// All of them; never none.
#[derive(Clone, Debug)]
pub(super) enum Candidates {
    One(Candidate),
    Many(Box<Contest>),
}

/// Several, best first, and which of them forwards.
#[derive(Clone, Debug)]
pub(super) struct Contest {
    candidates: Vec<Candidate>,
    chosen: usize,
}

// A million of them.
const _: () = assert!(size_of::<Candidates>() == 16);

impl Candidates {
    fn all(&self) -> &[Candidate] {
        match self {
            Self::One(candidate) => std::slice::from_ref(candidate),
            Self::Many(contest) => &contest.candidates,
        }
    }

    fn all_mut(&mut self) -> &mut [Candidate] {
        match self {
            Self::One(candidate) => std::slice::from_mut(candidate),
            Self::Many(contest) => &mut contest.candidates,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.all().len()
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Candidate> {
        self.all().iter()
    }

    pub(super) fn get(&self, origin: Origin, metric: u32) -> Option<&Candidate> {
        self.iter().find(|candidate| candidate.key() == (origin, metric))
    }

    /// The one that forwards.
    pub(super) fn chosen(&self) -> Candidate {
        match self {
            Self::One(candidate) => *candidate,
            // A contest has candidates, and chose one that is there: see `choose` and `retain`.
            Self::Many(contest) => contest.candidates[contest.chosen.min(contest.candidates.len() - 1)],
        }
    }

    /// The `n`th forwards from now on.
    pub(super) fn choose(&mut self, n: usize) {
        if let Self::Many(contest) = self {
            contest.chosen = n.min(contest.candidates.len() - 1);
        }
    }

    /// It was said again.
    pub(super) fn mark(&mut self, origin: Origin, metric: u32, mark: u16) {
        for candidate in self.all_mut() {
            if candidate.key() == (origin, metric) {
                candidate.mark = mark;
            }
        }
    }

    /// It is there from now on, in place of the owner's of this metric.
    pub(super) fn put(&mut self, candidate: Candidate) {
        if let Some(before) = self.all_mut().iter_mut().find(|before| before.key() == candidate.key()) {
            *before = candidate;
            return;
        }
        let mut candidates = self.all().to_vec();
        let at = candidates.partition_point(|other| other.key() < candidate.key());
        candidates.insert(at, candidate);
        *self = Self::Many(Box::new(Contest { candidates, chosen: 0 }));
    }

    /// Only those stay; there must be one.
    pub(super) fn retain(&mut self, stays: impl Fn(&Candidate) -> bool) {
        let candidates: Vec<_> = self.iter().filter(|candidate| stays(candidate)).copied().collect();
        match candidates[..] {
            [] => {}
            [only] => *self = Self::One(only),
            _ => *self = Self::Many(Box::new(Contest { candidates, chosen: 0 })),
        }
    }
}
