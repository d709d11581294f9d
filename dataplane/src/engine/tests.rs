//! Ports that come and go under a running engine, on ports of memory: no privileges, no devices.

mod domains;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::*;
use crate::control::{PortReport, Reply, Request, Topic};
use crate::frame::Burst;
use crate::port::{Counters, Port, Sleep};
use crate::shares::PortLimits;
use crate::units::{Mac, Nanos};

/// The far end of a [`MemoryPort`].
#[derive(Clone, Default)]
struct FarEnd {
    to_engine: Arc<Mutex<VecDeque<Vec<u8>>>>,
    from_engine: Arc<Mutex<Vec<Vec<u8>>>>,
    /// Raised when the port is dropped; and on which thread.
    ended: Arc<Mutex<Option<std::thread::ThreadId>>>,
}

struct MemoryPort {
    far: FarEnd,
    counters: Arc<Counters>,
}

impl Port for MemoryPort {
    fn pull(&mut self, pool: &mut Pool, burst: &mut Burst) {
        let mut queue = self.far.to_engine.lock().unwrap();
        while !burst.is_full() {
            let Some(frame) = queue.pop_front() else { return };
            burst.extend(pool.frame_from(&frame));
            self.counters.rx_frames.fetch_add(1, Relaxed);
        }
    }

    fn push(&mut self, pool: &mut Pool, burst: &mut Burst) {
        for frame in burst.drain(..) {
            self.far.from_engine.lock().unwrap().push(pool.to_vec(&frame));
            self.counters.tx_frames.fetch_add(1, Relaxed);
            pool.free(frame);
        }
    }

    fn flush(&mut self, _pool: &mut Pool) {}

    fn tick(&mut self, _pool: &mut Pool, _now: Nanos) {}

    fn arm(&mut self, _sleep: &Sleep) -> bool {
        std::thread::sleep(Duration::from_micros(100));
        false
    }

    fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    fn mode(&self) -> String {
        "memory".into()
    }
}

impl Drop for MemoryPort {
    fn drop(&mut self) {
        *self.far.ended.lock().unwrap() = Some(std::thread::current().id());
    }
}

fn mac(n: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, n])
}

fn newcomer(n: u8, domain: &str) -> (Newcomer, FarEnd) {
    let far = FarEnd::default();
    let port = MemoryPort { far: far.clone(), counters: Arc::default() };
    let newcomer = Newcomer {
        name: format!("vif{n}"),
        guest: format!("guest{n}"),
        kind: "memory",
        domain: domain.into(),
        macs: vec![mac(n)],
        limits: PortLimits::default(),
        queues: vec![Box::new(port)],
        mode: Box::new(|| "here".into()),
    };
    (newcomer, far)
}

