//! Requests arriving and leaving, served in order: the yardstick of the literature.

pub mod generate;
pub mod instance;
