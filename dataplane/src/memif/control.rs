//! The control side of every memif of the process: one thread that listens, connects, shakes hands and notices ends.
//!
//! It waits on one epoll instance and never on a peer: every socket is non-blocking, every handshake has a deadline, and
//! what a stranger can make it hold is bounded. Workers are not touched: they find a link in their mailbox, or the word
//! that it is over. Losing a peer, also by `kill -9`, is noticed by the end of its socket; a server then takes the next
//! one, a client tries again.

mod listening;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use listening::Listening;

use super::bell;
use super::handshake::{Offer, Proposal, Refusal, Wish, check_init, expect_fds};
use super::link::{Link, Mailbox, Role};
use super::socket::{self, Received};
use super::state::{Peer, Shared};
use super::wire::Message;
use super::{MemifError, MemifOptions};

/// How long a peer may take to say the next thing before it is connected.
const PATIENCE: Duration = Duration::from_secs(2);
/// How soon a client tries again.
const RETRY: Duration = Duration::from_millis(100);
/// How often a link that a worker still holds is looked at.
const RETIRE: Duration = Duration::from_millis(20);
/// Messages of one peer that are handled before it is another's turn.
const MAX_MESSAGES: usize = 16;

/// The token of the eventfd that wakes the thread.
const BELL: u64 = 0;

static CONTROL: Mutex<Option<Arc<Control>>> = Mutex::new(None);

/// The thread's state and the way to it.
pub(super) struct Control {
    inner: Mutex<Inner>,
    bell: Arc<OwnedFd>,
}

struct Inner {
    epoll: OwnedFd,
    bell: Arc<OwnedFd>,
    last_token: u64,
    listeners: HashMap<u64, Listening>,
    interfaces: HashMap<u64, Interface>,
    sessions: HashMap<u64, Session>,
    /// Links that are over but may still be in a worker's hands.
    retired: Vec<Arc<Link>>,
}

/// One memif.
struct Interface {
    options: MemifOptions,
    secret: [u8; super::wire::SECRET_LEN],
    mailboxes: Vec<Arc<Mailbox>>,
    shared: Arc<Shared>,
    session: Option<u64>,
    links: Vec<Option<Arc<Link>>>,
    /// When a client tries next.
    retry: Option<Instant>,
}

/// One connection.
struct Session {
    socket: OwnedFd,
    /// The listener it came in by; none for a client.
    listener: Option<u64>,
    interface: Option<u64>,
    peer: String,
    stage: Stage,
    deadline: Option<Instant>,
    since: Instant,
}

enum Stage {
    /// Server: hello was sent.
    Stranger,
    /// Server: the client says what it offers.
    Offered(Offer),
    /// Client: waits for the hello.
    Greeting,
    /// Client: says what it proposes.
    Proposing(Proposal),
    /// Frames flow.
    Connected,
}

impl Control {
    /// The process's one, with its thread running.
    pub(super) fn get() -> io::Result<Arc<Self>> {
        let mut slot = CONTROL.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(control) = &*slot {
            return Ok(Arc::clone(control));
        }
        let bell = Arc::new(bell::create()?);
        // SAFETY: no pointers; the result is checked.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave us this descriptor.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        let inner = Inner {
            epoll,
            bell: Arc::clone(&bell),
            last_token: BELL,
            listeners: HashMap::new(),
            interfaces: HashMap::new(),
            sessions: HashMap::new(),
            retired: Vec::new(),
        };
        inner.watch(bell.as_fd(), BELL, (libc::EPOLLIN | libc::EPOLLET) as u32)?;
        let control = Arc::new(Self { inner: Mutex::new(inner), bell });
        let run = Arc::clone(&control);
        std::thread::Builder::new().name("memif-control".into()).spawn(move || run.run())?;
        *slot = Some(Arc::clone(&control));
        Ok(control)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a memif; the key to remove it by.
    pub(super) fn add(
        &self,
        options: &MemifOptions,
        mailboxes: Vec<Arc<Mailbox>>,
        shared: Arc<Shared>,
    ) -> Result<u64, MemifError> {
        let mut inner = self.lock();
        let taken = |i: &Interface| {
            i.options.role == options.role && i.options.socket == options.socket && i.options.id == options.id
        };
        if inner.interfaces.values().any(taken) {
            return Err(MemifError::IdTaken { socket: options.socket.clone(), id: options.id, role: options.role });
        }
        if options.role == Role::Server {
            inner.listen(&options.socket)?;
        }
        let key = inner.token();
        let interface = Interface {
            options: options.clone(),
            secret: super::wire::secret(options.secret.as_bytes()),
            mailboxes,
            shared,
            session: None,
            links: Vec::new(),
            retry: (options.role == Role::Client).then(Instant::now),
        };
        inner.interfaces.insert(key, interface);
        drop(inner);
        bell::write(self.bell.as_fd());
        Ok(key)
    }

