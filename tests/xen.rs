//! The engine as the backend of a Xen host's guests, on the simulated hypervisor: `pointsman run --xen` as its own process,
//! guests with a frontend of ours, a toolstack that writes what libxl writes. Needs no privilege.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pointsman_xen::DomId;
use pointsman_xen::frontend::{Frontend, FrontendOptions};
use pointsman_xen::netif::state::State;
use pointsman_xen::sim::{Machine, SimDomain, Toolstack};
use support::{POINTSMAN, try_sh, wait_for};

const CONFIG: &str =
    "seats = 16\n[[worker]]\nchunks = 4096\n[[domain]]\nname = \"xenbr0\"\n[[domain]]\nname = \"xenbr0.10\"\n";

/// A Xen host whose guests the engine serves.
struct Host {
    engine: Option<Child>,
    toolstack: Toolstack,
    machine: Machine,
}

impl Host {
    fn new() -> Self {
        let machine = Machine::temporary().unwrap();
        let toolstack = machine.toolstack().unwrap();
        let text = format!("control = \"{}\"\n{CONFIG}", Self::path(&machine, "control.sock").display());
        std::fs::write(Self::path(&machine, "engine.toml"), text).unwrap();
        let mut host = Self { engine: None, toolstack, machine };
        host.start_engine();
        host
    }

    fn path(machine: &Machine, name: &str) -> PathBuf {
        machine.dir().join(name)
    }

    fn dir(&self) -> &Path {
        self.machine.dir()
    }

    fn start_engine(&mut self) {
        let log = std::fs::File::create(self.dir().join("engine.log")).unwrap();
        let engine = Command::new(POINTSMAN)
            .args(["run", "--xen", "--config"])
            .arg(self.dir().join("engine.toml"))
            .arg("--xen-simulated")
            .arg(self.dir())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.engine = Some(engine.unwrap());
        wait_for("the engine", Duration::from_secs(10), || self.show("workers").is_some());
    }

    fn kill_engine(&mut self) {
        let mut engine = self.engine.take().unwrap();
        engine.kill().unwrap();
        engine.wait().unwrap();
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir().join("engine.log")).unwrap_or_default()
    }

    fn show(&self, topic: &str) -> Option<serde_json::Value> {
        let control = self.dir().join("control.sock");
        let (ok, said) = try_sh(&format!("{POINTSMAN} show {topic} --json --control {}", control.display()));
        ok.then(|| serde_json::from_str(&said).unwrap())
    }

    fn port(&self, name: &str) -> Option<serde_json::Value> {
        let ports = self.show("ports")?;
        ports.as_array().unwrap().iter().find(|port| port["name"] == name).cloned()
    }

    /// A new guest, connected.
    fn guest(&mut self, id: u16, vif: &[(&str, &str)]) -> Guest {
        let id = DomId(id);
        let domain = SimDomain::guest(self.dir(), id, 4096).unwrap();
        self.toolstack.add_vif(id, 0, vif).unwrap();
        let mut frontend = Frontend::new(&domain, 0, FrontendOptions::default()).unwrap();
        frontend.connect().unwrap_or_else(|e| panic!("{e}\n{}", self.log()));
        frontend.await_backend(State::Connected).unwrap();
        Guest { frontend, _domain: domain, id }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(engine) = &mut self.engine {
            let _ = engine.kill();
            let _ = engine.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- engine\n{}", self.log());
        }
    }
}

struct Guest {
    frontend: Frontend,
    /// It lives as long as this.
    _domain: SimDomain,
    id: DomId,
}

impl Guest {
    fn mac(&self) -> [u8; 6] {
        [0x00, 0x16, 0x3e, 0, self.id.0 as u8, 0]
    }

    fn frame(&self, to: &Guest, number: u32, len: usize) -> Vec<u8> {
        let mut frame = [&to.mac()[..], &self.mac(), &[0x88, 0xb5], &number.to_be_bytes()].concat();
        frame.resize(len, number as u8);
        frame
    }

    /// Sends, once there is room.
    fn send(&mut self, frame: &[u8]) {
        wait_for("room in the ring", Duration::from_secs(10), || {
            self.frontend.take_sent(0);
            self.frontend.send(0, frame, 0, &[])
        });
        self.frontend.show_tx(0).unwrap();
    }

    /// What came, waiting a moment for it.
    fn receive(&mut self, moment: Duration) -> Vec<Vec<u8>> {
        let frames = self.frontend.receive(0).unwrap();
        if !frames.is_empty() || moment.is_zero() {
            return frames.into_iter().map(|frame| frame.data).collect();
        }
        self.frontend.wait(moment).unwrap();
        self.receive(Duration::ZERO)
    }

    fn expect(&mut self, frames: &[Vec<u8>]) {
        let begin = Instant::now();
        let mut came = Vec::new();
        while came.len() < frames.len() && begin.elapsed() < Duration::from_secs(10) {
            came.extend(self.receive(Duration::from_millis(20)));
        }
        assert_eq!(came, frames);
    }
}

