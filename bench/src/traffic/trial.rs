//! A trial: one load for a while, and what became of it.
//!
//! The frames that count are those due within a window in the middle of the run. They are told from the others by a mark
//! they carry, and waited for until no more arrive, so a loss of one frame in a million is a count and no estimate.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use pointsman_dataplane::units::Nanos;

use super::flow::Flow;
use super::pace::Pace;
use super::programs::{Attached, Programs};
use crate::cpu::{self, Cores, Reading};
use crate::interrupt;
use crate::testbed::{self, Namespace, await_napi_threads};

/// Between the orders and the first frame: the generator's thread must have begun.
const LEAD: Duration = Duration::from_millis(10);
/// The run goes on this long after the window.
const AFTER: Duration = Duration::from_millis(5);
/// When nothing has arrived for this long, nothing more will.
const QUIET: Duration = Duration::from_millis(20);
/// Longest wait for it.
const PATIENCE: Duration = Duration::from_secs(2);

/// What to offer.
#[derive(Clone, Debug)]
pub struct Load {
    /// The flows; frames are spread over them evenly.
    pub flows: Vec<Flow>,
    /// Length of a frame in memory.
    pub length: usize,
    /// Frames a second, all flows together.
    pub rate: f64,
    /// Sent before anything counts.
    pub warm_up: Duration,
    /// What counts.
    pub window: Duration,
}

/// What became of it.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The window.
    pub window: Duration,
    /// Frames sent within it, flow by flow.
    pub offered: Vec<u64>,
    /// Of them, those that arrived.
    pub delivered: Vec<u64>,
    /// Bytes that arrived.
    pub bytes: u64,
    /// Frames that arrived by a wrong way: with a time to live that the path under test does not give.
    pub strays: u64,
    /// Frames that the generator owed and did not send.
    pub missed: u64,
    /// What the device under test used of the machine meanwhile, as a part of one core.
    pub cpu: f64,
}

impl Trial {
    /// Frames a second that were sent.
    pub fn offered_pps(&self) -> f64 {
        self.offered.iter().sum::<u64>() as f64 / self.window.as_secs_f64()
    }

    /// Frames a second that arrived, all flows together.
    pub fn delivered_pps(&self) -> f64 {
        self.delivered.iter().sum::<u64>() as f64 / self.window.as_secs_f64()
    }

    /// Frames a second that arrived, flow by flow.
    pub fn flow_pps(&self) -> Vec<f64> {
        self.delivered.iter().map(|&n| n as f64 / self.window.as_secs_f64()).collect()
    }

    /// The part that was lost.
    pub fn loss(&self) -> f64 {
        crate::figures::loss(self.offered.iter().sum(), self.delivered.iter().sum())
    }

    /// CPU time for every frame that arrived. None if none did.
    pub fn cpu_ns_per_frame(&self) -> Option<f64> {
        let pps = self.delivered_pps();
        (pps > 0.0).then(|| self.cpu * 1e9 / pps)
    }
}

/// Generator and sink in their places, ready for trials.
#[derive(Debug)]
pub struct Station<'a> {
    programs: Arc<Programs>,
    senders: &'a Namespace,
    device: u32,
    cores: Cores,
    sink_threads: Vec<i32>,
    _sink: Attached,
}

