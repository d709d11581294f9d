//! What is measured: each peer builds itself between the testbed's two devices and is gone when dropped.

mod linux;
mod pointsman;
mod testpmd;
mod xdp;

use std::sync::Arc;

use anyhow::{Result, bail};

use crate::addresses::{SINK_MAC, receiver_ip, router_in_mac, sender_ip, sender_mac};
use crate::cpu::Core;
use crate::process::{Running, installed};
use crate::testbed::Testbed;
use crate::traffic::{Flow, Programs};

pub use pointsman::GuestKind;
pub use testpmd::{Circulation, TESTPMD};

/// A way through the host under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Linux bridges and, if there are routers, Linux namespaces: the paper's path 1.
    LinuxBridge,
    /// The engine; routers, if any, are of this kind.
    Pointsman(GuestKind),
    /// DPDK's testpmd, device to device.
    Testpmd,
    /// An XDP program that redirects, device to device.
    XdpRedirect,
}

impl Path {
    /// As the JSON names it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::LinuxBridge => "linux-bridge",
            Self::Pointsman(_) => "pointsman",
            Self::Testpmd => "testpmd",
            Self::XdpRedirect => "xdp-redirect",
        }
    }

    /// What the virtual routers are, as the JSON names it.
    pub const fn guest(self) -> &'static str {
        match self {
            Self::LinuxBridge => "linux",
            Self::Pointsman(kind) => kind.label(),
            Self::Testpmd | Self::XdpRedirect => "none",
        }
    }
}

/// What a peer is asked to be.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Virtual routers between `in` and `out`; none: the two devices are joined as by a bridge.
    pub routers: usize,
    /// Bits a second of the link behind `out`, if it is modelled.
    pub link: Option<u64>,
}

/// A peer at work.
pub trait Peer {
    /// An error with its last words if it has ended.
    fn check(&mut self) -> Result<()>;
}

/// Why a path cannot be measured on this machine, if it cannot.
pub fn unavailable(path: Path, command: &std::path::Path) -> Option<String> {
    match path {
        Path::Testpmd if !installed(TESTPMD) => Some(format!("{TESTPMD} is not installed (package dpdk)")),
        Path::Pointsman(_) if !command.is_file() => Some(format!("{}: no such program", command.display())),
        _ => None,
    }
}

/// Builds a peer between the devices of a testbed.
pub fn start(
    path: Path,
    setup: Setup,
    bed: &Testbed,
    programs: &Arc<Programs>,
    command: &std::path::Path,
) -> Result<Box<dyn Peer>> {
    Ok(match path {
        Path::LinuxBridge => Box::new(linux::Bridges::start(setup, bed)?),
        Path::Pointsman(kind) => Box::new(pointsman::Engine::start(kind, setup, bed, command)?),
        Path::Testpmd | Path::XdpRedirect if setup.routers > 0 || setup.link.is_some() => {
            bail!("{}: carries frames from device to device, and nothing else", path.label())
        }
        Path::Testpmd => Box::new(testpmd::TwoDevices::start(bed)?),
        Path::XdpRedirect => Box::new(xdp::Redirect::start(bed, programs)?),
    })
}

/// Starts a server of `guests` pairs of memif ports in `folder`, which forwards from each port to the other of its pair.
pub fn serve_pairs(
    path: Path,
    guests: usize,
    core: Core,
    folder: &std::path::Path,
    command: &std::path::Path,
) -> Result<Running> {
    match path {
        Path::Pointsman(_) => pointsman::serve_pairs(guests, core, folder, command),
        Path::Testpmd => testpmd::serve_pairs(guests, core, folder),
        Path::LinuxBridge | Path::XdpRedirect => bail!("{}: speaks no memif", path.label()),
    }
}

/// The flows through a set-up: one for each router, or a single one from device to device.
pub fn flows(routers: usize) -> Vec<Flow> {
    let flow = |i, destination| Flow { source: sender_mac(i), destination, from: sender_ip(i), to: receiver_ip(i) };
    match routers {
        0 => vec![flow(0, SINK_MAC)],
        n => (0..n).map(|i| flow(i, router_in_mac(i))).collect(),
    }
}

/// The time to live with which a frame leaves a set-up.
pub const fn time_to_live(routers: usize) -> u8 {
    if routers == 0 { 64 } else { 63 }
}
