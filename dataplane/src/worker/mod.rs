//! A worker: a pinned thread that owns ports and does all of their work, start to end.
//!
//! It draws one breath after another: pull a burst from each port, let the forwarder sort it by output, push each
//! output's part; at the end of the breath every port that was pushed to is flushed once, so that peers and kernel are
//! told once a breath and not once a burst. A breath that found nothing is followed by a little spinning, then by sleep
//! on the ports' descriptors. A worker never waits for another thread: not for a lock, not for a peer.

pub(crate) mod clock;
mod doorbell;
mod errands;
mod traced;
mod turns;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub use doorbell::{Arrival, Done, Doorbell, Errand};

use crate::forward::{Forward, Outputs};
use crate::frame::{BURST, Burst};
use crate::handoff::{self, HandoffRx, HandoffTx};
use crate::netdev::FullMarks;
use crate::offload;
use crate::pool::Pool;
use crate::port::{Counters, Port, Sleep};
use crate::shares::{Shares, Weight};
use crate::timeslice;
use crate::trace::{Tracer, Traces};
use crate::units::{GuestId, Nanos, PortId};
use clock::Clock;
use turns::Turns;

/// How often a busy worker does what is due now and then.
const TICK: Nanos = Nanos::from_millis(10);
/// How often a resting one does: an idle engine must cost nothing.
const REST_TICK: Nanos = Nanos::from_secs(1);
/// How soon a sleeper looks again whether a guest that was marked full has room.
const FULL_CHECK: Nanos = Nanos::from_micros(200);
/// How soon where the guest tells, in case it does not.
const TOLD_CHECK: Nanos = Nanos::from_millis(10);
/// How long a busy worker lets frames gather before it wakes the peers that sleep.
const GATHER: Nanos = Nanos::from_micros(50);
/// Chunks that can be under way from one worker to another: what a worker takes in while the other draws a long breath.
const HANDOFF: usize = 2048;

/// What a worker is given.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Name of its thread.
    pub name: String,
    /// Core that it is pinned to; none: wherever the scheduler puts it.
    pub core: Option<usize>,
    /// Chunks of frame memory.
    pub chunks: usize,
    /// How long it looks for work before it sleeps.
    pub spin: Nanos,
}

/// What a worker has counted. It alone writes; anyone reads.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerCounters {
    /// Breaths drawn.
    pub breaths: AtomicU64,
    /// Breaths that found at least one frame.
    pub busy_breaths: AtomicU64,
    /// Frames that passed.
    pub frames: AtomicU64,
    /// Nanoseconds spent in breaths that found something.
    pub busy_nanos: AtomicU64,
    /// Times it went to sleep.
    pub sleeps: AtomicU64,
    /// Free chunks, when it last looked.
    pub chunks_free: AtomicU64,
}

/// Another worker: the way to it, the way from it, and how to wake it.
struct Peer {
    tx: HandoffTx,
    rx: HandoffRx,
    bell: Doorbell,
    /// It sleeps, and was shown something since the bell was last rung.
    asleep: bool,
}

/// Where frames for a port go.
#[derive(Clone, Copy)]
enum Route {
    Nowhere,
    /// The slot of a queue that this worker owns.
    Slot(usize),
    /// Another worker owns the port.
    Peer(usize),
    /// A port of this worker's forwarder, which takes back what is staged for it: nothing is ever pushed there.
    Forwarder,
}

/// A guest's port, and where to tell that it takes no frames, so that frames for it are not even received.
pub struct FullWatch {
    /// The guest's port.
    pub port: PortId,
    /// The marks of each device that receives for the guest.
    pub marks: Vec<Arc<FullMarks>>,
    /// What the marks say now.
    pub marked: bool,
    /// Of its part of a device's ring, as the marks say it now.
    pub weight: Weight,
}

impl FullWatch {
    /// Of the guest port `port`, which has these marks.
    pub fn new(port: PortId, marks: Vec<Arc<FullMarks>>) -> Self {
        Self { port, marks, marked: false, weight: Weight::ONE }
    }

