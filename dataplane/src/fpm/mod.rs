//! Routes from real daemons: FRR's FPM ("forwarding plane manager", `fpm/fpm.h` and `zebra/dplane_fpm_nl.c` of FRR) and what
//! speaks like it.
//!
//! A [`Feed`] listens. Whoever connects (zebra with `-M dplane_fpm_nl`, or our own [agent] that mirrors a kernel's
//! routes) sends netlink messages in frames, and never hears an answer. What they mean is told to a [`Sink`] in the
//! vocabulary of [`rib`](crate::rib); what cannot be forwarded is refused, message by message, by [reason](Refusal), and the
//! stream goes on. Only bytes that are no frame end a connection, because behind them nothing can be told from anything.
//!
//! A daemon that restarts says everything again and cannot say what has vanished meanwhile. So a feed marks when a client
//! comes ([`Sink::begin_sync`]), and sweeps when it has had its time ([`Sink::end_sync`]). Routes of a client that went
//! stay: its death is no reason to stop forwarding.
//!
//! ```text
//! frame    FPM frames in a stream
//! netlink  messages in a frame, read where they lie
//! session  what messages mean: next hop objects, replacing without a gap, mark and sweep
//! feed     a listener, one client, one thread
//! agent    the other end of a feed: a kernel's routes
//! ```
//!
//! Control side: it may allocate and wait, workers never see it.

pub mod agent;
mod counters;
mod devices;
mod feed;
pub mod frame;
mod listen;
pub mod netlink;
mod nexthops;
mod session;
mod sink;
mod wait;

pub use counters::{FeedCounters, Ignored, Refusal};
pub use devices::{Devices, KnownInterface};
pub use feed::{Feed, FeedConfig, FeedReport};
pub use listen::{ListenError, Place};
pub use netlink::{Address, IfIndex, Link, TableId};
pub use session::Session;
pub use sink::Sink;
