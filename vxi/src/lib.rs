//! Virtual infrastructures: the language, the graph model with capacities over time, embedding, leases and plans.

pub mod calendar;
pub mod check;
pub mod diagnostic;
mod dice;
pub mod draw;
pub mod embed;
pub mod language;
pub mod lease;
pub mod model;
pub mod refusal;
pub mod simulate;
pub mod substrate;

pub use diagnostic::{Diagnostic, Diagnostics};
pub use language::{load, parse};
