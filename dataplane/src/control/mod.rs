//! The engine's control socket: one question, one answer, in JSON lines over a unix socket. A [trace](TraceRequest) alone
//! is answered in many lines, by a thread of its own.
//!
//! A client connects, writes a [`Request`] as one line, and reads a [`Reply`] as one line. Answering only reads what
//! workers have counted: nothing that a client does can stop a worker. Only root (mode 0600) may connect.

mod trace;
mod vrf;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use trace::{TraceEnd, TraceLine, TraceRequest, TraceStep, TracedFrame, trace};
pub(crate) use trace::{is_listening, say};
pub use vrf::{
    Explanation, HopReport, InterfaceReport, NeighbourReport, RouteReport, RoutesReport, VrfRequest, VrfTopic,
};

/// Longest request that is read; more is refused.
const MAX_REQUEST: u64 = 4096;
/// How long a client may take to write its request and to read the answer.
const PATIENCE: Duration = Duration::from_millis(500);

/// What can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Topic {
    /// Every port with its mode and counters.
    Ports,
    /// Every guest with its ports.
    Guests,
    /// Stations of every bridge domain.
    Fdb,
    /// Every worker with what it did.
    Workers,
    /// Every loss by place and reason.
    Drops,
}

/// What is to be changed: weight or rates of a guest, or the rate of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Thing {
    /// A guest.
    Guest,
    /// A port.
    Port,
}

/// A change of one thing, as it was written: the engine judges it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Of what kind it is.
    pub thing: Thing,
    /// Its name.
    pub name: String,
    /// What of it.
    pub key: String,
    /// What that is to be.
    pub value: String,
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Request {
    /// A report on one topic.
    Show(Topic),
    /// A change, which is made whole or not at all.
    Set(Change),
    /// A question about VRFs.
    Vrf(VrfRequest),
    /// What becomes of frames: answered by [`TraceLine`]s.
    Trace(TraceRequest),
}

/// How a request is answered.
pub enum Answer {
    /// By a line, at once.
    Now(Reply),
    /// By lines, as long as it takes or until the flag is raised, on a thread of its own.
    Stream(Stream),
}

/// Who writes an answer of many lines.
pub type Stream = Box<dyn FnOnce(UnixStream, &AtomicBool) + Send>;

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self::Now(reply)
    }
}

/// What the engine answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply {
    /// `show ports`
    Ports(Vec<PortReport>),
    /// `show guests`
    Guests(Vec<GuestReport>),
    /// `show fdb`
    Fdb(Vec<StationReport>),
    /// `show workers`
    Workers(Vec<WorkerReport>),
    /// `show drops`
    Drops(Vec<DropReport>),
    /// Interfaces of VRFs.
    Interfaces(Vec<InterfaceReport>),
    /// Routes of VRFs.
    Routes(RoutesReport),
    /// Neighbours of VRFs.
    Neighbours(Vec<NeighbourReport>),
    /// Feeds of routes: each as [`FeedReport`](crate::fpm::FeedReport).
    Feeds(Vec<serde_json::Value>),
    /// Where a packet goes.
    Route(Box<Explanation>),
    /// The change is made.
    Done,
    /// The request was not understood, or the change refused; why.
    Error(String),
}

/// One port, the sum over its queues.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortReport {
    /// Its name in the configuration.
    pub name: String,
    /// `netdev`, `memif`, `tap` or `pcap`.
    pub kind: String,
    /// The guest that it belongs to.
    pub guest: Option<String>,
    /// The workers that own its queues, in the order of the queues.
    pub workers: Vec<usize>,
    /// Whether its peer is there.
    pub up: bool,
    /// How it is attached, and why not better.
    pub mode: String,
    /// The rate of its line, if it has one.
    pub line_rate: Option<String>,
    /// Frames from the peer.
    pub rx_frames: u64,
    /// Bytes from the peer, without FCS.
    pub rx_bytes: u64,
    /// Frames to the peer.
    pub tx_frames: u64,
    /// Bytes to the peer, without FCS.
    pub tx_bytes: u64,
    /// Lost frames by reason.
    pub drops: BTreeMap<String, u64>,
}

/// One guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestReport {
    /// Its name.
    pub name: String,
    /// Its part of what is contended, relative to the others'.
    pub weight: u64,
    /// What it may send; none: what there is time for.
    pub rate_from: Option<String>,
    /// What it may be sent.
    pub rate_to: Option<String>,
    /// Bytes that may pass at once after a silence, where that is configured.
    pub burst: Option<u64>,
    /// Nanoseconds that workers have spent on it.
    pub cpu_nanos: u64,
    /// Its ports.
    pub ports: Vec<GuestPortReport>,
}