fn frame(to: u8, from: u8, serial: u32) -> Vec<u8> {
    [&mac(to).0[..], &mac(from).0, &[0x88, 0xb5], &serial.to_be_bytes(), &[0; 42]].concat()
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < limit, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// An engine of two workers and as many seats, with one memif that nobody connects to.
fn engine(name: &str, seats: usize) -> Engine {
    let at = std::env::temp_dir().join(format!("pointsman-seats-{}-{name}", std::process::id()));
    let at = at.display();
    let text = format!(
        "control = \"{at}.control\"\nseats = {seats}\n[[worker]]\nchunks = 2048\n[[worker]]\nchunks = 2048\n\
         [[domain]]\nname = \"lan\"\n[[domain]]\nname = \"other\"\n[[guest]]\nname = \"r1\"\n[[guest.port]]\n\
         kind = \"memif\"\nsocket = \"{at}.memif\"\nmac = \"{}\"\ndomain = \"lan\"\n",
        mac(100)
    );
    Engine::start(&Config::parse(&text, Path::new("test.toml")).unwrap()).unwrap()
}

fn ports(engine: &Engine) -> Vec<PortReport> {
    let Reply::Ports(ports) = engine.report.answer(Request::Show(Topic::Ports)) else { panic!("not ports") };
    ports
}

#[test]
fn newcomers_exchange_frames_across_workers() {
    let engine = engine("exchange", 4);
    let seats = engine.seats();
    let (a, far_a) = newcomer(1, "lan");
    let (b, far_b) = newcomer(2, "lan");
    let (_seat_a, seat_b) = (seats.take(a).unwrap(), seats.take(b).unwrap());
    let reported = ports(&engine);
    assert_eq!(reported.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["r1.0", "vif1", "vif2"]);
    assert_ne!(reported[1].workers, reported[2].workers, "dealt out in turn");
    assert_eq!((reported[1].mode.as_str(), reported[1].guest.as_deref()), ("here", Some("guest1")));
    for serial in 0..500 {
        far_a.to_engine.lock().unwrap().push_back(frame(2, 1, serial));
    }
    far_a.to_engine.lock().unwrap().push_back(frame(2, 9, 0));
    wait_for("all frames", || far_b.from_engine.lock().unwrap().len() == 500);
    let expected: Vec<_> = (0..500).map(|serial| frame(2, 1, serial)).collect();
    assert_eq!(*far_b.from_engine.lock().unwrap(), expected);
    wait_for("the spoofed one", || ports(&engine)[1].drops.get("source-spoofed") == Some(&1));

    // It goes; its port ends here, and frames for its address end with a reason.
    let back = seats.leave(seat_b);
    assert_eq!(back.len(), 1);
    assert!(far_b.ended.lock().unwrap().is_none());
    drop(back);
    assert_eq!(*far_b.ended.lock().unwrap(), Some(std::thread::current().id()));
    assert_eq!(ports(&engine).len(), 2);
    far_a.to_engine.lock().unwrap().push_back(frame(2, 1, 0));
    wait_for("a drop", || ports(&engine)[1].drops.get("no-output") == Some(&1));
    assert_eq!(far_b.from_engine.lock().unwrap().len(), 500);
}

#[test]
fn others_lose_nothing_while_guests_come_and_go() {
    let engine = engine("churn", 200);
    let seats = engine.seats();
    let (a, far_a) = newcomer(1, "lan");
    let (b, far_b) = newcomer(2, "lan");
    let _seats = (seats.take(a).unwrap(), seats.take(b).unwrap());
    let mut sent = 0;
    for round in 0..60 {
        let (guest, far) = newcomer(3 + round % 3, "lan");
        let seat = seats.take(guest).unwrap();
        for _ in 0..20 {
            far_a.to_engine.lock().unwrap().push_back(frame(2, 1, sent));
            far_a.to_engine.lock().unwrap().push_back(frame(3 + round % 3, 1, sent));
            sent += 1;
        }
        wait_for("the guest's own", || far.from_engine.lock().unwrap().len() == 20);
        drop(seats.leave(seat));
    }
    wait_for("all frames", || far_b.from_engine.lock().unwrap().len() == sent as usize);
    let expected: Vec<_> = (0..sent).map(|serial| frame(2, 1, serial)).collect();
    assert_eq!(*far_b.from_engine.lock().unwrap(), expected);
}

#[test]
fn whoever_cannot_sit_is_told_why_and_changes_nothing() {
    let engine = engine("refused", 2);
    let seats = engine.seats();
    let refused = |newcomer: Newcomer, why: &str| {
        let error = seats.take(newcomer).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    };
    refused(newcomer(1, "elsewhere").0, "there is no bridge domain \"elsewhere\"");
    refused(newcomer(100, "lan").0, "already behind port r1.0");
    refused(Newcomer { macs: vec![Mac([1; 6])], ..newcomer(1, "lan").0 }, "no station's address");
    refused(Newcomer { macs: Vec::new(), ..newcomer(1, "lan").0 }, "has no address");
    refused(Newcomer { queues: Vec::new(), ..newcomer(1, "lan").0 }, "has no queue");
    refused(Newcomer { name: "r1.0".into(), ..newcomer(1, "lan").0 }, "there is a port of that name");
    // The same address in another domain is another station.
    let one = seats.take(newcomer(100, "other").0).unwrap();
    let two = seats.take(newcomer(2, "lan").0).unwrap();
    refused(newcomer(3, "lan").0, "all 2 seats");
    drop(seats.leave(one));
    let (three, far) = newcomer(3, "lan");
    let three = seats.take(three).unwrap();
    assert_eq!(ports(&engine).iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["r1.0", "vif2", "vif3"]);
    drop(seats.leave(two));
    // An engine that ends takes the ports with it; later callers are told.
    drop(engine);
    assert!(far.ended.lock().unwrap().is_some());
    refused(newcomer(4, "lan").0, "the engine is ending");
    assert!(seats.leave(three).is_empty());
}
