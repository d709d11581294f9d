//! The other end of a feed: an agent that mirrors a kernel's routes to an engine, whoever put them there: BIRD, `ip route`, a DHCP
//! client.
//!
//! It runs where the kernel is, in a namespace or a domU, and speaks as FRR does, with two words more: that it begins to
//! list everything, and that it has ended, so that the engine need not wait to sweep. When the engine goes it waits for the next
//! one; it keeps no routes itself.

mod kernel;
mod mirror;

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kernel::{Kernel, News};
use mirror::Mirror;

use super::frame::{self, Marker};
use super::listen::{Place, Stream};
use super::netlink::TableId;
use super::wait::{Bell, wait, wait_to_write};

/// Bytes that are collected before they are sent.
const BATCH: usize = 64 * 1024;
/// Between two attempts to reach the engine: at first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long an attempt may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// From news that ask for a list until it is made: such news come in company.
const COMPANY: Duration = Duration::from_millis(20);
/// Between two lists, in times that the last one took: what is left is for everything else.
const SHARE: u32 = 4;

/// What an agent is to mirror, and to whom.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// The engine's feed.
    pub feed: Place,
    /// The kernel's routing tables.
    pub tables: Vec<TableId>,
    /// The network namespace of the kernel's routes: a name or a path. None: our own.
    pub netns: Option<PathBuf>,
}

/// Why there can be no agent.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The kernel does not let us listen.
    #[error("cannot listen to the kernel's routes{}: {reason}", netns.as_ref().map_or_else(
        String::new, |netns| format!(" in namespace {}", netns.display())))]
    Kernel {
        /// The namespace, if it is another.
        netns: Option<PathBuf>,
        /// What the system said.
        reason: io::Error,
    },
    /// No thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
}

