//! A guest that writes into its rings, its grant table and its part of the store as it likes: its port drops, or parts from
//! it, loses no memory, and leaves nothing mapped.

#![no_main]

use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use pointsman_dataplane::frame::Burst;
use pointsman_dataplane::offload::{Gso, GsoKind, admit_blank};
use pointsman_dataplane::pool::{MAX_FRAME, Pool};
use pointsman_dataplane::port::{Port, Sleep};
use pointsman_dataplane::units::Nanos;
use pointsman_fuzz::Input;
use pointsman_xen::frontend::{Frontend, FrontendOptions};
use pointsman_xen::netif::keys::VifConfig;
use pointsman_xen::netif::wire::TxRequest;
use pointsman_xen::sim::{Machine, Memory, SimDomain, Toolstack};
use pointsman_xen::vif::{Guests, Refusal, VifBackend, VifOptions, VifPort};
use pointsman_xen::{Access, DomId, GrantRef};

const GUEST: DomId = DomId(5);
const PATIENCE: Duration = Duration::from_secs(5);
/// Keys of the guest's part of the store that a backend reads.
const KEYS: [&str; 8] = [
    "state",
    "tx-ring-ref",
    "rx-ring-ref",
    "event-channel-tx",
    "event-channel-rx",
    "multi-queue-num-queues",
    "request-rx-copy",
    "backend",
];

struct Keep(mpsc::Sender<VifPort>);

impl Guests for Keep {
    fn arrived(&mut self, _: &VifConfig, ports: Vec<VifPort>) -> Result<(), Refusal> {
        ports.into_iter().for_each(|port| drop(self.0.send(port)));
        Ok(())
    }

    fn left(&mut self, _: DomId, _: u32) {}
}

struct Rig {
    _backend: VifBackend,
    arrived: mpsc::Receiver<VifPort>,
    toolstack: Toolstack,
    domain: SimDomain,
    guest: Option<(Frontend, VifPort, u32)>,
    handles: u32,
    pool: Pool,
    chunks: usize,
    sleep: Sleep,
    _machine: Machine,
}

fn rig() -> Rig {
    let machine = Machine::temporary().expect("a machine");
    let (sender, arrived) = mpsc::channel();
    let control = Arc::new(SimDomain::control(machine.dir()));
    let options = VifOptions::default();
    let backend = VifBackend::start(control, options, Box::new(Keep(sender))).expect("a backend");
    let toolstack = machine.toolstack().expect("a toolstack");
    let domain = SimDomain::guest(machine.dir(), GUEST, 2048).expect("a guest");
    let pool = Pool::new(1024).expect("memory");
    let chunks = pool.available();
    let sleep = Sleep::new().expect("an epoll");
    Rig {
        _backend: backend,
        arrived,
        toolstack,
        domain,
        guest: None,
        handles: 0,
        pool,
        chunks,
        sleep,
        _machine: machine,
    }
}

impl Rig {
    /// Breathes until something is so.
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let limit = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < limit, "waited in vain for {what}");
            if let Some((_, port, _)) = &mut self.guest {
                port.tick(&mut self.pool, Nanos::now());
            }
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    /// The toolstack takes the interface away, whatever state it is in: nothing of it may stay.
    fn part(&mut self) {
        let Some((.., handle)) = self.guest else { return };
        self.toolstack.store.remove(&Toolstack::frontend_path(GUEST, handle)).expect("a store");
        self.toolstack.begin_detach(GUEST, handle).expect("a store");
        let state = Toolstack::backend_path(GUEST, handle) + "/state";
        self.until("the backend to close", |rig| rig.toolstack.store.read(&state).expect("a store") == b"6");
        self.toolstack.finish_detach(GUEST, handle).expect("a store");
        self.guest = None;
        assert_eq!(self.toolstack.mapped_by(DomId::ZERO).expect("a machine"), 0, "grants stay mapped");
        assert_eq!(self.toolstack.channels_of(DomId::ZERO).expect("a machine"), 0, "event channels stay bound");
        assert_eq!(self.pool.available(), self.chunks, "chunks are lost");
    }

    fn joined(&mut self) {
        if self.guest.as_ref().is_some_and(|(_, port, _)| port.is_up()) {
            return;
        }
        self.part();
        // Another interface each time: one that is connected again and again is slowed down.
        self.handles += 1;
        let handle = self.handles;
        self.toolstack.add_vif(GUEST, handle, &[]).expect("a store");
        let port = self.arrived.recv_timeout(PATIENCE).expect("the interface arrives");
        let mut frontend = Frontend::new(&self.domain, handle, FrontendOptions::default()).expect("an interface");
        frontend.connect().expect("a backend that connects");
        self.guest = Some((frontend, port, handle));
        self.until("the port to be up", |rig| rig.guest.as_ref().is_some_and(|(_, port, _)| port.is_up()));
    }
}

