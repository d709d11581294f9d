//! Rings that a guest's agent grants once: beside its vif, in place of it, and when either side goes.

#![allow(missing_docs, reason = "a test")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use pointsman_dataplane::frame::{BURST, Burst};
use pointsman_dataplane::memif::MemifPort;
use pointsman_dataplane::pool::Pool;
use pointsman_dataplane::port::{Port, Sleep};
use pointsman_dataplane::units::Nanos;
use pointsman_xen::frontend::FrontendOptions;
use pointsman_xen::ring::{RingAgent, RingOptions, vif_mac};
use pointsman_xen::sim::{SimDomain, Toolstack};
use pointsman_xen::vif::VifOptions;
use pointsman_xen::{GrantRef, XenError};
use support::{HOSTILE, Rig, VICTIM, frame};

const PAGES: RingOptions = RingOptions { handle: 0, pages: 300, buffer_size: 2048 };

/// The guest's side: an agent, and what a worker of the guest's does.
struct Guest {
    agent: RingAgent,
    port: MemifPort,
    pool: Pool,
    got: Vec<Vec<u8>>,
}

impl Guest {
    fn start(domain: &Arc<SimDomain>) -> Self {
        let (agent, port) = RingAgent::start(domain.clone(), PAGES).unwrap();
        Self { agent, port, pool: Pool::new(2048).unwrap(), got: Vec::new() }
    }

    fn breathe(&mut self) {
        let mut burst = Burst::new();
        self.port.pull(&mut self.pool, &mut burst);
        self.got.extend(burst.iter().map(|frame| self.pool.to_vec(frame)));
        self.pool.free_all(burst.drain(..));
        self.port.tick(&mut self.pool, Nanos::now());
    }

    fn push(&mut self, frames: &[Vec<u8>]) {
        for frames in frames.chunks(BURST) {
            let mut burst: Burst = frames.iter().map(|data| self.pool.frame_from(data).unwrap()).collect();
            self.port.push(&mut self.pool, &mut burst);
        }
        self.port.flush(&mut self.pool);
        self.port.notify();
    }

    /// Both sides say that the ring is there.
    fn connect(&mut self, rig: &mut Rig) {
        rig.until("the ring", |rig| {
            self.breathe();
            self.port.is_up() && ring_of(rig).starts_with("rings of")
        });
    }

    /// Frames cross, both ways, all of them and in order.
    fn works(&mut self, rig: &mut Rig) {
        let frames: Vec<_> = (0..50u8).map(|n| frame(60 + usize::from(n) * 150, n)).collect();
        rig.vif(VICTIM).got.clear();
        self.got.clear();
        self.push(&frames);
        rig.push(VICTIM, &frames);
        rig.until("frames through the ring", |rig| {
            self.breathe();
            rig.vif(VICTIM).got.len() + self.got.len() >= 2 * frames.len()
        });
        assert_eq!(rig.vif(VICTIM).got, frames);
        assert_eq!(self.got, frames);
    }
}

fn ring_of(rig: &mut Rig) -> String {
    rig.vif(VICTIM).ports[0].mode()
}

fn answer(rig: &mut Rig) -> String {
    let path = Toolstack::backend_path(VICTIM, 0) + "/pointsman-ring";
    String::from_utf8(rig.toolstack.store.get(&path).unwrap().unwrap_or_default()).unwrap()
}

#[test]
fn a_ring_takes_over_from_the_vif_and_gives_back() {
    let mut rig = Rig::new(VifOptions::default());
    let domain = Arc::new(rig.add(VICTIM));
    assert_eq!(vif_mac(domain.as_ref(), 0).unwrap(), [0, 0x16, 0x3e, 0, 3, 0]);
    let mut front = pointsman_xen::frontend::Frontend::new(domain.as_ref(), 0, FrontendOptions::default()).unwrap();
    front.connect().unwrap();
    rig.until("the port to be up", |rig| rig.vif(VICTIM).is_up());
    rig.works(VICTIM, &mut front);
    let mut guest = Guest::start(&domain);
    guest.connect(&mut rig);
    guest.works(&mut rig);
    // What the guest's own driver sends is heard as before, and all that is for the guest comes through the ring.
    rig.vif(VICTIM).got.clear();
    assert!(front.send(0, &frame(100, 7), 0, &[]));
    front.show_tx(0).unwrap();
    rig.until("a frame of the vif's", |rig| rig.vif(VICTIM).got == [frame(100, 7)]);
    assert!(front.receive(0).unwrap().is_empty());
    drop(guest);
    rig.until("the engine to let go", |rig| !ring_of(rig).contains("rings"));
    front.take_sent(0);
    rig.works(VICTIM, &mut front);
    drop(front);
    rig.remove(VICTIM);
    drop(domain);
    rig.assert_clean();
}

