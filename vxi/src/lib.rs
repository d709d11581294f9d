//! Virtual infrastructures: the language, the graph model with capacities over time, embedding, leases and plans.

pub mod check;
pub mod diagnostic;
pub mod draw;
pub mod embed;
pub mod language;
pub mod model;

pub use diagnostic::{Diagnostic, Diagnostics};
pub use language::{load, parse};
