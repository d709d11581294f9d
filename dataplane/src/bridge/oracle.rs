//! The bridge once more, as plainly as it can be said: maps, byte vectors, one frame at a time. What the real one does
//! must be what this one does. It shares only the input types with it.

use std::collections::BTreeMap;

use super::{Domain, Member};
use crate::drops::DropReason;

/// A copy of the bridge's rules.
pub(super) struct Oracle {
    ports: Vec<Member>,
    domains: Vec<Domain>,
    down: Vec<usize>,
    /// (domain, address) -> (port, second)
    learned: BTreeMap<(usize, [u8; 6]), (usize, u64)>,
}

/// The frames that leave, by port; or why none does.
pub(super) type Outcome = Result<Vec<(usize, Vec<u8>)>, DropReason>;

impl Oracle {
    pub(super) fn new(ports: &[Member], domains: &[Domain], down: &[usize]) -> Self {
        Self { ports: ports.to_vec(), domains: domains.to_vec(), down: down.to_vec(), learned: BTreeMap::new() }
    }

    pub(super) fn forward(&mut self, input: usize, frame: &[u8], second: u64) -> Outcome {
        let word = |at: usize| frame.get(at..at + 2).map(|b| usize::from(b[0]) << 8 | usize::from(b[1]));
        let is_tag = |kind| [0x8100, 0x88a8, 0x9100].contains(&kind);
        let mut kind = word(12).ok_or(DropReason::Runt)?;
        let mut tci = None;
        if kind == 0x8100 {
            kind = word(16).ok_or(DropReason::Runt)?;
            tci = word(14);
        }
        if is_tag(kind) {
            return Err(DropReason::VlanNotAllowed);
        }
        let domain = match tci.map(|tci| tci % 4096) {
            None | Some(0) => self.ports[input].native.ok_or(DropReason::NoDomain)?,
            Some(vid) => {
                let mut vlans = self.ports[input].vlans.iter();
                vlans.find(|(vlan, _)| usize::from(vlan.get()) == vid).ok_or(DropReason::VlanNotAllowed)?.1
            }
        };
        let domain = usize::from(domain.0);
        let dst: [u8; 6] = frame[..6].try_into().unwrap();
        let src: [u8; 6] = frame[6..12].try_into().unwrap();
        if dst[..5] == [1, 0x80, 0xc2, 0, 0] && dst[5] < 16 {
            return Err(DropReason::LinkLocal);
        }
        if src[0] % 2 == 1 || src == [0; 6] {
            return Err(DropReason::SourceInvalid);
        }
        if !self.ports[input].macs.is_empty() {
            if !self.ports[input].macs.iter().any(|mac| mac.0 == src) {
                return Err(DropReason::SourceSpoofed);
            }
        } else {
            self.learn(domain, src, input, second);
        }
        // Below, without tag and with what was in it.
        let priority = tci.map_or(0, |tci| tci & 0xf000);
        let mut bare = frame.to_vec();
        if tci.is_some() {
            bare.drain(12..16);
        }
        let to = if dst[0] % 2 == 1 {
            self.members(domain).into_iter().filter(|&port| port != input && !self.down.contains(&port)).collect()
        } else {
            match self.place(domain, dst, second) {
                Some(port) if port == input => return Err(DropReason::SamePort),
                Some(port) => vec![port],
                None => {
                    let mut ports = self.members(domain);
                    ports.retain(|p| *p != input && !self.down.contains(p) && self.ports[*p].macs.is_empty());
                    ports
                }
            }
        };
        if to.is_empty() {
            return Err(DropReason::NoOutput);
        }
        Ok(to.into_iter().map(|port| (port, self.leave(port, domain, priority, &bare))).collect())
    }

    fn members(&self, domain: usize) -> Vec<usize> {
        (0..self.ports.len()).filter(|&port| self.tag(port, domain).is_some()).collect()
    }

    /// The VLAN that the domain has at the port, 0 without tag.
    fn tag(&self, port: usize, domain: usize) -> Option<u16> {
        let port = &self.ports[port];
        if port.native.is_some_and(|native| usize::from(native.0) == domain) {
            return Some(0);
        }
        port.vlans.iter().find(|(_, d)| usize::from(d.0) == domain).map(|(vlan, _)| vlan.get())
    }

    fn leave(&self, port: usize, domain: usize, priority: usize, bare: &[u8]) -> Vec<u8> {
        match self.tag(port, domain).unwrap() {
            0 => bare.to_vec(),
            vid => {
                let tci = priority as u16 + vid;
                [&bare[..12], &[0x81, 0], &tci.to_be_bytes(), &bare[12..]].concat()
            }
        }
    }

    fn configured(&self, domain: usize, mac: [u8; 6]) -> Option<usize> {
        self.members(domain).into_iter().find(|&port| self.ports[port].macs.iter().any(|m| m.0 == mac))
    }

    fn place(&self, domain: usize, mac: [u8; 6], second: u64) -> Option<usize> {
        if let Some(port) = self.configured(domain, mac) {
            return Some(port);
        }
        let &(port, seen) = self.learned.get(&(domain, mac))?;
        let age = self.domains[domain].age.0 / 1_000_000_000;
        (second - seen <= age && !self.down.contains(&port)).then_some(port)
    }

    fn learn(&mut self, domain: usize, mac: [u8; 6], port: usize, second: u64) {
        let known = self.learned.keys().filter(|(d, _)| *d == domain).count();
        let room = known < self.domains[domain].max_learned as usize;
        if self.learned.contains_key(&(domain, mac)) || (room && self.configured(domain, mac).is_none()) {
            self.learned.insert((domain, mac), (port, second));
        }
    }

    /// What ticks do sooner or later.
    pub(super) fn sweep(&mut self, second: u64) {
        let domains = &self.domains;
        self.learned.retain(|(domain, _), (_, seen)| second - *seen <= domains[*domain].age.0 / 1_000_000_000);
    }
}
