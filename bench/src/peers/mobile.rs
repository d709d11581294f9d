//! Routers that change hosts: two of them on the first host of a [`Site`], of which router 0 moves.
//!
//! Pointsman: an engine on each host, with a place for router 0 on both. `guest router` has no state but its configuration
//! and the neighbours that it has met, so to move it is to stop it here and to start it there, in either order. It tells its
//! addresses when its ports come up (RFC 5227, RFC 4861), and so the switch learns where it is.
//!
//! Linux: a router in a namespace on bridges. Its interfaces' other ends go from one host to the other; the router itself
//! never stops, and keeps all that it has. A kernel does not know that it has moved: requests for addresses that nobody has
//! tell the switch, as the testbed does elsewhere.

use std::fs;
use std::path::{Path as File, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use pointsman_dataplane::control::{Reply, Request, Topic, ask};

use super::{GuestKind, Path, Setup, linux, pointsman};
use crate::interrupt;
use crate::process::Running;
use crate::site::{HOSTS, ROUTERS, Site};
use crate::testbed::{Namespace, raise_receiver};

/// Until a router that was started has its ports.
const PATIENCE: Duration = Duration::from_secs(5);

/// In which order a router moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It stops, and starts on the other host.
    StopFirst,
    /// It starts on the other host, and then stops where it was.
    StartFirst,
    /// Its devices are moved.
    Devices,
}

impl Way {
    /// As tables and files name it.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::StopFirst => "stop, then start",
            Self::StartFirst => "start, then stop",
            Self::Devices => "devices moved",
        }
    }
}

/// The ways in which a path's routers move.
pub(crate) const fn ways(path: Path) -> &'static [Way] {
    match path {
        Path::LinuxBridge => &[Way::Devices],
        _ => &[Way::StopFirst, Way::StartFirst],
    }
}

/// Two hosts at work, and a router that can move.
pub(crate) trait Mobile {
    /// An error with its last words if anything has ended.
    fn check(&mut self) -> Result<()>;

    /// Moves router 0 to the other host.
    fn change_hosts(&mut self, way: Way) -> Result<()>;
}

/// Builds hosts with routers 0 and 1 on the first, links of `bits` a second.
pub(crate) fn start_mobile(path: Path, bits: u64, site: &Site, command: &File) -> Result<Box<dyn Mobile>> {
    Ok(match path {
        Path::LinuxBridge => Box::new(Bridges::start(bits, site)?),
        Path::Pointsman(GuestKind::Router) => Box::new(Engines::start(bits, site, command)?),
        _ => bail!("{}: has no router that moves", path.label()),
    })
}

/// An engine on each host. The guests are dropped first.
#[derive(Debug)]
struct Engines {
    /// None only while it is between two hosts.
    mobile: Option<Running>,
    stays: Running,
    engines: Vec<Running>,
    folders: Vec<PathBuf>,
    /// Where the mobile one is.
    host: usize,
    command: String,
    core: crate::cpu::Core,
}

impl Engines {
    fn start(bits: u64, site: &Site, command: &File) -> Result<Self> {
        let core = site.cores.dut;
        let command = command.display().to_string();
        let (mut engines, mut folders) = (Vec::new(), Vec::new());
        for (i, host) in site.hosts.iter().enumerate() {
            let folder = site.folder.path().join(format!("host{i}"));
            fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
            let (input, output) = site.devices(i);
            let setup = Setup { routers: ROUTERS, link: Some(bits) };
            let file = folder.join("pointsman.toml");
            fs::write(&file, pointsman::host_config(&folder, core, (&input, &output), setup))
                .with_context(|| file.display().to_string())?;
            let words = [command.as_str(), "run", "--config", &file.display().to_string()];
            engines.push(Running::start("engine", Some(host.name()), core, &words, &folder)?.polite());
            folders.push(folder);
        }
        for (engine, folder) in engines.iter_mut().zip(&folders) {
            pointsman::await_socket(&folder.join("control.sock"), engine)?;
        }
        let stays = pointsman::router(1, core, &folders[0], &command)?;
        let mobile = Some(pointsman::router(0, core, &folders[0], &command)?);
        Ok(Self { mobile, stays, engines, folders, host: 0, command, core })
    }

