//! What the backend costs a frame, on the simulated hypervisor: `cargo bench -p pointsman-xen --bench backend`.
//!
//! Of a vif, and of a ring that a guest's agent granted. The guests are in the same process and their part is not timed, but for
//! the agent's. A vif's copying is this process's own work here, as it is not on Xen, where it is one hypercall for sixteen
//! copies; so it is measured apart, with the same ops and nothing else.

#![allow(missing_docs, reason = "a bench")]

use std::sync::{Arc, mpsc};
use std::time::Duration;

use pointsman_dataplane::frame::{BURST, Burst};
use pointsman_dataplane::pool::Pool;
use pointsman_dataplane::port::Port;
use pointsman_dataplane::units::Nanos;
use pointsman_xen::frontend::{Frontend, FrontendOptions};
use pointsman_xen::netif::keys::VifConfig;
use pointsman_xen::ring::{RingAgent, RingOptions};
use pointsman_xen::sim::{Machine, SimDomain, Toolstack};
use pointsman_xen::vif::{Guests, Refusal, VifBackend, VifOptions, VifPort};
use pointsman_xen::{CopyOp, DomId, Hypervisor};

/// A 64-byte frame, without its FCS.
const FRAME: usize = 60;
const ROUNDS: usize = 20_000;
/// With a driver for its vif.
const GUEST: DomId = DomId(5);
/// With an agent.
const AGENT: DomId = DomId(6);

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

/// What looking at the clock takes.
fn clocks_own() -> f64 {
    let look = || {
        let begin = clock();
        clock() - begin
    };
    let mut looks: Vec<u64> = std::iter::repeat_with(look).take(10_000).collect();
    looks.sort_unstable();
    looks[looks.len() / 2] as f64
}

/// What one step of a round takes is noted in `rounds`.
fn timed(rounds: &mut Vec<u64>, step: impl FnOnce()) {
    let begin = clock();
    step();
    rounds.push(clock() - begin);
}

/// A burst, and the breath's end.
fn send(port: &mut impl Port, pool: &mut Pool, burst: &mut Burst) {
    port.push(pool, burst);
    port.flush(pool);
}

struct Bench<'a> {
    machine: &'a Machine,
    control: Arc<SimDomain>,
    toolstack: Toolstack,
    arrivals: mpsc::Receiver<VifPort>,
    pool: Pool,
    empty: f64,
}

impl Bench<'_> {
    /// A guest, and its vif's port.
    fn guest(&mut self, id: DomId) -> (SimDomain, VifPort) {
        let domain = SimDomain::guest(self.machine.dir(), id, 2048).unwrap();
        self.toolstack.add_vif(id, 0, &[]).unwrap();
        (domain, self.arrivals.recv().unwrap())
    }

    fn vif(&mut self) {
        let (domain, mut port) = self.guest(GUEST);
        let mut guest = Frontend::new(&domain, 0, FrontendOptions::default()).unwrap();
        guest.connect().unwrap();
        let pool = &mut self.pool;
        while !port.is_up() {
            port.tick(pool, Nanos::now());
            std::thread::sleep(Duration::from_millis(1));
        }
        let (calls_before, ops_before) = self.control.copies();
        let (mut pulled, mut pushed) = (Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS));
        for _ in 0..ROUNDS {
            guest.take_sent(0);
            for _ in 0..BURST {
                assert!(guest.send(0, &[0x5a; FRAME], 0, &[]));
            }
            guest.queues[0].tx.set_requests(guest.queues[0].produced[0]);
            let mut burst = Burst::new();
            timed(&mut pulled, || port.pull(pool, &mut burst));
            assert_eq!(burst.len(), BURST);
            timed(&mut pushed, || send(&mut port, pool, &mut burst));
            let received = guest.queues[0].rx.responses().wrapping_sub(guest.queues[0].consumed[1]);
            assert_eq!(received as usize, BURST);
            guest.receive(0).unwrap();
            // The answers of this burst, so that the ring is empty again.
            port.pull(pool, &mut burst);
        }
        let (calls, ops) = self.control.copies();
        let (calls, ops) = (calls - calls_before, ops - ops_before);
        println!("vif: {ROUNDS} bursts of {BURST} frames of 64 bytes each way: {calls} copy calls, {ops} copies");
        report("from the guest, copies included", pulled, self.empty);
        report("to the guest, copies included", pushed, self.empty);

        // The copies alone.
        let mut grants = self.control.grants().unwrap();
        let grant = guest.queues[0].tx_pages.grant(0);
        let mut frames: Vec<_> = (0..BURST).filter_map(|_| pool.unfilled(FRAME)).collect();
        let mut copied = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            // SAFETY: the frames' chunks are ours and stay until after the copies.
            let op = |frame| unsafe { CopyOp::from_grant(GUEST, grant, 0, pool.start(frame), FRAME as u16) };
            let mut ops: Vec<CopyOp> = frames.iter().map(op).collect();
            timed(&mut copied, || grants.copy(&mut ops).unwrap());
        }
        pool.free_all(frames.drain(..));
        report("the simulated copies alone", copied, self.empty);
    }

    fn ring(&mut self) {
        let (domain, mut port) = self.guest(AGENT);
        let options = RingOptions { handle: 0, pages: 300, buffer_size: 2048 };
        let (_agent, mut guest) = RingAgent::start(Arc::new(domain), options).unwrap();
        let mut memory = Pool::new(1024).unwrap();
        let pool = &mut self.pool;
        while !(guest.is_up() && port.mode().starts_with("rings of")) {
            guest.pull(&mut memory, &mut Burst::new());
            port.pull(pool, &mut Burst::new());
            std::thread::sleep(Duration::from_millis(1));
        }
        let (calls_before, _) = self.control.copies();
        let [mut pulled, mut pushed, mut sent, mut received] = std::array::from_fn(|_| Vec::with_capacity(ROUNDS));
        for _ in 0..ROUNDS {
            let mut burst: Burst = (0..BURST).map(|_| memory.frame_from(&[0x5a; FRAME]).unwrap()).collect();
            timed(&mut sent, || send(&mut guest, &mut memory, &mut burst));
            timed(&mut pulled, || port.pull(pool, &mut burst));
            assert_eq!(burst.len(), BURST);
            timed(&mut pushed, || send(&mut port, pool, &mut burst));
            timed(&mut received, || guest.pull(&mut memory, &mut burst));
            assert_eq!(burst.len(), BURST);
            memory.free_all(burst.drain(..));
        }
        let calls = self.control.copies().0 - calls_before;
        println!("ring: {ROUNDS} bursts of {BURST} frames of 64 bytes each way: {calls} copy calls");
        report("from the guest", pulled, self.empty);
        report("to the guest", pushed, self.empty);
        report("the guest's own part, sending", sent, self.empty);
        report("the guest's own part, receiving", received, self.empty);
    }
}

fn main() {
    let machine = Machine::temporary().unwrap();
    let control = Arc::new(SimDomain::control(machine.dir()));
    let (sender, arrivals) = mpsc::channel();
    let _backend = VifBackend::start(control.clone(), VifOptions::default(), Box::new(Keep(sender))).unwrap();
    let toolstack = machine.toolstack().unwrap();
    let pool = Pool::new(4096).unwrap();
    let mut bench = Bench { machine: &machine, control, toolstack, arrivals, pool, empty: clocks_own() };
    bench.vif();
    bench.ring();
}
