//! Connecting, sending, receiving, closing.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::Pages;
use crate::netif::ring::{Page, SLOTS};
use crate::netif::state::State;
use crate::netif::wire::{
    Extra, GsoKind, RX_WORDS, RxRequest, RxResponse, TX_WORDS, TxRequest, TxResponse, rx_flag, status, tx_flag,
};
use crate::xenstore::Xenstore;
use crate::{Access, Allocator, DomId, EventPort, Events, GrantRef, Hypervisor, PAGE, Shared, XenError, bell};

/// Pages behind each ring.
const PAGES: u16 = SLOTS as u16;

/// How the guest's driver behaves.
#[derive(Clone, Debug)]
pub struct FrontendOptions {
    /// Queues, where the backend offers as many.
    pub queues: u16,
    /// Two channels a queue.
    pub split: bool,
    /// Keys of its own part beside those that must be.
    pub keys: Vec<(String, String)>,
    /// Pages that are posted to receive into, at most.
    pub posted: u32,
}

impl Default for FrontendOptions {
    /// As Linux's netfront.
    fn default() -> Self {
        let on =
            ["feature-rx-notify", "feature-sg", "feature-gso-tcpv4", "feature-gso-tcpv6", "feature-ipv6-csum-offload"];
        let keys = on.map(|key| (key.to_owned(), "1".to_owned())).to_vec();
        Self { queues: 1, split: true, keys, posted: SLOTS }
    }
}

/// A frame that came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Its bytes.
    pub data: Vec<u8>,
    /// Flags of its first slot.
    pub flags: u16,
    /// How it is to be cut.
    pub gso: Option<(u16, GsoKind)>,
    /// A slot of it failed.
    pub failed: bool,
}

/// What became of what was sent: one for every slot.
pub type Sent = TxResponse;

/// A queue of the guest's.
#[derive(Debug)]
pub struct FrontQueue {
    /// The ring of what it sends, open to misuse.
    pub tx: Page<TX_WORDS>,
    /// The ring of what it receives, likewise.
    pub rx: Page<RX_WORDS>,
    /// Grants of the two rings.
    pub rings: [GrantRef; 2],
    /// Channels of the two rings.
    pub channels: [EventPort; 2],
    /// Where it sends from; the number of a page is its request's id.
    pub tx_pages: Pages,
    /// Where it receives into.
    pub rx_pages: Pages,
    /// Requests that were shown, on each ring.
    pub produced: [u32; 2],
    /// Responses that were taken, on each ring.
    pub consumed: [u32; 2],
    /// Which page each rx slot's request was for.
    posted: Vec<u16>,
    _shared: [Shared; 2],
}

/// A guest's driver of one interface.
#[derive(Debug)]
pub struct Frontend {
    /// Its connection to the store.
    pub store: Xenstore,
    /// Its part of the store.
    pub front: String,
    /// The backend's part, as the toolstack said.
    pub back: String,
    /// Its queues.
    pub queues: Vec<FrontQueue>,
    /// Its event channels.
    pub events: Box<dyn Events>,
    allocator: Box<dyn Allocator>,
    backend: DomId,
    options: FrontendOptions,
}

fn protocol(what: &'static str) -> XenError {
    XenError::Io { doing: what, source: io::ErrorKind::TimedOut.into() }
}