    fn start_at(&self, host: usize) -> Result<Running> {
        pointsman::router(0, self.core, &self.folders[host], &self.command)
    }

    /// Waits until an engine has both ports of router 0.
    fn await_router(&mut self, host: usize, router: &mut Running) -> Result<()> {
        let control = self.folders[host].join("control.sock");
        interrupt::wait_for("the router's ports on its new host", PATIENCE, || {
            router.check()?;
            let Reply::Ports(ports) = ask(&control, Request::Show(Topic::Ports))? else { return Ok(false) };
            let mut its = ports.iter().filter(|port| port.guest.as_deref() == Some("r0")).peekable();
            Ok(its.peek().is_some() && its.all(|port| port.up))
        })
    }
}

impl Mobile for Engines {
    fn check(&mut self) -> Result<()> {
        self.engines.iter_mut().chain(&mut self.mobile).chain([&mut self.stays]).try_for_each(Running::check)
    }

    fn change_hosts(&mut self, way: Way) -> Result<()> {
        let to = HOSTS - 1 - self.host;
        match way {
            Way::StopFirst => {
                drop(self.mobile.take());
                self.mobile = Some(self.start_at(to)?);
            }
            Way::StartFirst => {
                let mut router = self.start_at(to)?;
                self.await_router(to, &mut router)?;
                // The old one ends at once: as long as it forwards, its frames tell the switch that it is still there.
                self.mobile = Some(router);
            }
            Way::Devices => bail!("a guest of the engine has no devices to move"),
        }
        self.host = to;
        Ok(())
    }
}

/// Linux bridges on each host, routers in namespaces.
#[derive(Debug)]
struct Bridges {
    mobile: Namespace,
    _stays: Namespace,
    hosts: [String; HOSTS],
    host: usize,
}

impl Bridges {
    fn start(bits: u64, site: &Site) -> Result<Self> {
        for (i, host) in site.hosts.iter().enumerate() {
            let (input, output) = site.devices(i);
            if linux::may_receive_first()? {
                raise_receiver(&input)?;
                raise_receiver(&output)?;
            }
            linux::bridges(host, (&input, &output))?;
            host.shell(&linux::line_rate(&output, bits))?;
        }
        let [mobile, stays] = [site.namespace("r0")?, site.namespace("r1")?];
        for (i, namespace) in [&mobile, &stays].into_iter().enumerate() {
            linux::router(i, namespace, &site.hosts[0])?;
        }
        Ok(Self { mobile, _stays: stays, hosts: [0, 1].map(|i| site.hosts[i].name().to_owned()), host: 0 })
    }
}

impl Mobile for Bridges {
    fn check(&mut self) -> Result<()> {
        Ok(())
    }

    fn change_hosts(&mut self, way: Way) -> Result<()> {
        if way != Way::Devices {
            bail!("a router in a namespace is moved by its devices");
        }
        let to = HOSTS - 1 - self.host;
        let (from, there, router) = (&self.hosts[self.host], &self.hosts[to], self.mobile.name());
        // One shell, so that nothing lies between the steps. A bridge's port forwards (state 3) when the kernel has noticed
        // its carrier, which may take a while; what is said before is lost. Each call asks for an address that was not asked for before.
        let lines = format!(
            "ip -n {from} -batch - << end\nlink set in0 netns {there}\nlink set out0 netns {there}\nend\n\
             ip -n {there} -batch - << end\nlink set in0 master bridge-in up\nlink set out0 master bridge-out up\nend\n\
             ip netns exec {there} sh -e << 'end'\n\
             for n in $(seq 300); do cat /sys/class/net/*/brport/state | grep -qv 3 || exit 0; sleep 0.005; done\n\
             end\n\
             for n in 1 2 3 4 5; do for net in 10.10.25{to} 10.20.25{to}; do\n\
             ip netns exec {router} timeout 0.03 ping -c 1 -W 1 $net.$n > /dev/null 2>&1 || true\n\
             done; done\n"
        );
        crate::process::run_with_input("sh", &["-e"], &lines)?;
        self.host = to;
        Ok(())
    }
}