/// A running agent. It stops when it is dropped.
#[derive(Debug)]
pub struct Agent {
    bell: Bell,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    /// Begins to mirror. An engine that is not there is waited for.
    ///
    /// # Errors
    /// The kernel does not let us listen.
    pub fn start(config: AgentConfig) -> Result<Self, AgentError> {
        let netns = config.netns.clone();
        Kernel::open(netns.as_deref()).map_err(|reason| AgentError::Kernel { netns, reason })?;
        let bell = Bell::new()?;
        let mirror = Mirror::new(config.tables.clone());
        let (mine, mut relay) = (bell.clone(), Relay { config, bell: bell.clone(), mirror, out: Vec::new() });
        let thread = std::thread::Builder::new().name("agent".into()).spawn(move || relay.run())?;
        Ok(Self { bell: mine, thread: Some(thread) })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.bell.stop();
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

struct Relay {
    config: AgentConfig,
    bell: Bell,
    mirror: Mirror,
    /// Frames that are not sent yet.
    out: Vec<u8>,
}

impl Relay {
    fn run(&mut self) {
        let (least, most) = BACKOFF;
        let mut pause = least;
        let mut said = String::new();
        while !self.bell.is_stopped() {
            let begin = Instant::now();
            let error = match self.serve() {
                Ok(()) => return,
                Err(error) => error.to_string(),
            };
            if begin.elapsed() > most {
                (pause, said) = (least, String::new());
            }
            if error != said {
                tracing::warn!(feed = %self.config.feed, error, "not connected; trying again");
                said = error;
            }
            // Whatever comes of waiting, the loop looks.
            let _ = wait([Some(self.bell.as_fd())], Some(Instant::now() + pause));
            pause = (pause * 2).min(most);
        }
    }

    /// Connects and mirrors until told to stop; an error if something else ended it.
    fn serve(&mut self) -> io::Result<()> {
        let mut stream = Stream::connect(&self.config.feed, PATIENCE)?;
        stream.set_nonblocking()?;
        let mut kernel = Kernel::open(self.config.netns.as_deref())?;
        self.out.clear();
        let mut cost = self.list(&mut kernel, &mut stream)?;
        tracing::info!(feed = %self.config.feed, routes = self.mirror.routes, "connected; all routes are told");
        let mut ended = Instant::now();
        let mut due: Option<Instant> = None;
        loop {
            let ready = wait([Some(self.bell.as_fd()), Some(kernel.fd()), Some(stream.as_fd())], due)?;
            let [_, news, answered] = ready;
            if self.bell.is_stopped() {
                return Ok(());
            }
            if answered {
                listen(&mut stream)?;
            }
            let lost = news && self.relay(&mut kernel, &mut stream, &mut due, ended + cost * SHARE)?;
            if lost {
                tracing::info!("the kernel has dropped news; everything is listed again");
                due = Some(Instant::now());
            }
            if due.is_some_and(|due| due <= Instant::now()) {
                kernel.forget_news()?;
                cost = self.list(&mut kernel, &mut stream)?;
                (due, ended) = (None, Instant::now());
            }
        }
    }

    /// Passes on what has happened, as far as it has been heard; whether some was lost.
    fn relay(
        &mut self,
        kernel: &mut Kernel,
        stream: &mut Stream,
        due: &mut Option<Instant>,
        earliest: Instant,
    ) -> io::Result<bool> {
        let lost = loop {
            match kernel.news()? {
                News::Nothing => break false,
                News::Lost => break true,
                News::Came(messages) => {
                    for message in messages {
                        let message = message.map_err(io::Error::other)?;
                        if self.mirror.happened(&message, &mut self.out) && due.is_none() {
                            *due = Some((Instant::now() + COMPANY).max(earliest));
                        }
                    }
                }
            }
            if self.out.len() >= BATCH {
                send(&mut self.out, stream, &self.bell)?;
            }
        };
        send(&mut self.out, stream, &self.bell)?;
        Ok(lost)
    }

    /// Lists everything; how long it took.
    fn list(&mut self, kernel: &mut Kernel, stream: &mut Stream) -> io::Result<Duration> {
        let begin = Instant::now();
        let Self { mirror, out, bell, config } = self;
        mirror.begin();
        mark(Marker::Begin, out);
        kernel.list(&config.tables, |message| {
            mirror.listed(message, out);
            if out.len() >= BATCH { send(out, stream, bell) } else { Ok(()) }
        })?;
        mark(Marker::End, out);
        send(out, stream, bell)?;
        let took = begin.elapsed();
        tracing::debug!(feed = %config.feed, routes = mirror.routes, ?took, "all routes are told");
        if mirror.too_long > 0 {
            tracing::warn!(messages = mirror.too_long, "longer than a frame can be, and not told");
        }
        Ok(took)
    }
}

fn mark(marker: Marker, out: &mut Vec<u8>) {
    let mut message = Vec::new();
    marker.write(&mut message);
    // A marker is shorter than a frame.
    let _ = frame::write(out, &message);
}

/// Sends all of it, waiting for the engine to read.
fn send(out: &mut Vec<u8>, stream: &mut Stream, bell: &Bell) -> io::Result<()> {
    let mut rest = &out[..];
    while !rest.is_empty() {
        match stream.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(sent) => rest = &rest[sent..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait_to_write(bell.as_fd(), stream.as_fd())?;
                if bell.is_stopped() {
                    return Err(io::ErrorKind::Interrupted.into());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(closed()),
            Err(error) => return Err(error),
        }
    }
    out.clear();
    Ok(())
}

/// An engine says nothing; others may, and are not listened to. All that counts is that it is still there.
fn listen(stream: &mut Stream) -> io::Result<()> {
    match stream.read(&mut [0; 4096]) {
        Ok(0) => Err(closed()),
        Ok(_) => Ok(()),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(closed()),
        Err(error) => Err(error),
    }
}

fn closed() -> io::Error {
    let why =
        "the engine closed the connection: it has stopped, or another client has the feed, or interfaces have changed";
    io::Error::new(io::ErrorKind::ConnectionAborted, why)
}
