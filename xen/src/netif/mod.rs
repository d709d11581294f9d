//! netif: the protocol between a guest's network driver and its backend (`public/io/netif.h`).
//!
//! Layouts, rings, keys and states, without a port or an engine: both [`vif`](crate::vif) and
//! [`frontend`](crate::frontend) stand on it.

pub mod keys;
pub mod ring;
pub mod state;
pub mod wire;
