//! Guests' interfaces in the seats of a running engine. What the toolstack wrote decides: `bridge=` and `vlan=` name the
//! bridge domain, `mac=` the only address that the guest may send from, `rate=` what it may send.

use std::collections::BTreeMap;

use pointsman_dataplane::allowance::{Allowance, Limited};
use pointsman_dataplane::engine::{Newcomer, Seat, Seats};
use pointsman_dataplane::port::Port;
use pointsman_dataplane::units::Mac;

use super::{Guests, Refusal, VifPort};
use crate::DomId;
use crate::netif::keys::VifConfig;

/// What `bridge` is where the toolstack says none, as in Linux's hotplug scripts.
const DEFAULT_BRIDGE: &str = "xenbr0";
/// The largest frame: an allowance must let one through at once.
const SUPER_FRAME: u64 = 65_536;

/// Seats every interface in the bridge domain that its `bridge` and `vlan` name: `xenbr0`, or `xenbr0.12`.
#[derive(Debug)]
pub struct Seated {
    seats: Seats,
    taken: BTreeMap<(DomId, u32), Seat>,
}

impl Seated {
    /// In the seats of this engine.
    pub fn new(seats: Seats) -> Self {
        Self { seats, taken: BTreeMap::new() }
    }
}

/// The bridge domain of an interface.
fn domain(vif: &VifConfig) -> String {
    let bridge = vif.bridge.as_deref().unwrap_or(DEFAULT_BRIDGE);
    vif.vlan.map_or_else(|| bridge.to_owned(), |vlan| format!("{bridge}.{vlan}"))
}

/// The port, which takes no more from its guest than `rate=` allows.
fn limited(port: VifPort, vif: &VifConfig) -> Box<dyn Port> {
    let port = Box::new(port);
    let Some(rate) = vif.rate else { return port };
    let allowance = Allowance { bytes_per_second: rate.bits_per_second() / 8, burst: rate.bytes.max(SUPER_FRAME) };
    Box::new(Limited::new(port, allowance))
}

impl Guests for Seated {
    fn arrived(&mut self, vif: &VifConfig, ports: Vec<VifPort>) -> Result<(), Refusal> {
        let mode = ports.first().map(VifPort::state).ok_or("it has no queue")?;
        let newcomer = Newcomer {
            name: vif.name.clone().unwrap_or_else(|| format!("vif{}.{}", vif.domain, vif.handle)),
            guest: vif.guest.clone().unwrap_or_else(|| format!("domain {}", vif.domain)),
            kind: "xen-vif",
            domain: domain(vif),
            macs: vif.mac.map(Mac).into_iter().collect(),
            queues: ports.into_iter().map(|port| limited(port, vif)).collect(),
            mode: Box::new(move || mode.get()),
        };
        self.taken.insert((vif.domain, vif.handle), self.seats.take(newcomer)?);
        Ok(())
    }

    fn left(&mut self, domain: DomId, handle: u32) {
        if let Some(seat) = self.taken.remove(&(domain, handle)) {
            drop(self.seats.leave(seat));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vlan_is_a_domain_of_its_own() {
        let mut vif = VifConfig::default();
        assert_eq!(domain(&vif), "xenbr0");
        (vif.bridge, vif.vlan) = (Some("dmz".into()), Some(12));
        assert_eq!(domain(&vif), "dmz.12");
    }
}
