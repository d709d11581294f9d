//! The guest's side: grants pages, lays rings out, announces them, and begins anew whenever the engine does.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pointsman_dataplane::memif::foreign::{Foreign, Geometry, Rings};
use pointsman_dataplane::memif::{Bell, MemifPort, MemifState, Peer, Role};

use super::bell::ChannelBell;
use super::keys::{self, Announcement, Answer, FEATURE, LISTED, directory_pages};
use super::page::{ControlPage, Side};
use super::{Behind, HEARTBEAT};
use crate::netif::keys::{decimal, parse_mac};
use crate::xenstore::Xenstore;
use crate::{Access, DomId, EventPort, GrantRef, Hypervisor, PAGE, Shared, XenError, bell};

/// How long to wait after a refusal.
const AGAIN: Duration = Duration::from_secs(2);
/// How long an engine is given to let go when we end.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a ring is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingOptions {
    /// Which of this domain's vifs.
    pub handle: u32,
    /// Most pages that it may take of those that this domain can grant.
    pub pages: usize,
    /// Bytes of a buffer, 64 to 65,536.
    pub buffer_size: u32,
}

/// The address that the toolstack gave to a vif of this domain.
///
/// # Errors
/// There is no such vif, or the store cannot be read.
pub fn vif_mac(hypervisor: &dyn Hypervisor, handle: u32) -> Result<[u8; 6], XenError> {
    let value = hypervisor.xenstore()?.read(&format!("device/vif/{handle}/mac"))?;
    let mac = std::str::from_utf8(&value).ok().and_then(parse_mac);
    mac.ok_or(XenError::StoreProtocol("the vif's mac is no address"))
}

/// The control side of a ring in a guest. Dropping it takes the ring down and the pages back.
#[derive(Debug)]
pub struct RingAgent {
    bell: Arc<OwnedFd>,
    stop: Arc<AtomicBool>,
    foreign: Arc<Foreign>,
    thread: Option<JoinHandle<()>>,
}

impl RingAgent {
    /// Starts to offer a ring for a vif of this domain. The port is up whenever an engine serves it.
    ///
    /// # Errors
    /// There is no such vif, no ring fits into the pages, or the system is out of something.
    pub fn start(hypervisor: Arc<dyn Hypervisor>, options: RingOptions) -> Result<(Self, MemifPort), XenError> {
        let starting = || XenError::io("starting a ring");
        vif_mac(hypervisor.as_ref(), options.handle)?;
        let size = Size::fitting(options).ok_or(XenError::RingSize { pages: options.pages })?;
        let path = format!("vif {}", options.handle);
        let (foreign, port) = Foreign::new(Role::Client, path, Arc::default()).map_err(starting())?;
        let foreign = Arc::new(foreign);
        let bell = Arc::new(bell::create().map_err(starting())?);
        let stop = Arc::new(AtomicBool::new(false));
        let mut store = hypervisor.xenstore()?;
        store.watch(&format!("device/vif/{}/backend", options.handle), "backend")?;
        let agent = Agent {
            hypervisor,
            store,
            handle: options.handle,
            size,
            foreign: Arc::clone(&foreign),
            home: None,
            session: first_session(),
            stage: Stage::Idle { since: None },
            said: String::new(),
        };
        let (stopping, ringing) = (Arc::clone(&stop), Arc::clone(&bell));
        let run = move || agent.run(&stopping, &ringing);
        let thread = std::thread::Builder::new().name("ring-control".into()).spawn(run).map_err(starting())?;
        Ok((Self { bell, stop, foreign, thread: Some(thread) }, port))
    }

    /// How it is.
    pub fn state(&self) -> MemifState {
        self.foreign.state()
    }
}

impl Drop for RingAgent {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        bell::ring(self.bell.as_fd());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A number that no agent of this domain has had.
fn first_session() -> u32 {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_nanos());
    ((nanos >> 20) as u32).max(1)
}

/// Pages and what is in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size {
    /// With the control page, without the directory.
    pages: usize,
    geometry: Geometry,
}

