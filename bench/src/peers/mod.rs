//! What is measured: each peer builds itself between the testbed's two devices and is gone when dropped.

mod install;
mod linux;
mod mobile;
mod ovs;
mod pointsman;
mod testpmd;
mod vrf;
mod xdp;

use std::sync::Arc;

use anyhow::{Result, bail};

use crate::addresses::{SINK_MAC, receiver_ip, router_in_mac, sender_ip, sender_mac};
use crate::cpu::Core;
use crate::process::{Running, installed};
use crate::report::contender;
use crate::routes::RouteTo;
use crate::run::{Options, Shortfalls};
use crate::testbed::Testbed;
use crate::traffic::{Flow, Programs};

pub(crate) use install::install;
pub(crate) use mobile::{Mobile, Way, start_mobile, ways};
pub use pointsman::GuestKind;
pub use testpmd::{Circulation, TESTPMD};
pub(crate) use vrf::{control_socket, feed_socket};

/// A way through the host under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Linux bridges and, if there are routers, Linux namespaces: the paper's path 1.
    LinuxBridge,
    /// Linux routes from device to device: the paper's path 2, and its "Linux" without virtual routers.
    LinuxRoute,
    /// The engine; routers, if any, are of this kind.
    Pointsman(GuestKind),
    /// The engine routes, in a VRF: its path 2.
    PointsmanVrf,
    /// DPDK's testpmd, device to device.
    Testpmd,
    /// Open vSwitch with its userspace datapath, device to device.
    Ovs,
    /// An XDP program that redirects, device to device.
    XdpRedirect,
    /// An XDP program that routes by the kernel's tables, device to device.
    XdpRoute,
}

impl Path {
    /// As the JSON names it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::LinuxBridge => "linux-bridge",
            Self::LinuxRoute => "linux-route",
            Self::Pointsman(_) => "pointsman",
            Self::PointsmanVrf => "pointsman-vrf",
            Self::Testpmd => "testpmd",
            Self::Ovs => "ovs-userspace",
            Self::XdpRedirect => "xdp-redirect",
            Self::XdpRoute => "xdp-route",
        }
    }

    /// As a user names it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pointsman(GuestKind::Router) => "pointsman/router",
            Self::Pointsman(GuestKind::Tap) => "pointsman/tap",
            _ => self.label(),
        }
    }

    /// Whether it can be so many virtual routers. Zero: from device to device.
    pub const fn carries(self, routers: usize) -> bool {
        match self {
            Self::LinuxBridge | Self::Pointsman(_) => true,
            Self::PointsmanVrf => routers > 0,
            Self::LinuxRoute | Self::XdpRoute => routers == 1,
            Self::Testpmd | Self::Ovs | Self::XdpRedirect => routers == 0,
        }
    }

    /// What the virtual routers are, as the JSON names it.
    pub const fn guest(self) -> &'static str {
        match self {
            Self::LinuxBridge => "linux",
            Self::Pointsman(kind) => kind.label(),
            Self::LinuxRoute | Self::PointsmanVrf | Self::Testpmd | Self::Ovs | Self::XdpRedirect | Self::XdpRoute => {
                "none"
            }
        }
    }
}

/// The paths through routers, in the order in which they take turns.
pub(crate) const ROUTED: [Path; 5] = [
    Path::LinuxRoute,
    Path::PointsmanVrf,
    Path::LinuxBridge,
    Path::Pointsman(GuestKind::Router),
    Path::Pointsman(GuestKind::Tap),
];

/// Their names, as [`Options::only`] has them.
pub const PATH_NAMES: [&str; 5] =
    [ROUTED[0].name(), ROUTED[1].name(), ROUTED[2].name(), ROUTED[3].name(), ROUTED[4].name()];

/// What a peer is asked to be.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Virtual routers between `in` and `out`; none: the two devices are joined as by a bridge.
    pub routers: usize,
    /// Bits a second of the link behind `out`, if it is modelled.
    pub link: Option<u64>,
}

/// Routing between `in` and `out`, as `bench route` wants it.
#[derive(Clone, Copy, Debug)]
pub struct Routed<'a> {
    /// Routers, each with a VLAN of `in` and the same one of `out`, from 1 on; none: without VLANs.
    pub vlans: usize,
    /// Routers without VLANs, which share both devices and are told apart by their Ethernet addresses.
    pub routers: usize,
    /// Routes of each router, besides those to its own networks.
    pub routes: &'a [RouteTo],
    /// Bits a second of the link behind `out`, if it is modelled.
    pub link: Option<u64>,
}