    /// Ends a memif: its peer is told, its queues go down, its socket file goes with the last memif on it.
    pub(super) fn remove(&self, key: u64) {
        let mut inner = self.lock();
        if let Some(token) = inner.interfaces.get(&key).and_then(|i| i.session) {
            inner.close(token, "interface removed", true);
        }
        let Some(gone) = inner.interfaces.remove(&key) else { return };
        let used = inner
            .interfaces
            .values()
            .any(|i| i.options.role == Role::Server && i.options.socket == gone.options.socket);
        if gone.options.role == Role::Server && !used {
            let of_path = |l: &Listening| l.path == gone.options.socket;
            let token = inner.listeners.iter().find(|(_, l)| of_path(l)).map(|(token, _)| *token);
            if let Some(token) = token {
                inner.listeners.remove(&token);
                let strangers: Vec<u64> =
                    inner.sessions.iter().filter(|(_, s)| s.listener == Some(token)).map(|(t, _)| *t).collect();
                for session in strangers {
                    inner.close(session, "no longer listening", true);
                }
            }
        }
        drop(inner);
        bell::write(self.bell.as_fd());
    }

    fn run(&self) {
        let epoll = self.lock().epoll.as_raw_fd();
        let mut timeout = None;
        loop {
            let mut events = [const { libc::epoll_event { events: 0, u64: 0 } }; 32];
            let millis = timeout.map_or(-1, |t: Duration| t.as_millis() as libc::c_int + 1);
            // SAFETY: `events` has room for as many entries as are told; `epoll` stays open for the process's life.
            let n = unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), events.len() as libc::c_int, millis) };
            let mut inner = self.lock();
            for event in events.iter().take(n.max(0) as usize) {
                let token = event.u64;
                match token {
                    BELL => inner.find_faults(),
                    _ if inner.listeners.contains_key(&token) => inner.accept(token),
                    _ => inner.hear(token),
                }
            }
            timeout = inner.do_what_is_due(Instant::now());
        }
    }
}

impl Inner {
    fn token(&mut self) -> u64 {
        self.last_token += 1;
        self.last_token
    }

    fn watch(&self, fd: BorrowedFd<'_>, token: u64, events: u32) -> io::Result<()> {
        self.epoll(libc::EPOLL_CTL_ADD, fd, token, events)
    }

    fn epoll(&self, what: libc::c_int, fd: BorrowedFd<'_>, token: u64, events: u32) -> io::Result<()> {
        let mut event = libc::epoll_event { events, u64: token };
        // SAFETY: `event` is valid for the call; both descriptors are open.
        match unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), what, fd.as_raw_fd(), &raw mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn open(&mut self, socket: OwnedFd, listener: Option<u64>, interface: Option<u64>, stage: Stage, now: Instant) {
        let token = self.token();
        if self.watch(socket.as_fd(), token, (libc::EPOLLIN | libc::EPOLLRDHUP) as u32).is_err() {
            return;
        }
        if let Some(interface) = interface.and_then(|key| self.interfaces.get_mut(&key)) {
            interface.session = Some(token);
        }
        let deadline = Some(now + PATIENCE);
        let session = Session { socket, listener, interface, peer: String::new(), stage, deadline, since: now };
        self.sessions.insert(token, session);
    }

