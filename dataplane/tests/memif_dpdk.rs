//! memif against DPDK's own `net_memif`, in both roles: `dpdk-testpmd` sends every frame back where it came from.

mod memif_peer;

use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use memif_peer::Place;
use pointsman_dataplane::frame::Burst;
use pointsman_dataplane::memif::{Memif, MemifOptions, MemifPort, Role};
use pointsman_dataplane::pool::Pool;
use pointsman_dataplane::port::Port;
use pointsman_dataplane::units::Nanos;

/// testpmd takes its time to start, more so on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn is_installed() -> bool {
    let found = Command::new("dpdk-testpmd").arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        println!("skipped: dpdk-testpmd is not installed (packages dpdk and librte-net-memif23)");
    }
    found
}

/// A running testpmd with one memif whose frames it sends back.
struct Testpmd {
    child: Child,
    /// It runs until this is closed.
    _stdin: Option<ChildStdin>,
}

impl Testpmd {
    fn start(role: &str, socket: &Path, more_vdev: &str, more: &[&str]) -> Self {
        let prefix = format!("pointsman-{}-{}", std::process::id(), socket.file_stem().unwrap().to_str().unwrap());
        let vdev = format!("net_memif0,role={role},id=0,socket={}{more_vdev}", socket.display());
        let mut child = Command::new("dpdk-testpmd")
            .args(["--no-huge", "-m", "128", "--no-pci", "--no-telemetry", "-l", "0,1"])
            .args(["--file-prefix", &prefix, "--vdev", &vdev, "--"])
            .args(["--forward-mode=io", "--auto-start", "--total-num-mbufs=8192"])
            // What we send before it has begun to forward is to be forwarded, not thrown away.
            .arg("--no-flush-rx")
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        Self { child, _stdin: stdin }
    }

    /// As hard as it gets.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Ours {
    memif: Memif,
    ports: Vec<MemifPort>,
    pool: Pool,
}

impl Ours {
    fn start(options: &MemifOptions) -> Self {
        let (memif, ports) = Memif::start(options).unwrap();
        Self { memif, ports, pool: Pool::new(4096).unwrap() }
    }

    fn tick(&mut self) -> bool {
        for port in &mut self.ports {
            port.tick(&mut self.pool, Nanos::now());
        }
        self.ports.iter().all(|p| p.is_up())
    }

    fn wait_until_up(&mut self) {
        let limit = Instant::now() + PATIENCE;
        while !self.tick() {
            assert!(Instant::now() < limit, "testpmd did not connect: {}", self.memif.state());
            std::thread::sleep(Duration::from_millis(5));
        }
        let peer = self.memif.state().peer.unwrap();
        assert!(peer.program.starts_with("DPDK "), "{peer:?}");
        assert_eq!(peer.interface, "net_memif0");
        for queue in 0..self.ports.len() {
            self.wait_until_forwarding(queue, limit);
        }
    }

