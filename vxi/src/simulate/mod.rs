//! Requests arriving and leaving, served in order: the yardstick of the literature.
//!
//! [`instance`] is its file format, [`generate`] draws instances, [`mod@run`] serves one and says how well, [`admission`]
//! chooses whom to refuse, [`ranking`] has the published baselines, [`proof`] measures how far from the optimum the
//! heuristic is, [`chart`] draws what happened.

pub mod admission;
pub mod chart;
pub mod generate;
pub mod instance;
pub mod proof;
pub mod ranking;
pub mod run;
mod yen;

pub use run::{Algorithm, Outcome, Settings, run};
