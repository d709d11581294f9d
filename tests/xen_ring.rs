//! `pointsman guest router --xen` in a simulated domU: a virtual router whose frames go through rings mapped once, for which
//! engines come and go; and `guest source --xen`, which sends by such a ring.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pointsman_xen::DomId;
use pointsman_xen::frontend::{Frontend, FrontendOptions};
use pointsman_xen::sim::{Machine, SimDomain, Toolstack};

const POINTSMAN: &str = env!("CARGO_BIN_EXE_pointsman");
const PATIENCE: Duration = Duration::from_secs(10);
const ROUTER: u16 = 4;

/// A process, ended with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(words: &[&str]) -> Process {
    Process(Command::new(POINTSMAN).args(words).spawn().unwrap())
}

fn mac(domain: u16, handle: u8) -> [u8; 6] {
    [0, 0x16, 0x3e, 0, domain as u8, handle]
}

fn arp(operation: u8, from: ([u8; 6], [u8; 4]), to: ([u8; 6], [u8; 4])) -> Vec<u8> {
    let fixed = [8, 6, 0, 1, 8, 0, 6, 4, 0, operation];
    let ethernet = [if operation == 1 { [0xff; 6] } else { to.0 }, from.0].concat();
    [&ethernet[..], &fixed, &from.0, &from.1, &to.0, &to.1].concat()
}

fn udp(to: [u8; 6], number: u32) -> Vec<u8> {
    let mut data = Vec::new();
    etherparse::PacketBuilder::ethernet2(mac(1, 0), to)
        .ipv4([10, 0, 0, 2], [10, 1, 0, 2], 64)
        .udp(7, 9)
        .write(&mut data, &number.to_be_bytes())
        .unwrap();
    data
}

fn send(front: &mut Frontend, data: &[u8]) {
    front.take_sent(0);
    assert!(front.send(0, data, 0, &[]));
    front.show_tx(0).unwrap();
}

/// The numbers of datagrams that come to the host behind the router, which answers its questions.
fn numbers(front: &mut Frontend) -> Vec<u32> {
    let mut numbers = Vec::new();
    for got in front.receive(0).unwrap() {
        match got.data.get(12..14) {
            Some([8, 6]) => {
                let answer = arp(2, (mac(2, 0), [10, 1, 0, 2]), (mac(ROUTER, 1), [10, 1, 0, 1]));
                send(front, &answer);
            }
            Some([8, 0]) => {
                assert_eq!(got.data[..12], [mac(2, 0), mac(ROUTER, 1)].concat());
                assert_eq!(got.data[22], 63, "its time to live");
                numbers.push(u32::from_be_bytes(got.data[42..46].try_into().unwrap()));
            }
            // The router asks whether its IPv6 address is taken.
            Some([0x86, 0xdd]) => {}
            other => panic!("a frame of {other:?}"),
        }
    }
    numbers
}

