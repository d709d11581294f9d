//! A guest's network driver, for tests: netfront's side of netif, over the same seam as the backend.
//!
//! It can do what Linux's netfront does, and is built of pieces that a test can misuse: rings, grants and keys are open.

mod driver;
mod pages;

pub use driver::{Frontend, FrontendOptions, Received, Sent};
pub use pages::Pages;
