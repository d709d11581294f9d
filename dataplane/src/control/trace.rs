//! A trace on the control socket: one request, and an answer of many lines, each a [`TraceLine`].
//!
//! The first line says which ports there are, one line follows for each frame, and the last tells why there are no more.
//! Whoever closes the connection ends the trace. Each has a thread of its own: nobody waits for a client that reads slowly.

use std::io::{self, BufRead, BufReader, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ControlError, Request};

/// Which frames are to be told of, and for how long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TraceRequest {
    /// Name of the port that they come in by.
    pub port: Option<String>,
    /// Source or destination, as `aa:bb:cc:dd:ee:ff`.
    pub mac: Option<String>,
    /// The VLAN of their tag; 0: untagged.
    pub vlan: Option<u16>,
    /// One end, or both ends, of the flow.
    pub hosts: Vec<IpAddr>,
    /// `tcp`, `udp`, `icmp` or a number.
    pub protocol: Option<String>,
    /// Source or destination port of TCP, UDP or SCTP.
    pub l4_port: Option<u16>,
    /// Only frames that are lost.
    pub drops: bool,
    /// Frames at most.
    pub count: u64,
    /// Milliseconds at most.
    pub millis: u64,
}

/// A line of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TraceLine {
    /// The trace has begun; the ports that there are.
    Begin(Vec<String>),
    /// What became of a frame.
    Frame(TracedFrame),
    /// There is no more.
    End(TraceEnd),
    /// The trace was refused; why.
    Error(String),
}

/// The story of one frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedFrame {
    /// Its number in the trace, from 1.
    pub frame: u64,
    /// When it came in: nanoseconds since 1970.
    pub time: u64,
    /// The worker that took it in.
    pub worker: u16,
    /// Addresses and protocol.
    pub summary: String,
    /// What was done with it, in order.
    pub steps: Vec<TraceStep>,
}

/// One step of a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceStep {
    /// `in`, `bridge`, `vrf`, `route`, `answer`, `punt`, `stack`, `out`, `drop`, `wait` or `taken`.
    pub step: String,
    /// In words.
    pub text: String,
    /// The port, where there is one.
    pub port: Option<String>,
    /// Of `drop`: the reason, as `show drops` names it.
    pub reason: Option<String>,
    /// Bytes of the frame as it came in or left.
    pub length: Option<u32>,
    /// The first of these bytes, in hexadecimal.
    pub bytes: Option<String>,
}

/// How a trace ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceEnd {
    /// Frames that were told.
    pub frames: u64,
    /// Frames that matched and were not told, or not whole: too many at once.
    pub untold: u64,
    /// Why: `count`, `time` or `engine`.
    pub why: String,
}

impl TraceStep {
    /// The bytes of the frame.
    pub fn frame(&self) -> Option<Vec<u8>> {
        let text = self.bytes.as_deref()?;
        (0..text.len() / 2).map(|n| u8::from_str_radix(text.get(2 * n..2 * n + 2)?, 16).ok()).collect()
    }
}

/// Asks the engine behind the socket at `path` for a trace, and hands each line of the answer to `each`, which returns
/// whether it wants another.
///
/// # Errors
/// Nobody listens there, or the answer makes no sense; or what `each` says.
pub fn trace<E: From<ControlError>>(
    path: &Path,
    request: TraceRequest,
    mut each: impl FnMut(TraceLine) -> Result<bool, E>,
) -> Result<(), E> {
    let unreachable = |source| ControlError::Unreachable { path: path.into(), source };
    let answer = |reason: String| ControlError::Answer { path: path.into(), reason };
    let mut stream = UnixStream::connect(path).map_err(unreachable)?;
    let mut line =
        serde_json::to_string(&Request::Trace(request.clone())).map_err(|e| E::from(answer(e.to_string())))?;
    line.push('\n');
    stream.write_all(line.as_bytes()).map_err(unreachable)?;
    // It is silent while no frame comes, but not for longer than it was asked for.
    let patience = Duration::from_millis(request.millis).saturating_add(Duration::from_secs(5));
    stream.set_read_timeout(Some(patience)).map_err(unreachable)?;
    let mut lines = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line).map_err(unreachable)? == 0 {
            return Err(answer("it ended in the middle of the trace: has the engine ended?".into()).into());
        }
        if !each(serde_json::from_str(&line).map_err(|e| E::from(answer(e.to_string())))?)? {
            return Ok(());
        }
    }
}

/// Writes a line of an answer.
pub(crate) fn say(stream: &mut UnixStream, line: &TraceLine) -> io::Result<()> {
    let mut text = serde_json::to_string(line)?;
    text.push('\n');
    stream.write_all(text.as_bytes())
}

/// Waits for `pause`; false when the client has gone, or says something, which ends a trace too.
pub(crate) fn is_listening(stream: &mut UnixStream, pause: Duration) -> bool {
    use std::io::Read;
    let waits = |e: &io::Error| matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
    stream.set_read_timeout(Some(pause)).is_ok() && matches!(stream.read(&mut [0; 1]), Err(e) if waits(&e))
}
