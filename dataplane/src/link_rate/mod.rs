//! Rates of links as people write them, and what a frame takes of a line.

mod line;
mod rate;

pub use line::{TOLERANCE, wire_len};
pub use rate::{LineRate, LineRateError};
