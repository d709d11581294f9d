//! The flows of Figure 7, from sockets to sockets. Every datagram and every piece of TCP is kept with its time, so that
//! throughput, latency, what was lost and how long nothing came are all read from one record.
//!
//! UDP: numbered datagrams at even distances, from a thread of fixed priority, as [`crate::traffic::probe`] has it. TCP: one
//! connection that writes what it is let. All clocks are one.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use pointsman_dataplane::units::Nanos;

use crate::addresses::{receiver_ip, sender_ip};
use crate::cpu::{self, Core};
use crate::interrupt;
use crate::site::Site;

/// Flow `i` goes to this port plus `i`.
const PORT: u16 = 9100;

/// A datagram begins with its number and when it was sent.
const STAMP: usize = 16;

/// How long a thread waits for something before it looks whether it is to end.
const LOOK: Duration = Duration::from_millis(20);

/// What has not arrived this long after the last was sent is lost.
const LATEST: Duration = Duration::from_millis(150);

/// A sender that was held up sends no more than this at once; what else was due is left out.
const CATCH_UP: u32 = 32;

/// A sender sleeps at least this long.
const NAP: Duration = Duration::from_micros(150);

/// What a receiver's socket holds while its thread does not run, bytes.
const BUFFER: libc::c_int = 8 << 20;

/// One datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Datagram {
    pub(super) sent: Nanos,
    /// None: lost.
    pub(super) arrived: Option<Nanos>,
}

/// Bytes that a receiver read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) at: Nanos,
    pub(super) bytes: usize,
}

/// Threads that end when this is dropped.
#[derive(Debug)]
struct Threads<S, R> {
    over: Arc<[AtomicBool; 2]>,
    sender: Option<JoinHandle<Result<S>>>,
    receiver: Option<JoinHandle<Result<R>>>,
}

impl<S: Send + 'static, R: Send + 'static> Threads<S, R> {
    fn start(
        core: Core,
        urgent: bool,
        send: impl FnOnce(&AtomicBool) -> Result<S> + Send + 'static,
        receive: impl FnOnce(&AtomicBool) -> Result<R> + Send + 'static,
    ) -> Self {
        let over = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
        let prepare = move || {
            cpu::pin(0, core).context("pinning a flow's thread")?;
            if urgent { cpu::before_all_others(0) } else { cpu::before_bystanders(0) }
                .context("raising a flow's thread")
        };
        let (to_sender, to_receiver) = (over.clone(), over.clone());
        let sender = thread::spawn(move || prepare().and_then(|()| send(&to_sender[0])));
        let receiver = thread::spawn(move || prepare().and_then(|()| receive(&to_receiver[1])));
        Self { over, sender: Some(sender), receiver: Some(receiver) }
    }

    /// Ends the sender, then, after a while, the receiver.
    fn finish(mut self, rest: Duration) -> Result<(S, R)> {
        self.over[0].store(true, Ordering::Relaxed);
        let sent = join(self.sender.take())?;
        interrupt::sleep(rest)?;
        self.over[1].store(true, Ordering::Relaxed);
        Ok((sent, join(self.receiver.take())?))
    }
}

fn join<T>(thread: Option<JoinHandle<Result<T>>>) -> Result<T> {
    let thread = thread.context("a flow ends once")?;
    thread.join().map_err(|_| anyhow!("a flow's thread panicked"))?
}

impl<S, R> Drop for Threads<S, R> {
    fn drop(&mut self) {
        self.over.iter().for_each(|over| over.store(true, Ordering::Relaxed));
        // Both look every few milliseconds; what they say is of no use any more.
        let _ = self.sender.take().map(JoinHandle::join);
        let _ = self.receiver.take().map(JoinHandle::join);
    }
}

/// Datagrams from sender to receiver `flow`.
#[derive(Debug)]
pub(super) struct Datagrams(Threads<Vec<Nanos>, Vec<(u64, Nanos, Nanos)>>);

impl Datagrams {
    /// Starts `rate` a second, of `payload` bytes, until it is finished or dropped. `lane` keeps those apart that share a
    /// flow's ends.
    pub(super) fn start(site: &Site, flow: usize, lane: u16, payload: usize, rate: f64) -> Result<Self> {
        ensure!(payload >= STAMP, "a datagram of {payload} bytes has no room for its stamp");
        let to = SocketAddr::from((receiver_ip(flow), PORT + 100 * lane + flow as u16));
        let receiver = site.receivers.within(|| {
            let socket = UdpSocket::bind(to).with_context(|| format!("a receiver at {to}"))?;
            socket.set_read_timeout(Some(LOOK))?;
            // SAFETY: the option's value is an int that outlives the call.
            let done = unsafe {
                let value: *const libc::c_int = &BUFFER;
                let size = size_of_val(&BUFFER) as libc::socklen_t;
                libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, value.cast(), size)
            };
            ensure!(done == 0, "a receiver's buffer: {}", std::io::Error::last_os_error());
            Ok(socket)
        })?;
        let sender = site.senders.within(|| {
            let socket = UdpSocket::bind((sender_ip(flow), 0)).context("a sender's socket")?;
            socket.connect(to).with_context(|| format!("the way to {to}"))?;
            Ok(socket)
        })?;
        Ok(Self(Threads::start(
            site.cores.traffic,
            true,
            move |over| send(&sender, payload, rate, over),
            move |over| receive(&receiver, over),
        )))
    }

    /// All that were sent, in order.
    pub(super) fn finish(self) -> Result<Vec<Datagram>> {
        let (sent, arrived) = self.0.finish(LATEST)?;
        Ok(matched(&sent, &arrived))
    }
}