/// One port of a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestPortReport {
    /// The stations that may send here.
    pub macs: Vec<String>,
    /// The port.
    #[serde(flatten)]
    pub port: PortReport,
}

/// One station of a bridge domain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StationReport {
    /// Name of the bridge domain.
    pub domain: String,
    /// The station's address.
    pub mac: String,
    /// The port behind which it is.
    pub port: String,
    /// Seconds since it was last seen; none for a station of the configuration.
    pub age: Option<u64>,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerReport {
    /// Its number.
    pub worker: usize,
    /// The core that it is pinned to.
    pub core: Option<usize>,
    /// Queues that it owns.
    pub queues: Vec<String>,
    /// Breaths drawn.
    pub breaths: u64,
    /// Breaths that moved frames.
    pub busy_breaths: u64,
    /// Frames moved.
    pub frames: u64,
    /// Nanoseconds in breaths that moved frames.
    pub busy_nanos: u64,
    /// Times that it slept.
    pub sleeps: u64,
    /// Chunks of frame memory.
    pub chunks: usize,
    /// Those that are free.
    pub chunks_free: u64,
    /// Whether the frame memory lies on huge pages.
    pub huge_pages: bool,
    /// Frames lost between workers, by reason.
    pub drops: BTreeMap<String, u64>,
}

/// Frames lost in one place for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropReport {
    /// The port or worker.
    pub place: String,
    /// The reason.
    pub reason: String,
    /// How many.
    pub frames: u64,
}