thread_local! {
    static RIG: RefCell<Rig> = RefCell::new(rig());
}

fuzz_target!(|data: &[u8]| RIG.with_borrow_mut(|rig| run(rig, Input(data))));

fn pull(port: &mut VifPort, pool: &mut Pool) {
    let mut burst = Burst::new();
    port.pull(pool, &mut burst);
    for frame in burst.drain(..) {
        assert!((14..=MAX_FRAME).contains(&frame.len()), "{} bytes", frame.len());
        pool.free(frame);
    }
}

fn push(port: &mut VifPort, pool: &mut Pool, len: usize, gso: bool) {
    let Some(mut frame) = pool.frame_from(&vec![0x45; len]) else { return };
    if gso {
        // Refused, as it is no TCP: a plain frame then.
        let _ = admit_blank(pool, &mut frame, Some(Gso { kind: GsoKind::TcpIpv4, ecn: false, size: 500 }));
    }
    let mut burst: Burst = [frame].into_iter().collect();
    port.push(pool, &mut burst);
    assert!(burst.is_empty());
}

fn run(rig: &mut Rig, mut input: Input<'_>) {
    rig.joined();
    let Rig { guest: Some((frontend, port, _)), pool, domain, sleep, .. } = rig else { return };
    let memory: Option<Arc<Memory>> = domain.memory().cloned();
    while let Some(step) = input.byte() {
        let queue = &mut frontend.queues[0];
        match step & 0xf {
            // A slot that is nearly sound, and one that is not.
            0..=3 => {
                let [page, offset, flags, size, high] = input.take();
                let request = TxRequest {
                    grant: queue.tx_pages.grant(u16::from(page)),
                    offset: u16::from(offset) * u16::from(step & 0x10),
                    flags: u16::from(flags & 0xf),
                    id: page.into(),
                    size: u16::from(size) | u16::from(high & 0x1f) << 8,
                };
                queue.put(request.emit());
            }
            4 => {
                let words = [input.take(), input.take(), input.take()].map(u32::from_le_bytes);
                queue.put(words);
            }
            // An extra segment.
            5 => {
                let [kind, more, a, b, c] = input.take();
                let head = u32::from_le_bytes([kind & 7, more & 1, a, b]);
                queue.put([head, u32::from(c & 3), 0]);
            }
            6 => queue.tx.set_requests(queue.produced[0]),
            7 => queue.tx.set_requests(u32::from_le_bytes(input.take())),
            8 => {
                let [word, ring] = input.take();
                let value = u32::from_le_bytes(input.take());
                let ring = queue.rings[usize::from(ring & 1)];
                scribble(memory.as_deref(), ring, word, value);
            }
            9 | 10 => {
                pull(port, pool);
                pull(port, pool);
                queue.consumed[0] = queue.tx.responses();
            }
            11 => {
                let len = usize::from(u16::from_le_bytes(input.take()) % 20_000).max(14);
                push(port, pool, len, step & 0x20 != 0);
            }
            12 => {
                port.flush(pool);
                port.notify();
            }
            13 => {
                port.arm(sleep);
                sleep.wait(Nanos(0));
                port.disarm(sleep);
            }
            14 => {
                let [grant, frame, access] = input.take();
                let access = if access & 1 == 0 { Access::Read } else { Access::Write };
                if let Some(memory) = &memory {
                    memory.permit(
                        GrantRef(u32::from(grant) * 3),
                        DomId(u16::from(step >> 7)),
                        u32::from(frame),
                        access,
                    );
                }
            }
            _ => {
                let [key, len] = input.take();
                let value = input.slice(usize::from(len & 7));
                let path = format!("{}/{}", frontend.front, KEYS[usize::from(key & 7)]);
                let _ = frontend.store.write(&path, value);
                port.tick(pool, Nanos::now());
            }
        }
    }
    pull(port, pool);
    port.flush(pool);
    if is_time_to_part() {
        rig.part();
    }
}

/// Now and then the interface is taken away, so that what it leaves behind is looked at.
fn is_time_to_part() -> bool {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    RUNS.fetch_add(1, Relaxed) % 50 == 49
}

/// Writes a word of a ring's page, as the guest's kernel may.
fn scribble(memory: Option<&Memory>, ring: GrantRef, word: u8, value: u32) {
    let Some(memory) = memory else { return };
    let Some(page) = memory.granted(ring) else { return };
    // SAFETY: 256 words lie in the page, which stays mapped as long as `memory`; all access to them is atomic.
    unsafe { AtomicU32::from_ptr(page.as_ptr().cast::<u32>().add(word.into())) }.store(value, Relaxed);
}
