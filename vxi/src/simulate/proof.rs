//! How far from the optimum the heuristic is: some of the requests are put to the exact mode as well, in the state in
//! which they arrived.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::embed::{Embedder, Request, Residual};

/// What to prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// How many requests, spread evenly over all.
    pub requests: usize,
    /// How long one proof may take.
    pub time: Duration,
}

impl Sampling {
    /// Whether the request that arrives as number `at` of `all` is one of them.
    pub(crate) fn takes(&self, at: usize, all: usize) -> bool {
        let all = all.max(1);
        (at + 1) * self.requests / all > at * self.requests / all
    }
}

/// What was proved.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Proofs {
    /// Requests that were put to the exact mode.
    pub sampled: usize,
    /// Those of them that were settled: the optimum was proved, or that there is no embedding.
    pub proved: usize,
    /// Those settled whose optimum is known and that the heuristic embedded as well.
    pub compared: usize,
    /// Those settled that can be embedded, but that the heuristic found no place for.
    pub missed: usize,
    /// By how much the heuristic's cost (nodes left out) exceeds the optimum, on average over `compared`, in percent.
    pub gap_mean: f64,
    /// The same, at most.
    pub gap_most: f64,
    /// The longest proof, in milliseconds.
    pub longest_ms: f64,
}

impl Proofs {
    /// Puts one request to both.
    pub(crate) fn sample(&mut self, embedder: &mut Embedder, free: &Residual, request: &Request, time: Duration) {
        self.sampled += 1;
        let start = std::time::Instant::now();
        let proven = embedder.prove(free, request, time);
        self.longest_ms = self.longest_ms.max(start.elapsed().as_secs_f64() * 1e3);
        if !proven.proved {
            return;
        }
        self.proved += 1;
        if proven.embedding.is_none() {
            return;
        }
        let Ok(found) = embedder.embed(free, request) else {
            self.missed += 1;
            return;
        };
        let gap = 100.0 * (found.cost(request) - proven.cost) as f64 / (proven.cost as f64).max(1.0);
        self.compared += 1;
        self.gap_mean += (gap - self.gap_mean) / self.compared as f64;
        self.gap_most = self.gap_most.max(gap);
    }
}
