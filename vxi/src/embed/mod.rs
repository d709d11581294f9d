//! Embedding: which host carries which virtual node, and which path each virtual link takes.
//!
//! Nodes and links are placed *together*: a host is chosen for what its links will cost from there, in the graph that
//! still has the bandwidth. Ranking the nodes first and routing afterwards spends two hops on a link that needs one.
//!
//! [`problem`] is the vocabulary: what there is ([`Substrate`]), what of it is free ([`Residual`]), what is asked for
//! ([`Request`]), and the answer ([`Embedding`], or the [`Refusal`] with what was in the way). Whoever holds a lease
//! builds a `Residual` whose periods are those of the request, and asks; nothing here knows of clocks or names.

mod demand;
mod embedder;
mod exact;
mod guess;
mod joint;
mod near;
mod paths;
mod place;
pub mod problem;
pub mod reconfigure;
mod refusal;
mod request;
mod residual;
mod route;
mod split;
mod tabu;

pub use embedder::{Embedder, Proven};
pub use joint::Effort;
pub use problem::{
    Amount, Embedding, HostId, LinkId, Micros, ProblemError, Refusal, Share, Shortage, Substrate, SubstrateBuilder,
};
pub use request::{GroupId, Request, RequestBuilder, VirtualLink, VirtualLinkId, VirtualNode, VirtualNodeId};
pub use residual::Residual;
