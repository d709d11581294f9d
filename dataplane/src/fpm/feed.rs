//! A feed: a listener, and a thread that reads what its one client sends.
//!
//! One client, because two daemons that each believe the routes to be theirs would take turns in sweeping the other's. A second
//! one finds its connection closed at once and comes again later, as every FPM client does; the first is not disturbed.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::frame::Frame;
use super::listen::{Listener, Stream};
use super::session::Sync;
use super::wait::{Bell, hung_up, wait};
use super::{FeedCounters, Ignored, ListenError, Place, Refusal, Session, Sink, TableId};

/// Bytes that are read at once: several frames of the longest kind.
const BUFFER: usize = 256 * 1024;

/// What a feed is to be.
#[derive(Clone, Debug)]
pub struct FeedConfig {
    /// Its name, for messages and reports.
    pub name: String,
    /// Where it listens. `fpm address` of FRR is an address; our agent can reach a path from any namespace.
    pub listen: Place,
    /// The network namespace in which it listens: the one of the daemon, whose 127.0.0.1 is not ours. None: our own.
    pub netns: Option<PathBuf>,
    /// The kernel's routing tables whose routes are taken; others' are passed over.
    pub tables: Vec<TableId>,
    /// How long after a client's coming that stays which it has not said again.
    pub stale: Duration,
    /// How long routes stay when no client comes again. None: for ever.
    pub keep: Option<Duration>,
}

/// What can be told about a feed.
#[derive(Clone, Debug, serde::Serialize)]
pub struct FeedReport {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub listen: String,
    /// The client, while there is one.
    pub client: Option<String>,
    /// For how many seconds it has been there.
    pub connected_seconds: Option<u64>,
    /// Whether routes of before its coming are still there unconfirmed.
    pub syncing: bool,
    /// Clients that have come.
    pub connects: u64,
    /// Clients that came while another was there, and were sent away.
    pub turned_away: u64,
    /// Messages that came.
    pub messages: u64,
    /// Routes that were added or replaced.
    pub routes: u64,
    /// Routes that were taken back.
    pub withdrawals: u64,
    /// Next hop objects that were added, replaced or taken back.
    pub next_hops: u64,
    /// Messages that were refused, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Messages that needed nothing to be done, by reason.
    pub ignored: BTreeMap<&'static str, u64>,
    /// Why the last message was refused that was.
    pub last_refusal: Option<String>,
    /// Why the last connection ended.
    pub last_disconnect: Option<String>,
}

/// What the thread tells besides counters.
#[derive(Debug, Default)]
struct State {
    client: Option<(String, Instant)>,
    syncing: bool,
    connects: u64,
    turned_away: u64,
    last_refusal: Option<Refusal>,
    last_disconnect: Option<String>,
}

#[derive(Debug, Default)]
struct Shared {
    counters: Arc<FeedCounters>,
    state: Mutex<State>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A listener for streams of routes. Stops when it is dropped; what its sink was told stays told.
#[derive(Debug)]
pub struct Feed {
    name: String,
    place: Place,
    shared: Arc<Shared>,
    bell: Bell,
    thread: Option<JoinHandle<()>>,
}

impl Feed {
    /// Listens, and tells `sink` what comes.
    ///
    /// # Errors
    /// Nobody can listen there; see [`ListenError`].
    pub fn start(config: FeedConfig, sink: Box<dyn Sink>) -> Result<Self, ListenError> {
        let listener = Listener::bind(&config.listen, config.netns.as_deref())?;
        let fail = |reason| ListenError::Io { place: config.listen.clone(), reason };
        let (bell, place) = (Bell::new().map_err(fail)?, listener.place().map_err(fail)?);
        let (shared, name) = (Arc::new(Shared::default()), config.name.clone());
        let mut server = Server {
            session: Session::new(config.tables.clone(), Arc::clone(&shared.counters)),
            shared: Arc::clone(&shared),
            bell: bell.clone(),
            listener,
            client: None,
            buffer: vec![0; BUFFER],
            filled: 0,
            due: None,
            config,
            sink,
        };
        let place_of_errors = place.clone();
        let run = move || {
            // Where that is not allowed, a worker on the same core has less of it while many routes come.
            let _ = crate::timeslice::stand_back();
            server.run();
        };
        let thread = std::thread::Builder::new().name(format!("feed-{name}")).spawn(run);
        let thread = thread.map_err(|reason| ListenError::Io { place: place_of_errors, reason })?;
        Ok(Self { name, place, shared, bell, thread: Some(thread) })
    }

    /// Where it listens, with the port that the system chose if it was asked to.
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// Its counters.
    pub fn counters(&self) -> &FeedCounters {
        &self.shared.counters
    }

    /// Sends the client away, which comes again and says everything anew: interfaces have changed, and what was refused may be
    /// taken now. Until then everything is forwarded as before.
    pub fn resync(&self) {
        self.bell.again();
    }