#[test]
fn guests_of_a_bridge_reach_each_other_and_no_others() {
    let mut host = Host::new();
    let mut one = host.guest(1, &[]);
    let mut two = host.guest(2, &[]);
    let mut tagged = host.guest(3, &[("vlan", "10"), ("vifname", "in-ten")]);
    for number in 0..200 {
        let frame = one.frame(&two, number, 60 + 7 * number as usize);
        one.send(&frame);
        two.expect(&[frame]);
        let frame = two.frame(&one, number, 60);
        two.send(&frame);
        one.expect(&[frame]);
    }
    // Not to a guest in the VLAN, not from an address that is not its own, not for everybody out of the VLAN.
    let stray = one.frame(&tagged, 0, 60);
    one.send(&stray);
    let mut spoofed = one.frame(&two, 1, 60);
    spoofed[11] = 77;
    one.send(&spoofed);
    let mut broadcast = tagged.frame(&one, 2, 60);
    broadcast[..6].fill(0xff);
    tagged.send(&broadcast);
    let mut broadcast = one.frame(&two, 3, 60);
    broadcast[..6].fill(0xff);
    one.send(&broadcast);
    two.expect(&[broadcast]);
    assert!(tagged.receive(Duration::from_millis(50)).is_empty());
    let port = host.port("vif1.0").unwrap();
    assert_eq!((&port["kind"], &port["guest"], &port["up"]), (&"xen-vif".into(), &"domain 1".into(), &true.into()));
    assert_eq!(port["drops"]["source-spoofed"], 1, "{port}");
    assert!(port["mode"].as_str().unwrap().contains("connected"), "{port}");
    assert!(host.port("in-ten").is_some());
    // One is taken away, as `xl network-detach` does it.
    host.toolstack.begin_detach(DomId(2), 0).unwrap();
    two.frontend.close().unwrap();
    two.frontend.await_backend(State::Closed).unwrap();
    host.toolstack.finish_detach(DomId(2), 0).unwrap();
    wait_for("its port to go", Duration::from_secs(5), || host.port("vif2.0").is_none());
    assert_eq!(host.show("guests").unwrap().as_array().unwrap().len(), 2);
    // And its place is free.
    let mut four = host.guest(4, &[]);
    let frame = one.frame(&four, 9, 1514);
    one.send(&frame);
    four.expect(&[frame]);
}

#[test]
fn guests_stay_connected_when_the_engine_is_killed() {
    let mut host = Host::new();
    let mut one = host.guest(1, &[]);
    let mut two = host.guest(2, &[]);
    for round in 0..3 {
        let frame = one.frame(&two, round, 60);
        one.send(&frame);
        two.expect(&[frame]);
        host.kill_engine();
        assert_eq!(one.frontend.backend_state().unwrap(), Some(State::Connected));
        // Sent while nobody is there: the next engine finds it, and answers for it. It is lost when the guest that it is for
        // is taken over later than the one that it is from.
        let frame = one.frame(&two, 100 + round, 60);
        one.send(&frame);
        host.start_engine();
        wait_for("both guests", Duration::from_secs(5), || {
            ["vif1.0", "vif2.0"].iter().all(|name| host.port(name).is_some_and(|port| port["up"] == true))
        });
        let frame_now = one.frame(&two, 200 + round, 60);
        one.send(&frame_now);
        let begin = Instant::now();
        let mut came = Vec::new();
        while !came.contains(&frame_now) && begin.elapsed() < Duration::from_secs(10) {
            came.extend(two.receive(Duration::from_millis(20)));
        }
        assert!(came == [frame, frame_now.clone()] || came == [frame_now], "{came:?}");
        let port = host.port("vif1.0").unwrap();
        assert_eq!(port["rx_frames"], 2, "the first was not taken again: {port}");
    }
}

#[test]
fn a_guest_sends_no_more_than_its_rate() {
    let mut host = Host::new();
    // 10 Mbit/s, as xl writes "10Mb/s": bytes in 50 ms.
    let mut one = host.guest(1, &[("rate", "62500,50000")]);
    let two = host.guest(2, &[]);
    let frame = one.frame(&two, 0, 1000);
    let sent = |host: &Host| host.port("vif1.0").unwrap()["rx_bytes"].as_u64().unwrap();
    let flood = |one: &mut Guest, span: Duration| {
        let begin = Instant::now();
        while begin.elapsed() < span {
            one.frontend.take_sent(0);
            while one.frontend.send(0, &frame, 0, &[]) {}
            one.frontend.show_tx(0).unwrap();
            one.frontend.wait(Duration::from_millis(5)).unwrap();
        }
    };
    // What it saved up goes first.
    flood(&mut one, Duration::from_millis(300));
    let (before, begin) = (sent(&host), Instant::now());
    flood(&mut one, Duration::from_secs(2));
    let rate = (sent(&host) - before) as f64 * 8.0 / begin.elapsed().as_secs_f64();
    assert!((9.0e6..=10.8e6).contains(&rate), "{:.2} Mbit/s", rate / 1e6);
}

#[test]
fn a_guest_in_no_bridge_of_ours_is_told_in_the_log() {
    let mut host = Host::new();
    let _one = host.guest(1, &[("bridge", "elsewhere")]);
    wait_for("a word", Duration::from_secs(5), || host.log().contains("there is no bridge domain \"elsewhere\""));
    assert!(host.port("vif1.0").is_none());
}
