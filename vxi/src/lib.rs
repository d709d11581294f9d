//! Virtual infrastructures: the language, the graph model with capacities over time, embedding, leases and plans.

pub mod check;
pub mod diagnostic;
mod dice;
pub mod draw;
pub mod embed;
pub mod language;
pub mod model;
pub mod simulate;

pub use diagnostic::{Diagnostic, Diagnostics};
pub use language::{load, parse};