    /// How it is.
    pub fn report(&self) -> FeedReport {
        let (state, counters) = (self.shared.state(), &self.shared.counters);
        let refused = Refusal::ALL.iter().map(|&reason| (reason.name(), counters.refused(reason)));
        let ignored = Ignored::ALL.iter().map(|&reason| (reason.name(), counters.ignored(reason)));
        FeedReport {
            name: self.name.clone(),
            listen: self.place.to_string(),
            client: state.client.as_ref().map(|(client, _)| client.clone()),
            connected_seconds: state.client.as_ref().map(|(_, since)| since.elapsed().as_secs()),
            syncing: state.syncing,
            connects: state.connects,
            turned_away: state.turned_away,
            messages: counters.messages.load(Relaxed),
            routes: counters.routes.load(Relaxed),
            withdrawals: counters.withdrawals.load(Relaxed),
            next_hops: counters.next_hops.load(Relaxed),
            refused: refused.filter(|&(_, n)| n > 0).collect(),
            ignored: ignored.filter(|&(_, n)| n > 0).collect(),
            last_refusal: state.last_refusal.map(|refusal| refusal.to_string()),
            last_disconnect: state.last_disconnect.clone(),
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.bell.stop();
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

struct Server {
    config: FeedConfig,
    sink: Box<dyn Sink>,
    session: Session,
    shared: Arc<Shared>,
    bell: Bell,
    listener: Listener,
    client: Option<Stream>,
    /// What has come and is not done yet lies at its start.
    buffer: Vec<u8>,
    filled: usize,
    /// When to sweep: with a client what it has not said again, without one everything.
    due: Option<Instant>,
}

impl Server {
    fn run(&mut self) {
        while !self.bell.is_stopped() {
            let client = self.client.as_ref().map(AsFd::as_fd);
            let ready = wait([Some(self.bell.as_fd()), Some(self.listener.as_fd()), client], self.due);
            let [rung, called, said] = match ready {
                Ok(ready) => ready,
                Err(error) => {
                    // Nothing that time would not heal, and nothing to be busy about.
                    tracing::error!(feed = %self.config.name, %error, "cannot wait for clients");
                    std::thread::sleep(Duration::from_secs(1));
                    continue;
                }
            };
            if rung && self.bell.take_again() {
                self.end("interfaces have changed; everything is to be said again".to_owned());
            }
            if said {
                self.read();
            }
            if called {
                self.accept();
            }
            if self.due.is_some_and(|due| due <= Instant::now()) {
                self.sweep();
            }
        }
    }

    fn accept(&mut self) {
        let (stream, peer) = match self.listener.accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => {
                tracing::warn!(feed = %self.config.name, %error, "a client could not be let in");
                // Out of descriptors, most likely: not to be asked again at once.
                return std::thread::sleep(Duration::from_millis(10));
            }
        };
        // One that has hung up leaves what it said last: to be done before its successor is heard.
        while self.client.as_ref().is_some_and(|client| hung_up(client.as_fd())) {
            self.read();
        }
        let mut state = self.shared.state();
        if let Some((present, _)) = &state.client {
            let present = present.clone();
            state.turned_away += 1;
            // It will come again every few seconds.
            if state.turned_away.is_power_of_two() {
                tracing::warn!(
                    feed = %self.config.name, %peer, %present,
                    "turned away, because another client is connected; stop one of them, or give it a feed of its own"
                );
            }
            return;
        }
        state.client = Some((peer.clone(), Instant::now()));
        state.connects += 1;
        state.syncing = true;
        drop(state);
        tracing::info!(feed = %self.config.name, %peer, "connected");
        (self.client, self.filled) = (Some(stream), 0);
        self.session.begin(self.sink.as_mut());
        self.due = Some(Instant::now() + self.config.stale);
    }

    /// Takes what has come, and does what is whole.
    fn read(&mut self) {
        let Some(client) = &mut self.client else { return };
        match client.read(&mut self.buffer[self.filled..]) {
            Ok(0) => return self.end("it went".to_owned()),
            Ok(got) => self.filled += got,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => return,
            Err(error) => return self.end(error.to_string()),
        }
        let mut at = 0;
        let broken = loop {
            match Frame::first(&self.buffer[at..self.filled]) {
                Ok(Some((frame, len))) => {
                    self.session.frame(frame, self.sink.as_mut());
                    at += len;
                }
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        // What is left is less than a frame, and so less than half of the buffer.
        self.buffer.copy_within(at..self.filled, 0);
        self.filled -= at;
        // A full buffer means that more waits.
        if at + self.filled < BUFFER || broken.is_some() {
            self.session.pause(self.sink.as_mut());
        }
        self.tell();
        if let Some(error) = broken {
            self.end(error.to_string());
        }
    }

    /// Tells what has become of the session, if anything has.
    fn tell(&mut self) {
        let syncing = self.session.sync() != Sync::Done;
        if self.session.sync() != Sync::Timed && self.client.is_some() {
            // The client says when it has said everything, or has said so.
            self.due = None;
        }
        let mut state = self.shared.state();
        state.syncing = syncing;
        let refusal = self.session.last_refusal();
        if state.last_refusal != refusal
            && let Some(refusal) = refusal
        {
            state.last_refusal = Some(refusal);
            drop(state);
            tracing::debug!(feed = %self.config.name, %refusal, "a message was refused");
        }
    }

    /// The connection is over. Routes stay.
    fn end(&mut self, reason: String) {
        if self.client.take().is_none() {
            return;
        }
        self.filled = 0;
        self.session.pause(self.sink.as_mut());
        self.due = self.config.keep.map(|keep| Instant::now() + keep);
        let mut state = self.shared.state();
        let peer = state.client.take().map_or_else(String::new, |(peer, _)| peer);
        tracing::info!(feed = %self.config.name, %peer, %reason, "disconnected; its routes stay");
        state.last_disconnect = Some(format!("{peer}: {reason}"));
    }

    /// Time is up: for what was not said again, or without a client for everything.
    fn sweep(&mut self) {
        self.due = None;
        if self.client.is_none() {
            tracing::warn!(feed = %self.config.name, "nobody has come again in time; its routes are removed");
            self.session.begin(self.sink.as_mut());
        }
        self.session.end(self.sink.as_mut());
        self.tell();
    }
}
