//! What the backend costs a frame, on the simulated hypervisor: `cargo bench -p pointsman-xen --bench vif`.
//!
//! The guest is in the same process and its part is not timed. Copying is this process's own work here, as it is not on
//! Xen, where it is one hypercall for sixteen copies; so it is measured apart, with the same ops and nothing else.

#![allow(missing_docs, reason = "a bench")]

use std::sync::{Arc, mpsc};
use std::time::Duration;

use pointsman_dataplane::frame::{BURST, Burst};
use pointsman_dataplane::pool::Pool;
use pointsman_dataplane::port::Port;
use pointsman_dataplane::units::Nanos;
use pointsman_xen::frontend::{Frontend, FrontendOptions};
use pointsman_xen::netif::keys::VifConfig;
use pointsman_xen::sim::{Machine, SimDomain};
use pointsman_xen::vif::{Guests, Refusal, VifBackend, VifOptions, VifPort};
use pointsman_xen::{CopyOp, DomId, Hypervisor};

/// A 64-byte frame, without its FCS.
const FRAME: usize = 60;
const ROUNDS: usize = 20_000;
const GUEST: DomId = DomId(5);

struct Keep(mpsc::Sender<VifPort>);

impl Guests for Keep {
    fn arrived(&mut self, _: &VifConfig, ports: Vec<VifPort>) -> Result<(), Refusal> {
        ports.into_iter().try_for_each(|port| self.0.send(port).map_err(|_| "the bench is over".into()))
    }

    fn left(&mut self, _: DomId, _: u32) {}
}

/// Processor time of this thread: what others do meanwhile is not counted.
fn clock() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// The middle of many rounds' nanoseconds, a frame.
fn report(what: &str, mut rounds: Vec<u64>, empty: f64) {
    rounds.sort_unstable();
    let frame = |part: usize| (rounds[rounds.len() * part / 100] as f64 - empty) / BURST as f64;
    println!("{what:<46} {:>7.1} ns a frame (half of all rounds: {:.1} to {:.1})", frame(50), frame(25), frame(75));
}

fn main() {
    let machine = Machine::temporary().unwrap();
    let control = Arc::new(SimDomain::control(machine.dir()));
    let (sender, ports) = mpsc::channel();
    let _backend = VifBackend::start(control.clone(), VifOptions::default(), Box::new(Keep(sender))).unwrap();
    let mut toolstack = machine.toolstack().unwrap();
    let domain = SimDomain::guest(machine.dir(), GUEST, 2048).unwrap();
    toolstack.add_vif(GUEST, 0, &[]).unwrap();
    let mut port = ports.recv().unwrap();
    let mut guest = Frontend::new(&domain, 0, FrontendOptions::default()).unwrap();
    guest.connect().unwrap();
    let mut pool = Pool::new(4096).unwrap();
    while !port.is_up() {
        port.tick(&mut pool, Nanos::now());
        std::thread::sleep(Duration::from_millis(1));
    }
    let data = [0x5a; FRAME];
    let mut timer: Vec<u64> = (0..10_000)
        .map(|_| {
            let t = clock();
            clock() - t
        })
        .collect();
    timer.sort_unstable();
    let empty = timer[timer.len() / 2] as f64;

    let (calls_before, ops_before) = control.copies();
    let mut pulled = Vec::with_capacity(ROUNDS);
    let mut pushed = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        guest.take_sent(0);
        for _ in 0..BURST {
            assert!(guest.send(0, &data, 0, &[]));
        }
        guest.queues[0].tx.set_requests(guest.queues[0].produced[0]);
        let mut burst = Burst::new();
        let begin = clock();
        port.pull(&mut pool, &mut burst);
        pulled.push(clock() - begin);
        assert_eq!(burst.len(), BURST);
        let begin = clock();
        port.push(&mut pool, &mut burst);
        port.flush(&mut pool);
        pushed.push(clock() - begin);
        let received = guest.queues[0].rx.responses().wrapping_sub(guest.queues[0].consumed[1]);
        assert_eq!(received as usize, BURST);
        guest.receive(0).unwrap();
        // The answers of this burst, so that the ring is empty again.
        port.pull(&mut pool, &mut burst);
    }
    let (calls, ops) = control.copies();
    println!(
        "{} bursts of {BURST} frames of 64 bytes each way: {} copy calls, {} copies",
        ROUNDS,
        calls - calls_before,
        ops - ops_before
    );
    report("from the guest, copies included", pulled, empty);
    report("to the guest, copies included", pushed, empty);

    // The copies alone.
    let mut grants = control.grants().unwrap();
    let grant = guest.queues[0].tx_pages.grant(0);
    let mut frames: Vec<_> = (0..BURST).filter_map(|_| pool.unfilled(FRAME)).collect();
    let mut copied = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        // SAFETY: the frames' chunks are ours and stay until after the copies.
        let op = |frame| unsafe { CopyOp::from_grant(GUEST, grant, 0, pool.start(frame), FRAME as u16) };
        let mut ops: Vec<CopyOp> = frames.iter().map(op).collect();
        let begin = clock();
        grants.copy(&mut ops).unwrap();
        copied.push(clock() - begin);
    }
    pool.free_all(frames.drain(..));
    report("the simulated copies alone", copied, empty);
}
