//! The engine itself, run as its users run it: the `pointsman` command with a configuration file, and a process for
//! every guest.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use pointsman_dataplane::control::{Reply, Request, Topic, ask};

use super::testpmd::socket;
use super::{Peer, Processes, Setup, linux};
use crate::addresses::{PREFIX, pair_mac, router_in_ip, router_in_mac, router_out_ip, router_out_mac};
use crate::cpu::Core;
use crate::interrupt;
use crate::process::Running;
use crate::testbed::{Namespace, Testbed};

/// What a virtual router is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestKind {
    /// `pointsman guest router`: a router in user space on two memifs.
    Router,
    /// `pointsman guest tap`: two memifs joined to two taps, and Linux routes between these.
    Tap,
}

impl GuestKind {
    /// As the JSON names it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::Tap => "tap",
        }
    }
}

/// Engine and guests. The guests are dropped first: an engine that goes before them is another experiment.
#[derive(Debug)]
pub(super) struct Engine {
    guests: Vec<Running>,
    _routers: Vec<Namespace>,
    engine: Running,
    control: PathBuf,
}

impl Engine {
    pub(super) fn start(kind: GuestKind, setup: Setup, bed: &Testbed, command: &Path) -> Result<Self> {
        let folder = bed.folder.path();
        let file = folder.join("pointsman.toml");
        let devices = (bed.in_device(), bed.out_device());
        let text = host_config(folder, bed.cores.dut, (&devices.0, &devices.1), setup);
        fs::write(&file, text).with_context(|| file.display().to_string())?;
        let (command, file) = (command.display().to_string(), file.display().to_string());
        let words = [command.as_str(), "run", "--config", &file];
        let mut engine = Running::start("engine", Some(bed.host.name()), bed.cores.dut, &words, folder)?.polite();
        let mut this = Self {
            guests: Vec::new(),
            _routers: Vec::new(),
            engine: {
                await_socket(&folder.join("control.sock"), &mut engine)?;
                engine
            },
            control: folder.join("control.sock"),
        };
        for i in 0..setup.routers {
            match kind {
                GuestKind::Router => this.router(i, bed, &command)?,
                GuestKind::Tap => this.tap(i, bed, &command)?,
            }
        }
        Ok(this)
    }

    fn router(&mut self, i: usize, bed: &Testbed, command: &str) -> Result<()> {
        self.guests.push(router(i, bed.cores.dut, bed.folder.path(), command)?);
        Ok(())
    }

    fn tap(&mut self, i: usize, bed: &Testbed, command: &str) -> Result<()> {
        let folder = bed.folder.path();
        let namespace = bed.namespace(&format!("r{i}"))?;
        let memif = |id| format!("{}:{id},role=client", socket(folder, i));
        let (memif_in, memif_out) = (memif(0), memif(1));
        let name = namespace.name();
        let words = [
            [command, "guest", "tap"].as_slice(),
            &["--memif", &memif_in, "--tap", "in", "--netns", name],
            &["--memif", &memif_out, "--tap", "out", "--netns", name],
        ]
        .concat();
        let mut guest = Running::start(&format!("tap{i}"), None, bed.cores.dut, &words, folder)?.polite();
        interrupt::wait_for(&format!("taps of guest {i}"), Duration::from_secs(5), || {
            guest.check()?;
            Ok(namespace.shell("test -e /sys/class/net/in && test -e /sys/class/net/out\n").is_ok())
        })?;
        linux::configure_router(&namespace, ("in", "out"), i)?;
        self.guests.push(guest);
        self._routers.push(namespace);
        Ok(())
    }
}

impl Peer for Engine {
    fn check(&mut self) -> Result<()> {
        self.engine.check()?;
        self.guests.iter_mut().try_for_each(Running::check)
    }

    fn processes(&self) -> Option<Processes> {
        Some(Processes { engine: self.engine.id(), guests: self.guests.iter().map(Running::id).collect() })
    }

    fn mode(&self) -> Option<String> {
        mode(&self.control)
    }
}