/// Why the control socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Another engine answers there.
    #[error("control socket {path}: another engine is using it; stop that one, or set `control` to another path")]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// There is a file, and it is no socket.
    #[error("control socket {path}: something that is not a socket is in the way; set `control` to another path")]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// A system call failed.
    #[error("control socket {path}: {doing}: {source}")]
    System {
        /// The socket.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// Nobody answers.
    #[error("control socket {path}: {source}; is `pointsman run` running? (--control names another socket)")]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The answer makes no sense.
    #[error("control socket {path}: the engine's answer is not understood ({reason}); is it of another version?")]
    Answer {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Asks the engine behind the socket at `path`.
///
/// # Errors
/// Nobody listens there, or the answer makes no sense.
pub fn ask(path: &Path, request: Request) -> Result<Reply, ControlError> {
    let unreachable = |source| ControlError::Unreachable { path: path.into(), source };
    let answer = |reason: String| ControlError::Answer { path: path.into(), reason };
    let mut stream = UnixStream::connect(path).map_err(unreachable)?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).map_err(unreachable)?;
    let mut line = serde_json::to_string(&request).map_err(|e| answer(e.to_string()))?;
    line.push('\n');
    stream.write_all(line.as_bytes()).map_err(unreachable)?;
    let mut reply = String::new();
    BufReader::new(stream).read_line(&mut reply).map_err(unreachable)?;
    serde_json::from_str(&reply).map_err(|e| answer(e.to_string()))
}

/// The thread that answers. Dropping it ends the thread and removes the socket.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens at `path` and answers with what `answer` says. A socket that nobody listens on any more is replaced.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub fn start<A: Into<Answer>>(
        path: &Path,
        answer: impl Fn(Request) -> A + Send + 'static,
    ) -> Result<Self, ControlError> {
        let listener = listen(path)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("control".into())
            .spawn(move || serve(&listener, &stopped, &|request| answer(request).into()))
            .map_err(|source| ControlError::System { path: path.into(), doing: "starting its thread", source })?;
        Ok(Self { path: path.into(), stop, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        // Whatever comes of it: the connection only wakes the thread.
        let _ = UnixStream::connect(&self.path);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = fs::remove_file(&self.path);
    }
}

fn listen(path: &Path) -> Result<UnixListener, ControlError> {
    let system = |doing| move |source| ControlError::System { path: path.into(), doing, source };
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(system("making its folder"))?;
    }
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(ControlError::NotASocket { path: path.into() }),
        Ok(_) if UnixStream::connect(path).is_ok() => return Err(ControlError::InUse { path: path.into() }),
        Ok(_) => fs::remove_file(path).map_err(system("removing the one that a dead engine left"))?,
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(system("making it"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(system("restricting it to root"))?;
    Ok(listener)
}

fn serve(listener: &UnixListener, stop: &Arc<AtomicBool>, answer: &dyn Fn(Request) -> Answer) {
    let mut streams: Vec<JoinHandle<()>> = Vec::new();
    while !stop.load(Relaxed) {
        let Ok((stream, _)) = listener.accept() else {
            // Out of descriptors, say: wait a moment instead of spinning.
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        streams.retain(|thread| !thread.is_finished());
        if !stop.load(Relaxed) {
            // A client that goes away early is its own affair.
            streams.extend(converse(stream, stop, answer).ok().flatten());
        }
    }
    // They see the flag too.
    for thread in streams {
        let _ = thread.join();
    }
}

/// Answers a client; the thread that goes on with it, if it takes one.
fn converse(
    mut stream: UnixStream,
    stop: &Arc<AtomicBool>,
    answer: &dyn Fn(Request) -> Answer,
) -> io::Result<Option<JoinHandle<()>>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = Vec::new();
    BufReader::new((&stream).take(MAX_REQUEST)).read_until(b'\n', &mut line)?;
    let reply = match serde_json::from_slice(&line).map(answer) {
        Ok(Answer::Now(reply)) => reply,
        Ok(Answer::Stream(write)) => {
            let stop = Arc::clone(stop);
            let thread = std::thread::Builder::new().name("trace".into());
            return thread.spawn(move || write(stream, &stop)).map(Some);
        }
        Err(e) => Reply::Error(format!("request not understood: {e}")),
    };
    let mut text = serde_json::to_string(&reply)?;
    text.push('\n');
    stream.write_all(text.as_bytes())?;
    // A client that wrote more than it should have would otherwise see a reset before it has read the answer.
    stream.shutdown(Shutdown::Write)?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("pointsman-control-{}-{name}.sock", std::process::id()))
    }

    fn answer(request: Request) -> Reply {
        match request {
            Request::Show(Topic::Drops) => {
                Reply::Drops(vec![DropReport { place: "up0".into(), reason: "runt".into(), frames: 3 }])
            }
            Request::Show(_) => Reply::Ports(vec![]),
            Request::Vrf(_) => Reply::Neighbours(vec![]),
            Request::Trace(_) => Reply::Error("no traces here".into()),
            Request::Set(change) if change.name == "r1" => Reply::Done,
            Request::Set(change) => Reply::Error(format!("there is no guest {}", change.name)),
        }
    }

    #[test]
    fn a_question_is_answered_and_the_socket_goes_with_the_server() {
        let path = socket("answer");
        let server = Server::start(&path, answer).unwrap();
        let reply = ask(&path, Request::Show(Topic::Drops)).unwrap();
        assert_eq!(reply, Reply::Drops(vec![DropReport { place: "up0".into(), reason: "runt".into(), frames: 3 }]));
        drop(server);
        assert!(!path.exists());
        assert!(ask(&path, Request::Show(Topic::Ports)).unwrap_err().to_string().contains("pointsman run"));
    }

    #[test]
    fn a_change_is_made_or_refused() {
        let path = socket("change");
        let _server = Server::start(&path, answer).unwrap();
        let set = |name: &str| {
            let change = Change { thing: Thing::Guest, name: name.into(), key: "weight".into(), value: "4".into() };
            ask(&path, Request::Set(change)).unwrap()
        };
        assert_eq!(set("r1"), Reply::Done);
        assert_eq!(set("r\n2"), Reply::Error("there is no guest r\n2".into()));
    }

    #[test]
    fn a_live_socket_is_refused_a_dead_one_replaced_and_a_file_left_alone() {
        let path = socket("use");
        let server = Server::start(&path, answer).unwrap();
        assert!(matches!(Server::start(&path, answer), Err(ControlError::InUse { .. })));
        drop(server);
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(Server::start(&path, answer).unwrap());
        fs::write(&path, "precious").unwrap();
        assert!(matches!(Server::start(&path, answer), Err(ControlError::NotASocket { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn garbage_gets_an_error_and_the_next_client_an_answer() {
        let path = socket("garbage");
        let _server = Server::start(&path, answer).unwrap();
        for garbage in [&b"\n"[..], b"{\"show\":\"everything\"}\n", b"\xff\xfe\n", &[b'x'; 9000]] {
            let mut stream = UnixStream::connect(&path).unwrap();
            let _ = stream.write_all(garbage);
            let mut reply = String::new();
            let _ = stream.read_to_string(&mut reply);
            assert!(reply.starts_with("{\"error\":"), "{reply}");
        }
        // One that connects and says nothing holds the others up for no longer than the patience.
        let silent = UnixStream::connect(&path).unwrap();
        assert!(ask(&path, Request::Show(Topic::Ports)).is_ok());
        drop(silent);
    }
}
