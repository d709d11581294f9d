//! Traffic: what is sent, how fast, and what became of it. The programs that move the frames are `traffic.bpf.c`.

mod flow;
mod latency;
mod pace;
mod probe;
mod programs;
mod trial;

pub use flow::{Flow, MAX_FLOWS};
pub use latency::Latency;
pub use pace::Pace;
pub use probe::{Probes, probe};
pub use programs::{Arrived, Attached, Programs, Target};
pub use trial::{Load, Station, Trial};
