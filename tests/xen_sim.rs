//! The whole engine as Xen's netback: guests of a simulated machine attach, talk, and survive its `kill -9`.

use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use pointsman_xen::frontend::{Frontend, FrontendOptions, Received};
use pointsman_xen::netif::state::State;
use pointsman_xen::netif::wire::{Extra, GsoKind, TxRequest, tx_flag};
use pointsman_xen::sim::{Machine, SimDomain, Toolstack};
use pointsman_xen::{DomId, GrantRef};

const POINTSMAN: &str = env!("CARGO_BIN_EXE_pointsman");
const PATIENCE: Duration = Duration::from_secs(10);

/// An engine, ended with the test.
struct Engine(Child);

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Host {
    engine: Option<Engine>,
    toolstack: Toolstack,
    machine: Machine,
}

impl Host {
    fn new() -> Self {
        let machine = Machine::temporary().unwrap();
        let control = machine.dir().join("control");
        let config = format!(
            "control = \"{}\"\nseats = 8\n[[worker]]\nchunks = 2048\n[[worker]]\nchunks = 2048\n\
             [[domain]]\nname = \"xenbr0\"\n[[domain]]\nname = \"xenbr0.7\"\n",
            control.display()
        );
        std::fs::write(machine.dir().join("config.toml"), config).unwrap();
        let toolstack = machine.toolstack().unwrap();
        let mut host = Self { engine: None, toolstack, machine };
        host.start();
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.machine.dir().join(name)
    }

    fn start(&mut self) {
        self.engine = None;
        let mut command = Command::new(POINTSMAN);
        command
            .arg("run")
            .arg("--config")
            .arg(self.path("config.toml"))
            .arg("--xen")
            .arg("--xen-simulated")
            .arg(self.machine.dir());
        self.engine = Some(Engine(command.spawn().unwrap()));
    }

    fn guest(&mut self, id: u16, more: &[(&str, &str)]) -> (SimDomain, Frontend) {
        let domain = SimDomain::guest(self.machine.dir(), DomId(id), 2048).unwrap();
        self.toolstack.add_vif(DomId(id), 0, more).unwrap();
        let mut frontend = Frontend::new(&domain, 0, FrontendOptions::default()).unwrap();
        frontend.connect().unwrap();
        (domain, frontend)
    }

    fn show(&self, topic: &str) -> String {
        let output =
            Command::new(POINTSMAN).args(["show", topic, "--control"]).arg(self.path("control")).output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }
}

fn mac(id: u16) -> [u8; 6] {
    [0, 0x16, 0x3e, 0, id as u8, 0]
}

fn frame(from: u16, to: u16, seed: u8, len: usize) -> Vec<u8> {
    let mut data = [&mac(to)[..], &mac(from), &[0x88, 0xb5]].concat();
    data.resize(len, seed);
    data
}

/// Waits for so many frames.
fn receive(frontend: &mut Frontend, n: usize) -> Vec<Received> {
    let (mut frames, begin) = (Vec::new(), Instant::now());
    while frames.len() < n {
        assert!(begin.elapsed() < PATIENCE, "{} frames of {n} came", frames.len());
        frames.extend(frontend.receive(0).unwrap());
        if frames.len() < n {
            frontend.wait(Duration::from_millis(5)).unwrap();
        }
    }
    frames
}