impl Frontend {
    /// The driver of interface `handle` of the domain that `hypervisor` is.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn new(hypervisor: &dyn Hypervisor, handle: u32, options: FrontendOptions) -> Result<Self, XenError> {
        let mut store = hypervisor.xenstore()?;
        let front = format!("device/vif/{handle}");
        let text = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
        let back = text(store.read(&format!("{front}/backend"))?);
        let id = text(store.read(&format!("{front}/backend-id"))?).parse();
        let backend = DomId(id.map_err(|_| XenError::StoreProtocol("backend-id is no number"))?);
        store.watch(&format!("{back}/state"), "backend")?;
        let (events, allocator) = (hypervisor.events()?, hypervisor.allocator()?);
        Ok(Self { store, front, back, queues: Vec::new(), events, allocator, backend, options })
    }

    /// The backend's state now.
    ///
    /// # Errors
    /// As xenstore says.
    pub fn backend_state(&mut self) -> Result<Option<State>, XenError> {
        Ok(self.store.get(&format!("{}/state", self.back))?.and_then(|value| State::parse(&value)))
    }

    /// Waits until the backend is in a state.
    ///
    /// # Errors
    /// It does not get there within five seconds.
    pub fn await_backend(&mut self, state: State) -> Result<(), XenError> {
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.backend_state()? != Some(state) {
            if Instant::now() > deadline {
                return Err(protocol("waiting for the backend"));
            }
            self.store.wait_event(Duration::from_millis(20))?;
        }
        Ok(())
    }

    /// Writes its own state.
    ///
    /// # Errors
    /// As xenstore says.
    pub fn set_state(&mut self, state: State) -> Result<(), XenError> {
        self.store.write(&format!("{}/state", self.front), state.as_str())
    }

    /// Waits for the backend's offer and makes rings and channels; nothing is told yet.
    ///
    /// # Errors
    /// No offer, or no memory.
    pub fn prepare(&mut self) -> Result<(), XenError> {
        self.await_backend(State::InitWait)?;
        let most = self.store.get(&format!("{}/multi-queue-max-queues", self.back))?;
        let most = most.and_then(|value| String::from_utf8(value).ok()?.parse().ok()).unwrap_or(1);
        for _ in 0..self.options.queues.min(most) {
            let queue = self.make_queue()?;
            self.queues.push(queue);
        }
        Ok(())
    }

    fn make_queue(&mut self) -> Result<FrontQueue, XenError> {
        let share = |pages| self.allocator.share(self.backend, pages, Access::Write);
        let ((tx, tx_refs), (rx, rx_refs)) = (share(1)?, share(1)?);
        // SAFETY: the pages go into the same queue as the rings.
        let (tx_page, rx_page) = unsafe { (Page::new(&tx), Page::new(&rx)) };
        tx_page.set_request_event(1);
        tx_page.set_response_event(1);
        rx_page.set_request_event(1);
        rx_page.set_response_event(1);
        let first = self.events.offer(self.backend)?;
        let second = if self.options.split { self.events.offer(self.backend)? } else { first };
        let mut queue = FrontQueue {
            tx: tx_page,
            rx: rx_page,
            rings: [tx_refs[0], rx_refs[0]],
            channels: [first, second],
            tx_pages: Pages::new(self.allocator.as_ref(), self.backend, PAGES, Access::Read)?,
            rx_pages: Pages::new(self.allocator.as_ref(), self.backend, PAGES, Access::Write)?,
            produced: [0; 2],
            consumed: [0; 2],
            posted: vec![0; SLOTS as usize],
            _shared: [tx, rx],
        };
        queue.post(self.options.posted);
        Ok(queue)
    }

    /// What it would write into its part of the store.
    pub fn keys(&self) -> Vec<(String, String)> {
        let mut keys = vec![("request-rx-copy".to_owned(), "1".to_owned())];
        keys.extend(self.options.keys.iter().cloned());
        let many = self.queues.len() > 1;
        if many {
            keys.push(("multi-queue-num-queues".into(), self.queues.len().to_string()));
        }
        for (number, queue) in self.queues.iter().enumerate() {
            let dir = if many { format!("queue-{number}/") } else { String::new() };
            let mut put = |key: &str, value: u32| keys.push((format!("{dir}{key}"), value.to_string()));
            put("tx-ring-ref", queue.rings[0].0);
            put("rx-ring-ref", queue.rings[1].0);
            if self.options.split {
                put("event-channel-tx", queue.channels[0].0);
                put("event-channel-rx", queue.channels[1].0);
            } else {
                put("event-channel", queue.channels[0].0);
            }
        }
        keys
    }

    /// Writes keys, then that it is connected.
    ///
    /// # Errors
    /// As xenstore says.
    pub fn publish(&mut self, keys: &[(String, String)]) -> Result<(), XenError> {
        let front = self.front.clone();
        self.store
            .transaction(|t| keys.iter().try_for_each(|(key, value)| t.write(&format!("{front}/{key}"), value)))?;
        self.set_state(State::Connected)
    }

    /// Connects as an honest driver does.
    ///
    /// # Errors
    /// The backend does not connect within five seconds.
    pub fn connect(&mut self) -> Result<(), XenError> {
        self.prepare()?;
        let keys = self.keys();
        self.publish(&keys)?;
        self.await_backend(State::Connected)
    }

    /// Closes as an honest driver does. What was shared is given back only after.
    ///
    /// # Errors
    /// The backend does not close within five seconds.
    pub fn close(&mut self) -> Result<(), XenError> {
        self.set_state(State::Closing)?;
        self.await_backend(State::Closed)?;
        for queue in self.queues.drain(..) {
            for channel in queue.channels {
                let _ = self.events.unbind(channel);
            }
        }
        self.set_state(State::Closed)
    }

    /// Wakes the backend where it asked for that, after requests up to the produced counts were shown.
    ///
    /// # Errors
    /// What the hypervisor said.
    pub fn show_tx(&mut self, queue: usize) -> io::Result<()> {
        let queue = &mut self.queues[queue];
        let old = queue.tx.requests();
        queue.tx.set_requests(queue.produced[0]);
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        let new = queue.produced[0];
        if new.wrapping_sub(queue.tx.request_event()) < new.wrapping_sub(old) {
            self.events.notify(queue.channels[0])?;
        }
        Ok(())
    }

    /// Puts a frame into the tx ring, as many slots as it takes pages; [`show_tx`](Self::show_tx) shows it. False when there
    /// is no room.
    pub fn send(&mut self, queue: usize, frame: &[u8], flags: u16, extras: &[Extra]) -> bool {
        self.queues[queue].send(frame, flags, extras)
    }

    /// Responses to what was sent, in order; their pages are free again.
    pub fn take_sent(&mut self, queue: usize) -> Vec<Sent> {
        self.queues[queue].take_sent()
    }

    /// Frames that came; their pages are posted again.
    ///
    /// # Errors
    /// What the hypervisor said.
    pub fn receive(&mut self, queue: usize) -> io::Result<Vec<Received>> {
        let posted = self.options.posted;
        let queue = &mut self.queues[queue];
        let frames = queue.take_received();
        let old = queue.rx.requests();
        queue.post(posted);
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        let new = queue.produced[1];
        if new.wrapping_sub(queue.rx.request_event()) < new.wrapping_sub(old) {
            self.events.notify(queue.channels[1])?;
        }
        Ok(frames)
    }

    /// Waits until some channel fires or `timeout` is over; tells which did, and lets them fire again.
    ///
    /// # Errors
    /// What the hypervisor said.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<Vec<EventPort>> {
        bell::wait(&[self.events.fd().as_fd()], timeout.as_millis() as i32);
        let mut ports = [EventPort(0); 64];
        let n = self.events.fired(&mut ports)?;
        self.events.unmask(&ports[..n])?;
        Ok(ports[..n].to_vec())
    }
}