impl Size {
    /// The largest that the options allow.
    fn fitting(options: RingOptions) -> Option<Self> {
        let room = options.pages.checked_sub(1 + directory_pages(options.pages))?;
        let geometry = Geometry::fitting(room * PAGE, options.buffer_size)?;
        Some(Self { pages: 1 + geometry.bytes()?.div_ceil(PAGE), geometry })
    }
}

/// A backend, and what it is granted.
#[derive(Debug)]
struct Home {
    /// Its part of the vif.
    back: String,
    directory: Vec<GrantRef>,
    /// Mapped only to be kept.
    _listed: Shared,
    memory: Arc<Shared>,
    page: ControlPage,
    bell: Arc<dyn Bell>,
    event: EventPort,
}

#[derive(Debug)]
enum Stage {
    /// Nothing is announced; a backend was looked for then.
    Idle {
        since: Option<Instant>,
    },
    /// The backend has not answered.
    Announced(Box<Rings>),
    Connected,
}

struct Agent {
    hypervisor: Arc<dyn Hypervisor>,
    store: Xenstore,
    handle: u32,
    size: Size,
    foreign: Arc<Foreign>,
    home: Option<Home>,
    session: u32,
    stage: Stage,
    /// What was said last, so that it is said once.
    said: String,
}

impl Agent {
    fn run(mut self, stop: &AtomicBool, bell: &OwnedFd) {
        let mut told = true;
        while !stop.load(Relaxed) {
            // Every question to the store wakes a kernel thread here and a daemon in dom0: none is asked without a reason.
            if (told || !self.is_well())
                && let Err(e) = self.round()
            {
                self.part(&e.to_string());
            }
            bell::wait(&[self.store.fd(), bell.as_fd()], HEARTBEAT.as_millis() as i32);
            told = false;
            // They only say "look".
            while let Ok(Some(_)) = self.store.next_event() {
                told = true;
            }
        }
        self.end();
    }

    /// Whether a ring is served, as far as memory tells.
    fn is_well(&self) -> bool {
        matches!(self.stage, Stage::Connected) && self.foreign.fault().is_none() && self.engine_lives()
    }

    fn engine_lives(&self) -> bool {
        self.home.as_ref().is_some_and(|home| home.page.lives(Side::Engine))
    }

    fn say(&mut self, what: &str) {
        if self.said != what {
            tracing::info!("vif {} ring: {what}", self.handle);
            self.said = what.to_owned();
        }
    }

    /// Begins anew, after a while.
    fn part(&mut self, why: &str) {
        self.say(why);
        self.foreign.disconnect(why);
        if let Some(home) = &self.home {
            home.page.set_lives(Side::Agent, false);
        }
        self.stage = Stage::Idle { since: Some(Instant::now()) };
    }

    fn round(&mut self) -> Result<(), XenError> {
        let back = self.store.get(&format!("device/vif/{}/backend", self.handle))?;
        let back = back.and_then(|value| String::from_utf8(value).ok());
        if self.home.as_ref().is_some_and(|home| Some(&home.back) != back.as_ref()) {
            // Another host after a migration, or another domain's backend: nothing that we granted is of use to it.
            self.part("the vif has gone, or has another backend");
            self.home = None;
        }
        let Some(back) = back else { return Ok(()) };
        match std::mem::replace(&mut self.stage, Stage::Idle { since: None }) {
            Stage::Connected => match self.ended(&back)? {
                Some(why) => {
                    self.part(&why);
                    // An engine that died may be followed by one that is there already.
                    self.stage = Stage::Idle { since: None };
                }
                None => self.stage = Stage::Connected,
            },
            Stage::Announced(rings) => match keys::answered(&mut self.store, &back, self.session)? {
                Answer::None => self.stage = Stage::Announced(rings),
                Answer::Refused(why) => self.part(&format!("refused: {why}")),
                Answer::Served => {
                    let peer = Peer {
                        program: "pointsman".into(),
                        interface: back,
                        rx_rings: 1,
                        tx_rings: 1,
                        ring_size: 1 << self.size.geometry.log2_size,
                    };
                    self.foreign.connect(*rings, peer);
                    self.stage = Stage::Connected;
                    self.say("connected");
                }
            },
            Stage::Idle { since: Some(since) } if since.elapsed() < AGAIN => {
                self.stage = Stage::Idle { since: Some(since) };
            }
            Stage::Idle { .. } => {
                if self.store.get(&format!("{back}/{FEATURE}"))?.as_deref() == Some(b"1") {
                    self.announce(back)?;
                } else {
                    self.say("its backend knows no rings (no Pointsman, or one with --xen-queues); waiting for one");
                }
            }
        }
        Ok(())
    }

