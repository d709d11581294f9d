//! Which interface of a VRF a device of the client's namespace stands for.
//!
//! Routes name devices by the number that the client's kernel gave them. The engine knows the numbers of the taps that it
//! made itself; of others it learns them from an agent, which tells each device's name and Ethernet address. What an agent
//! tells wins, because it knows of devices that were made again.

use std::collections::HashMap;

use crate::rib::InterfaceId;
use crate::units::Mac;

use super::{IfIndex, Link, TableId};

/// An interface of a VRF, by everything by which its device may be known.
#[derive(Clone, Debug)]
pub struct KnownInterface {
    /// The table whose routes name it.
    pub table: TableId,
    /// The interface.
    pub interface: InterfaceId,
    /// The name of its device in the client's namespace.
    pub name: String,
    /// The device's Ethernet address, unless several have it.
    pub mac: Option<Mac>,
    /// The device's number, if the engine knows it.
    pub device: Option<IfIndex>,
}

/// Numbers of devices, and what they stand for.
#[derive(Clone, Debug, Default)]
pub struct Devices {
    known: Vec<KnownInterface>,
    told: HashMap<IfIndex, (String, Option<Mac>)>,
    by_index: HashMap<(TableId, IfIndex), InterfaceId>,
}

impl Devices {
    /// Those of the VRFs that a feed's tables lead to.
    pub fn new(known: Vec<KnownInterface>) -> Self {
        let mut devices = Self { known, ..Self::default() };
        devices.settle();
        devices
    }

    /// Takes in what an agent tells.
    pub fn learn(&mut self, link: &Link, present: bool) {
        let before = match present {
            true => self.told.insert(link.device, (link.name.clone(), link.mac)),
            false => self.told.remove(&link.device),
        };
        if before.as_ref() != self.told.get(&link.device) {
            self.settle();
        }
    }

    /// The engine has made a device, or knows its number now.
    pub fn number(&mut self, table: TableId, interface: InterfaceId, device: Option<IfIndex>) {
        for known in &mut self.known {
            if (known.table, known.interface) == (table, interface) {
                known.device = device;
            }
        }
        self.settle();
    }

    /// What a device stands for.
    #[inline]
    pub fn interface(&self, table: TableId, device: IfIndex) -> Option<InterfaceId> {
        self.by_index.get(&(table, device)).copied()
    }

    /// By name, else by Ethernet address, else by the number that the engine knows.
    fn settle(&mut self) {
        self.by_index.clear();
        for known in &self.known {
            let told = || self.told.iter();
            let named = told().find(|(_, (name, _))| *name == known.name);
            let alike = || told().find(|(_, (_, mac))| known.mac.is_some() && *mac == known.mac);
            // A number that an agent gives to a device of another name is not this interface's any more.
            let numbered = || known.device.filter(|device| !self.told.contains_key(device));
            let device = named.or_else(alike).map(|(device, _)| *device).or_else(numbered);
            if let Some(device) = device {
                self.by_index.insert((known.table, device), known.interface);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIN: TableId = TableId::MAIN;

    fn link(device: u32, name: &str, mac: u8) -> Link {
        let mac = Some(Mac([2, 0, 0, 0, 0, mac]));
        Link { device: IfIndex(device), name: name.into(), mac, mtu: None, master: None, up: true, running: true }
    }

    fn known(interface: u16, name: &str, mac: Option<u8>, device: Option<u32>) -> KnownInterface {
        let mac = mac.map(|n| Mac([2, 0, 0, 0, 0, n]));
        let (interface, device) = (InterfaceId(interface), device.map(IfIndex));
        KnownInterface { table: MAIN, interface, name: name.into(), mac, device }
    }

    #[test]
    fn the_engine_s_numbers_serve_until_an_agent_knows_better() {
        let mut devices = Devices::new(vec![known(0, "eth0", None, Some(7)), known(1, "eth1", Some(9), None)]);
        let of = |devices: &Devices, n| devices.interface(MAIN, IfIndex(n)).map(|i| i.0);
        assert_eq!((of(&devices, 7), of(&devices, 8)), (Some(0), None));
        assert_eq!(devices.interface(TableId(10), IfIndex(7)), None);
        // By name; and the number 7 is another's.
        devices.learn(&link(3, "eth0", 1), true);
        devices.learn(&link(7, "other", 2), true);
        assert_eq!((of(&devices, 3), of(&devices, 7)), (Some(0), None));
        // By Ethernet address.
        devices.learn(&link(8, "renamed", 9), true);
        assert_eq!(of(&devices, 8), Some(1));
        devices.learn(&link(8, "renamed", 9), false);
        assert_eq!(of(&devices, 8), None);
        devices.number(MAIN, InterfaceId(1), Some(IfIndex(12)));
        assert_eq!(of(&devices, 12), Some(1));
    }
}
