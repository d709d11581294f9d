//! Serving an instance: who is accepted, where they go, and how long each answer took.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::embed::reconfigure::{Placed, admit};
use crate::embed::{Effort, Embedder, Embedding, ProblemError, Request, Residual};
use crate::simulate::admission::Admission;
use crate::simulate::instance::Instance;
use crate::simulate::proof::{Proofs, Sampling};
use crate::simulate::ranking::{Rank, Ranking};

/// Who embeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Nodes and links together ([`Embedder::embed`]).
    Joint,
    /// Global resource capacity, the published baseline.
    Grc,
    /// Node resource metric, the published baseline.
    Nrm,
    /// [`Embedder::prove`], for so long a request.
    Exact(Duration),
}

/// How to serve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Who embeds.
    pub algorithm: Algorithm,
    /// Whether the admission rule may refuse what would fit.
    pub admission: bool,
    /// How many of those placed may be moved for a request that finds no room (joint only).
    pub moves: usize,
    /// Work for one request (joint and exact).
    pub effort: Effort,
    /// What to prove besides, outside the time that is measured.
    pub prove: Option<Sampling>,
}

/// What came of it, in the form that is written to a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Accepted of all, in percent.
    pub rac: f64,
    /// Revenue to cost of the accepted, both times lifetime.
    pub lrc: f64,
    /// Revenue × lifetime of the accepted, by the time of the last event.
    pub lar: f64,
    /// Mean time to an answer, in milliseconds.
    pub mean_ms: f64,
    /// The time that 99 % of the answers kept below, in milliseconds.
    pub p99_ms: f64,
    /// Requests that were proved (embedded at least cost, or impossible), with the exact algorithm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proved: Option<usize>,
    /// What was proved of a sample, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proofs: Option<Proofs>,
    /// Each request, in order of ids.
    pub requests: Vec<Answer>,
}

/// What became of one request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The request.
    pub id: usize,
    /// Whether it was embedded.
    pub accepted: bool,
    /// The host of each virtual node.
    pub nodes: Vec<u32>,
    /// The hosts along each virtual link's path, in the request's order, from its first end to its second.
    pub paths: Vec<Vec<u32>>,
    /// Moves of others made before it was embedded, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moves: Vec<Moved>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// A move of an earlier request to a new place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moved {
    /// Who moves.
    pub id: usize,
    /// The new host of each of its virtual nodes.
    pub nodes: Vec<u32>,
    /// The new paths of its virtual links.
    pub paths: Vec<Vec<u32>>,
}

fn written(embedding: &Embedding) -> (Vec<u32>, Vec<Vec<u32>>) {
    let path = |route: &Vec<crate::embed::Share>| route[0].hosts.iter().map(|host| host.0).collect();
    (embedding.hosts.iter().map(|host| host.0).collect(), embedding.routes.iter().map(path).collect())
}

/// Serves all requests in order of arrival. `tick` is called after each arrival.
///
/// # Errors
/// When the instance makes no sense: a link that ends nowhere, or events of requests that do not exist.
pub fn run(instance: &Instance, settings: Settings, mut tick: impl FnMut()) -> Result<Outcome, ProblemError> {
    let substrate = instance.substrate()?;
    let requests: Vec<Request> = instance.requests.iter().map(|asked| asked.request()).collect::<Result<_, _>>()?;
    let mut server = Server {
        settings,
        embedder: Embedder::with_effort(&substrate, settings.effort),
        residual: Residual::whole(&substrate, 1),
        ranking: match settings.algorithm {
            Algorithm::Grc => Some(Ranking::new(Rank::Grc, &substrate)),
            Algorithm::Nrm => Some(Ranking::new(Rank::Nrm, &substrate)),
            Algorithm::Joint | Algorithm::Exact(_) => None,
        },
        admission: Admission::default(),
        placed: BTreeMap::new(),
        proved: 0,
    };
    let mut answers: Vec<Answer> = (0..requests.len()).map(|id| Answer { id, ..Answer::default() }).collect();
    let mut took = Vec::with_capacity(requests.len());
    let (mut revenue, mut cost) = (0.0, 0.0);
    let mut proofs = Proofs::default();
    for &(_, kind, id) in &instance.events {
        if kind == 0 {
            if let Some(embedding) = server.placed.remove(&id) {
                server.residual.give(&requests[id], &embedding);
            }
            continue;
        }
        let lifetime = instance.requests[id].lifetime;
        if let Some(sampling) = settings.prove.filter(|sampling| sampling.takes(took.len(), requests.len())) {
            proofs.sample(&mut server.embedder, &server.residual, &requests[id], sampling.time);
        }
        let start = Instant::now();
        let answer = server.serve(&requests, id, lifetime);
        took.push(start.elapsed().as_secs_f64() * 1e3);
        answers[id] = answer;
        if let Some(embedding) = server.placed.get(&id) {
            revenue += requests[id].revenue() as f64 * lifetime;
            cost += (requests[id].node_cost() + embedding.cost(&requests[id])) as f64 * lifetime;
        }
        tick();
    }
    took.sort_by(f64::total_cmp);
    let accepted = answers.iter().filter(|answer| answer.accepted).count();
    let end = instance.events.last().map_or(1.0, |event| event.0);
    Ok(Outcome {
        rac: 100.0 * accepted as f64 / requests.len().max(1) as f64,
        lrc: if cost > 0.0 { revenue / cost } else { 0.0 },
        lar: revenue / end,
        mean_ms: took.iter().sum::<f64>() / took.len().max(1) as f64,
        p99_ms: took.get((took.len() * 99 / 100).min(took.len().saturating_sub(1))).copied().unwrap_or(0.0),
        proved: matches!(settings.algorithm, Algorithm::Exact(_)).then_some(server.proved),
        proofs: settings.prove.map(|_| proofs),
        requests: answers,
    })
}

