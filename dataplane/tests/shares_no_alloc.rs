//! The scheduler before a port allocates nothing, whether frames pass, wait, or find no room.

mod counting;

use std::sync::Arc;

use counting::calls;
use pointsman_dataplane::drops::DropReason;
use pointsman_dataplane::frame::{BURST, Burst};
use pointsman_dataplane::link_rate::LineRate;
use pointsman_dataplane::pool::Pool;
use pointsman_dataplane::port::{Counters, Port, Sleep};
use pointsman_dataplane::shares::{GuestTerms, PortLimits, Shaped, Shares};
use pointsman_dataplane::units::{GuestId, Nanos};

/// Has frames of 60 bytes without end, and takes some now and then.
#[derive(Default)]
struct Peer {
    counters: Arc<Counters>,
    pulls: usize,
    taken: usize,
}

impl Port for Peer {
    fn pull(&mut self, pool: &mut Pool, burst: &mut Burst) {
        self.pulls += 1;
        while !burst.is_full()
            && let Some(frame) = pool.frame_from(&[2; 60])
        {
            burst.push(frame);
        }
    }

    fn push(&mut self, pool: &mut Pool, burst: &mut Burst) {
        self.taken += burst.len();
        pool.free_all(burst.drain(..));
    }

    fn room(&mut self) -> usize {
        if self.pulls.is_multiple_of(3) { BURST } else { 1 }
    }

    fn flush(&mut self, _: &mut Pool) {}

    fn tick(&mut self, _: &mut Pool, _: Nanos) {}

    fn arm(&mut self, _: &Sleep) -> bool {
        true
    }

    fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    fn mode(&self) -> String {
        "peer".to_owned()
    }
}

#[test]
fn shaping_allocates_nothing() {
    let names: Vec<String> = (0..300).map(|n| format!("r{n}")).collect();
    let shares = Arc::new(Shares::new(names.iter().map(|name| (name.as_str(), GuestTerms::default())), 0));
    let guest = GuestId(1);
    let limits = PortLimits::default();
    let counters: Arc<Counters> = Arc::default();
    let peer = Peer { counters: Arc::clone(&counters), ..Peer::default() };
    let mut port = Shaped::new(Box::new(peer), &limits, &shares, guest);
    let mut pool = Pool::new(8192).expect("frame memory");
    let before = pool.available();
    let mut burst = Burst::new();
    for (from, line) in [(None, None), (None, LineRate::new(1_000_000_000)), (LineRate::new(100_000_000), None)] {
        shares.change(guest, "rate-from", &from.map_or("none".into(), |rate| rate.to_string())).expect("a rate");
        limits.line.set(line, None);
        let begin = calls();
        for source in (0..=300).cycle().take(3000) {
            port.pull(&mut pool, &mut burst);
            port.source(GuestId(source));
            port.push(&mut pool, &mut burst);
            port.flush(&mut pool);
        }
        assert_eq!(calls() - begin, 0, "{from:?} {line:?}");
    }
    assert!(counters.drops.get(DropReason::OutputFull) > 0 && counters.drops.get(DropReason::LineRate) > 0);
    port.detach(&mut pool);
    assert_eq!(pool.available(), before);
}