#[test]
fn a_guest_without_a_driver_has_a_ring_all_the_same() {
    let mut rig = Rig::new(VifOptions::default());
    let domain = Arc::new(rig.add(VICTIM));
    let mut guest = Guest::start(&domain);
    guest.connect(&mut rig);
    guest.works(&mut rig);
    // Nobody is rung who does not sleep; who sleeps is.
    let sleep = Sleep::new().unwrap();
    for _ in 0..20 {
        guest.breathe();
        if guest.port.arm(&sleep) {
            rig.push(VICTIM, &[frame(60, 1)]);
            let begin = std::time::Instant::now();
            sleep.wait(Nanos::from_secs(4));
            assert!(begin.elapsed().as_secs() < 3, "the guest slept on");
        }
        guest.port.disarm(&sleep);
    }
    drop(guest);
    rig.remove(VICTIM);
    rig.assert_clean();
}

/// Each question costs a guest a kernel thread's wake-up, and dom0 its daemon's: with four guests at rest that was a hundred a
/// second.
#[test]
fn a_ring_that_is_well_asks_the_store_nothing() {
    let mut rig = Rig::new(VifOptions::default());
    let domain = Arc::new(rig.add(VICTIM));
    let mut guest = Guest::start(&domain);
    guest.connect(&mut rig);
    guest.works(&mut rig);
    // What the connecting itself set off may take its time on a busy machine.
    let quiet = (0..5).any(|_| {
        let asked = rig.toolstack.asked().unwrap();
        std::thread::sleep(Duration::from_millis(1700));
        rig.toolstack.asked().unwrap() == asked
    });
    assert!(quiet, "questions in every three heartbeats");
    guest.works(&mut rig);
}

#[test]
fn the_next_engine_serves_the_agent_anew() {
    let mut rig = Rig::new(VifOptions::default());
    let domain = Arc::new(rig.add(VICTIM));
    let mut guest = Guest::start(&domain);
    guest.connect(&mut rig);
    for _ in 0..3 {
        guest.works(&mut rig);
        rig.start(VifOptions::default());
        // The one before may have left frames in the rings.
        rig.until("the interface", |rig| rig.find(VICTIM).is_some());
        guest.connect(&mut rig);
    }
    guest.works(&mut rig);
    assert_eq!(guest.agent.state().connects, 4);
    drop(guest);
    rig.remove(VICTIM);
    rig.assert_clean();
}

#[test]
fn a_domain_that_dies_takes_its_ring_along() {
    let mut rig = Rig::new(VifOptions::default());
    let domain = Arc::new(rig.add(VICTIM));
    let mut guest = Guest::start(&domain);
    guest.connect(&mut rig);
    rig.toolstack.destroy(VICTIM, 0).unwrap();
    let state = Toolstack::backend_path(VICTIM, 0) + "/state";
    rig.until("the backend to close", |rig| rig.toolstack.store.read(&state).unwrap() == b"6");
    rig.toolstack.finish_detach(VICTIM, 0).unwrap();
    rig.until("the interface to be gone", |rig| rig.find(VICTIM).is_none());
    drop(guest);
    drop(domain);
    rig.until("the pages to be given back", |rig| {
        rig.toolstack.mapped_by(pointsman_xen::DomId::ZERO).unwrap() == 0 && rig.toolstack.zombies().unwrap() == 0
    });
    rig.assert_clean();
}

