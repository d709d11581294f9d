//! Traffic: what is sent, how fast, and what became of it. The programs that move the frames are `traffic.bpf.c`.

mod flow;
mod pace;
mod programs;
mod trial;

pub use flow::{Flow, MAX_FLOWS};
pub use pace::Pace;
pub use programs::{Arrived, Attached, Programs};
pub use trial::{Load, Station, Trial};
