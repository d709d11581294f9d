//! Testbed, traffic, peers and tables: Pointsman measured beside the paper and beside others, on one machine, in one run.
//!
//! The crate builds hosts out of network namespaces ([`testbed`]), sends and counts frames with XDP programs
//! ([`traffic`]), puts one forwarder after the other between them ([`peers`]), and prints what came of it
//! ([`report`]). It knows no more of the engine than a user does: it starts the `pointsman` command with a configuration
//! file. It must never touch a device that it has not made, and must leave nothing behind.

pub mod addresses;
pub mod cgroup;
pub mod cpu;
mod cpushare;
mod demo;
mod evaluation;
mod fig5;
mod fig7;
pub mod figures;
mod forwarders;
pub mod interrupt;
mod machine;
pub mod paper;
pub mod peers;
pub mod process;
pub mod report;
mod route;
mod route_updates;
pub mod routes;
mod run;
pub mod search;
mod site;
mod table1;
mod table2;
mod tcp;
pub mod testbed;
pub mod traffic;
mod xen;
pub mod xenlab;

pub use cpushare::{Pin, cpushare};
pub use demo::{Demo, demo};
pub use evaluation::evaluation;
pub use fig5::fig5;
pub use fig7::{MOBILE_NAMES, fig7};
pub use forwarders::{memif, netdev};
pub use peers::PATH_NAMES;
pub use route::{ROUTE_NAMES, route};
pub use run::Options;
pub use table1::table1;
pub use table2::table2;
pub use xen::{BACKEND_NAMES, XenOptions, XenRow, xen, xen_cpushare};
