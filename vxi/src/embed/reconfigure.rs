//! Making room: a request that finds none is admitted by moving a few others.
//!
//! Who moves is taken off, the new request is placed, and the others are placed again in what is left. The cheapest to
//! move are tried first, alone, and then in growing sets. The answer is a sequence: each move takes one infrastructure
//! from its old place to its new one, and after every move all capacities hold. An order in which that is so is looked
//! for, and a set without one is not used.

use super::embedder::Embedder;
use super::problem::{Embedding, Refusal};
use super::request::Request;
use super::residual::Residual;

/// How many sets of infrastructures are tried for one request.
const SETS: usize = 24;

/// One that is placed and may be moved.
#[derive(Debug, Clone, Copy)]
pub struct Placed<'a> {
    /// Whatever the caller knows it by.
    pub id: usize,
    /// What it asks for, over the periods of the residual.
    pub request: &'a Request,
    /// Where it is.
    pub embedding: &'a Embedding,
}

/// A move, to be made as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// [`Placed::id`].
    pub id: usize,
    /// Its new place.
    pub to: Embedding,
}

/// Moves in their order, and then the place of the new request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rearrangement {
    /// None when there was room.
    pub moves: Vec<Move>,
    /// The place of the new request once they are made.
    pub embedding: Embedding,
}

/// Admits a request, with at most `most` moves of those placed.
///
/// # Errors
/// When neither room nor moves that make some were found: what stands in the way without moves.
pub fn admit(
    embedder: &mut Embedder,
    residual: &Residual,
    request: &Request,
    placed: &[Placed],
    most: usize,
) -> Result<Rearrangement, Refusal> {
    let refusal = match embedder.embed(residual, request) {
        Ok(embedding) => return Ok(Rearrangement { moves: Vec::new(), embedding }),
        Err(refusal) => refusal,
    };
    if most == 0 {
        return Err(refusal);
    }
    let mut by_cost: Vec<&Placed> = placed.iter().collect();
    by_cost.sort_by_key(|placed| (placed.request.revenue(), placed.id));
    for set in sets(&by_cost, most) {
        let mut free = residual.clone();
        set.iter().for_each(|placed| free.give(placed.request, placed.embedding));
        let Ok(embedding) = embedder.embed(&free, request) else { continue };
        free.take(request, &embedding);
        // The largest of those moved is the hardest to place again.
        let mut moves = Vec::new();
        for &moved in set.iter().rev() {
            let Ok(to) = embedder.embed(&free, moved.request) else { break };
            free.take(moved.request, &to);
            moves.push((*moved, to));
        }
        if moves.len() < set.len() {
            continue;
        }
        // Whoever got the old place back does not move.
        moves.retain(|(moved, to)| to != moved.embedding);
        if let Some(moves) = in_order(residual, &moves) {
            return Ok(Rearrangement { moves, embedding });
        }
    }
    Err(refusal)
}

/// Sets to try, each in order of cost: single ones, then stretches of as many as may move.
fn sets<'p>(by_cost: &[&'p Placed<'p>], most: usize) -> Vec<Vec<&'p Placed<'p>>> {
    let mut sets = Vec::new();
    let share = SETS / most.max(1);
    for size in 1..=most.min(by_cost.len()) {
        // Spread over all of them: the cheapest alone may free too little.
        let starts = by_cost.len() + 1 - size;
        let step = (starts / share.max(1)).max(1);
        sets.extend((0..starts).step_by(step).take(share).map(|from| by_cost[from..from + size].to_vec()));
    }
    sets
}

/// The moves in an order in which every state in between holds.
fn in_order(residual: &Residual, moves: &[(Placed, Embedding)]) -> Option<Vec<Move>> {
    let mut free = residual.clone();
    let mut left: Vec<&(Placed, Embedding)> = moves.iter().collect();
    let mut ordered = Vec::new();
    while !left.is_empty() {
        let next = left.iter().position(|(moved, to)| {
            let mut without = free.clone();
            without.give(moved.request, moved.embedding);
            without.fits(moved.request, to)
        })?;
        let (moved, to) = left.remove(next);
        free.give(moved.request, moved.embedding);
        free.take(moved.request, to);
        ordered.push(Move { id: moved.id, to: to.clone() });
    }
    Some(ordered)
}
