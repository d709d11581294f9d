//! Columns from left to right: what flows one way goes one way, and what exchanges stands in one column.
//!
//! The usual four steps for layered drawings (Sugiyama, Tagawa, Toda 1981), each in its simplest form: columns by
//! longest path over the links that carry one way; links over several columns get a place in each; the order within a
//! column by the mean of the neighbours' places, to and fro; coordinates by the same mean. The same input gives the
//! same picture.

use super::{DrawError, Drawing};
use crate::model::Direction;

/// Vertices that are laid out: a picture of more is no picture.
pub const MAX_VERTICES: usize = 500;
/// Times that all columns are ordered and placed anew.
const SWEEPS: usize = 12;

/// A place in a column.
pub(super) struct Slot {
    pub(super) column: usize,
    /// Of its middle, from the top.
    pub(super) y: f64,
    height: f64,
    neighbours: Vec<usize>,
}

pub(super) struct Layout {
    /// Those of the vertices come first, in their order.
    pub(super) slots: Vec<Slot>,
    pub(super) columns: usize,
    /// The places between its ends that each edge passes, from its `from` to its `to`.
    pub(super) passes: Vec<Vec<usize>>,
    /// The lowest point.
    pub(super) height: f64,
}

/// Space between two places of a column.
const GAP: f64 = 68.0;
/// Height of the place of a link that passes.
const PASS: f64 = 16.0;

pub(super) fn lay_out(drawing: &Drawing, heights: &[f64]) -> Result<Layout, DrawError> {
    let vertices = drawing.vertices.len();
    if vertices > MAX_VERTICES {
        return Err(DrawError::TooLarge { vertices });
    }
    let column = columns(drawing);
    let slot = |column, height| Slot { column, y: 0.0, height, neighbours: Vec::new() };
    let mut slots: Vec<Slot> = (0..vertices).map(|v| slot(column[v], heights[v])).collect();
    let mut passes = Vec::with_capacity(drawing.edges.len());
    for edge in &drawing.edges {
        let (from, to) = (column[edge.from], column[edge.to]);
        let between: Vec<usize> = if from <= to { (from + 1..to).collect() } else { (to + 1..from).rev().collect() };
        let first = slots.len();
        slots.extend(between.iter().map(|&column| slot(column, PASS)));
        let way: Vec<usize> = (first..slots.len()).collect();
        let ends = std::iter::once(edge.from).chain(way.iter().copied()).chain(std::iter::once(edge.to));
        let ends: Vec<usize> = ends.collect();
        for pair in ends.windows(2).filter(|pair| pair[0] != pair[1]) {
            slots[pair[0]].neighbours.push(pair[1]);
            slots[pair[1]].neighbours.push(pair[0]);
        }
        passes.push(way);
    }
    let columns = column.iter().max().map_or(0, |last| last + 1);
    let mut order: Vec<Vec<usize>> = vec![Vec::new(); columns];
    for (n, slot) in slots.iter().enumerate() {
        order[slot.column].push(n);
    }
    for column in &order {
        stack(&mut slots, column);
    }
    for sweep in 0..SWEEPS {
        let forth: Vec<usize> = if sweep % 2 == 0 { (0..columns).collect() } else { (0..columns).rev().collect() };
        for at in forth {
            arrange(&mut slots, &mut order[at]);
        }
    }
    let top = slots.iter().map(|slot| slot.y - slot.height / 2.0).fold(f64::INFINITY, f64::min);
    let mut lowest = 0.0_f64;
    for slot in &mut slots {
        slot.y -= if top.is_finite() { top } else { 0.0 };
        lowest = lowest.max(slot.y + slot.height / 2.0);
    }
    Ok(Layout { slots, columns, passes, height: lowest })
}