    /// Connected is not yet forwarding, and a client offers no buffers before: sends until the first frame comes back,
    /// then takes back all that went out.
    fn wait_until_forwarding(&mut self, queue: usize, limit: Instant) {
        let port = &mut self.ports[queue];
        let (mut came, mut gone) = (0, port.counters().tx_frames.load(Relaxed));
        let before = gone;
        while came == 0 || came < gone - before {
            assert!(Instant::now() < limit, "testpmd does not forward");
            let mut burst = Burst::new();
            if came == 0 {
                burst.extend(self.pool.frame_from(&[0; 60]));
                port.push(&mut self.pool, &mut burst);
                port.flush(&mut self.pool);
                port.notify();
                gone = port.counters().tx_frames.load(Relaxed);
            }
            port.pull(&mut self.pool, &mut burst);
            came += burst.len() as u64;
            self.pool.free_all(burst.drain(..));
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn wait_until_down(&mut self) {
        let limit = Instant::now() + Duration::from_secs(10);
        while self.ports.iter().any(|p| p.is_up()) {
            assert!(Instant::now() < limit, "the peer's death goes unnoticed");
            self.tick();
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Sends frames by one queue and expects them back, all and in order, by the same.
    fn echo(&mut self, queue: usize, lengths: &[usize], rounds: usize) {
        let frame = |i: usize, len: usize| -> Vec<u8> { (0..len).map(|at| (at * 13 + i + at / 256) as u8).collect() };
        let dropped = self.ports[queue].counters().drops.total();
        for round in 0..rounds {
            let frames: Vec<_> = lengths.iter().enumerate().map(|(i, len)| frame(i + round, *len)).collect();
            let mut burst: Burst = frames.iter().map(|f| self.pool.frame_from(f).unwrap()).collect();
            self.ports[queue].push(&mut self.pool, &mut burst);
            self.ports[queue].flush(&mut self.pool);
            self.ports[queue].notify();
            let mut back = Vec::new();
            let limit = Instant::now() + Duration::from_secs(20);
            while back.len() < frames.len() {
                assert!(Instant::now() < limit, "round {round}: {} of {} came back", back.len(), frames.len());
                self.ports[queue].pull(&mut self.pool, &mut burst);
                for frame in burst.drain(..) {
                    back.push(self.pool.to_vec(&frame));
                    self.pool.free(frame);
                }
                std::thread::yield_now();
            }
            assert_eq!(back, frames, "round {round}");
        }
        assert_eq!(self.ports[queue].counters().drops.total(), dropped);
    }
}

/// Everything that both roles have in common, also over a restart of testpmd after `kill -9`.
fn talk_to_testpmd(ours: Role, theirs: &str, more_vdev: &str) {
    if !is_installed() {
        return;
    }
    let place = Place::new();
    let mut us = Ours::start(&place.options(ours));
    let chunks = us.pool.available();
    for _ in 0..2 {
        let testpmd = Testpmd::start(theirs, &place.0, more_vdev, &[]);
        us.wait_until_up();
        // Round the ring several times; long frames in several descriptors each.
        us.echo(0, &[60; 64], 100);
        us.echo(0, &[60, 64, 128, 594, 1514, 2048, 2049, 9018, 60], 100);
        testpmd.kill();
        us.wait_until_down();
    }
    assert_eq!(us.memif.state().connects, 2);
    assert_eq!(us.pool.available(), chunks, "chunks leaked");
}

#[test]
fn testpmd_as_client() {
    talk_to_testpmd(Role::Server, "client", "");
}

#[test]
fn testpmd_as_client_by_socket_file() {
    talk_to_testpmd(Role::Server, "client", ",socket-abstract=no");
}

#[test]
fn testpmd_as_server() {
    talk_to_testpmd(Role::Client, "server", "");
}

#[test]
fn testpmd_with_two_queues_and_a_secret() {
    if !is_installed() {
        return;
    }
    for (ours, theirs) in [(Role::Server, "client"), (Role::Client, "server")] {
        let place = Place::new();
        let mut options = place.options(ours);
        options.rings = 2;
        options.secret = "swordfish".into();
        let mut us = Ours::start(&options);
        let _testpmd = Testpmd::start(theirs, &place.0, ",secret=swordfish,rsize=9", &["--rxq=2", "--txq=2"]);
        us.wait_until_up();
        us.echo(0, &[60, 1514], 50);
        us.echo(1, &[64, 9018], 50);
    }
}

#[test]
fn a_wrong_secret_is_refused_by_both() {
    if !is_installed() {
        return;
    }
    let place = Place::new();
    let mut options = place.options(Role::Client);
    options.secret = "swordfish".into();
    let mut us = Ours::start(&options);
    let _testpmd = Testpmd::start("server", &place.0, ",secret=other", &[]);
    let limit = Instant::now() + PATIENCE;
    while !us.memif.state().last_disconnect.is_some_and(|reason| reason.contains("Incorrect secret")) {
        assert!(Instant::now() < limit, "{}", us.memif.state());
        assert!(!us.tick());
        std::thread::sleep(Duration::from_millis(5));
    }
}
