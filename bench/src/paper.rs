//! The tables and figures of Anhalt, Koslovski, Pasin, Gelas, Vicat-Blanc Primet: *Les Infrastructures Virtuelles a la demande pour un
//! usage flexible de l'Internet* (2009). Virtual routers are Xen 3.2 guests on two Opteron 246 (2.0 GHz) with two gigabit
//! devices; every router carries one flow of UDP.

use crate::figures::FrameSize;

/// Bits a second of the paper's links.
pub const LINK: u64 = 1_000_000_000;

/// Virtual routers on one host, as the paper varied them.
pub const ROUTERS: [usize; 4] = [1, 2, 4, 8];

/// A cell of the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell {
    /// Frames a second for each router, and the part that was lost.
    Measured(f64, f64),
    /// "Not measurable": dom0 was saturated.
    Saturated,
}

/// What the paper measured with this many virtual routers; None where it has no row.
pub fn virtual_routers(routers: usize, frame: FrameSize) -> Option<Cell> {
    Some(match (frame, routers) {
        (FrameSize::B1500, 1) => Cell::Measured(81_284.0, 0.0),
        (FrameSize::B1500, 2) => Cell::Measured(40_841.0, 0.50),
        (FrameSize::B1500, 4) => Cell::Measured(20_486.0, 0.75),
        (FrameSize::B1500, 8) => Cell::Measured(10_393.0, 0.87),
        (FrameSize::B64, 1) => Cell::Measured(109_685.0, 0.60),
        (FrameSize::B64, 2) => Cell::Measured(12_052.0, 0.96),
        (FrameSize::B64, 4 | 8) => Cell::Saturated,
        _ => return None,
    })
}

/// What it measured with Linux as the router and no Xen.
pub const fn plain_linux(frame: FrameSize) -> Cell {
    match frame {
        FrameSize::B1500 => Cell::Measured(81_277.0, 0.0),
        FrameSize::B64 => Cell::Measured(356_494.0, 0.0006),
    }
}

/// Table II: milliseconds through one router, the others idle or stressed by TCP; None where it has no cell. Linux without
/// Xen stands beside routing without virtual routers.
pub fn latency(path: &str, routers: usize, stressed: bool) -> Option<f64> {
    Some(match (path, routers, stressed) {
        ("cable", ..) => return None,
        ("linux-route", _, false) => 0.084,
        (_, 1 | 4, false) => 0.147,
        (_, 2, false) => 0.150,
        (_, 8, false) => 0.154,
        (_, 2, true) => 0.888,
        (_, 4, true) => 1.376,
        (_, 8, true) => 3.8515,
        _ => return None,
    })
}

/// Figure 7: bits a second of a host's link, with which a flow has the paper's 100 Mb/s beside another, and double alone.
pub const MIGRATION_LINK: u64 = 200_000_000;

/// Figure 7, in words: it is a picture, and these are the figures that the text gives.
pub const MIGRATION: &str = "2009: after 20 s of 240 s a virtual router moved, with its memory, to another machine. About 100 Mb/s a \
     flow before and double after; TCP dropped for some seconds at the end of the migration, with latency above 50 ms; \
     latency of UDP reached about 20 ms, twice its initial value.";

/// Figure 5: Mbit/s of UDP, all routers together, whatever their number: what the link carries.
pub const UDP_TOTAL: f64 = 957.0;
