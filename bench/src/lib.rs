//! Testbed, traffic, peers and tables.

pub mod addresses;
pub mod cpu;
pub mod figures;
pub mod interrupt;
pub mod peers;
pub mod process;
pub mod testbed;
pub mod traffic;