#[test]
fn an_engine_with_several_queues_offers_no_ring() {
    let mut rig = Rig::new(VifOptions { queues: 2, ..VifOptions::default() });
    let domain = Arc::new(rig.add(VICTIM));
    let mut guest = Guest::start(&domain);
    std::thread::sleep(std::time::Duration::from_millis(300));
    guest.breathe();
    assert!(!guest.port.is_up());
    // As soon as there is one that does, it is used.
    rig.start(VifOptions::default());
    rig.until("the interface", |rig| rig.find(VICTIM).is_some());
    guest.connect(&mut rig);
    guest.works(&mut rig);
}

#[test]
fn rings_that_do_not_fit_and_vifs_that_are_not_there_are_errors() {
    let rig = Rig::new(VifOptions::default());
    let domain = Arc::new(rig.domain(VICTIM));
    assert!(matches!(RingAgent::start(domain.clone(), PAGES), Err(XenError::Store { .. })));
    let mut rig = rig;
    drop(domain);
    let domain = Arc::new(rig.add(HOSTILE));
    for pages in [0, 1, 2, 3] {
        let started = RingAgent::start(domain.clone(), RingOptions { pages, ..PAGES });
        assert!(matches!(started, Err(XenError::RingSize { .. })), "{pages}");
    }
}

/// The keys of a ring that is sound, as the victim's agent wrote them.
fn keys(rig: &mut Rig) -> Vec<(String, String)> {
    let dir = Toolstack::frontend_path(VICTIM, 0) + "/pointsman-ring";
    let names = rig.toolstack.store.list(&dir).unwrap();
    let read = |name: String| {
        let value = rig.toolstack.store.read(&format!("{dir}/{name}")).unwrap();
        (name, String::from_utf8(value).unwrap())
    };
    names.into_iter().map(read).collect()
}

fn value(keys: &[(String, String)], name: &str) -> String {
    keys.iter().find(|(key, _)| key == name).unwrap().1.clone()
}

#[test]
fn keys_that_lie_are_refused_with_the_reason_and_map_nothing() {
    let mut rig = Rig::new(VifOptions::default());
    let domain = Arc::new(rig.add(VICTIM));
    let mut guest = Guest::start(&domain);
    guest.connect(&mut rig);
    let sound = keys(&mut rig);
    // The agent goes; its pages are granted no more, which makes even the sound keys wrong.
    drop(guest);
    let front = Toolstack::frontend_path(VICTIM, 0) + "/pointsman-ring";
    let mut session = 1_000;
    for (key, lie, why) in [
        ("version", "2", "want 1"),
        ("pages", "1", "want 2 to 16385"),
        ("pages", "16386", "want 2 to 16385"),
        ("pages", "-5", "decimal number"),
        ("pages", "1025", "a grant for each 1024 pages"),
        ("directory", "", "a grant for each 1024 pages"),
        ("directory", "1 2 3", "a grant for each 1024 pages"),
        ("directory", "x", "a grant for each 1024 pages"),
        ("directory", "4294967295", "cannot be mapped"),
        ("directory", "9", "cannot be mapped"),
        ("log2-ring-size", "15", "want 1 to 14"),
        ("buffer-size", "99999999999", "decimal number"),
        ("event-channel", "none", "decimal number"),
    ] {
        session += 1;
        let at = session.to_string();
        rig.toolstack
            .store
            .transaction(|t| {
                sound.iter().try_for_each(|(name, value)| t.write(&format!("{front}/{name}"), value))?;
                t.write(&format!("{front}/{key}"), lie)?;
                t.write(&format!("{front}/session"), &at)
            })
            .unwrap();
        let mut said = String::new();
        rig.until("an answer", |rig| {
            said = answer(rig);
            said.starts_with(&at)
        });
        assert!(said.contains(why), "{key}={lie}: {said}");
        assert_eq!(rig.toolstack.mapped_by(pointsman_xen::DomId::ZERO).unwrap(), 0, "{key}={lie}");
    }
    rig.toolstack.store.remove(&front).unwrap();
    let mut guest = Guest::start(&domain);
    guest.connect(&mut rig);
    guest.works(&mut rig);
    drop(guest);
    rig.remove(VICTIM);
    rig.assert_clean();
}