    /// Why we must begin anew, if we must.
    fn ended(&mut self, back: &str) -> Result<Option<String>, XenError> {
        let answer = keys::answered(&mut self.store, back, self.session)?;
        Ok(match (self.foreign.fault(), self.engine_lives(), answer) {
            (Some(fault), ..) => Some(format!("the engine broke the rings: {fault}")),
            (None, false, _) => Some("the engine has gone".into()),
            (None, true, Answer::Served) => None,
            (None, true, _) => Some("the engine let go".into()),
        })
    }

    /// Lays rings out in memory that nobody uses, and tells the backend.
    fn announce(&mut self, back: String) -> Result<(), XenError> {
        if self.home.is_none() {
            self.home = Some(self.settle(back)?);
        }
        let Some(home) = &self.home else { return Ok(()) };
        let behind = Box::new(Behind(Arc::clone(&home.memory)));
        let rings = Foreign::lay_out(behind, self.size.geometry, &home.bell);
        let rings = rings.map_err(|_| XenError::RingSize { pages: self.size.pages })?;
        self.session = self.session.wrapping_add(1).max(1);
        home.page.set_lives(Side::Engine, false);
        home.page.set_lives(Side::Agent, true);
        let announcement = Announcement {
            directory: home.directory.clone(),
            pages: self.size.pages,
            geometry: self.size.geometry,
            event: home.event,
            session: self.session,
        };
        announcement.write(&mut self.store, &format!("device/vif/{}", self.handle))?;
        self.stage = Stage::Announced(Box::new(rings));
        Ok(())
    }

    /// Grants pages and offers a channel to the domain that serves the vif.
    fn settle(&mut self, back: String) -> Result<Home, XenError> {
        let who = self.store.read(&format!("device/vif/{}/backend-id", self.handle))?;
        let who = decimal(&who, u64::from(DomId::FIRST_RESERVED) - 1);
        let backend = DomId(who.ok_or(XenError::StoreProtocol("the vif's backend-id is no domain"))? as u16);
        let allocator = self.hypervisor.allocator()?;
        let (mut memory, grants) = allocator.share(backend, self.size.pages, Access::Write)?;
        ControlPage::when_gone(&mut memory, Side::Agent).map_err(XenError::io("leaving a mark for when we die"))?;
        let (listed, directory) = allocator.share(backend, grants.len().div_ceil(LISTED), Access::Read)?;
        for (at, grant) in grants.iter().enumerate() {
            // SAFETY: the directory has a page for each `LISTED` words; aligned, as pages are.
            let word = unsafe { AtomicU32::from_ptr(listed.base().as_ptr().cast::<u32>().add(at)) };
            word.store(grant.0, Relaxed);
        }
        let mut events = self.hypervisor.events()?;
        let event = events.offer(backend)?;
        let bell = ChannelBell::new(events, event).map_err(XenError::io("watching an event channel"))?;
        self.store.watch(&format!("{back}/{}", keys::RING), "answer")?;
        self.store.watch(&format!("{back}/{FEATURE}"), "feature")?;
        let memory = Arc::new(memory);
        let page = ControlPage::new(&memory);
        Ok(Home { back, directory, _listed: listed, memory, page, bell: Arc::new(bell), event })
    }

    /// Takes the ring down, and waits until the engine has let go: pages that it has mapped cannot be given back.
    fn end(&mut self) {
        self.foreign.disconnect("its agent ends");
        let front = format!("device/vif/{}/{}", self.handle, keys::RING);
        if let Err(e) = self.store.remove(&front) {
            tracing::warn!("vif {} ring: {e}", self.handle);
        }
        let Some(home) = &self.home else { return };
        let begin = Instant::now();
        while home.page.lives(Side::Engine) && begin.elapsed() < PATIENCE {
            let _ = self.store.wait_event(Duration::from_millis(20));
        }
    }
}
