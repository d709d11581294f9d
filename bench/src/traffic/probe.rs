//! Probes: a few thousand small datagrams a second that carry the time at which they were sent.
//!
//! They leave from a socket, and not from the generator: that one is never at rest, and takes the core from whoever else
//! sends, while a probe must not disturb what it measures. The thread has a fixed priority, so that a probe leaves when it
//! is due, also beside senders that take all the time they get. Distances between probes are drawn at random around their
//! mean (as RFC 2330 advises), so that they do not keep step with anything periodic.
//!
//! The stamp is taken before the system call that sends; the sink takes its own when its device's receive thread has the
//! frame. What lies between the two beside the path under test is the sender's stack and the waking of that thread.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pointsman_dataplane::units::Nanos;

use super::flow::PORT_FLOW_0;
use super::latency::Latency;
use super::programs::Programs;
use crate::cpu::{self, Cores};
use crate::interrupt;
use crate::testbed::Namespace;

/// As in `traffic.bpf.c`.
const PORT_UNCOUNTED: u16 = 7000;
/// As in `traffic.bpf.c`.
const PORT_STAMPED: u16 = 7002;

/// With Ethernet, IPv4 and UDP before it, the shortest frame.
const PAYLOAD: usize = 18;

/// A probe that has not arrived this long after the last one is lost.
const LATEST: Duration = Duration::from_millis(150);

/// What to send: flow 0, from one address to another.
#[derive(Clone, Copy, Debug)]
pub struct Probes {
    /// The sender's address, which the namespace has.
    pub from: Ipv4Addr,
    /// The receiver.
    pub to: Ipv4Addr,
    /// Probes a second.
    pub rate: f64,
    /// Sent before anything counts.
    pub warm_up: Duration,
    /// What counts.
    pub window: Duration,
}

/// Sends probes out of a namespace and waits for them at the sink, which is attached. How many were sent, and what those
/// that arrived took.
///
/// # Errors
/// There is no way to the receiver, or a signal came.
pub fn probe(programs: &Arc<Programs>, senders: &Namespace, cores: Cores, wanted: Probes) -> Result<(u64, Latency)> {
    programs.forget_latency()?;
    let sent = senders.within(|| {
        cpu::pin(0, cores.traffic).context("pinning the prober")?;
        cpu::before_all_others(0).context("raising the prober")?;
        send(PORT_UNCOUNTED, wanted, wanted.warm_up)?;
        send(PORT_STAMPED, wanted, wanted.window)
    })?;
    interrupt::sleep(LATEST)?;
    Ok((sent, programs.latency()?))
}

fn send(port: u16, wanted: Probes, span: Duration) -> Result<u64> {
    let socket = UdpSocket::bind((wanted.from, port)).with_context(|| format!("{}:{port}", wanted.from))?;
    socket.connect((wanted.to, PORT_FLOW_0)).with_context(|| format!("the way to {}", wanted.to))?;
    let mut payload = [0; PAYLOAD];
    let mut dice = Nanos::now().0 | 1;
    let begin = Instant::now();
    let mut due = begin;
    let mut sent = 0;
    loop {
        due += Duration::from_secs_f64(even(&mut dice) * 2.0 / wanted.rate);
        if due - begin >= span {
            return Ok(sent);
        }
        interrupt::check()?;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        payload[..8].copy_from_slice(&Nanos::now().0.to_ne_bytes());
        // What a device does not take is a lost probe.
        let _ = socket.send(&payload);
        sent += 1;
    }
}

/// The next of a series of numbers from 0 to 1 (xorshift, Marsaglia 2003).
fn even(state: &mut u64) -> f64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dice_are_fair() {
        let mut state = 88_172_645_463_325_252;
        let throws: Vec<f64> = (0..10_000).map(|_| even(&mut state)).collect();
        assert!(throws.iter().all(|t| (0.0..1.0).contains(t)));
        let mean = throws.iter().sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
    }

    /// Over a cable and nothing else: every probe arrives, later than it was sent and before the next second.
    #[test]
    fn probes_cross_a_cable() {
        if let Err(why) = crate::testbed::require_root() {
            println!("skipped: {why}");
            return;
        }
        let cores = match Cores::pick() {
            Ok(cores) => cores,
            Err(why) => return println!("skipped: {why}"),
        };
        let bed = crate::testbed::Testbed::build(cores).unwrap();
        let programs = Arc::new(Programs::load(64).unwrap());
        let _sink = programs.attach_sink(&bed.receivers, &bed.sink_device()).unwrap();
        let from = crate::addresses::router_out_ip(0);
        bed.host.ip(&format!("address add {from}/16 dev {}\n", bed.out_device())).unwrap();
        let wanted = |window| Probes {
            from,
            to: crate::addresses::receiver_ip(0),
            rate: 2_000.0,
            warm_up: Duration::from_millis(20),
            window: Duration::from_millis(window),
        };
        // The first ones ask who has the address.
        probe(&programs, &bed.host, cores, wanted(20)).unwrap();
        let (sent, latency) = probe(&programs, &bed.host, cores, wanted(200)).unwrap();
        assert!(sent > 200, "{sent}");
        assert_eq!(latency.frames(), sent);
        assert!(latency.mean() > Duration::ZERO && latency.longest() < Duration::from_secs(1), "{latency:?}");
        assert!(latency.quantile(0.5) <= latency.longest());
    }
}
