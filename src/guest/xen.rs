//! A domU's rings in the place of memifs: `--xen`.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use pointsman_dataplane::guest::MemifAddress;
use pointsman_dataplane::memif::MemifPort;
use pointsman_dataplane::units::Mac;
use pointsman_xen::device::Devices;
use pointsman_xen::ring::{RingAgent, RingOptions, vif_mac};
use pointsman_xen::sim::SimDomain;
use pointsman_xen::{DomId, Hypervisor};

/// What the kernel lets a domain grant unless told otherwise, and where it tells.
const PAGES: usize = 1024;
const LIMIT: &str = "/sys/module/xen_gntalloc/parameters/limit";
/// How an address says that it is a vif.
const VIF: &str = "vif";
/// As memif's: an ordinary frame is one buffer.
const BUFFER_SIZE: u32 = 2048;

/// In a domU: which of its vifs.
#[derive(Debug, Args)]
pub struct XenArgs {
    /// This is a domU: addresses are vif:HANDLE, and frames go through rings that the dom0's engine maps
    #[arg(long)]
    xen: bool,
    /// The directory of a simulated hypervisor, and the number of the domain to be there
    #[arg(long, value_names = ["DIR", "DOMAIN"], num_args = 2, hide = true, requires = "xen")]
    xen_simulated: Vec<String>,
}

/// A domU that offers rings.
pub struct Xen {
    hypervisor: Arc<dyn Hypervisor>,
    /// Pages for each of them.
    pages: usize,
}

impl XenArgs {
    /// The domU, if this is to be one with so many rings.
    ///
    /// # Errors
    /// It is none.
    pub fn open(&self, rings: usize) -> anyhow::Result<Option<Xen>> {
        if !self.xen {
            return Ok(None);
        }
        let hypervisor: Arc<dyn Hypervisor> = match self.xen_simulated.as_slice() {
            [dir, domain] => {
                let domain = domain.parse().with_context(|| format!("domain {domain}"))?;
                Arc::new(SimDomain::guest(Path::new(dir), DomId(domain), 4096)?)
            }
            _ => Arc::new(Devices),
        };
        let told = std::fs::read_to_string(LIMIT).ok().and_then(|text| text.trim().parse().ok());
        Ok(Some(Xen { hypervisor, pages: told.unwrap_or(PAGES) / rings.max(1) }))
    }
}

impl Xen {
    /// The address that the toolstack gave to a vif.
    ///
    /// # Errors
    /// There is no such vif.
    pub fn mac(&self, address: &MemifAddress) -> anyhow::Result<Mac> {
        let handle = handle(address)?;
        let mac = vif_mac(self.hypervisor.as_ref(), handle);
        mac.map(Mac).with_context(|| format!("vif {handle} of this domain"))
    }

    /// The control side, which must live as long as the port is used, and the port.
    ///
    /// # Errors
    /// There is no such vif, or nothing to grant.
    pub fn connect(&self, address: &MemifAddress) -> anyhow::Result<(RingAgent, MemifPort)> {
        let options = RingOptions { handle: handle(address)?, pages: self.pages, buffer_size: BUFFER_SIZE };
        let started = RingAgent::start(Arc::clone(&self.hypervisor), options);
        started.with_context(|| format!("a ring for vif {}", options.handle))
    }
}

/// Which vif an address names.
fn handle(address: &MemifAddress) -> anyhow::Result<u32> {
    if address.socket != Path::new(VIF) || address.server {
        bail!("\"{address}\" is no vif; with --xen, write {VIF}:HANDLE, as in {VIF}:0");
    }
    Ok(address.id)
}