/// The column of each vertex.
fn columns(drawing: &Drawing) -> Vec<usize> {
    let vertices = drawing.vertices.len();
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); vertices];
    let mut beside: Vec<Vec<usize>> = vec![Vec::new(); vertices];
    for edge in drawing.edges.iter().filter(|edge| edge.from != edge.to) {
        match edge.direction {
            Direction::Forward => after[edge.from].push(edge.to),
            Direction::Reverse => after[edge.to].push(edge.from),
            Direction::Both => {
                beside[edge.from].push(edge.to);
                beside[edge.to].push(edge.from);
            }
        }
    }
    let mut column: Vec<Option<usize>> = vec![None; vertices];
    for (n, depth) in longest_paths(&after).into_iter().enumerate() {
        let one_way = !after[n].is_empty() || after.iter().any(|next| next.contains(&n));
        column[n] = one_way.then_some(depth);
    }
    // What only exchanges is placed by its distance from what is placed, or from an end of its part of the graph.
    let mut queue: std::collections::VecDeque<usize> = (0..vertices).filter(|&n| column[n].is_some()).collect();
    let mut unplaced = 0..vertices;
    loop {
        while let Some(at) = queue.pop_front() {
            let next = column[at].map(|c| c + 1);
            for &other in &beside[at] {
                if column[other].is_none() {
                    column[other] = next;
                    queue.push_back(other);
                }
            }
        }
        let Some(start) = unplaced.find(|&n| column[n].is_none()) else { break };
        let end = farthest(&beside, farthest(&beside, start));
        column[end] = Some(0);
        queue.push_back(end);
        // The start itself may still be without a place, if it is not the end.
        if end != start {
            unplaced = start..vertices;
        }
    }
    column.into_iter().map(|c| c.unwrap_or(0)).collect()
}

/// The longest path to each vertex, without the edges that would close a cycle.
fn longest_paths(after: &[Vec<usize>]) -> Vec<usize> {
    let n = after.len();
    let (mut state, mut order) = (vec![0_u8; n], Vec::with_capacity(n));
    let mut back = std::collections::HashSet::new();
    for root in 0..n {
        if state[root] != 0 {
            continue;
        }
        state[root] = 1;
        let mut stack = vec![(root, 0)];
        while let Some((at, next)) = stack.last_mut() {
            let at = *at;
            match after[at].get(*next) {
                Some(&to) => {
                    *next += 1;
                    match state[to] {
                        0 => {
                            state[to] = 1;
                            stack.push((to, 0));
                        }
                        1 => _ = back.insert((at, to)),
                        _ => {}
                    }
                }
                None => {
                    state[at] = 2;
                    order.push(at);
                    stack.pop();
                }
            }
        }
    }
    let mut depth = vec![0; n];
    for &at in order.iter().rev() {
        for &to in after[at].iter().filter(|&&to| !back.contains(&(at, to))) {
            depth[to] = depth[to].max(depth[at] + 1);
        }
    }
    depth
}

fn farthest(beside: &[Vec<usize>], start: usize) -> usize {
    let mut seen = vec![false; beside.len()];
    let mut queue = std::collections::VecDeque::from([start]);
    seen[start] = true;
    let mut last = start;
    while let Some(at) = queue.pop_front() {
        last = at;
        for &other in &beside[at] {
            if !std::mem::replace(&mut seen[other], true) {
                queue.push_back(other);
            }
        }
    }
    last
}

/// Puts a column's places below each other.
fn stack(slots: &mut [Slot], column: &[usize]) {
    let mut y = 0.0;
    for &n in column {
        slots[n].y = y + slots[n].height / 2.0;
        y += slots[n].height + GAP;
    }
    let middle = (y - GAP) / 2.0;
    column.iter().for_each(|&n| slots[n].y -= middle);
}

/// Orders a column by what each place wants, and moves each as near to that as its neighbours let it.
fn arrange(slots: &mut [Slot], column: &mut [usize]) {
    let wanted = |slots: &[Slot], n: usize| {
        let own = slots[n].column;
        let of = |across: bool| {
            let near: Vec<f64> = slots[n]
                .neighbours
                .iter()
                .filter(|&&other| (slots[other].column != own) == across)
                .map(|&other| slots[other].y)
                .collect();
            (!near.is_empty()).then(|| near.iter().sum::<f64>() / near.len() as f64)
        };
        of(true).unwrap_or(slots[n].y)
    };
    let mut want: Vec<(f64, usize)> = column.iter().map(|&n| (wanted(slots, n), n)).collect();
    want.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut lowest = f64::NEG_INFINITY;
    for &(y, n) in &want {
        let half = slots[n].height / 2.0;
        slots[n].y = y.max(lowest + half);
        lowest = slots[n].y + half + GAP;
    }
    // What was pushed down is moved back by half of the mean push, so that a column stays where it wants to be.
    let push = want.iter().map(|&(y, n)| slots[n].y - y).sum::<f64>() / want.len().max(1) as f64;
    for (at, &(_, n)) in column.iter_mut().zip(&want) {
        *at = n;
        slots[n].y -= push;
    }
}