fn send(socket: &UdpSocket, payload: usize, rate: f64, over: &AtomicBool) -> Result<Vec<Nanos>> {
    let step = Duration::from_secs_f64(1.0 / rate);
    let mut bytes = vec![0; payload];
    let mut sent = Vec::with_capacity((rate * 4.0) as usize);
    let mut due = Instant::now();
    while !over.load(Ordering::Relaxed) {
        let now = Instant::now();
        due = due.max(now.checked_sub(step * CATCH_UP).unwrap_or(due));
        while due <= now {
            let at = Nanos::now();
            bytes[..8].copy_from_slice(&(sent.len() as u64).to_ne_bytes());
            bytes[8..STAMP].copy_from_slice(&at.0.to_ne_bytes());
            // What a device does not take is lost, as what the way loses.
            let _ = socket.send(&bytes);
            sent.push(at);
            due += step;
        }
        thread::sleep(due.saturating_duration_since(Instant::now()).max(NAP));
    }
    Ok(sent)
}

fn receive(socket: &UdpSocket, over: &AtomicBool) -> Result<Vec<(u64, Nanos, Nanos)>> {
    let mut arrived = Vec::with_capacity(1 << 16);
    let mut bytes = [0; STAMP];
    while !over.load(Ordering::Relaxed) {
        match socket.recv(&mut bytes) {
            Ok(STAMP) => {
                let word = |at: usize| {
                    let mut word = [0; 8];
                    word.copy_from_slice(&bytes[at..at + 8]);
                    u64::from_ne_bytes(word)
                };
                arrived.push((word(0), Nanos(word(8)), Nanos::now()));
            }
            Ok(_) => {}
            Err(e) if is_pause(&e) => {}
            Err(e) => return Err(e).context("a receiver of datagrams"),
        }
    }
    Ok(arrived)
}

/// Joins what was sent and what arrived. What belongs to an earlier run has another stamp.
fn matched(sent: &[Nanos], arrived: &[(u64, Nanos, Nanos)]) -> Vec<Datagram> {
    let mut all: Vec<Datagram> = sent.iter().map(|&sent| Datagram { sent, arrived: None }).collect();
    for &(number, stamp, at) in arrived {
        if let Some(datagram) = all.get_mut(number as usize).filter(|d| d.sent == stamp && d.arrived.is_none()) {
            datagram.arrived = Some(at);
        }
    }
    all
}

/// One connection of TCP from sender to receiver `flow`.
#[derive(Debug)]
pub(super) struct Connection(Threads<(), Vec<Piece>>);

impl Connection {
    /// Connects and begins to write, until it is finished or dropped.
    pub(super) fn start(site: &Site, flow: usize) -> Result<Self> {
        const PATIENCE: Duration = Duration::from_secs(5);
        let to = SocketAddr::from((receiver_ip(flow), PORT + flow as u16));
        let listener =
            site.receivers.within(|| TcpListener::bind(to).with_context(|| format!("a receiver at {to}")))?;
        let sender = site.senders.within(|| {
            let stream = TcpStream::connect_timeout(&to, PATIENCE).with_context(|| format!("a connection to {to}"))?;
            stream.set_write_timeout(Some(LOOK))?;
            Ok(stream)
        })?;
        let (receiver, _) = listener.accept().context("a connection's receiver")?;
        receiver.set_read_timeout(Some(LOOK))?;
        Ok(Self(Threads::start(
            site.cores.traffic,
            false,
            move |over| write(sender, over),
            move |over| read(receiver, over),
        )))
    }

    /// All that was read, in order.
    pub(super) fn finish(self) -> Result<Vec<Piece>> {
        Ok(self.0.finish(Duration::ZERO)?.1)
    }
}

fn write(mut stream: TcpStream, over: &AtomicBool) -> Result<()> {
    let bytes = vec![0; 1 << 16];
    while !over.load(Ordering::Relaxed) {
        match stream.write(&bytes) {
            Ok(_) => {}
            Err(e) if is_pause(&e) => {}
            Err(e) => return Err(e).context("a connection's sender"),
        }
    }
    Ok(())
}

fn read(mut stream: TcpStream, over: &AtomicBool) -> Result<Vec<Piece>> {
    let mut pieces = Vec::with_capacity(1 << 14);
    let mut bytes = vec![0; 1 << 17];
    while !over.load(Ordering::Relaxed) {
        match stream.read(&mut bytes) {
            Ok(0) => break,
            Ok(n) => pieces.push(Piece { at: Nanos::now(), bytes: n }),
            Err(e) if is_pause(&e) => {}
            Err(e) => return Err(e).context("a connection's receiver"),
        }
    }
    Ok(pieces)
}

/// Nothing came or went within [`LOOK`].
fn is_pause(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_find_their_datagrams() {
        let sent = [Nanos(10), Nanos(20), Nanos(30)];
        let arrived =
            [(2, Nanos(30), Nanos(35)), (0, Nanos(10), Nanos(36)), (1, Nanos(7), Nanos(37)), (9, Nanos(1), Nanos(38))];
        let all = matched(&sent, &arrived);
        let expected = [(10, Some(36)), (20, None), (30, Some(35))];
        let expected = expected.map(|(s, a)| Datagram { sent: Nanos(s), arrived: a.map(Nanos) });
        assert_eq!(all, expected, "the one with another stamp is of another run, and number 9 was never sent");
    }
}