/// Virtual router `i`, a guest of the engine whose sockets are in `folder`.
pub(super) fn router(i: usize, core: Core, folder: &Path, command: &str) -> Result<Running> {
    let port =
        |id, mac, address| format!("{}:{id},role=client,mac={mac},address={address}/{PREFIX}", socket(folder, i));
    let ports = [port(0, router_in_mac(i), router_in_ip(i)), port(1, router_out_mac(i), router_out_ip(i))];
    let number = core.0.to_string();
    let words = [command, "guest", "router", "--port", &ports[0], "--port", &ports[1], "--core", &number];
    Ok(Running::start(&format!("router{i}"), None, core, &words, folder)?.polite())
}

/// How the engine that listens there has its devices.
pub(super) fn mode(control: &Path) -> Option<String> {
    let Ok(Reply::Ports(ports)) = ask(control, Request::Show(Topic::Ports)) else { return None };
    ports.into_iter().find(|port| port.kind == "netdev").map(|port| port.mode)
}

/// Starts the engine on `core` as a server of `guests` pairs of memif ports, each pair a bridge domain of its own.
pub(super) fn serve_pairs(guests: usize, core: Core, folder: &Path, command: &Path) -> Result<Running> {
    let file = folder.join("pointsman.toml");
    fs::write(&file, pairs_config(guests, core, folder)).with_context(|| file.display().to_string())?;
    let (command, file) = (command.display().to_string(), file.display().to_string());
    let mut engine = Running::start("engine", None, core, &[&command, "run", "--config", &file], folder)?.polite();
    await_socket(&folder.join("control.sock"), &mut engine)?;
    for i in 0..guests {
        await_socket(Path::new(&socket(folder, i)), &mut engine)?;
    }
    Ok(engine)
}

pub(super) fn await_socket(socket: &Path, engine: &mut Running) -> Result<()> {
    interrupt::wait_for(&format!("the engine's socket {}", socket.display()), Duration::from_secs(10), || {
        engine.check()?;
        Ok(socket.exists())
    })
}

/// One worker, which shares its core and so does not spin, and whatever `folder` and `core` decide.
pub(super) fn head(folder: &Path, core: Core) -> String {
    format!("control = \"{}/control.sock\"\n[[worker]]\ncore = {}\nspin = \"0us\"\n", folder.display(), core.0)
}

/// A host with two devices and memif guests between them.
pub(super) fn host_config(folder: &Path, core: Core, (input, output): (&str, &str), setup: Setup) -> String {
    let mut text = head(folder, core);
    let line_rate = setup.link.map(|bits| format!("line_rate = \"{bits}bit\"\n")).unwrap_or_default();
    // Without routers both devices are in one domain.
    let out_domain = if setup.routers == 0 { "in" } else { "out" };
    text += "[[domain]]\nname = \"in\"\n";
    if setup.routers > 0 {
        text += "[[domain]]\nname = \"out\"\n";
    }
    let _ = write!(
        text,
        "[[port]]\nname = \"in\"\nkind = \"netdev\"\ndevice = \"{input}\"\ndomain = \"in\"\n\
         [[port]]\nname = \"out\"\nkind = \"netdev\"\ndevice = \"{output}\"\ndomain = \"{out_domain}\"\n{line_rate}"
    );
    for i in 0..setup.routers {
        let socket = socket(folder, i);
        let _ = write!(text, "[[guest]]\nname = \"r{i}\"\n");
        for (id, domain, mac) in [(0, "in", router_in_mac(i)), (1, "out", router_out_mac(i))] {
            let _ = write!(
                text,
                "[[guest.port]]\nkind = \"memif\"\nsocket = \"{socket}\"\nid = {id}\nrole = \"server\"\n\
                 mac = \"{mac}\"\ndomain = \"{domain}\"\n"
            );
        }
    }
    text
}

fn pairs_config(guests: usize, core: Core, folder: &Path) -> String {
    let mut text = head(folder, core);
    for i in 0..guests {
        let _ = write!(text, "[[domain]]\nname = \"d{i}\"\n");
    }
    for i in 0..guests {
        let socket = socket(folder, i);
        let _ = write!(text, "[[guest]]\nname = \"g{i}\"\n");
        for id in 0..2 {
            let _ = write!(
                text,
                "[[guest.port]]\nkind = \"memif\"\nsocket = \"{socket}\"\nid = {id}\nrole = \"server\"\n\
                 mac = \"{}\"\ndomain = \"d{i}\"\n",
                pair_mac(i, id)
            );
        }
    }
    text
}