struct Server<'s> {
    settings: Settings,
    embedder: Embedder<'s>,
    ranking: Option<Ranking<'s>>,
    residual: Residual,
    admission: Admission,
    placed: BTreeMap<usize, Embedding>,
    proved: usize,
}

impl Server<'_> {
    fn serve(&mut self, requests: &[Request], id: usize, lifetime: f64) -> Answer {
        let request = &requests[id];
        let refuse = |why: String| Answer { id, refused: Some(why), ..Answer::default() };
        let found = match self.settings.algorithm {
            Algorithm::Grc | Algorithm::Nrm => {
                let ranked = self.ranking.as_mut().and_then(|ranking| ranking.embed(&self.residual, request));
                let why = || "no host or no path where the ranks put it".to_string();
                ranked.map(|embedding| (Vec::new(), embedding)).ok_or_else(why)
            }
            Algorithm::Exact(time) => {
                let proven = self.embedder.prove(&self.residual, request, time);
                self.proved += usize::from(proven.proved);
                let why = if proven.proved { "no embedding exists" } else { "no embedding was found in time" };
                proven.embedding.map(|embedding| (Vec::new(), embedding)).ok_or_else(|| why.to_string())
            }
            Algorithm::Joint => {
                let mut placed = Vec::new();
                if self.settings.moves > 0 {
                    let of = |(&id, embedding)| Placed { id, request: &requests[id], embedding };
                    placed.extend(self.placed.iter().map(of));
                }
                let admitted = admit(&mut self.embedder, &self.residual, request, &placed, self.settings.moves);
                admitted.map(|found| (found.moves, found.embedding)).map_err(|refusal| refusal.to_string())
            }
        };
        let revenue = request.revenue() as f64;
        // Room that had to be made was not there.
        let room = found.as_ref().is_ok_and(|(moves, _)| moves.is_empty());
        self.admission.arrived(revenue, lifetime, room);
        let (moves, embedding) = match found {
            Ok(found) => found,
            Err(why) => return refuse(why),
        };
        let cost = (request.node_cost() + embedding.cost(request)) as f64;
        if self.settings.admission && self.admission.too_dear(cost, revenue, lifetime) {
            return refuse(format!("too dear: it would cost {cost} for a revenue of {revenue}"));
        }
        let mut moved = Vec::new();
        for step in moves {
            let (nodes, paths) = written(&step.to);
            moved.push(Moved { id: step.id, nodes, paths });
            if let Some(old) = self.placed.get(&step.id) {
                self.residual.give(&requests[step.id], old);
            }
            self.residual.take(&requests[step.id], &step.to);
            self.placed.insert(step.id, step.to);
        }
        self.residual.take(request, &embedding);
        let (nodes, paths) = written(&embedding);
        self.placed.insert(id, embedding);
        Answer { id, accepted: true, nodes, paths, moves: moved, refused: None }
    }
}