#[test]
fn a_router_in_a_domu_survives_every_engine_and_is_survived() {
    let machine = Machine::temporary().unwrap();
    let dir = machine.dir().to_str().unwrap().to_owned();
    let (config, control) = (format!("{dir}/config.toml"), format!("{dir}/control"));
    let text = format!(
        "control = \"{control}\"\nseats = 8\n[[worker]]\nchunks = 4096\n[[worker]]\nchunks = 4096\n\
         [[domain]]\nname = \"left\"\n[[domain]]\nname = \"right\"\n"
    );
    std::fs::write(&config, text).unwrap();
    let mut toolstack = machine.toolstack().unwrap();
    let engine = || start(&["run", "--config", &config, "--xen", "--xen-simulated", &dir]);
    let mut running = Some(engine());
    let host = |toolstack: &mut Toolstack, id: u16, bridge| {
        let domain = SimDomain::guest(machine.dir(), DomId(id), 2048).unwrap();
        toolstack.add_vif(DomId(id), 0, &[("bridge", bridge)]).unwrap();
        let mut front = Frontend::new(&domain, 0, FrontendOptions::default()).unwrap();
        front.connect().unwrap();
        (domain, front)
    };
    let (_a, mut a) = host(&mut toolstack, 1, "left");
    let (_b, mut b) = host(&mut toolstack, 2, "right");
    for (handle, bridge) in [(0, "left"), (1, "right")] {
        toolstack.add_vif(DomId(ROUTER), handle, &[("bridge", bridge)]).unwrap();
    }
    let number = ROUTER.to_string();
    let router = ["guest", "router", "--xen", "--xen-simulated", &dir, &number];
    let ports = ["--port", "vif:0,address=10.0.0.1/24", "--port", "vif:1,address=10.1.0.1/24"];
    let router = start(&[&router[..], &ports].concat());

    let (mut next, mut last) = (0, None);
    for round in 0..3 {
        // What is sent now arrives, however many engines there were.
        let (begin, first) = (Instant::now(), next);
        while last.is_none_or(|last| last < first + 20) {
            assert!(begin.elapsed() < PATIENCE, "round {round}: {last:?} of {next} came");
            send(&mut a, &udp(mac(ROUTER, 0), next));
            next += 1;
            std::thread::sleep(Duration::from_millis(2));
            a.receive(0).unwrap();
            for number in numbers(&mut b) {
                assert!(last.is_none_or(|last| last < number), "{number} after {last:?}");
                last = Some(number);
            }
        }
        let shown = Command::new(POINTSMAN).args(["show", "ports", "--control", &control]).output().unwrap();
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert_eq!(shown.matches("rings of").count(), 2, "{shown}");
        // Numbers of the round before may still lie in the vif's ring, whose requests the next engine takes again.
        while a.queues[0].consumed[0] != a.queues[0].produced[0] {
            assert!(begin.elapsed() < PATIENCE, "requests are not answered");
            a.take_sent(0);
        }
        if round < 2 {
            drop(running.take());
            running = Some(engine());
        }
    }
    // Here a domain is its process, and this is what xl does about one that is no more.
    drop(router);
    (0..2).for_each(|handle| toolstack.destroy(DomId(ROUTER), handle).unwrap());
    let begin = Instant::now();
    while toolstack.zombies().unwrap() > 0 || toolstack.mapped_by(DomId::ZERO).unwrap() > 4 {
        assert!(begin.elapsed() < PATIENCE, "the router's pages are held");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_source_in_a_domu_sends_by_its_ring() {
    let machine = Machine::temporary().unwrap();
    let dir = machine.dir().to_str().unwrap().to_owned();
    let (config, control) = (format!("{dir}/config.toml"), format!("{dir}/control"));
    let text = format!("control = \"{control}\"\nseats = 8\n[[worker]]\nchunks = 4096\n[[domain]]\nname = \"left\"\n");
    std::fs::write(&config, text).unwrap();
    let mut toolstack = machine.toolstack().unwrap();
    let _engine = start(&["run", "--config", &config, "--xen", "--xen-simulated", &dir]);
    let domain = SimDomain::guest(machine.dir(), DomId(1), 2048).unwrap();
    for id in [1, ROUTER] {
        toolstack.add_vif(DomId(id), 0, &[("bridge", "left")]).unwrap();
    }
    let mut sink = Frontend::new(&domain, 0, FrontendOptions::default()).unwrap();
    sink.connect().unwrap();
    let number = ROUTER.to_string();
    let words = ["guest", "source", "--xen", "--xen-simulated", &dir, &number, "--port", "vif:0,address=10.0.0.1/24"];
    let words = [&words[..], &["--to", "10.0.0.2", "--rate", "1000", "--seconds", "1"]].concat();
    let mut source = Process(Command::new(POINTSMAN).args(words).stdout(Stdio::piped()).spawn().unwrap());

    let (begin, mut came, mut ended) = (Instant::now(), 0, None);
    while ended.is_none() {
        ended = source.0.try_wait().unwrap();
        assert!(begin.elapsed() < PATIENCE, "{came} came, and it goes on");
        for got in sink.receive(0).unwrap() {
            match got.data.get(12..14) {
                Some([8, 6]) => send(&mut sink, &arp(2, (mac(1, 0), [10, 0, 0, 2]), (mac(ROUTER, 0), [10, 0, 0, 1]))),
                Some([8, 0]) => {
                    assert_eq!((got.data.len(), &got.data[..12]), (60, &[mac(1, 0), mac(ROUTER, 0)].concat()[..]));
                    came += 1;
                }
                other => panic!("a frame of {other:?}"),
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut said = String::new();
    source.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(ended.unwrap().success(), "{said}");
    assert_eq!(said, format!("sent {came} frames in 1.000 s, received 0\n"));
    assert!((970..=1000).contains(&came), "{came}");
}

#[test]
fn what_is_no_vif_is_told() {
    let run = |words: &[&str]| {
        let output = Command::new(POINTSMAN).args(["guest", "router"]).args(words).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = run(&["--xen", "--port", "/run/r.sock:0"]);
    assert!(said.contains("vif:HANDLE"), "{said}");
    let machine = Machine::temporary().unwrap();
    let dir = machine.dir().to_str().unwrap();
    let said = run(&["--xen", "--xen-simulated", dir, "4", "--port", "vif:3"]);
    assert!(said.contains("vif 3 of this domain"), "{said}");
    if !std::path::Path::new("/dev/xen/xenbus").exists() {
        let said = run(&["--xen", "--port", "vif:0"]);
        assert!(said.contains("/dev/xen/xenbus"), "{said}");
    }
}
