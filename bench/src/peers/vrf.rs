//! The engine as a router: VRFs between `in` and `out`, with routes from a file as the configuration names one.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::pointsman::{await_socket, head, mode};
use super::{Peer, Processes, Routed};
use crate::addresses::{PREFIX, router_in_ip, router_in_mac, router_out_ip, router_out_mac};
use crate::process::Running;
use crate::testbed::Testbed;

/// The engine.
#[derive(Debug)]
pub(super) struct Engine {
    engine: Running,
    control: PathBuf,
    ready: Duration,
}

impl Engine {
    pub(super) fn start(routed: &Routed<'_>, bed: &Testbed, command: &Path) -> Result<Self> {
        let folder = bed.folder.path();
        let file = folder.join("pointsman.toml");
        fs::write(&file, config(routed, bed)).with_context(|| file.display().to_string())?;
        let list = folder.join(ROUTES);
        fs::write(&list, routes(routed)).with_context(|| list.display().to_string())?;
        let (command, file) = (command.display().to_string(), file.display().to_string());
        let begin = Instant::now();
        let words = [command.as_str(), "run", "--config", &file];
        let mut engine = Running::start("engine", Some(bed.host.name()), bed.cores.dut, &words, folder)?.polite();
        let control = control_socket(bed);
        await_socket(&control, &mut engine)?;
        Ok(Self { engine, control, ready: begin.elapsed() })
    }
}

impl Peer for Engine {
    fn check(&mut self) -> Result<()> {
        self.engine.check()
    }

    fn processes(&self) -> Option<Processes> {
        Some(Processes { engine: self.engine.id(), guests: Vec::new() })
    }

    fn mode(&self) -> Option<String> {
        mode(&self.control)
    }

    fn ready(&self) -> Option<Duration> {
        Some(self.ready)
    }
}

/// Where the engine of a testbed answers questions.
pub(crate) fn control_socket(bed: &Testbed) -> PathBuf {
    bed.folder.path().join("control.sock")
}

/// Where it takes routes for a VRF without VLANs.
pub(crate) fn feed_socket(bed: &Testbed) -> PathBuf {
    bed.folder.path().join("feed.sock")
}

/// The file's name, beside the configuration.
const ROUTES: &str = "routes";

fn routes(routed: &Routed<'_>) -> String {
    let mut text = String::with_capacity(routed.routes.len() * 40);
    for route in routed.routes {
        let _ = writeln!(text, "{} via {}", route.prefix, route.via);
    }
    text
}

fn config(routed: &Routed<'_>, bed: &Testbed) -> String {
    let mut text = head(bed.folder.path(), bed.cores.dut);
    let (input, output) = (bed.in_device(), bed.out_device());
    let line_rate = routed.link.map(|bits| format!("line_rate = \"{bits}bit\"\n")).unwrap_or_default();
    let _ = write!(
        text,
        "[[port]]\nname = \"in\"\nkind = \"netdev\"\ndevice = \"{input}\"\n\
         [[port]]\nname = \"out\"\nkind = \"netdev\"\ndevice = \"{output}\"\n{line_rate}"
    );
    if routed.vlans == 0 {
        let listen = feed_socket(bed);
        let _ = write!(
            text,
            "[[feed]]\nname = \"bench\"\nlisten = \"{}\"\ntables = {{ \"254\" = \"r0\" }}\n",
            listen.display()
        );
    }
    for i in 0..routed.vlans.max(routed.routers) {
        // In a VLAN of its own every router is the first.
        let (vlan, n) = if routed.vlans > 0 { (format!("vlan = {}\n", i + 1), 0) } else { (String::new(), i) };
        let _ = write!(text, "[[vrf]]\nname = \"r{i}\"\n");
        if !routed.routes.is_empty() {
            let _ = writeln!(text, "routes = \"{ROUTES}\"");
        }
        for (port, mac, address) in
            [("in", router_in_mac(n), router_in_ip(n)), ("out", router_out_mac(n), router_out_ip(n))]
        {
            let _ = write!(
                text,
                "[[vrf.interface]]\nname = \"{port}\"\nport = \"{port}\"\n{vlan}mac = \"{mac}\"\n\
                 addresses = [\"{address}/{PREFIX}\"]\n"
            );
        }
    }
    text
}
