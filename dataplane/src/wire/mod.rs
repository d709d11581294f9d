//! Wire formats, one protocol a file.

pub mod ethernet;
