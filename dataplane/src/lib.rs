//! The packet path of Pointsman: frames, ports, forwarding, workers.
//!
//! A worker draws one breath after another. In a breath it pulls a [`Burst`](frame::Burst) from each of its ports,
//! decides where every frame goes, and pushes to each output what belongs there. Everything here serves that loop;
//! nothing here knows of Xen, of a command line, or of a benchmark.

pub mod bridge;
pub mod config;
pub mod control;
pub mod doctor;
pub mod drops;
pub mod engine;
pub mod fib;
pub mod forward;
pub mod fpm;
pub mod frame;
pub mod guest;
pub mod handoff;
mod ifreq;
pub mod link_rate;
pub mod memif;
pub mod memory;
pub mod netdev;
mod netns;
pub mod offload;
pub mod pcap;
pub mod pool;
pub mod port;
mod prefetch;
pub mod prefix;
pub mod rib;
pub mod router;
pub mod shares;
pub mod signals;
pub mod tap;
mod timeslice;
pub mod trace;
pub mod units;
pub mod vrf;
pub mod wire;
pub mod worker;
