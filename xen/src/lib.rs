//! Xenstore, grants and event channels for userspace backends, real or simulated; and the netif backend on top.
//!
//! A driver that lives in a process of dom0 (or of a driver domain) needs four things of the hypervisor: the store in
//! which both ends find each other ([`xenstore`]), the peer's memory, mapped or copied ([`Grants`]), a way to wake the
//! peer and be woken ([`Events`]), and, for whoever plays a guest, memory to share ([`Allocator`]). [`Hypervisor`] is the
//! seam that hands them out, with two makers behind it:
//! - [`device`]: the kernel's `/dev/xen/*`;
//! - [`sim`]: a hypervisor over memfds and pipes, where guests are processes, on any Linux and without privileges. It
//!   checks as Xen checks, so that a backend can be shown every kind of hostile guest, by the hundred, in a test.
//!
//! On the seam stand [`netif`], the protocol between netfront and netback, [`vif`], the backend as a port of the engine,
//! [`ring`], memory shared once with a guest that runs our agent, and [`frontend`], an unmodified guest for tests.
//!
//! A guest's memory can change while it is looked at. Nothing in this crate forms a reference to it: what is mapped is an
//! address, read by atomic loads, each field once, copied and then judged.

mod bell;
pub mod device;
mod error;
pub mod frontend;
mod grant;
mod ids;
pub mod netif;
#[cfg(feature = "vif")]
pub mod ring;
mod seam;
pub mod sim;
#[cfg(feature = "vif")]
pub mod vif;
pub mod xenstore;

pub use error::XenError;
pub use grant::{CopyOp, GrantStatus};
pub use ids::{DomId, EventPort, GrantRef};
pub use seam::{Access, Allocator, Events, Grants, Hypervisor, Release, Shared};

/// Bytes of a page of the Xen ABI, whatever the kernel's pages are.
pub const PAGE: usize = 4096;
