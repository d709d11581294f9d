//! Backend and frontend over the simulated hypervisor.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use pointsman_dataplane::frame::Burst;
use pointsman_dataplane::pool::Pool;
use pointsman_dataplane::port::Port;

use super::*;
use crate::frontend::{Frontend, FrontendOptions, Received};
use crate::sim::{Machine, SimDomain, Toolstack};

const GUEST: DomId = DomId(7);

enum News {
    Arrived(VifConfig, Vec<VifPort>),
    Left(DomId, u32),
}

struct Reporter(mpsc::Sender<News>);

impl Guests for Reporter {
    fn arrived(&mut self, vif: &VifConfig, ports: Vec<VifPort>) {
        let _ = self.0.send(News::Arrived(vif.clone(), ports));
    }

    fn left(&mut self, domain: DomId, handle: u32) {
        let _ = self.0.send(News::Left(domain, handle));
    }
}

/// A machine, a backend on it, and what a worker would hold.
struct Rig {
    backend: Option<VifBackend>,
    control: Arc<SimDomain>,
    news: mpsc::Receiver<News>,
    toolstack: Toolstack,
    pool: Pool,
    machine: Machine,
}

fn rig(options: VifOptions) -> Rig {
    let machine = Machine::temporary().unwrap();
    let control = Arc::new(SimDomain::control(machine.dir()));
    let (sender, news) = mpsc::channel();
    let backend = VifBackend::start(control.clone(), options, Box::new(Reporter(sender))).unwrap();
    let toolstack = machine.toolstack().unwrap();
    Rig { backend: Some(backend), control, news, toolstack, pool: Pool::new(4096).unwrap(), machine }
}

impl Rig {
    fn add_guest(&mut self, id: DomId) -> (SimDomain, VifConfig, Vec<VifPort>) {
        let domain = SimDomain::guest(self.machine.dir(), id, 4096).unwrap();
        self.toolstack.add_vif(id, 0, &[]).unwrap();
        let (config, ports) = self.arrived();
        (domain, config, ports)
    }

    fn arrived(&self) -> (VifConfig, Vec<VifPort>) {
        match self.news.recv_timeout(Duration::from_secs(5)) {
            Ok(News::Arrived(config, ports)) => (config, ports),
            _ => panic!("no guest arrived"),
        }
    }

    /// Pulls until `n` frames have come.
    fn pull(&mut self, port: &mut VifPort, n: usize) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(5);
        while frames.len() < n && Instant::now() < deadline {
            let mut burst = Burst::new();
            port.pull(&mut self.pool, &mut burst);
            for frame in burst {
                frames.push(self.pool.to_vec(&frame));
                self.pool.free(frame);
            }
        }
        frames
    }

    fn push(&mut self, port: &mut VifPort, frames: &[Vec<u8>]) {
        let mut burst: Burst = frames.iter().map(|data| self.pool.frame_from(data).unwrap()).collect();
        port.push(&mut self.pool, &mut burst);
        assert!(burst.is_empty());
        port.flush(&mut self.pool);
        port.notify();
    }
}

fn connect(domain: &SimDomain, options: FrontendOptions, ports: &mut [VifPort], pool: &mut Pool) -> Frontend {
    let mut frontend = Frontend::new(domain, 0, options).unwrap();
    frontend.connect().unwrap();
    let now = pointsman_dataplane::units::Nanos::now();
    ports.iter_mut().for_each(|port| port.tick(pool, now));
    frontend
}

fn frame(len: usize, seed: u8) -> Vec<u8> {
    let mut data = vec![0; len];
    data[..12].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
    data[12..14].copy_from_slice(&[0x88, 0xb5]);
    for (at, byte) in data.iter_mut().enumerate().skip(14) {
        *byte = (at as u8).wrapping_mul(31).wrapping_add(seed);
    }
    data
}

#[test]
fn frames_go_both_ways() {
    let mut rig = rig(VifOptions::default());
    let (domain, config, mut ports) = rig.add_guest(GUEST);
    assert_eq!(config.bridge.as_deref(), Some("xenbr0"));
    assert_eq!(config.mac, Some([0, 0x16, 0x3e, 0, 7, 0]));
    let mut frontend = connect(&domain, FrontendOptions::default(), &mut ports, &mut rig.pool);
    let frames = [frame(60, 1), frame(1514, 2), frame(9000, 3)];
    for data in &frames {
        assert!(frontend.send(0, data, 0, &[]));
    }
    frontend.show_tx(0).unwrap();
    assert_eq!(rig.pull(&mut ports[0], 3), frames);
    assert!(frontend.take_sent(0).iter().all(|sent| sent.status == 0));
    rig.push(&mut ports[0], &frames);
    let received = frontend.receive(0).unwrap();
    let whole = |data: &Vec<u8>| Received { data: data.clone(), ..Received::default() };
    let mut expected: Vec<Received> = frames.iter().map(whole).collect();
    expected[2].flags = 4;
    assert_eq!(received, expected);
}
