//! Ports within the engine: where VRFs' interfaces are stations in bridge domains.
//!
//! Each such interface has two numbers behind those of all ports and seats: by the first the bridge knows it as a station of
//! its domain, by the second what it sends gets there. On the worker of the VRF both are its forwarder's; to the others the
//! first is a port of that worker like any other, so a frame that comes in elsewhere is handed over.

use std::sync::Arc;

use super::vrfs::RunningVrf;
use crate::bridge::{DomainId, Member};
use crate::config::{Config, VrfSpec};
use crate::port::Counters;
use crate::rib::InterfaceId;
use crate::units::{GuestId, Mac, PortId};

/// An interface that is a station in a bridge domain.
#[derive(Clone, Debug)]
pub struct InnerPort {
    /// The VRF's place in the configuration.
    pub vrf: usize,
    /// Its interface.
    pub interface: InterfaceId,
    /// Index of the domain.
    pub domain: usize,
    /// What the bridge sends to the interface goes there.
    pub station: PortId,
    /// What the interface sends goes there.
    pub way_back: PortId,
    /// As `show` calls it: no port's name has a slash.
    pub name: String,
    /// What is lost there.
    pub counters: Arc<Counters>,
}

/// The inner ports of `config`, numbered from `first` on.
pub fn inner_ports(config: &Config, first: usize) -> Vec<InnerPort> {
    let mut inner: Vec<InnerPort> = Vec::new();
    for (vrf, spec) in config.vrfs.iter().enumerate() {
        for (id, interface) in (0..).map(InterfaceId).zip(&spec.interfaces) {
            let Some(domain) = interface.domain() else { continue };
            let number = first + 2 * inner.len();
            inner.push(InnerPort {
                vrf,
                interface: id,
                domain,
                station: PortId(number as u16),
                way_back: PortId(number as u16 + 1),
                name: format!("{}/{}", spec.name, interface.name),
                counters: Arc::default(),
            });
        }
    }
    inner
}

impl InnerPort {
    /// What the bridge is told of both numbers, in order.
    pub fn members(&self, vrfs: &[Arc<RunningVrf>]) -> [Member; 2] {
        let mac = vrfs[self.vrf].macs[usize::from(self.interface.0)];
        let native = Some(DomainId(self.domain as u16));
        let station = Member { name: self.name.clone(), native, vlans: Vec::new(), macs: vec![mac] };
        [station, Member::default()]
    }

    /// Whose work it is what goes there from an uplink.
    pub fn guest(&self, config: &Config) -> GuestId {
        config.vrfs[self.vrf].guest.map_or(GuestId::UPLINKS, |guest| GuestId(guest as u16 + 1))
    }
}

/// An address for an interface that has been given none: locally administered, and the same after every start on this host.
pub fn station_of(vrf: &VrfSpec, interface: &str) -> Mac {
    // Hosts with one configuration may well share a network.
    let host = std::fs::read("/etc/machine-id").unwrap_or_default();
    // FNV-1a, 64 bits: it stays what it is, whatever the compiler's library hashes by.
    let bytes = host.iter().chain(vrf.name.as_bytes()).chain(b"/").chain(interface.as_bytes());
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let [a, b, c, d, e, f, ..] = hash.to_be_bytes();
    Mac([a & 0xfc | 0x02, b, c, d, e, f])
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn made_addresses_are_stations_of_their_own_and_stay() {
        let text = "seats = 1\n[[domain]]\nname = \"lan\"\n[[vrf]]\nname = \"r1\"\n[[vrf.interface]]\nname = \"a\"\n\
                    domain = \"lan\"\n[[vrf.interface]]\nname = \"b\"\ndomain = \"lan\"\n";
        let config = Config::parse(text, Path::new("test.toml")).unwrap();
        let [a, b] = ["a", "b"].map(|name| station_of(&config.vrfs[0], name));
        assert_ne!(a, b);
        assert_eq!(a, station_of(&config.vrfs[0], "a"));
        for mac in [a, b] {
            assert!(mac.is_station() && mac.0[0] & 3 == 2, "{mac}");
        }
        let inner = inner_ports(&config, 7);
        let ids: Vec<_> = inner.iter().map(|port| (port.station.0, port.way_back.0, &*port.name)).collect();
        assert_eq!(ids, [(7, 8, "r1/a"), (9, 10, "r1/b")]);
    }
}
