//! A machine with a backend on it, guests, and one thread that does what a worker does, step by step.

#![allow(dead_code, missing_docs, reason = "shared by several tests, of which each uses a part")]

pub mod stage;

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use pointsman_dataplane::drops::DropReason;
use pointsman_dataplane::frame::{BURST, Burst};
use pointsman_dataplane::offload::Offload;
use pointsman_dataplane::pool::Pool;
use pointsman_dataplane::port::Port;
use pointsman_dataplane::units::Nanos;
use pointsman_xen::DomId;
use pointsman_xen::frontend::{Frontend, FrontendOptions};
use pointsman_xen::netif::keys::VifConfig;
use pointsman_xen::sim::{Machine, SimDomain, Toolstack};
use pointsman_xen::vif::{Guests, Refusal, VifBackend, VifOptions, VifPort};

/// The guest that behaves.
pub const VICTIM: DomId = DomId(3);
/// The guest that does not.
pub const HOSTILE: DomId = DomId(9);

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(5);

enum News {
    Arrived(VifConfig, Vec<VifPort>),
    Left(DomId, u32),
}

struct Reporter(mpsc::Sender<News>);

impl Guests for Reporter {
    fn arrived(&mut self, vif: &VifConfig, ports: Vec<VifPort>) -> Result<(), Refusal> {
        let _ = self.0.send(News::Arrived(vif.clone(), ports));
        Ok(())
    }

    fn left(&mut self, domain: DomId, handle: u32) {
        let _ = self.0.send(News::Left(domain, handle));
    }
}

/// A guest's interface as the engine has it.
pub struct Vif {
    pub config: VifConfig,
    pub ports: Vec<VifPort>,
    /// What came from it.
    pub got: Vec<Vec<u8>>,
    pub offloads: Vec<Option<Offload>>,
}

impl Vif {
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.ports.iter().map(|port| port.counters().drops.get(reason)).sum()
    }

    pub fn all_drops(&self) -> u64 {
        self.ports.iter().map(|port| port.counters().drops.total()).sum()
    }

    pub fn is_up(&self) -> bool {
        self.ports.iter().any(Port::is_up)
    }
}

pub struct Rig {
    pub backend: Option<VifBackend>,
    pub control: Arc<SimDomain>,
    pub toolstack: Toolstack,
    pub vifs: Vec<Vif>,
    pub pool: Pool,
    pub chunks: usize,
    news: mpsc::Receiver<News>,
    /// Last to go.
    pub machine: Machine,
}

impl Rig {
    pub fn new(options: VifOptions) -> Self {
        let machine = Machine::temporary().unwrap();
        let control = Arc::new(SimDomain::control(machine.dir()));
        let toolstack = machine.toolstack().unwrap();
        let pool = Pool::new(4096).unwrap();
        let chunks = pool.available();
        let (_, news) = mpsc::channel();
        let mut rig = Self { backend: None, control, toolstack, vifs: Vec::new(), pool, chunks, news, machine };
        rig.start(options);
        rig
    }

    /// Starts a backend, in the place of the one before.
    pub fn start(&mut self, options: VifOptions) {
        self.backend = None;
        self.vifs.clear();
        let (sender, news) = mpsc::channel();
        self.news = news;
        self.backend = Some(VifBackend::start(self.control.clone(), options, Box::new(Reporter(sender))).unwrap());
    }

    pub fn domain(&self, id: DomId) -> SimDomain {
        SimDomain::guest(self.machine.dir(), id, 4096).unwrap()
    }

    /// Makes a guest with an interface.
    pub fn add(&mut self, id: DomId) -> SimDomain {
        let domain = self.domain(id);
        self.toolstack.add_vif(id, 0, &[]).unwrap();
        self.until("the interface to arrive", |rig| rig.find(id).is_some());
        domain
    }

    pub fn find(&self, id: DomId) -> Option<usize> {
        self.vifs.iter().position(|vif| vif.config.domain == id)
    }

    pub fn vif(&mut self, id: DomId) -> &mut Vif {
        let at = self.find(id).expect("the interface is there");
        &mut self.vifs[at]
    }

    /// Makes a guest and connects it, while the worker works.
    pub fn connected(&mut self, id: DomId, options: FrontendOptions) -> (SimDomain, Frontend) {
        let domain = self.add(id);
        let mut frontend = Frontend::new(&domain, 0, options).unwrap();
        frontend.connect().unwrap();
        self.until("the port to be up", |rig| rig.vif(id).is_up());
        (domain, frontend)
    }