impl Routed<'_> {
    /// Routers that know their networks.
    const fn directly(routers: usize, link: Option<u64>) -> Self {
        Self { vlans: 0, routers, routes: &[], link }
    }
}

/// The processes of a peer, by their ids.
#[derive(Clone, Debug)]
pub struct Processes {
    /// What moves the frames of all.
    pub engine: i32,
    /// The virtual routers.
    pub guests: Vec<i32>,
}

/// A peer at work.
pub trait Peer {
    /// An error with its last words if it has ended.
    fn check(&mut self) -> Result<()>;

    /// Its processes, if it has any.
    fn processes(&self) -> Option<Processes> {
        None
    }

    /// How it has the devices, if it says so.
    fn mode(&self) -> Option<String> {
        None
    }

    /// From its start until it forwarded, with all its routes, if it was measured.
    fn ready(&self) -> Option<std::time::Duration> {
        None
    }
}

/// Why a path cannot be measured on this machine, if it cannot.
pub fn unavailable(path: Path, command: &std::path::Path) -> Option<String> {
    match path {
        Path::Testpmd if !installed(TESTPMD) => Some(format!("{TESTPMD} is not installed (package dpdk)")),
        Path::Ovs if !installed(ovs::OVS) => {
            Some(format!("{} is not installed (package openvswitch-switch)", ovs::OVS))
        }
        Path::Pointsman(_) | Path::PointsmanVrf if !command.is_file() => {
            Some(format!("{}: no such program", command.display()))
        }
        _ => None,
    }
}

/// Those of `paths` that can be measured on this machine; the others are noted with the reason.
pub(crate) fn available(paths: &[Path], options: &Options, shortfalls: &mut Shortfalls) -> Vec<Path> {
    let mut found = Vec::new();
    for &path in
        paths.iter().filter(|path| options.only.is_empty() || options.only.iter().any(|name| name == path.name()))
    {
        match unavailable(path, &options.command) {
            None => found.push(path),
            Some(why) => shortfalls.skip(&contender(path.label(), path.guest()), &why),
        }
    }
    found
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
        Path::LinuxRoute => Box::new(linux::Routing::start(setup, bed)?),
        Path::Pointsman(kind) => Box::new(pointsman::Engine::start(kind, setup, bed, command)?),
        Path::PointsmanVrf => Box::new(vrf::Engine::start(&Routed::directly(setup.routers, setup.link), bed, command)?),
        Path::XdpRoute => Box::new(xdp::Route::start(&Routed::directly(1, None), bed, programs)?),
        Path::Testpmd | Path::Ovs | Path::XdpRedirect if setup.routers > 0 || setup.link.is_some() => {
            bail!("{}: carries frames from device to device, and nothing else", path.label())
        }
        Path::Ovs => Box::new(ovs::Switch::start(bed)?),
        Path::Testpmd => Box::new(testpmd::TwoDevices::start(bed)?),
        Path::XdpRedirect => Box::new(xdp::Redirect::start(bed, programs)?),
    })
}

/// Builds a peer that routes between the devices of a testbed. [`Path::XdpRedirect`] knows no routes.
pub fn start_routing(
    path: Path,
    routed: &Routed<'_>,
    bed: &Testbed,
    programs: &Arc<Programs>,
    command: &std::path::Path,
) -> Result<Box<dyn Peer>> {
    Ok(match path {
        Path::LinuxRoute => Box::new(linux::Routing::with(routed, bed)?),
        Path::PointsmanVrf => Box::new(vrf::Engine::start(routed, bed, command)?),
        Path::XdpRoute => Box::new(xdp::Route::start(routed, bed, programs)?),
        Path::XdpRedirect => Box::new(xdp::Redirect::start(bed, programs)?),
        _ => bail!("{}: is no router", path.label()),
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
        Path::LinuxBridge | Path::LinuxRoute | Path::PointsmanVrf | Path::Ovs | Path::XdpRedirect | Path::XdpRoute => {
            bail!("{}: speaks no memif", path.label())
        }
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