    /// Reads what a peer has to say.
    fn hear(&mut self, token: u64) {
        for _ in 0..MAX_MESSAGES {
            let Some(session) = self.sessions.get(&token) else { return };
            match socket::receive(session.socket.as_fd()) {
                Received::Nothing => return,
                Received::Closed => return self.close(token, "the peer is gone", false),
                Received::TooManyFds => return self.refuse(token, &Refusal::TooManyFds),
                Received::Message(bytes, fds) => {
                    let outcome = Message::decode(&bytes)
                        .map_err(Refusal::from)
                        .and_then(|m| expect_fds(&m, &mut fds.into_iter()).map(|fd| (m, fd)))
                        .and_then(|(message, fd)| self.handle(token, message, fd));
                    if let Err(refusal) = outcome {
                        return self.refuse(token, &refusal);
                    }
                }
            }
        }
    }

    /// Does what a message asks for.
    fn handle(&mut self, token: u64, message: Message, fd: Option<OwnedFd>) -> Result<(), Refusal> {
        if let Message::Disconnect { reason, .. } = &message {
            let reason = if reason.is_empty() { "no reason given" } else { reason };
            self.close(token, &format!("disconnected by the peer: {reason}"), false);
            return Ok(());
        }
        let Some(session) = self.sessions.get_mut(&token) else { return Ok(()) };
        session.deadline = session.deadline.map(|_| Instant::now() + PATIENCE);
        let is_client = session.listener.is_none();
        match (&mut session.stage, message, fd) {
            (Stage::Stranger, Message::Init(init), _) => {
                let listener = session.listener;
                let key = self.wanted(listener, init.id)?;
                let Some(interface) = self.interfaces.get_mut(&key) else { return Err(Refusal::UnknownId(init.id)) };
                check_init(&init, &interface.secret)?;
                interface.session = Some(token);
                let offer = Offer::new(interface.options.rings);
                if let Some(session) = self.sessions.get_mut(&token) {
                    session.interface = Some(key);
                    session.peer = init.name;
                    session.stage = Stage::Offered(offer);
                }
                self.say(token, &Message::Ack, None)
            }
            (Stage::Offered(offer), Message::AddRegion(add), Some(fd)) => {
                offer.add_region(add, fd)?;
                self.say(token, &Message::Ack, None)
            }
            (Stage::Offered(offer), Message::AddRing(add), Some(fd)) => {
                offer.add_ring(add, fd)?;
                self.say(token, &Message::Ack, None)
            }
            (Stage::Offered(_), Message::Connect(name), _) => {
                let Stage::Offered(offer) = std::mem::replace(&mut session.stage, Stage::Connected) else {
                    return Ok(());
                };
                let links = offer.complete(&self.bell)?;
                let own = session.interface.and_then(|key| self.interfaces.get(&key));
                let own = own.map(|i| i.options.name.clone()).unwrap_or_default();
                self.say(token, &Message::Connected(own), None)?;
                self.connected(token, name, links);
                Ok(())
            }
            (Stage::Greeting, Message::Hello(hello), _) => {
                session.peer.clone_from(&hello.name);
                let interface = session.interface.and_then(|key| self.interfaces.get(&key));
                let Some(options) = interface.map(|i| &i.options) else { return Ok(()) };
                session.stage = Stage::Proposing(Proposal::new(&hello, &options.wish(), &options.name)?);
                self.propose(token)
            }
            (Stage::Proposing(proposal), Message::Ack, _) if !proposal.is_complete() => self.propose(token),
            (Stage::Proposing(proposal), Message::Connected(name), _) if proposal.is_complete() => {
                if let Stage::Proposing(proposal) = std::mem::replace(&mut session.stage, Stage::Connected) {
                    self.connected(token, name, proposal.complete(&self.bell.clone()));
                }
                Ok(())
            }
            // DPDK's server answers a connect with an ACK as well in some versions; it means nothing.
            (Stage::Proposing(_) | Stage::Connected, Message::Ack, _) if is_client => Ok(()),
            (_, message, _) => Err(Refusal::Unexpected(message.kind())),
        }
    }