    /// One breath: everything is pulled and kept, every port flushed, told and ticked.
    pub fn breathe(&mut self) {
        while let Ok(news) = self.news.try_recv() {
            match news {
                News::Arrived(config, ports) => {
                    self.vifs.push(Vif { config, ports, got: Vec::new(), offloads: Vec::new() });
                }
                News::Left(domain, _) => self.vifs.retain(|vif| vif.config.domain != domain),
            }
        }
        let Self { vifs, pool, .. } = self;
        for vif in vifs {
            for port in &mut vif.ports {
                let mut burst = Burst::new();
                port.pull(pool, &mut burst);
                assert!(burst.len() <= BURST);
                for frame in burst {
                    vif.got.push(pool.to_vec(&frame));
                    vif.offloads.push(pool.offload(&frame));
                    pool.free(frame);
                }
                port.flush(pool);
                port.notify();
                port.tick(pool, Nanos::now());
            }
        }
    }

    /// Breathes until something is so.
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.breathe();
            if done(self) {
                return;
            }
            assert!(Instant::now() < deadline, "waited in vain for {what}");
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Sends frames to a guest.
    pub fn push(&mut self, id: DomId, frames: &[Vec<u8>]) {
        let at = self.find(id).expect("the interface is there");
        for frames in frames.chunks(BURST) {
            let mut burst: Burst = frames.iter().map(|data| self.pool.frame_from(data).unwrap()).collect();
            let port = &mut self.vifs[at].ports[0];
            port.push(&mut self.pool, &mut burst);
            assert!(burst.is_empty());
        }
        let port = &mut self.vifs[at].ports[0];
        port.flush(&mut self.pool);
        port.notify();
    }

    /// The guest's frames arrive, all of them, in order, and it is answered; and so in the other direction.
    pub fn works(&mut self, id: DomId, frontend: &mut Frontend) {
        let frames: Vec<_> = (0..100u8).map(|n| frame(60 + usize::from(n) * 50, n)).collect();
        self.vif(id).got.clear();
        frontend.take_sent(0);
        let (mut sent, mut answered) = (0, 0);
        self.until("all frames of a guest", |rig| {
            while sent < frames.len() && frontend.send(0, &frames[sent], 0, &[]) {
                sent += 1;
            }
            frontend.show_tx(0).unwrap();
            let answers = frontend.take_sent(0);
            assert!(answers.iter().all(|answer| answer.status == 0), "{answers:?}");
            answered += answers.len();
            rig.vif(id).got.len() == frames.len()
        });
        self.breathe();
        answered += frontend.take_sent(0).len();
        assert_eq!(answered, frames.iter().map(|frame| frame.len().div_ceil(4096)).sum::<usize>());
        assert_eq!(std::mem::take(&mut self.vif(id).got), frames);
        frontend.receive(0).unwrap();
        let mut received = Vec::new();
        for frames in frames.chunks(50) {
            self.push(id, frames);
            received.extend(frontend.receive(0).unwrap());
        }
        assert_eq!(received.len(), frames.len());
        for (received, sent) in received.iter().zip(&frames) {
            assert!(!received.failed && received.data == *sent);
        }
    }

    /// Takes an interface away as `xl` does, and looks that nothing is left of it.
    pub fn remove(&mut self, id: DomId) {
        self.toolstack.destroy(id, 0).unwrap();
        let state = Toolstack::backend_path(id, 0) + "/state";
        self.until("the backend to close", |rig| rig.toolstack.store.read(&state).unwrap() == b"6");
        self.toolstack.finish_detach(id, 0).unwrap();
        self.until("the interface to be gone", |rig| rig.find(id).is_none());
    }

    /// Nothing of any guest is held.
    pub fn assert_clean(&mut self) {
        assert_eq!(self.toolstack.mapped_by(DomId::ZERO).unwrap(), 0, "grants stay mapped");
        assert_eq!(self.toolstack.channels_of(DomId::ZERO).unwrap(), 0, "event channels stay bound");
        assert_eq!(self.toolstack.zombies().unwrap(), 0, "a domain cannot die");
        assert_eq!(self.pool.available(), self.chunks, "frames are held");
    }
}

/// A frame of no protocol, from 02::2 to 02::1.
pub fn frame(len: usize, seed: u8) -> Vec<u8> {
    let mut data = vec![0; len];
    data[..12].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
    data[12..14].copy_from_slice(&[0x88, 0xb5]);
    for (at, byte) in data.iter_mut().enumerate().skip(14) {
        *byte = (at as u8).wrapping_mul(31).wrapping_add(seed);
    }
    data
}
