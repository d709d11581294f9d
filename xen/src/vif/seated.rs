//! Guests' interfaces in the seats of a running engine. What the toolstack wrote decides: `bridge=` and `vlan=` name the
//! bridge domain, `mac=` the only address that the guest may send from, `rate=` what it may send.

use std::collections::BTreeMap;

use pointsman_dataplane::engine::{Newcomer, Seat, Seats};
use pointsman_dataplane::link_rate::LineRate;
use pointsman_dataplane::port::Port;
use pointsman_dataplane::shares::PortLimits;
use pointsman_dataplane::units::Mac;

use super::{Guests, Refusal, VifPort};
use crate::DomId;
use crate::netif::keys::VifConfig;

/// What `bridge` is where the toolstack says none, as in Linux's hotplug scripts.
const DEFAULT_BRIDGE: &str = "xenbr0";
/// The largest frame: an allowance must let one through at once.
const SUPER_FRAME: u64 = 65_536;

/// Which interface.
type Key = (DomId, u32);

/// Seats every interface in the bridge domain that its `bridge` and `vlan` name: `xenbr0`, or `xenbr0.12`.
///
/// When a guest migrates to its own host, its new interface is there before the old one is gone, with the same address. So
/// one whose address is taken waits until it is not: what its guest sends stays in its ring.
pub struct Seated {
    seats: Seats,
    taken: BTreeMap<Key, (Place, Seat)>,
    waiting: Vec<(Key, Newcomer)>,
}

/// The bridge domain and the address of an interface: there may be one of each.
type Place = (String, Vec<Mac>);

fn place(newcomer: &Newcomer) -> Place {
    (newcomer.domain.clone(), newcomer.macs.clone())
}

impl Seated {
    /// In the seats of this engine.
    pub fn new(seats: Seats) -> Self {
        Self { seats, taken: BTreeMap::new(), waiting: Vec::new() }
    }

    /// Who has the place that `newcomer` wants.
    fn holder(&self, newcomer: &Newcomer) -> Option<Key> {
        let wanted = place(newcomer);
        let holder = self.taken.iter().find(|(_, (place, _))| *place == wanted && !wanted.1.is_empty());
        holder.map(|(key, _)| *key)
    }

    fn seat(&mut self, key: Key, newcomer: Newcomer) -> Result<(), Refusal> {
        let place = place(&newcomer);
        self.taken.insert(key, (place, self.seats.take(newcomer)?));
        Ok(())
    }

    /// Seats those whose place has become free.
    fn seat_waiting(&mut self) {
        for (key, newcomer) in std::mem::take(&mut self.waiting) {
            if self.holder(&newcomer).is_some() {
                self.waiting.push((key, newcomer));
                continue;
            }
            if let Err(e) = self.seat(key, newcomer) {
                tracing::warn!("domain {} vif {} is not served: {e}", key.0, key.1);
            }
        }
    }
}

/// The bridge domain of an interface.
fn domain(vif: &VifConfig) -> String {
    let bridge = vif.bridge.as_deref().unwrap_or(DEFAULT_BRIDGE);
    vif.vlan.map_or_else(|| bridge.to_owned(), |vlan| format!("{bridge}.{vlan}"))
}

/// The interface takes no more from its guest than `rate=` allows.
fn limits(vif: &VifConfig) -> PortLimits {
    let limits = PortLimits::default();
    if let Some(rate) = vif.rate {
        limits
            .from
            .set(LineRate::new(rate.bits_per_second().clamp(1, LineRate::MAX)), Some(rate.bytes.max(SUPER_FRAME)));
    }
    limits
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
            limits: limits(vif),
            queues: ports.into_iter().map(|port| Box::new(port) as Box<dyn Port>).collect(),
            mode: Box::new(move || mode.get()),
        };
        let key = (vif.domain, vif.handle);
        if let Some((domain, handle)) = self.holder(&newcomer) {
            tracing::warn!(
                "domain {} vif {} waits until domain {domain} vif {handle}, which has the same address, is gone",
                vif.domain,
                vif.handle
            );
            self.waiting.push((key, newcomer));
            return Ok(());
        }
        self.seat(key, newcomer)
    }

    fn left(&mut self, domain: DomId, handle: u32) {
        self.waiting.retain(|(key, _)| *key != (domain, handle));
        if let Some((_, seat)) = self.taken.remove(&(domain, handle)) {
            drop(self.seats.leave(seat));
            self.seat_waiting();
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
