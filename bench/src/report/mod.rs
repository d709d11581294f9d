//! What a run says: a table on the terminal, JSON for programs, SVG for pages.

mod json;
mod plot;
mod terminal;

pub(crate) use json::write;
pub use json::{PeerRow, Row};
pub(crate) use plot::plot_table1;
pub(crate) use terminal::{peers, table1, xen};