    fn mark(&mut self, full: bool, weight: Weight) {
        (self.marked, self.weight) = (full, weight);
        for marks in &self.marks {
            marks.set(self.port, full, weight);
        }
    }
}

/// One queue of a port, with what the worker remembers of it.
struct Slot {
    id: PortId,
    /// Whose it is.
    guest: GuestId,
    /// Whose frames it was last told to expect.
    source: GuestId,
    port: Box<dyn Port>,
    /// Pushed to since its last flush.
    pushed: bool,
    /// Flushed since its peer was last told.
    untold: bool,
}

impl Slot {
    fn new(id: PortId, guest: GuestId, port: Box<dyn Port>) -> Self {
        Self { id, guest, source: GuestId::UPLINKS, port, pushed: false, untold: false }
    }
}

/// A worker, ready to run on a thread of its own.
pub struct Worker {
    config: WorkerConfig,
    /// Dropped before `pool`, which is the memory of their sockets.
    slots: Vec<Slot>,
    pool: Pool,
    /// Where frames for a port go, by [`PortId`].
    routes: Vec<Route>,
    peers: Vec<Peer>,
    out: Outputs,
    /// Frames that were made fit for a port which does not take them as they came; empty but while that goes on.
    fitted: Burst,
    forward: Box<dyn Forward>,
    sleep: Sleep,
    doorbell: Doorbell,
    counters: Arc<WorkerCounters>,
    full: Vec<FullWatch>,
    /// Whose turn it is; none: all ports are one's own, and nobody keeps accounts.
    turns: Option<Turns>,
    /// Since when a peer has been left untold.
    untold_since: Option<Nanos>,
    tracer: Tracer,
    clock: Clock,
}

impl Worker {
    /// A worker on `pool` whose ports are `ports`; several entries of one id are queues of one port, and frames for
    /// that port leave through the first of them. `ids` is the number of port ids there are in the whole engine.
    ///
    /// # Errors
    /// No descriptor left for epoll or eventfd.
    pub fn new(
        config: WorkerConfig,
        pool: Pool,
        ports: Vec<(PortId, Box<dyn Port>)>,
        ids: usize,
        forward: Box<dyn Forward>,
    ) -> io::Result<Self> {
        let mut routes = vec![Route::Nowhere; ids];
        let mut counters: Vec<Arc<Counters>> = (0..ids).map(|_| Arc::default()).collect();
        for (index, (id, port)) in ports.iter().enumerate() {
            if let Route::Nowhere = routes[id.index()] {
                routes[id.index()] = Route::Slot(index);
                counters[id.index()] = Arc::clone(port.counters());
            }
        }
        let sleep = Sleep::new()?;
        let doorbell = Doorbell::new()?;
        sleep.watch_edge(doorbell.as_fd())?;
        Ok(Self {
            config,
            pool,
            slots: ports.into_iter().map(|(id, port)| Slot::new(id, GuestId::UPLINKS, port)).collect(),
            routes,
            peers: Vec::new(),
            out: Outputs::new(counters),
            fitted: Burst::new(),
            forward,
            sleep,
            doorbell,
            counters: Arc::default(),
            full: Vec::new(),
            turns: None,
            untold_since: None,
            tracer: Tracer::default(),
            clock: Clock::new(),
        })
    }

    /// A worker whose ports are numbered in order: for guests, which have one.
    ///
    /// # Errors
    /// No memory for the pool, or no descriptor left.
    pub fn simple(config: WorkerConfig, ports: Vec<Box<dyn Port>>, forward: Box<dyn Forward>) -> io::Result<Self> {
        let pool = Pool::new(config.chunks)?;
        let ids = ports.len();
        let ports = ports.into_iter().enumerate().map(|(i, port)| (PortId(i as u16), port)).collect();
        Self::new(config, pool, ports, ids, forward)
    }