/// The address of a page that the guest granted, by its number in the directory.
fn granted(domain: &SimDomain, keys: &[(String, String)], page: usize) -> *mut u8 {
    let memory = domain.memory().unwrap();
    let directory = memory.granted(GrantRef(value(keys, "directory").parse().unwrap())).unwrap();
    // SAFETY: a word of the directory's page, which is the guest's.
    let grant = unsafe { AtomicU32::from_ptr(directory.as_ptr().cast::<u32>().add(page)) }.load(Relaxed);
    memory.granted(GrantRef(grant)).unwrap().as_ptr()
}

#[test]
fn an_agent_that_dies_is_noticed_and_the_vif_serves_again() {
    let mut rig = Rig::new(VifOptions::default());
    let domain = Arc::new(rig.add(VICTIM));
    let mut guest = Guest::start(&domain);
    guest.connect(&mut rig);
    let keys = keys(&mut rig);
    // What a kernel does when the agent's process is killed.
    // SAFETY: a byte of the guest's own page.
    unsafe { AtomicU8::from_ptr(granted(&domain, &keys, 0)) }.store(0, Relaxed);
    rig.until("the engine to notice", |rig| !ring_of(rig).contains("rings"));
    assert_eq!(rig.toolstack.mapped_by(pointsman_xen::DomId::ZERO).unwrap(), 0);
    // This one lives, and finds that the engine let go.
    guest.connect(&mut rig);
    guest.works(&mut rig);
}

#[test]
fn rings_that_are_broken_are_let_go_and_may_come_again() {
    let mut rig = Rig::new(VifOptions::default());
    let domain = Arc::new(rig.add(VICTIM));
    let mut guest = Guest::start(&domain);
    guest.connect(&mut rig);
    let keys = keys(&mut rig);
    // Every descriptor of the guest's ring points far outside, and a frame is shown.
    let ring = granted(&domain, &keys, 1);
    for slot in 0..64 {
        // SAFETY: the region's first page holds the ring's head and its descriptors of 16 bytes, from byte 128 on.
        let word = unsafe { ring.add(128 + slot * 16 + 8).cast::<u32>() };
        // SAFETY: aligned, in the guest's own page.
        unsafe { AtomicU32::from_ptr(word) }.store(u32::MAX, Relaxed);
    }
    // SAFETY: the ring's head, two bytes at 6 of its first word; see memif's ring.
    unsafe { std::sync::atomic::AtomicU16::from_ptr(ring.add(6).cast()) }.store(8, Relaxed);
    rig.until("the engine to let go", |rig| answer(rig) == "0");
    guest.connect(&mut rig);
    guest.works(&mut rig);
    drop(guest);
    rig.remove(VICTIM);
    rig.assert_clean();
}

#[test]
fn a_directory_that_names_others_pages_is_refused() {
    let mut rig = Rig::new(VifOptions::default());
    let domain = Arc::new(rig.add(VICTIM));
    let (_other, _front) = rig.connected(HOSTILE, FrontendOptions::default());
    let mut guest = Guest::start(&domain);
    guest.connect(&mut rig);
    let keys = keys(&mut rig);
    let mapped = rig.toolstack.mapped_by(pointsman_xen::DomId::ZERO).unwrap();
    assert!(mapped > 256, "{mapped}");
    let memory = domain.memory().unwrap();
    let directory = memory.granted(GrantRef(value(&keys, "directory").parse().unwrap())).unwrap();
    // SAFETY: a word of the directory's page, which is the guest's.
    let word = unsafe { AtomicU32::from_ptr(directory.as_ptr().cast::<u32>().add(200)) };
    for grant in [0, 7, 4_000, u32::MAX] {
        let was = word.swap(grant, Relaxed);
        let session = (2_000_000_000 + (grant & 0xfff)).to_string();
        let front = Toolstack::frontend_path(VICTIM, 0) + "/pointsman-ring/session";
        rig.toolstack.store.write(&front, &session).unwrap();
        let mut said = String::new();
        rig.until("a refusal", |rig| {
            said = answer(rig);
            said.starts_with(&session)
        });
        assert!(said.contains("cannot be mapped"), "{said}");
        word.store(was, Relaxed);
    }
    guest.connect(&mut rig);
    guest.works(&mut rig);
}