impl<'a> Station<'a> {
    /// Puts the generator behind `from` and the sink on `to`, whose receive thread is pinned beside the generator and
    /// goes before it, as a network card's interrupt would: frames must not be lost by the sink.
    pub fn new(
        programs: Arc<Programs>,
        (senders, from): (&'a Namespace, &str),
        (receivers, to): (&Namespace, &str),
        cores: Cores,
    ) -> Result<Self> {
        let sink = programs.attach_sink(receivers, to)?;
        let sink_threads = await_napi_threads(to)?;
        for &thread in &sink_threads {
            cpu::pin(thread, cores.traffic).context("pinning the sink's receive thread")?;
            cpu::before_all_others(thread).context("raising the sink's receive thread")?;
        }
        Ok(Self { programs, device: senders.ifindex(from)?, senders, cores, sink_threads, _sink: sink })
    }

    /// Offers a load and counts. A trial whose generator the kernel ended, for want of a page at that moment, is repeated.
    ///
    /// # Errors
    /// The generator cannot run, or a signal came.
    pub fn run(&self, load: &Load) -> Result<Trial> {
        let mut left = 3;
        loop {
            left -= 1;
            match self.try_run(load) {
                Err(e) if left > 0 && is_out_of_memory(&e) => {}
                other => return other,
            }
        }
    }

    fn try_run(&self, load: &Load) -> Result<Trial> {
        let flows = load.flows.len();
        let pace = Pace { rate: load.rate, warm_up: load.warm_up, window: load.window, after: AFTER };
        let started = Instant::now();
        let start = Nanos::now().plus(Nanos(LEAD.as_nanos() as u64));
        let orders = pace.orders(start, flows, self.device, self.programs.targets())?;
        self.programs.prepare(&orders, &load.flows, load.length)?;
        let before = self.programs.arrived(flows)?;

        let generator = Generating::start(self.programs.clone(), self.senders, load.length, self.cores)?;
        let threads: Vec<i32> = self.sink_threads.iter().copied().chain([generator.thread()]).collect();
        let from = started + LEAD + load.warm_up;
        let readings: Result<(Reading, Reading)> = (|| {
            interrupt::sleep_until(from)?;
            let before = cpu::read(self.cores, &threads)?;
            interrupt::sleep_until(from + load.window)?;
            let after = cpu::read(self.cores, &threads)?;
            interrupt::sleep_until(from + load.window + AFTER)?;
            Ok((before, after))
        })();
        // If the generator has failed, that is the reason of all else.
        generator.stop()?;
        let (used_before, used) = readings?;

        let offered = self.programs.counted(flows)?;
        let after = self.settle(flows)?;
        let delivered = after.frames.iter().zip(&before.frames).map(|(a, b)| a - b).collect();
        Ok(Trial {
            window: load.window,
            offered,
            delivered,
            bytes: after.bytes - before.bytes,
            strays: after.strays - before.strays,
            missed: self.programs.missed()?,
            cpu: used.dut_share_since(&used_before),
        })
    }

    /// Sends a few frames of every flow, slowly and again and again, until some of each arrive: the path is up.
    ///
    /// # Errors
    /// It is not after `patience`, or `alive` says why it never will be.
    pub fn await_path(&self, flows: &[Flow], patience: Duration, mut alive: impl FnMut() -> Result<()>) -> Result<()> {
        let begin = Instant::now();
        loop {
            alive()?;
            let load = Load {
                flows: flows.to_vec(),
                length: 60,
                rate: 2_000.0 * flows.len() as f64,
                warm_up: Duration::from_millis(20),
                window: Duration::from_millis(20),
            };
            let trial = self.run(&load)?;
            if trial.delivered.iter().all(|&n| n > 0) {
                return Ok(());
            }
            if begin.elapsed() > patience {
                bail!(
                    "no way through after {:.0} s: of {:?} frames {:?} arrived, {} with a wrong time to live",
                    patience.as_secs_f64(),
                    trial.offered,
                    trial.delivered,
                    trial.strays
                );
            }
        }
    }

    /// Waits until nothing more arrives.
    fn settle(&self, flows: usize) -> Result<super::programs::Arrived> {
        let begin = Instant::now();
        let mut last = self.programs.arrived(flows)?;
        let mut changed = Instant::now();
        while changed.elapsed() < QUIET && begin.elapsed() < PATIENCE {
            interrupt::sleep(Duration::from_millis(4))?;
            let now = self.programs.arrived(flows)?;
            if now != last {
                last = now;
                changed = Instant::now();
            }
        }
        Ok(last)
    }
}

fn is_out_of_memory(error: &anyhow::Error) -> bool {
    let system = error.downcast_ref::<std::io::Error>();
    system.and_then(std::io::Error::raw_os_error) == Some(libc::ENOMEM)
}

/// The generator at work on a thread of its own, until stopped or dropped.
struct Generating {
    thread: Option<std::thread::JoinHandle<Result<()>>>,
    id: Arc<AtomicI32>,
}

impl Generating {
    fn start(programs: Arc<Programs>, senders: &Namespace, length: usize, cores: Cores) -> Result<Self> {
        ignore_wake_up();
        let id = Arc::new(AtomicI32::new(0));
        let (id_of_thread, senders) = (id.clone(), senders.name().to_owned());
        let thread = std::thread::Builder::new().name("generator".into()).spawn(move || {
            cpu::pin(0, cores.traffic).context("pinning the generator")?;
            cpu::before_bystanders(0).context("raising the generator")?;
            testbed::enter(&senders)?;
            id_of_thread.store(cpu::this_thread(), Ordering::Release);
            match programs.generate(length) {
                // The signal that ends a run.
                Err(e) if e.raw_os_error() == Some(libc::EINTR) => Ok(()),
                other => other.context("the generator: BPF_PROG_RUN on live frames (kernel 5.18)"),
            }
        })?;
        let this = Self { thread: Some(thread), id };
        let begin = Instant::now();
        while this.thread() == 0 {
            if this.thread.as_ref().is_some_and(std::thread::JoinHandle::is_finished) {
                this.stop()?;
                bail!("the generator ended before it began");
            }
            if begin.elapsed() > PATIENCE {
                bail!("the generator's thread does not start");
            }
            // Not yield_now: who yields again and again beside a generator gets no time for minutes.
            std::thread::sleep(Duration::from_micros(50));
        }
        Ok(this)
    }

    fn thread(&self) -> i32 {
        self.id.load(Ordering::Acquire)
    }

    fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        // Again and again: a signal that comes before the system call begins ends nothing.
        while !thread.is_finished() {
            let id = self.thread();
            if id != 0 {
                // SAFETY: the thread is one of ours and has not been joined; if it has ended the call fails.
                unsafe { libc::syscall(libc::SYS_tgkill, std::process::id() as i32, id, libc::SIGURG) };
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        thread.join().map_err(|_| anyhow!("the generator's thread panicked"))?
    }
}

impl Drop for Generating {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// SIGURG does nothing but interrupt the system call of the thread that gets it.
fn ignore_wake_up() {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: an all-zero sigaction is valid; the handler does nothing. Without SA_RESTART, so that calls end.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        libc::sigaction(libc::SIGURG, &action, std::ptr::null_mut());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addresses::{SINK_MAC, receiver_ip, sender_ip, sender_mac};
    use crate::testbed::Testbed;

    /// A testbed, where one can be built.
    fn bed() -> Option<Testbed> {
        match testbed::require_root().and_then(|()| Cores::pick()) {
            Ok(cores) => Some(Testbed::build(cores).unwrap()),
            Err(why) => {
                println!("skipped: {why}");
                None
            }
        }
    }

    /// Frames of 60 bytes straight from a generator to a sink: what is offered arrives, all of it, at more than a million
    /// frames a second.
    #[test]
    fn what_is_offered_arrives() {
        let Some(bed) = bed() else { return };
        // The cable to the receivers alone, from the host's end.
        let programs = Arc::new(Programs::load(64).unwrap());
        let station =
            Station::new(programs, (&bed.host, &bed.out_device()), (&bed.receivers, &bed.sink_device()), bed.cores)
                .unwrap();
        let flows: Vec<Flow> = (0..8)
            .map(|i| Flow { source: sender_mac(i), destination: SINK_MAC, from: sender_ip(i), to: receiver_ip(i) })
            .collect();
        let load = Load {
            flows,
            length: 60,
            rate: 2e6,
            warm_up: Duration::from_millis(50),
            window: Duration::from_millis(300),
        };
        // On a machine whose cores are taken by others the generator gets too little time for the rate, now and then.
        let mut trial = station.run(&load).unwrap();
        for _ in 0..9 {
            if trial.offered_pps() >= 1e6 && trial.offered == trial.delivered {
                break;
            }
            std::thread::sleep(Duration::from_millis(200));
            trial = station.run(&load).unwrap();
        }
        assert_eq!(trial.offered, trial.delivered);
        assert_eq!(trial.strays, 0);
        assert_eq!(trial.bytes, 60 * trial.delivered.iter().sum::<u64>());
        let sent: u64 = trial.offered.iter().sum();
        // Missed frames are counted in whole steps, so each time it was late may hide one, or count one twice.
        let due = sent + trial.missed;
        assert!(
            (550_000..=600_100 + trial.missed / 20).contains(&due),
            "due, sent or missed: {sent} + {}",
            trial.missed
        );
        let (most, least) = (trial.offered.iter().max().unwrap(), trial.offered.iter().min().unwrap());
        assert!(most - least <= 2, "rounds hold one frame of every flow");
        if trial.offered_pps() < 1e6 {
            println!("skipped: a million frames a second; this machine is too busy ({:.0})", trial.offered_pps());
        }
    }

    /// What the generator makes of a flow for each target is what a receiver's kernel takes: it checks both checksums.
    #[test]
    fn frames_to_targets_are_sound() {
        use std::net::{Ipv4Addr, UdpSocket};

        use crate::traffic::Target;
        use crate::traffic::flow::PORT_FLOW_0;

        let Some(bed) = bed() else { return };
        let targets: Vec<Target> = (0..8).map(|i| Target { to: receiver_ip(i), vlan: None }).collect();
        let programs = Arc::new(Programs::load_with(64, &targets).unwrap());
        bed.receivers.shell("for file in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $file; done\n").unwrap();
        let sockets = bed.receivers.within(|| {
            // One for each receiver, so that it is seen who got what.
            (0..8).map(|i| Ok(UdpSocket::bind((receiver_ip(i), PORT_FLOW_0))?)).collect::<Result<Vec<_>>>()
        });
        let sockets = sockets.unwrap();
        let to = Ipv4Addr::new(255, 255, 255, 255);
        let flow = Flow { source: sender_mac(0), destination: SINK_MAC, from: Ipv4Addr::new(10, 20, 3, 3), to };
        let pace =
            Pace { rate: 2_000.0, warm_up: Duration::from_millis(50), window: Duration::from_millis(50), after: AFTER };
        let device = bed.host.ifindex(&bed.out_device()).unwrap();
        let start = Nanos::now().plus(Nanos(LEAD.as_nanos() as u64));
        programs.prepare(&pace.orders(start, 1, device, programs.targets()).unwrap(), &[flow], 60).unwrap();
        let generator = Generating::start(programs, &bed.host, 60, bed.cores).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        generator.stop().unwrap();
        for (i, socket) in sockets.iter().enumerate() {
            socket.set_nonblocking(true).unwrap();
            let mut ports = std::collections::BTreeSet::new();
            let mut frames = 0;
            while let Ok((len, from)) = socket.recv_from(&mut [0; 64]) {
                assert_eq!((len, from.ip().to_string()), (18, "10.20.3.3".into()));
                ports.insert(from.port());
                frames += 1;
            }
            // Counted ones and others, a hundred of each in all.
            assert_eq!(ports.into_iter().collect::<Vec<_>>(), [7000, 7001], "receiver {i}");
            assert!((20..=30).contains(&frames), "receiver {i}: {frames}");
        }
    }
}