    /// The interface that a client asks for, if it is free.
    fn wanted(&mut self, listener: Option<u64>, id: u32) -> Result<u64, Refusal> {
        let path = listener.and_then(|l| self.listeners.get(&l)).map(|l| l.path.clone());
        let found = self.interfaces.iter().find(|(_, i)| {
            i.options.role == Role::Server && i.options.id == id && Some(&i.options.socket) == path.as_ref()
        });
        let Some((&key, interface)) = found else { return Err(Refusal::UnknownId(id)) };
        if let Some(holder) = interface.session {
            // A holder that died a moment ago is in this round of events too, only later.
            if !self.sessions.get(&holder).is_some_and(|s| socket::hung_up(s.socket.as_fd())) {
                return Err(Refusal::AlreadyConnected(id));
            }
            self.close(holder, "the peer is gone", false);
        }
        Ok(key)
    }

    /// Says the next thing of a client's proposal.
    fn propose(&mut self, token: u64) -> Result<(), Refusal> {
        let Some(Session { stage: Stage::Proposing(proposal), .. }) = self.sessions.get_mut(&token) else {
            return Ok(());
        };
        match proposal.next() {
            Some((message, fd)) => self.say(token, &message, fd.as_ref().map(|fd| fd.as_fd())),
            None => Ok(()),
        }
    }

    fn say(&self, token: u64, message: &Message, fd: Option<BorrowedFd<'_>>) -> Result<(), Refusal> {
        match self.sessions.get(&token) {
            Some(session) => Ok(socket::send(session.socket.as_fd(), &message.encode(), fd)?),
            None => Ok(()),
        }
    }

    /// Both sides agree: hands the queues over.
    fn connected(&mut self, token: u64, name: String, links: Vec<Option<Arc<Link>>>) {
        let Some(session) = self.sessions.get_mut(&token) else { return };
        session.deadline = None;
        let program = session.peer.clone();
        let Some(interface) = session.interface.and_then(|key| self.interfaces.get_mut(&key)) else { return };
        let has = |pick: fn(&Link) -> bool| links.iter().flatten().filter(|l| pick(l)).count() as u16;
        let size = links.iter().flatten().find_map(|l| l.rx.as_ref().or(l.tx.as_ref())).map_or(0, |h| h.ring.size());
        let peer = Peer {
            program,
            interface: name,
            rx_rings: has(|l| l.rx.is_some()),
            tx_rings: has(|l| l.tx.is_some()),
            ring_size: size,
        };
        tracing::info!(memif = %interface.options.name, peer = %peer.interface, program = %peer.program, "connected");
        interface.shared.change(|state| {
            state.peer = Some(peer);
            state.connects += 1;
        });
        for (mailbox, link) in interface.mailboxes.iter().zip(&links) {
            mailbox.put(link.clone());
        }
        interface.links = links;
    }

    /// Turns a peer away and tells it why.
    fn refuse(&mut self, token: u64, refusal: &Refusal) {
        self.close(token, &refusal.to_string(), true);
    }

    /// Ends a session, in whichever stage.
    fn close(&mut self, token: u64, reason: &str, tell: bool) {
        let Some(session) = self.sessions.remove(&token) else { return };
        if tell {
            let message = Message::Disconnect { code: 0, reason: reason.into() };
            let _ = socket::send(session.socket.as_fd(), &message.encode(), None);
            // Closing with messages unread resets the connection, and the peer would not get to read why.
            for _ in 0..MAX_MESSAGES {
                if !matches!(socket::receive(session.socket.as_fd()), Received::Message(..)) {
                    break;
                }
            }
        }
        let Some(interface) = session.interface.and_then(|key| self.interfaces.get_mut(&key)) else {
            tracing::debug!(reason, "memif connection turned away");
            return;
        };
        if interface.session != Some(token) {
            return;
        }
        interface.session = None;
        if interface.options.role == Role::Client {
            interface.retry = Some(Instant::now() + RETRY);
        }
        if matches!(session.stage, Stage::Connected) {
            tracing::info!(memif = %interface.options.name, reason, "disconnected");
        } else {
            tracing::debug!(memif = %interface.options.name, reason, "not connected");
        }
        interface.shared.change(|state| {
            state.peer = None;
            state.last_disconnect = Some(reason.into());
        });
        if !interface.links.is_empty() {
            for mailbox in &interface.mailboxes {
                mailbox.put(None);
            }
            self.retired.extend(interface.links.drain(..).flatten());
        }
    }

