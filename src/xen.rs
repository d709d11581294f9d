//! Guests of a Xen host: the netif backend on one side, the engine's seats on the other.
//!
//! What the toolstack wrote decides: `bridge=` (and `vlan=`) name the bridge domain, `mac=` the only address that the guest
//! may send from, `rate=` what it may send.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use pointsman_dataplane::allowance::{Allowance, Limited};
use pointsman_dataplane::engine::{Newcomer, Seat, Seats};
use pointsman_dataplane::port::Port;
use pointsman_dataplane::units::Mac;
use pointsman_xen::netif::keys::VifConfig;
use pointsman_xen::sim::SimDomain;
use pointsman_xen::vif::{Guests, VifBackend, VifOptions, VifPort};
use pointsman_xen::xenstore::Xenstore;
use pointsman_xen::{DomId, Hypervisor, device::Devices};

/// Seats of an engine with guests of Xen, unless its configuration wants more.
const SEATS: usize = 64;
/// The largest frame: an allowance must let one through.
const SUPER_FRAME: u64 = 65_536;

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
        if self.xen_simulated.is_none() && std::path::Path::new("/sys/module/xen_netback").exists() {
            anyhow::bail!(
                "the module xen-netback is loaded and takes guests' interfaces before us: `modprobe -r xen-netback`, and \
                 put `blacklist xen-netback` into /etc/modprobe.d"
            );
        }
        let store = hypervisor.xenstore().context("the store of the Xen host")?;
        let guests = Box::new(Seated { seats, store, seated: HashMap::new() });
        let options = VifOptions { queues: self.xen_queues, gso: !self.xen_no_gso };
        VifBackend::start(hypervisor, options, guests).context("serving the guests of the Xen host").map(Some)
    }
}

/// Guests' interfaces in the engine's seats.
struct Seated {
    seats: Seats,
    store: Xenstore,
    seated: HashMap<(DomId, u32), Seat>,
}

impl Seated {
    /// The guest's name, by which `xl list` knows it.
    fn guest(&mut self, domain: DomId) -> String {
        let name = self.store.get(&format!("/local/domain/{domain}/name")).ok().flatten();
        let name = name.and_then(|name| String::from_utf8(name).ok()).filter(|name| !name.is_empty());
        name.unwrap_or_else(|| format!("domain {domain}"))
    }
}

impl Guests for Seated {
    fn arrived(&mut self, vif: &VifConfig, ports: Vec<VifPort>) {
        let name = vif.name.clone().unwrap_or_else(|| format!("vif{}.{}", vif.domain, vif.handle));
        let bridge = vif.bridge.clone().unwrap_or_default();
        let domain = match vif.vlan {
            Some(vlan) => format!("{bridge}.{vlan}"),
            None => bridge,
        };
        let states: Vec<_> = ports.iter().map(VifPort::state).collect();
        let queues = ports.into_iter().map(|port| limited(port, vif)).collect();
        let newcomer = Newcomer {
            name: name.clone(),
            guest: self.guest(vif.domain),
            kind: "xen-vif",
            domain,
            macs: vif.mac.map(Mac).into_iter().collect(),
            queues,
            mode: Box::new(move || states.first().map(|state| state.get()).unwrap_or_default()),
        };
        match self.seats.take(newcomer) {
            Ok(seat) => {
                tracing::info!("{name}: has a seat");
                self.seated.insert((vif.domain, vif.handle), seat);
            }
            Err(why) => tracing::error!("{why}; the guest gets no frames"),
        }
    }

    fn left(&mut self, domain: DomId, handle: u32) {
        if let Some(seat) = self.seated.remove(&(domain, handle)) {
            drop(self.seats.leave(seat));
        }
    }
}

/// The port, which takes no more than `rate=` allows.
fn limited(port: VifPort, vif: &VifConfig) -> Box<dyn Port> {
    let port = Box::new(port);
    match vif.rate {
        None => port,
        Some(rate) => {
            let allowance =
                Allowance { bytes_per_second: rate.bits_per_second() / 8, burst: rate.bytes.max(SUPER_FRAME) };
            Box::new(Limited::new(port, allowance))
        }
    }
}
