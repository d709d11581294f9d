//! Addresses that a router shares with others (VRRP, RFC 5798; CARP's are the same).
//!
//! Several routers stand for one, and the one that is master takes what hosts send to the *virtual router's* Ethernet
//! address, which says its number (7.3). Who is master the routers' stacks settle among themselves, by frames that pass
//! here; so nobody need tell us: what comes from such an address out of our own stack is the master's, and what comes from
//! it by the link is another master's. As a backup we must not take what is for the address (6.4.2): a switch that floods
//! would have us forward a second time. When the stack dies we go on until another router takes over.

use crate::units::Mac;
use crate::wire::ethernet;

/// The virtual routers that an interface takes part in.
#[derive(Clone, Debug, Default)]
pub(crate) struct VirtualRouters(Box<[Station]>);

#[derive(Clone, Copy, Debug)]
struct Station {
    mac: Mac,
    /// Whether we stand for it now.
    master: bool,
}

/// The Ethernet addresses of virtual router `id`: for IPv4 and for IPv6.
pub(crate) const fn addresses(id: u8) -> [Mac; 2] {
    [Mac([0, 0, 0x5e, 0, 1, id]), Mac([0, 0, 0x5e, 0, 2, id])]
}

impl VirtualRouters {
    /// Those of these numbers; we are master of none.
    pub(crate) fn new(ids: &[u8]) -> Self {
        Self(ids.iter().flat_map(|&id| addresses(id)).map(|mac| Station { mac, master: false }).collect())
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether what is for `mac` is for us.
    pub(crate) fn is_master(&self, mac: Mac) -> bool {
        self.0.iter().any(|station| station.master && station.mac == mac)
    }

    /// The station that a frame is for, if we are master of it.
    #[inline]
    pub(crate) fn destination(&self, head: &[u8]) -> Option<Mac> {
        let mac = Mac(*head.first_chunk()?);
        self.is_master(mac).then_some(mac)
    }

    /// Our stack has sent a frame from `mac`. Whether it may.
    pub(crate) fn stack_sent(&mut self, mac: Mac) -> bool {
        self.note(mac, true)
    }

    /// A frame has come by the link: if it is from one of ours, another router is master.
    pub(crate) fn link_sent(&mut self, head: &[u8]) {
        if !self.is_empty()
            && let Ok(header) = ethernet::Header::parse(head)
        {
            self.note(header.src(), false);
        }
    }

    fn note(&mut self, mac: Mac, master: bool) -> bool {
        let found = self.0.iter_mut().find(|station| station.mac == mac);
        found.map(|station| station.master = master).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sent_last_from_the_address_is_master() {
        let mut routers = VirtualRouters::new(&[5, 255]);
        let [v4, v6] = addresses(5);
        assert_eq!((v4.to_string(), v6.to_string()), ("00:00:5e:00:01:05".into(), "00:00:5e:00:02:05".into()));
        assert!(!routers.is_master(v4));
        assert!(!routers.stack_sent(addresses(6)[0]), "not one of ours");
        assert!(routers.stack_sent(v4));
        assert!(routers.is_master(v4) && !routers.is_master(v6), "each family has a master of its own");
        let mut frame = [0; 60];
        frame[6..12].copy_from_slice(&v6.0);
        routers.link_sent(&frame);
        assert!(routers.is_master(v4));
        frame[6..12].copy_from_slice(&v4.0);
        routers.link_sent(&frame);
        assert!(!routers.is_master(v4));
        routers.link_sent(&[]);
    }
}