    /// Parts from peers whose rings workers found broken.
    fn find_faults(&mut self) {
        let broken: Vec<(u64, String)> = self
            .interfaces
            .values()
            .filter_map(|interface| {
                let mut links = interface.links.iter().enumerate();
                let fault = |(ring, link): (usize, &Option<Arc<Link>>)| {
                    link.as_ref()?.fault.get().map(|fault| format!("ring {ring}: {fault}"))
                };
                Some((interface.session?, links.find_map(fault)?))
            })
            .collect();
        for (token, reason) in broken {
            tracing::warn!(reason, "a memif peer broke its ring");
            self.close(token, &reason, true);
        }
    }

    /// Deadlines, retries, and links that workers have let go of; how long until the next is due.
    fn do_what_is_due(&mut self, now: Instant) -> Option<Duration> {
        let late: Vec<u64> =
            self.sessions.iter().filter(|(_, s)| s.deadline.is_some_and(|d| d <= now)).map(|(t, _)| *t).collect();
        for token in late {
            self.refuse(token, &Refusal::TimedOut);
        }
        let retries: Vec<u64> =
            self.interfaces.iter().filter(|(_, i)| i.retry.is_some_and(|r| r <= now)).map(|(k, _)| *k).collect();
        for key in retries {
            self.try_connect(key, now);
        }
        let resumed: Vec<u64> =
            self.listeners.iter().filter(|(_, l)| l.paused.is_some_and(|p| p <= now)).map(|(t, _)| *t).collect();
        for token in resumed {
            if let Some(listening) = self.listeners.get_mut(&token) {
                listening.paused = None;
            }
            self.set_listening(token, libc::EPOLLIN as u32);
        }
        self.retired.retain(|link| Arc::strong_count(link) > 1);
        let deadlines = self.sessions.values().filter_map(|s| s.deadline);
        let retries = self.interfaces.values().filter_map(|i| i.retry);
        let pauses = self.listeners.values().filter_map(|l| l.paused);
        let next = deadlines.chain(retries).chain(pauses).min().map(|at| at.saturating_duration_since(now));
        let retire = (!self.retired.is_empty()).then_some(RETIRE);
        [next, retire].into_iter().flatten().min()
    }

    /// A client's attempt.
    fn try_connect(&mut self, key: u64, now: Instant) {
        let Some(interface) = self.interfaces.get_mut(&key) else { return };
        interface.retry = None;
        let socket = match socket::connect(&interface.options.socket) {
            Ok(socket) => socket,
            Err(error) => {
                interface.retry = Some(now + RETRY);
                // Once a peer was there, why it went is the better answer.
                interface.shared.change(|state| {
                    if state.connects == 0 {
                        state.last_disconnect = Some(format!("{}: {error}", state.socket.display()));
                    }
                });
                return;
            }
        };
        self.open(socket, None, Some(key), Stage::Greeting, now);
        if let Some(interface) = self.interfaces.get_mut(&key)
            && interface.session.is_none()
        {
            interface.retry = Some(now + RETRY);
        }
    }
}

impl MemifOptions {
    fn wish(&self) -> Wish {
        Wish {
            id: self.id,
            rings: self.rings,
            log2_ring_size: self.ring_size.trailing_zeros() as u8,
            buffer_size: self.buffer_size,
            secret: super::wire::secret(self.secret.as_bytes()),
        }
    }
}
