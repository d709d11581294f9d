//! A queue allocates nothing for a frame, in either direction, whatever its length: counted at this thread.

#[path = "../../dataplane/tests/counting/mod.rs"]
mod counting;
mod support;

use counting::calls;
use pointsman_dataplane::frame::{BURST, Burst};
use pointsman_dataplane::port::{Port, Sleep};
use pointsman_dataplane::units::Nanos;
use pointsman_xen::frontend::FrontendOptions;
use pointsman_xen::vif::VifOptions;
use support::{Rig, VICTIM, frame};

#[test]
fn frames_to_and_from_a_guest_cost_no_allocation() {
    let mut rig = Rig::new(VifOptions::default());
    let (_domain, mut guest) = rig.connected(VICTIM, FrontendOptions::default());
    rig.works(VICTIM, &mut guest);
    let sleep = Sleep::new().unwrap();
    let port = &mut rig.vifs[0].ports[0];
    let pool = &mut rig.pool;
    let mut carried = 0;
    for round in 0..200 {
        let len = [60, 1514, 9000][round % 3];
        guest.take_sent(0);
        let sent = (0..BURST).take_while(|seed| guest.send(0, &frame(len, *seed as u8), 0, &[])).count();
        guest.show_tx(0).unwrap();
        let mut burst = Burst::new();
        let before = calls();
        port.pull(pool, &mut burst);
        let pulled = burst.len();
        port.push(pool, &mut burst);
        port.flush(pool);
        port.notify();
        port.tick(pool, Nanos::now());
        port.pull(pool, &mut burst);
        // The first time a descriptor goes into the epoll, which is the kernel's memory.
        port.arm(&sleep);
        port.disarm(&sleep);
        assert_eq!(calls(), before, "round {round}: frames of {len} bytes were paid for with allocations");
        assert!(pulled > 0 && pulled <= sent);
        carried += pulled;
        pool.free_all(burst.drain(..));
        guest.receive(0).unwrap();
    }
    assert!(carried > 3000, "{carried} frames");
}
