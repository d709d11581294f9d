//! The benchmark's file format (`vne-instance/1`): one physical network, requests, and events in order.

use serde::{Deserialize, Serialize};

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

impl Instance {
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