    /// Opens the ways between two workers: each then reaches the ports that only the other owns. What was lost on the
    /// way from `self` to `other` and back is counted in the counters returned, in this order.
    pub fn link(&mut self, other: &mut Self) -> [Arc<Counters>; 2] {
        let (there, arriving_there) = handoff::pair(HANDOFF, Arc::clone(self.pool.memory()));
        let (back, arriving_back) = handoff::pair(HANDOFF, Arc::clone(other.pool.memory()));
        let counters = [Arc::clone(there.counters()), Arc::clone(back.counters())];
        self.reach(other);
        other.reach(self);
        self.peers.push(Peer { tx: there, rx: arriving_back, bell: other.doorbell(), asleep: false });
        other.peers.push(Peer { tx: back, rx: arriving_there, bell: self.doorbell(), asleep: false });
        counters
    }

    /// Routes frames for the ports of `other` to the peer that comes next.
    fn reach(&mut self, other: &Self) {
        let next = self.peers.len();
        for (route, theirs) in self.routes.iter_mut().zip(&other.routes) {
            if let (Route::Nowhere, Route::Slot(_) | Route::Forwarder) = (*route, theirs) {
                *route = Route::Peer(next);
            }
        }
    }

    /// Makes `port` one of the forwarder's own, with what is lost there counted in `counters`. Before [`link`](Self::link):
    /// other workers send frames for it here.
    pub fn own(&mut self, port: PortId, counters: Arc<Counters>) {
        self.routes[port.index()] = Route::Forwarder;
        self.out.set_counters(port, counters);
    }

    /// Marks these guests in XDP while they are full or not there.
    pub fn watch_full(&mut self, guests: Vec<FullWatch>) {
        self.full = guests;
    }

    /// Tells of frames as `traces` ask, as worker number `worker`.
    pub fn tell(&mut self, traces: Arc<Traces>, worker: u16) {
        self.tracer = Tracer::new(traces, worker);
    }

    /// Divides its time among guests, as `shares` says; `guests` tells whose each port is, by [`PortId`].
    pub fn take_turns(&mut self, shares: Arc<Shares>, guests: Vec<GuestId>) {
        for slot in &mut self.slots {
            slot.guest = guests.get(slot.id.index()).copied().unwrap_or(GuestId::UPLINKS);
        }
        self.turns = Some(Turns::new(shares, guests));
    }

    /// Nanoseconds that each guest has been charged, by [`GuestId`]; empty while nobody takes turns.
    pub fn time_used(&self) -> Arc<[AtomicU64]> {
        self.turns.as_ref().map_or_else(|| Arc::new([]), Turns::used)
    }

    /// The way to stop and wake it.
    pub fn doorbell(&self) -> Doorbell {
        self.doorbell.clone()
    }

    /// Its frame memory.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// What it counts.
    pub fn counters(&self) -> Arc<WorkerCounters> {
        Arc::clone(&self.counters)
    }

    /// Runs until its [`Doorbell`] says stop. The thread that calls this becomes the worker.
    pub fn run(mut self) {
        if let Some(core) = self.config.core {
            core_affinity::set_for_current(core_affinity::CoreId { id: core });
        }
        if let Err(e) = timeslice::share() {
            tracing::debug!("{}: no turns that suit a shared core: {e}", self.config.name);
        }
        let mut burst = Burst::new();
        let mut now = self.clock.now();
        let mut next_tick = now;
        let mut idle_since: Option<Nanos> = None;
        // Ports that came up or went down while we slept, or came just now, are not to wait for the next tick.
        let mut changed = true;
        while !self.doorbell.is_stopped() {
            if self.doorbell.is_waiting() {
                self.run_errands();
                changed = true;
            }
            let frames = self.breathe(&mut burst, now);
            // Who forwards hears of it by a tick, and may have to tell others: not when we have slept once more.
            if std::mem::take(&mut changed) && self.note_up() {
                next_tick = Nanos(0);
            }
            let began = now;
            now = self.clock.now();
            if let Some(turns) = &mut self.turns {
                turns.end(now, frames == 0);
            }
            if now >= next_tick {
                self.tick(now);
                next_tick = now.plus(TICK);
            }
            let counters = &self.counters;
            add(&counters.breaths, 1);
            if frames > 0 {
                add(&counters.busy_breaths, 1);
                add(&counters.frames, frames);
                add(&counters.busy_nanos, now.since(began).0);
                idle_since = None;
                if self.untold_since.is_some_and(|since| now.since(since) >= GATHER) {
                    self.notify();
                }
                continue;
            }
            self.notify();
            let since = *idle_since.get_or_insert(now);
            if now.since(since) < self.config.spin {
                std::hint::spin_loop();
                continue;
            }
            self.rest(now, next_tick);
            changed = true;
            now = self.clock.read();
        }
        for slot in &mut self.slots {
            slot.port.flush(&mut self.pool);
        }
    }

