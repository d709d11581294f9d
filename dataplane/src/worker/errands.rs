//! What the control side wants of a worker: ports that come and go.

use super::{Arrival, Done, Errand, Route, Slot, Worker};
use crate::units::PortId;

impl Worker {
    /// Ports come and go, between two breaths: nothing is staged, and every frame is where it will be accounted for.
    #[cold]
    pub(super) fn run_errands(&mut self) {
        for (errand, done) in self.doorbell.take() {
            let back = match errand {
                Errand::Attach(arrival) => {
                    self.attach(arrival);
                    Done::new()
                }
                Errand::Detach(id) => self.detach(id),
            };
            // Whoever gave the errand may have stopped waiting; then the ports end here.
            let _ = done.send(back);
        }
    }

    fn attach(&mut self, arrival: Arrival) {
        let Arrival { id, guest, counters, queues, peer, watch } = arrival;
        if let Some(turns) = &mut self.turns {
            turns.set_guest(id, guest);
        }
        self.out.set_counters(id, counters);
        self.out.set_up(id, queues.first().is_none_or(|queue| queue.is_up()));
        self.routes[id.index()] = match peer {
            _ if !queues.is_empty() => Route::Slot(self.slots.len()),
            Some(peer) => Route::Peer(peer),
            None => Route::Nowhere,
        };
        self.slots.extend(queues.into_iter().map(|port| Slot::new(id, guest, port)));
        self.full.extend(watch);
    }

    fn detach(&mut self, id: PortId) -> Done {
        self.routes[id.index()] = Route::Nowhere;
        if let Some(turns) = &mut self.turns {
            turns.forget(id);
        }
        self.full.retain(|watch| watch.port != id);
        let mut back = Done::new();
        let mut moved: Vec<Option<usize>> = Vec::with_capacity(self.slots.len());
        let mut kept = Vec::with_capacity(self.slots.len());
        for mut slot in self.slots.drain(..) {
            if slot.id == id {
                slot.port.detach(&mut self.pool);
                back.push(slot.port);
                moved.push(None);
            } else {
                moved.push(Some(kept.len()));
                kept.push(slot);
            }
        }
        self.slots = kept;
        for route in &mut self.routes {
            if let Route::Slot(index) = route {
                *route = moved.get(*index).copied().flatten().map_or(Route::Nowhere, Route::Slot);
            }
        }
        back
    }
}
