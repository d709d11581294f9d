//! What a run says: a table on the terminal, JSON and CSV for programs, pictures, and the page that has all of it.

pub(crate) mod charts;
mod figure;
mod grid;
mod json;
mod page;
mod picture;
mod tables;

pub use figure::Figure;
#[cfg(test)]
pub(crate) use figure::sample;
pub(crate) use figure::{contender, csv};
pub(crate) use json::write;
pub use json::{PeerRow, RouteFigure, RouteRow, Row, UpdateRow};
pub(crate) use page::{Section, page};
pub(crate) use picture::svg;
pub(crate) use tables::{cpushare, fig5, fig7, peers, route, table1, table2, updates, xen};
