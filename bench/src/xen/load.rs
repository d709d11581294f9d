//! What is sent to guests, and how what arrives is counted.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::figures::FrameSize;
use crate::interrupt;
use crate::xenlab::{Domain, Network, received};

/// Does something, counting say, while datagrams are offered from here.
pub(super) fn offered<T>(targets: &[String], frame: FrameSize, count: impl FnOnce() -> Result<T>) -> Result<T> {
    let blast = Blast::start(targets, frame)?;
    let counted = count();
    blast.stop();
    counted
}

/// Datagrams from here to several addresses in turn, more than can come through, until it is stopped.
#[derive(Debug)]
pub(super) struct Blast {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Blast {
    /// Offered frames a second, all targets together: more than comes through, but not so many that QEMU, whose cards are
    /// a thread of its own, has no time left for what behind them is measured.
    const fn rate(frame: FrameSize) -> f64 {
        match frame {
            FrameSize::B64 => 20_000.0,
            FrameSize::B1500 => 15_000.0,
        }
    }

    /// Begins. The thread is in the same network namespace as its maker.
    ///
    /// # Errors
    /// There is no way to one of the targets.
    pub(super) fn start(targets: &[String], frame: FrameSize) -> Result<Self> {
        let socket = |target: &String| -> Result<UdpSocket> {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.connect((target.as_str(), 9)).with_context(|| format!("the way to {target}"))?;
            Ok(socket)
        };
        let sockets: Vec<UdpSocket> = targets.iter().map(socket).collect::<Result<_>>()?;
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopping, count) = (stop.clone(), sent.clone());
        let thread = std::thread::spawn(move || {
            // Ethernet, IPv4 and UDP headers are the kernel's.
            let payload = vec![0; frame.in_memory() - 42];
            let mut next = sockets.iter().cycle();
            let (begin, mut sent) = (Instant::now(), 0_u64);
            while !stopping.load(Relaxed) {
                let due = (begin.elapsed().as_secs_f64() * Self::rate(frame)) as u64;
                if sent >= due {
                    std::thread::sleep(Duration::from_micros(500));
                }
                for socket in next.by_ref().take(due.saturating_sub(sent) as usize) {
                    // What the device or the receiver refuses is lost, as on any overloaded path.
                    let _ = socket.send(&payload);
                    sent += 1;
                }
                count.store(sent, Relaxed);
            }
        });
        Ok(Self { stop, sent, thread })
    }

    /// How many it has offered so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    pub(super) fn stop(self) {
        self.stop.store(true, Relaxed);
        // Nothing in it panics.
        let _ = self.thread.join();
    }
}

/// Frames a second that a guest's device receives of what is `sent`, which tells how many seconds that took. The guest counts
/// before and after: under a flood it does not get to its shell, and would count seconds that were none of the flood's.
pub(super) fn arriving(guest: &Domain, device: &str, sent: impl FnOnce() -> Result<f64>) -> Result<f64> {
    let count = || -> Result<u64> {
        let said = guest.run(&format!("cat /sys/class/net/{device}/statistics/rx_packets"))?;
        said.trim().parse().with_context(|| format!("a count: {said:?}"))
    };
    let before = count()?;
    let seconds = sent()?;
    Ok((count()? - before) as f64 / seconds)
}

/// Frames a second that arrive here, half a second from now.
pub(super) fn rate_here(network: Network, window: Duration) -> Result<f64> {
    interrupt::sleep(Duration::from_millis(700))?;
    arriving_here(network, window)
}

/// Frames a second that arrive here.
pub(super) fn arriving_here(network: Network, window: Duration) -> Result<f64> {
    let (begin, before) = (Instant::now(), received(network.name())?);
    interrupt::sleep(window)?;
    Ok((received(network.name())? - before) as f64 / begin.elapsed().as_secs_f64())
}
