//! The benchmark's file format (`vne-instance/1`): one physical network, requests, and events in order.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::embed::{HostId, Micros, ProblemError, Request, RequestBuilder, Substrate, SubstrateBuilder};

/// The only format there is.
pub const FORMAT: &str = "vne-instance/1";

/// A file of the benchmark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// [`FORMAT`].
    pub format: String,
    /// Where it comes from.
    #[serde(default)]
    pub source: String,
    /// The seed that it was drawn with.
    #[serde(default)]
    pub seed: u64,
    /// Arrivals per unit of time.
    #[serde(default)]
    pub arrival_lam: f64,
    /// What the physical network is.
    #[serde(default)]
    pub topology: String,
    /// The physical network.
    pub physical: Physical,
    /// The requests, in order of their ids.
    pub requests: Vec<Asked>,
    /// What happens when: (time, 1 arrives or 0 leaves, id), in order.
    pub events: Vec<(f64, u8, usize)>,
}

/// The physical network of a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Physical {
    /// CPU per host.
    pub cpu: Vec<u64>,
    /// Links: two hosts and the bandwidth.
    pub links: Vec<(u32, u32, u64)>,
}

/// A request of a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// Its place in the list.
    pub id: usize,
    /// When it comes.
    pub arrival: f64,
    /// How long it stays once accepted.
    pub lifetime: f64,
    /// CPU per virtual node.
    pub cpu: Vec<u64>,
    /// Virtual links: two virtual nodes and the bandwidth.
    pub links: Vec<(u32, u32, u64)>,
}

/// An instance that cannot be served.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum InstanceError {
    /// Another format.
    #[error("format {0:?}: only {FORMAT:?} is read")]
    Format(String),
    /// Requests out of order.
    #[error("requests[{at}] has id {id}: ids must count up from 0")]
    Id {
        /// Its place.
        at: usize,
        /// What stands there.
        id: usize,
    },
    /// An event that means nothing.
    #[error("events[{at}]: {what}")]
    Event {
        /// Its place.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// A network or a request that makes no sense.
    #[error("{of}: {error}")]
    Problem {
        /// Which.
        of: String,
        /// What is wrong.
        error: ProblemError,
    },
}

impl Instance {
    /// Whether it can be served: everything named exists, and time goes forward.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn check(&self) -> Result<(), InstanceError> {
        if self.format != FORMAT {
            return Err(InstanceError::Format(self.format.clone()));
        }
        self.substrate().map_err(|error| InstanceError::Problem { of: "physical".into(), error })?;
        for (at, asked) in self.requests.iter().enumerate() {
            if asked.id != at {
                return Err(InstanceError::Id { at, id: asked.id });
            }
            asked.request().map_err(|error| InstanceError::Problem { of: format!("requests[{at}]"), error })?;
        }
        let mut there = vec![0u8; self.requests.len()];
        let mut now = f64::NEG_INFINITY;
        for (at, &(time, kind, id)) in self.events.iter().enumerate() {
            let wrong = |what| Err(InstanceError::Event { at, what });
            if time.is_nan() || time < now {
                return wrong("it is before the one that precedes it: give them in order of time");
            }
            now = time;
            match (kind, there.get_mut(id)) {
                (_, None) => return wrong("no request has this id"),
                (1, Some(state @ 0)) | (0, Some(state @ 1)) => *state += 1,
                (0 | 1, _) => return wrong("a request arrives once and then leaves once"),
                _ => return wrong("the second number is 1 (arrives) or 0 (leaves)"),
            }
        }
        Ok(())
    }

    /// The physical network as a substrate.
    ///
    /// # Errors
    /// When a link ends nowhere or where it starts.
    pub fn substrate(&self) -> Result<Substrate, ProblemError> {
        let mut substrate = SubstrateBuilder::new(1);
        for &cpu in &self.physical.cpu {
            substrate.host(&[cpu])?;
        }
        for &(a, b, bandwidth) in &self.physical.links {
            substrate.link(HostId(a), HostId(b), bandwidth, Micros(0))?;
        }
        Ok(substrate.build())
    }
}

impl Asked {
    /// The request as a problem.
    ///
    /// # Errors
    /// When a virtual link ends nowhere or where it starts.
    pub fn request(&self) -> Result<Request, ProblemError> {
        let mut request = RequestBuilder::new(1);
        for &cpu in &self.cpu {
            request.node(&[cpu], None);
        }
        for &(a, b, bandwidth) in &self.links {
            request.link([a, b].map(crate::embed::VirtualNodeId), &[bandwidth], None);
        }
        request.build()
    }
}
