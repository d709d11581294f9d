//! Where hostile guests appear: beside one that behaves.

use pointsman_dataplane::drops::DropReason;
use pointsman_xen::DomId;
use pointsman_xen::frontend::{Frontend, FrontendOptions};
use pointsman_xen::netif::state::State;
use pointsman_xen::netif::wire::TxRequest;
use pointsman_xen::sim::SimDomain;
use pointsman_xen::vif::VifOptions;

use super::{HOSTILE, Rig, VICTIM, frame};

/// A victim and a hostile guest, both connected.
pub struct Stage {
    pub rig: Rig,
    pub victim: (SimDomain, Frontend),
    pub hostile: (SimDomain, Frontend),
}

impl Stage {
    pub fn new() -> Self {
        let mut rig = Rig::new(VifOptions::default());
        let victim = rig.connected(VICTIM, FrontendOptions::default());
        let hostile = rig.connected(HOSTILE, FrontendOptions::default());
        Self { rig, victim, hostile }
    }

    pub fn front(&mut self) -> &mut Frontend {
        &mut self.hostile.1
    }

    /// Puts tx slots as they are, shows them, and lets the backend look.
    pub fn put(&mut self, slots: &[[u32; 3]]) {
        let front = &mut self.hostile.1;
        slots.iter().for_each(|slot| front.queues[0].put(*slot));
        front.show_tx(0).unwrap();
        self.rig.breathe();
        // Answers come a breath later.
        self.rig.breathe();
    }

    /// A request for `size` bytes at `offset` of a good page.
    pub fn request(&self, offset: u16, size: u16, flags: u16) -> TxRequest {
        TxRequest { grant: self.hostile.1.queues[0].tx_pages.grant(0), offset, flags, id: 77, size }
    }

    pub fn dropped(&mut self, reason: DropReason) -> u64 {
        self.rig.vif(HOSTILE).drops(reason)
    }

    pub fn statuses(&mut self) -> Vec<i16> {
        self.hostile.1.take_sent(0).iter().map(|sent| sent.status).collect()
    }

    /// The hostile guest was parted from, and told so.
    pub fn is_parted(&mut self) {
        let front = &mut self.hostile.1;
        self.rig.until("the hostile guest to be parted from", |rig| {
            !rig.vif(HOSTILE).is_up() && matches!(front.backend_state().unwrap(), Some(State::Closing | State::Closed))
        });
    }

    /// It is connected still, and its good frames pass.
    pub fn is_kept(&mut self) {
        assert!(self.rig.vif(HOSTILE).is_up(), "it was parted from");
        self.rig.vif(HOSTILE).got.clear();
        self.front().take_sent(0);
        let good = frame(60, 5);
        assert!(self.front().send(0, &good, 0, &[]));
        self.put(&[]);
        assert_eq!(self.rig.vif(HOSTILE).got, [good]);
    }

    /// The neighbour lost nothing, and nothing is held of anyone once all are gone.
    pub fn end(mut self) {
        self.rig.works(VICTIM, &mut self.victim.1);
        assert_eq!(self.rig.vif(VICTIM).all_drops(), 0, "the neighbour lost frames");
        drop(self.hostile);
        self.rig.remove(HOSTILE);
        assert_eq!(self.rig.toolstack.mapped_by(DomId::ZERO).unwrap(), 2, "only the neighbour's rings");
        assert_eq!(self.rig.toolstack.channels_of(DomId::ZERO).unwrap(), 2);
        self.rig.works(VICTIM, &mut self.victim.1);
        drop(self.victim);
        self.rig.remove(VICTIM);
        self.rig.assert_clean();
    }
}