impl FrontQueue {
    /// Posts pages until `most` lie there.
    pub fn post(&mut self, most: u32) {
        while self.produced[1].wrapping_sub(self.consumed[1]) < most.min(SLOTS)
            && let Some(page) = self.rx_pages.take()
        {
            let at = self.produced[1];
            self.posted[(at % SLOTS) as usize] = page;
            self.rx.store(at, RxRequest { id: (at % SLOTS) as u16, grant: self.rx_pages.grant(page) }.emit());
            self.produced[1] = at.wrapping_add(1);
        }
        self.rx.set_requests(self.produced[1]);
    }

    /// Puts a slot into the tx ring, whatever it says.
    pub fn put(&mut self, words: [u32; TX_WORDS]) {
        self.tx.store(self.produced[0], words);
        self.produced[0] = self.produced[0].wrapping_add(1);
    }

    fn send(&mut self, frame: &[u8], flags: u16, extras: &[Extra]) -> bool {
        let slots = frame.len().div_ceil(PAGE);
        let in_ring = self.produced[0].wrapping_sub(self.consumed[0]) as usize;
        if in_ring + slots + extras.len() > SLOTS as usize || self.tx_pages.free() < slots {
            return false;
        }
        for (index, part) in frame.chunks(PAGE).enumerate() {
            let Some(page) = self.tx_pages.take() else { return false };
            self.tx_pages.write(page, 0, part);
            let more = if index + 1 < slots { tx_flag::MORE_DATA } else { 0 };
            let first = match (index, extras.is_empty()) {
                (0, true) => flags,
                (0, false) => flags | tx_flag::EXTRA_INFO,
                _ => 0,
            };
            let size = if index == 0 { frame.len() } else { part.len() } as u16;
            let request =
                TxRequest { grant: self.tx_pages.grant(page), offset: 0, flags: first | more, id: page, size };
            self.put(request.emit());
            if index == 0 {
                for (number, extra) in extras.iter().enumerate() {
                    let [head, tail] = extra.emit(number + 1 < extras.len());
                    self.put([head, tail, 0]);
                }
            }
        }
        true
    }

    fn take_sent(&mut self) -> Vec<Sent> {
        let mut sent = Vec::new();
        let produced = self.tx.responses();
        while self.consumed[0] != produced {
            let [word, ..] = self.tx.load(self.consumed[0]);
            let response = TxResponse::parse(word);
            if response.status != status::NULL && response.id < PAGES {
                self.tx_pages.give_back(response.id);
            }
            sent.push(response);
            self.consumed[0] = self.consumed[0].wrapping_add(1);
        }
        self.tx.set_response_event(produced.wrapping_add(1));
        sent
    }

    fn take_received(&mut self) -> Vec<Received> {
        let mut frames = Vec::new();
        let produced = self.rx.responses();
        let mut frame: Option<Received> = None;
        while self.consumed[1] != produced {
            let response = RxResponse::parse(self.rx.load(self.consumed[1]));
            let page = self.next_page();
            let first = frame.is_none();
            let current = frame.get_or_insert_default();
            if first {
                current.flags = response.flags;
            }
            match usize::try_from(response.status) {
                Ok(len) => current.data.extend(self.rx_pages.read(page, response.offset.into(), len)),
                Err(_) => current.failed = true,
            }
            if first && response.flags & rx_flag::EXTRA_INFO != 0 {
                let [head, tail] = self.rx.load(self.consumed[1]);
                self.next_page();
                if let (Extra::Gso { size, kind: Some(kind) }, _) = Extra::parse(head, tail) {
                    current.gso = Some((size, kind));
                }
            }
            if response.flags & rx_flag::MORE_DATA == 0 {
                frames.extend(frame.take());
            }
        }
        self.rx.set_response_event(produced.wrapping_add(1));
        frames
    }

    /// The page of the next rx slot, which is free again.
    fn next_page(&mut self) -> u16 {
        let page = self.posted[(self.consumed[1] % SLOTS) as usize];
        self.consumed[1] = self.consumed[1].wrapping_add(1);
        self.rx_pages.give_back(page);
        page
    }
}
