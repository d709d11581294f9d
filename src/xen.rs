//! What `pointsman run` asks of a Xen host: to serve its guests.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use pointsman_dataplane::engine::Seats;
use pointsman_xen::Hypervisor;
use pointsman_xen::device::Devices;
use pointsman_xen::sim::SimDomain;
use pointsman_xen::vif::{Seated, VifBackend, VifOptions};

/// Seats of an engine with guests of Xen, unless its configuration wants more.
const SEATS: usize = 64;

/// How guests of a Xen host are served.
#[derive(Debug, Args)]
pub struct Xen {
    /// Serve the network interfaces (vif) of this Xen host's domUs, in place of the kernel's netback
    #[arg(long)]
    xen: bool,
    /// Queues that a guest's interface may have
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=8), requires = "xen")]
    xen_queues: u16,
    /// Take and give TCP in frames of MTU size only
    #[arg(long, requires = "xen")]
    xen_no_gso: bool,
    /// The directory of a simulated hypervisor, instead of the one below
    #[arg(long, value_name = "DIR", hide = true, requires = "xen")]
    xen_simulated: Option<PathBuf>,
}

impl Xen {
    /// Seats that the engine is to have, when its configuration wants `configured`.
    pub fn seats(&self, configured: usize) -> usize {
        if self.xen { configured.max(SEATS) } else { configured }
    }

    /// Starts to serve guests, if that is wanted. They are served until the value is dropped.
    ///
    /// # Errors
    /// This is no Xen domain, or what a backend needs is missing.
    pub fn start(&self, seats: Seats) -> anyhow::Result<Option<VifBackend>> {
        if !self.xen {
            return Ok(None);
        }
        let hypervisor: Arc<dyn Hypervisor> = match &self.xen_simulated {
            Some(dir) => Arc::new(SimDomain::control(dir)),
            None => Arc::new(Devices),
        };
        if self.xen_simulated.is_none() && Path::new("/sys/module/xen_netback").exists() {
            anyhow::bail!(
                "the module xen-netback is loaded and takes guests' interfaces before us: `modprobe -r xen-netback`, and \
                 put `blacklist xen-netback` into /etc/modprobe.d"
            );
        }
        let guests = Box::new(Seated::new(seats));
        let options = VifOptions { queues: self.xen_queues, gso: !self.xen_no_gso };
        VifBackend::start(hypervisor, options, guests).context("serving the guests of the Xen host").map(Some)
    }
}
