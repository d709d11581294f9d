//! Routes as their owners want them, before a forwarding table is made of them.

mod route;

pub use route::{Action, Change, GroupId, Hop, InterfaceId, Origin, Route};