/// Waits until all that was sent is answered.
fn answered(frontend: &mut Frontend) {
    let begin = Instant::now();
    while frontend.queues[0].consumed[0] != frontend.queues[0].produced[0] {
        assert!(begin.elapsed() < PATIENCE, "requests are not answered");
        frontend.take_sent(0);
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn guests_talk_and_the_engine_may_die() {
    let mut host = Host::new();
    let (_a, mut a) = host.guest(1, &[]);
    let (_b, mut b) = host.guest(2, &[("vifname", "blue")]);
    let (_c, mut c) = host.guest(3, &[("vlan", "7")]);
    for round in 0..3u8 {
        for seed in 0..50 {
            assert!(a.send(0, &frame(1, 2, seed, 60 + usize::from(seed) * 80), 0, &[]));
        }
        // Not its own address, and not its own network.
        assert!(a.send(0, &frame(9, 2, 99, 60), 0, &[]));
        assert!(a.send(0, &frame(1, 3, 98, 60), 0, &[]));
        a.show_tx(0).unwrap();
        let got = receive(&mut b, 50);
        for (seed, got) in (0..50).zip(&got) {
            assert_eq!(got.data, frame(1, 2, seed, 60 + usize::from(seed) * 80), "round {round}");
        }
        assert!(b.send(0, &frame(2, 1, round, 1514), 0, &[]));
        b.show_tx(0).unwrap();
        assert_eq!(receive(&mut a, 1)[0].data, frame(2, 1, round, 1514));
        assert!(c.receive(0).unwrap().is_empty() && b.receive(0).unwrap().is_empty());
        // What is not answered would come again.
        answered(&mut a);
        answered(&mut b);
        // It dies, and another takes its place.
        host.start();
    }
    let begin = Instant::now();
    while !host.show("ports").contains("taken over") {
        assert!(begin.elapsed() < PATIENCE, "{}", host.show("ports"));
        std::thread::sleep(Duration::from_millis(20));
    }
    let ports = host.show("ports");
    assert!(ports.contains("vif1.0") && ports.contains("blue") && ports.contains("xen-vif"), "{ports}");
    for frontend in [&mut a, &mut b, &mut c] {
        assert_eq!(frontend.backend_state().unwrap(), Some(State::Connected));
    }
}

#[test]
fn what_a_guest_lost_is_told_with_the_reason() {
    let mut host = Host::new();
    let (_a, mut a) = host.guest(1, &[]);
    let (_b, mut b) = host.guest(2, &[]);
    // Pages that it never granted, and more frames for the other than that one posted pages for.
    for _ in 0..3 {
        a.queues[0].put(TxRequest { grant: GrantRef(1_000_000), offset: 0, flags: 0, id: 0, size: 60 }.emit());
    }
    a.show_tx(0).unwrap();
    let (mut sent, begin) = (0, Instant::now());
    while sent < 300 {
        assert!(begin.elapsed() < PATIENCE, "{sent} frames went out");
        if a.send(0, &frame(1, 2, 0, 60), 0, &[]) {
            sent += 1;
        } else {
            a.show_tx(0).unwrap();
            a.take_sent(0);
        }
    }
    a.show_tx(0).unwrap();
    let told = loop {
        a.take_sent(0);
        let told = host.show("guests");
        if told.contains("output-full") && told.contains("grant-failed 3") {
            break told;
        }
        assert!(begin.elapsed() < PATIENCE, "{told}");
        std::thread::sleep(Duration::from_millis(20));
    };
    let arrived = receive(&mut b, 1).len();
    for word in ["up", "1 queue", "csum4", "connected to domain 1 vif 0"] {
        assert!(told.contains(word), "{word}: {told}");
    }
    assert!(arrived < 300);
}

#[test]
fn uncut_tcp_crosses_the_engine_whole() {
    let mut host = Host::new();
    let (_a, mut a) = host.guest(1, &[]);
    let (_b, mut b) = host.guest(2, &[]);
    let mut data = Vec::new();
    etherparse::PacketBuilder::ethernet2(mac(1), mac(2))
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .tcp(1, 2, 3, 4)
        .write(&mut data, &[5; 30_000])
        .unwrap();
    let extra = Extra::Gso { size: 1448, kind: Some(GsoKind::Tcp4) };
    let (calls, begin) = (20, Instant::now());
    for _ in 0..calls {
        while !a.send(0, &data, tx_flag::CSUM_BLANK | tx_flag::DATA_VALIDATED, &[extra]) {
            assert!(begin.elapsed() < PATIENCE, "the ring stays full");
            a.take_sent(0);
        }
        a.show_tx(0).unwrap();
        let got = receive(&mut b, 1);
        assert_eq!(got[0].gso, Some((1448, GsoKind::Tcp4)));
        assert_eq!((got[0].data.len(), &got[0].data[60..]), (data.len(), &data[60..]));
    }
}

#[test]
fn what_cannot_be_seated_is_refused_and_what_goes_makes_room() {
    let mut host = Host::new();
    let _stranger = SimDomain::guest(host.machine.dir(), DomId(5), 64).unwrap();
    host.toolstack.add_vif(DomId(5), 0, &[("bridge", "xenbr9")]).unwrap();
    let state = Toolstack::backend_path(DomId(5), 0) + "/state";
    let wait = |host: &mut Host, want: &[u8]| {
        let begin = Instant::now();
        while host.toolstack.store.read(&state).unwrap() != want {
            assert!(begin.elapsed() < PATIENCE, "no {want:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    wait(&mut host, b"6");
    // Twenty guests, one after the other, in eight seats.
    for id in 10..30 {
        let (domain, mut frontend) = host.guest(id, &[]);
        assert!(frontend.send(0, &frame(id, 2, 0, 60), 0, &[]));
        frontend.show_tx(0).unwrap();
        drop((frontend, domain));
        host.toolstack.destroy(DomId(id), 0).unwrap();
        let state = Toolstack::backend_path(DomId(id), 0) + "/state";
        let begin = Instant::now();
        while host.toolstack.store.read(&state).unwrap() != b"6" {
            assert!(begin.elapsed() < PATIENCE, "guest {id} is held");
            std::thread::sleep(Duration::from_millis(2));
        }
        host.toolstack.finish_detach(DomId(id), 0).unwrap();
        assert_eq!(host.toolstack.zombies().unwrap(), 0);
    }
    assert_eq!(host.toolstack.mapped_by(DomId::ZERO).unwrap(), 0);
    assert_eq!(host.toolstack.channels_of(DomId::ZERO).unwrap(), 0);
}

#[test]
fn a_guest_that_migrates_has_its_address_twice_for_a_while() {
    let mut host = Host::new();
    let (a_domain, mut a) = host.guest(1, &[]);
    let (_b, mut b) = host.guest(2, &[]);
    // Its new life is there, and connected, before the old one ends.
    let (_c, mut c) = host.guest(3, &[("mac", "00:16:3e:00:01:00")]);
    assert!(b.send(0, &frame(2, 1, 1, 60), 0, &[]));
    b.show_tx(0).unwrap();
    assert_eq!(receive(&mut a, 1)[0].data, frame(2, 1, 1, 60));
    // It sends at once; that stays where it is.
    assert!(c.send(0, &frame(1, 2, 2, 60), 0, &[]));
    c.show_tx(0).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert!(b.receive(0).unwrap().is_empty());
    drop((a, a_domain));
    host.toolstack.destroy(DomId(1), 0).unwrap();
    let (state, begin) = (Toolstack::backend_path(DomId(1), 0) + "/state", Instant::now());
    while host.toolstack.store.read(&state).unwrap() != b"6" {
        assert!(begin.elapsed() < PATIENCE, "guest 1 is held");
        std::thread::sleep(Duration::from_millis(2));
    }
    host.toolstack.finish_detach(DomId(1), 0).unwrap();
    assert_eq!(receive(&mut b, 1)[0].data, frame(1, 2, 2, 60));
    answered(&mut b);
    assert!(b.send(0, &frame(2, 1, 3, 60), 0, &[]));
    b.show_tx(0).unwrap();
    assert_eq!(receive(&mut c, 1)[0].data, frame(2, 1, 3, 60));
}

#[test]
fn what_was_sent_while_the_engine_was_dead_arrives() {
    let mut host = Host::new();
    let (_a, mut a) = host.guest(1, &[]);
    let (_b, mut b) = host.guest(2, &[]);
    for round in 0..5 {
        assert!(a.send(0, &frame(1, 2, round, 60), 0, &[]));
        a.show_tx(0).unwrap();
        assert_eq!(receive(&mut b, 1)[0].data, frame(1, 2, round, 60));
        answered(&mut a);
        host.engine = None;
        assert!(a.send(0, &frame(1, 2, 100 + round, 60), 0, &[]));
        a.show_tx(0).unwrap();
        host.start();
        assert_eq!(receive(&mut b, 1)[0].data, frame(1, 2, 100 + round, 60));
        answered(&mut a);
    }
}

#[test]
fn a_guest_sends_no_more_than_its_rate() {
    let mut host = Host::new();
    // 10 Mbit/s, as xl writes "10Mb/s": bytes in 50 ms.
    let (_a, mut a) = host.guest(1, &[("rate", "62500,50000")]);
    let flood = |a: &mut Frontend, span: Duration| {
        let (before, begin) = (a.queues[0].consumed[0], Instant::now());
        while begin.elapsed() < span {
            a.take_sent(0);
            while a.send(0, &frame(1, 2, 0, 1000), 0, &[]) {}
            a.show_tx(0).unwrap();
            a.wait(Duration::from_millis(5)).unwrap();
        }
        f64::from(a.queues[0].consumed[0].wrapping_sub(before)) * 8000.0 / begin.elapsed().as_secs_f64()
    };
    // What it saved up goes first.
    flood(&mut a, Duration::from_millis(300));
    let rate = flood(&mut a, Duration::from_secs(2));
    assert!((9.0e6..=10.8e6).contains(&rate), "{:.2} Mbit/s", rate / 1e6);
}