    /// One breath; how many frames it moved.
    #[inline]
    fn breathe(&mut self, burst: &mut Burst, now: Nanos) -> u64 {
        let mut frames = 0;
        if let Some(turns) = &mut self.turns {
            turns.begin(now);
        }
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            let guest = slot.guest;
            if let Some(turns) = &mut self.turns
                && !turns.may_pull(guest)
            {
                continue;
            }
            slot.port.pull(&mut self.pool, burst);
            if burst.is_empty() {
                continue;
            }
            let whole = burst.is_full();
            frames += burst.len() as u64;
            if self.tracer.is_on() {
                self.forward_traced(index, burst, now);
            } else {
                self.forward.forward(&mut self.pool, slot.id, burst, &mut self.out, now);
                self.push(guest, (guest == GuestId::UPLINKS).then_some(index));
            }
            if let Some(turns) = &mut self.turns {
                turns.charge(guest, whole, self.clock.now());
            }
        }
        for index in 0..self.peers.len() {
            frames += self.receive(index, now);
        }
        self.flush(now);
        frames
    }

    /// Takes what another worker has sent, up to a burst; how many frames.
    #[inline]
    fn receive(&mut self, index: usize, now: Nanos) -> u64 {
        let mut taken = 0;
        while taken < BURST {
            let Self { peers, pool, out, .. } = self;
            let rx = &mut peers[index].rx;
            // A row of frames of one source.
            let row = rx.receive(pool, BURST - taken, |output, frame| out.send(output, frame));
            let source = rx.source();
            if row == 0 {
                break;
            }
            taken += row;
            self.forward.pass_on(&mut self.pool, &mut self.out, now);
            self.push(source, None);
            if let Some(turns) = &mut self.turns {
                // Who sends through another worker waits there for its turn.
                turns.charge(source, false, self.clock.now());
            }
        }
        taken as u64
    }

    /// Wakes the peers that sleep and were shown something.
    #[inline]
    fn notify(&mut self) {
        if self.untold_since.take().is_none() {
            return;
        }
        for slot in self.slots.iter_mut().filter(|slot| slot.untold) {
            slot.port.notify();
            slot.untold = false;
        }
        for peer in self.peers.iter_mut().filter(|peer| peer.asleep) {
            peer.bell.ring();
            peer.asleep = false;
        }
    }

    /// Pushes what the forwarder staged, which is frames of `source`; `uplink` is the slot that they were pulled from, if it
    /// is an uplink's.
    #[inline]
    fn push(&mut self, source: GuestId, uplink: Option<usize>) {
        let Self { out, slots, routes, peers, pool, fitted, turns, .. } = self;
        out.drain(|port, burst| {
            if let Some(turns) = turns {
                turns.count(source, port, burst.len());
            }
            if let Some(uplink) = uplink {
                slots[uplink].port.sorted(port, burst.len());
            }
            match routes[port.index()] {
                Route::Slot(index) => {
                    let slot = &mut slots[index];
                    if slot.source != source {
                        slot.source = source;
                        slot.port.source(source);
                    }
                    if pool.offloaded() == 0 {
                        slot.port.push(pool, burst);
                    } else {
                        offload::push(slot.port.as_mut(), pool, burst, fitted);
                    }
                    slot.pushed = true;
                }
                Route::Peer(index) => {
                    for frame in burst.drain(..) {
                        peers[index].tx.send(pool, frame, source, port);
                    }
                }
                Route::Nowhere | Route::Forwarder => pool.free_all(burst.drain(..)),
            }
        });
    }

    /// Ends a breath: peers and kernel learn of what was pushed, and full guests are marked.
    #[inline]
    fn flush(&mut self, now: Nanos) {
        for slot in &mut self.slots {
            if slot.pushed {
                slot.port.flush(&mut self.pool);
                slot.pushed = slot.port.is_unsent();
                slot.untold = true;
                self.untold_since.get_or_insert(now);
            }
        }
        for peer in &mut self.peers {
            if peer.tx.flush() {
                peer.asleep = true;
                self.untold_since.get_or_insert(now);
            }
            if peer.tx.outstanding() > 0 {
                peer.tx.reclaim(&mut self.pool);
            }
        }
        for watch in &mut self.full {
            let Route::Slot(index) = self.routes[watch.port.index()] else { continue };
            let port = &self.slots[index].port;
            let full = port.is_full() || !port.is_up();
            if full != watch.marked {
                watch.mark(full, watch.weight);
            }
        }
    }

    /// Tells the forwarder which ports are up; whether that has changed.
    fn note_up(&mut self) -> bool {
        let mut changed = false;
        for slot in &self.slots {
            let up = slot.port.is_up();
            changed |= self.out.is_up(slot.id) != up;
            self.out.set_up(slot.id, up);
            slot.port.counters().up.store(up, Relaxed);
        }
        changed
    }

    #[cold]
    fn tick(&mut self, now: Nanos) {
        for slot in &mut self.slots {
            slot.port.tick(&mut self.pool, now);
            // What is still unsent: a shaped port's queue.
            slot.pushed = true;
        }
        self.note_up();
        if let Some(turns) = &self.turns {
            for watch in &mut self.full {
                let weight = turns.weight(watch.port);
                if weight != watch.weight {
                    watch.mark(watch.marked, weight);
                }
            }
        }
        if self.tracer.is_on() {
            self.tick_traced(now);
        } else {
            self.forward.tick(&mut self.pool, &mut self.out, now);
        }
        self.push(GuestId::UPLINKS, None);
        self.flush(now);
        self.counters.chunks_free.store(self.pool.available() as u64, Relaxed);
    }

    /// Sleeps until a port has something, a shaped port is due, who forwards is, or a rest tick is.
    #[cold]
    fn rest(&mut self, now: Nanos, next_tick: Nanos) {
        let mut timeout = REST_TICK;
        if let Some(due) = self.forward.deadline() {
            timeout = timeout.min(due.max(next_tick).since(now));
        }
        let mut ready = true;
        for slot in &mut self.slots {
            ready &= slot.port.arm(&self.sleep);
            if let Some(due) = slot.port.deadline() {
                timeout = timeout.min(due.since(now));
                slot.pushed = true;
            }
        }
        for watch in self.full.iter().filter(|watch| watch.marked) {
            let Route::Slot(index) = self.routes[watch.port.index()] else { continue };
            // A guest that is not there wakes us when it comes: only one that is full must be looked at.
            let port = &mut self.slots[index].port;
            if port.is_up() {
                timeout = timeout.min(if port.arm_room() { TOLD_CHECK } else { FULL_CHECK });
            }
        }
        for peer in &mut self.peers {
            ready &= peer.rx.arm();
        }
        if ready {
            add(&self.counters.sleeps, 1);
            self.forward.rest();
            self.sleep.wait(timeout);
        } else {
            self.sleep.skip();
        }
        for slot in &mut self.slots {
            slot.port.disarm(&self.sleep);
        }
        for peer in &mut self.peers {
            peer.rx.disarm();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.doorbell.close();
    }
}

/// Adds without a locked instruction: each counter has one writer.
#[inline]
fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(n), Relaxed);
}
