//! Which core does what, and how much of a core's time was spent.
//!
//! One core belongs to the generator and the sink, another to the device under test. What the device under test costs
//! is then
//!
//! - **all** that its core did: threads, system calls, kernel threads, interrupts, softirq, whoever they were for; and
//! - what the generator's core did beyond the generator, the sink and this process.
//!
//! A core's busy time is the clock less its idle time (`/proc/stat`: idle, iowait, and the time the hypervisor gave to
//! others). The kernel knows the idle time exactly, while its split of busy time into user, system and softirq is a
//! sample at every tick; so the split is not used. The file counts in units of 10 ms: over a window of 2 s that is an
//! error of half a percent. What a single thread used is known to the nanosecond (`/proc/.../schedstat`).

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A processor, as the kernel numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Core(pub usize);

/// Who runs where.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    /// The generator, the sink, and this process.
    pub traffic: Core,
    /// The device under test, all of it.
    pub dut: Core,
}

impl Cores {
    /// The first two cores that this process may use.
    pub fn pick() -> Result<Self> {
        // SAFETY: an all-zero cpu_set_t is the empty set, and the call writes no more than its size.
        let set = unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::sched_getaffinity(0, size_of_val(&set), &mut set);
            set
        };
        // SAFETY: the index is below CPU_SETSIZE.
        let mut usable = (0..libc::CPU_SETSIZE as usize).filter(|&i| unsafe { libc::CPU_ISSET(i, &set) });
        match (usable.next(), usable.next()) {
            (Some(a), Some(b)) => Ok(Self { traffic: Core(a), dut: Core(b) }),
            _ => bail!(
                "the benchmark needs two cores, one for the traffic and one for the device under test; \
                 this process may use one"
            ),
        }
    }
}

/// Pins a thread, by its id (0: the calling one), to a core.
pub fn pin(thread: i32, core: Core) -> std::io::Result<()> {
    // SAFETY: an all-zero cpu_set_t is the empty set; CPU_SET checks its index; the set outlives the call.
    let done = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core.0, &mut set);
        libc::sched_setaffinity(thread, size_of_val(&set), &set)
    };
    if done < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// Gives a thread a fixed priority above all ordinary ones, as a hardware interrupt has.
pub fn before_all_others(thread: i32) -> std::io::Result<()> {
    let parameter = libc::sched_param { sched_priority: 1 };
    // SAFETY: the parameter outlives the call.
    let done = unsafe { libc::sched_setscheduler(thread, libc::SCHED_FIFO, &parameter) };
    if done < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// Gives an ordinary thread (0: the calling one) precedence over what else runs on the machine.
pub fn before_bystanders(thread: i32) -> std::io::Result<()> {
    // SAFETY: the call takes plain integers.
    let done = unsafe { libc::setpriority(libc::PRIO_PROCESS, thread as u32, -20) };
    if done < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// The calling thread's id.
pub fn this_thread() -> i32 {
    // SAFETY: the call has no arguments and cannot fail.
    unsafe { libc::gettid() }
}

/// What has been used up to one point in time.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    at: Instant,
    dut_idle: Duration,
    traffic_idle: Duration,
    traffic_threads: Duration,
}

/// Reads the clocks of both cores; `threads` are the kernel ids of the generator and of the sink's NAPI.
pub fn read(cores: Cores, threads: &[i32]) -> Result<Reading> {
    let at = Instant::now();
    let stat = fs::read_to_string("/proc/stat").context("/proc/stat")?;
    let own: i32 = std::process::id() as i32;
    let mut traffic_threads = thread_time(own)?;
    for &thread in threads {
        traffic_threads += thread_time(thread)?;
    }
    Ok(Reading { at, dut_idle: idle(&stat, cores.dut)?, traffic_idle: idle(&stat, cores.traffic)?, traffic_threads })
}

impl Reading {
    /// What the device under test used of the machine since `earlier`, as a part of one core.
    pub fn dut_share_since(&self, earlier: &Reading) -> f64 {
        let wall = (self.at - earlier.at).as_secs_f64();
        let dut = (wall - (self.dut_idle.saturating_sub(earlier.dut_idle)).as_secs_f64()).max(0.0);
        let traffic = wall
            - self.traffic_idle.saturating_sub(earlier.traffic_idle).as_secs_f64()
            - self.traffic_threads.saturating_sub(earlier.traffic_threads).as_secs_f64();
        // A remainder below the resolution of the idle time is noise, and must not make the device cheaper.
        (dut + traffic.max(0.0)) / wall
    }
}

/// Time that nobody used on a core: idle, waiting for a disk, or given to other virtual machines.
fn idle(stat: &str, core: Core) -> Result<Duration> {
    let name = format!("cpu{}", core.0);
    let line = stat.lines().find(|l| l.split_whitespace().next() == Some(name.as_str()));
    let fields: Vec<u64> =
        line.unwrap_or_default().split_whitespace().skip(1).map(|f| f.parse().unwrap_or(0)).collect();
    let [_user, _nice, _system, idle, iowait, _irq, _softirq, steal, ..] = fields[..] else {
        bail!("/proc/stat: no line of eight counters for {name}");
    };
    Ok(Duration::from_millis((idle + iowait + steal) * 1000 / ticks_per_second()))
}

fn ticks_per_second() -> u64 {
    // SAFETY: the call has no preconditions.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).unwrap_or(100).max(1)
}

/// How long a thread has run.
fn thread_time(thread: i32) -> Result<Duration> {
    let path = format!("/proc/{thread}/schedstat");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let ns = text.split_whitespace().next().and_then(|f| f.parse().ok()).with_context(|| path.clone())?;
    Ok(Duration::from_nanos(ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_idle_plus_iowait_plus_steal() {
        let stat = "cpu  1 2 3 4 5 6 7 8 0 0\ncpu0 1 2 3 100 20 6 7 3 0 0\ncpu10 1 2 3 7 0 0 0 0 0 0\n";
        let tick = 1000 / ticks_per_second();
        assert_eq!(idle(stat, Core(0)).unwrap(), Duration::from_millis(123 * tick));
        assert_eq!(idle(stat, Core(10)).unwrap(), Duration::from_millis(7 * tick));
        assert!(idle(stat, Core(1)).is_err(), "cpu10 is not cpu1");
    }

    #[test]
    fn the_generator_is_not_charged_to_the_device() {
        let at = Instant::now();
        let zero =
            Reading { at, dut_idle: Duration::ZERO, traffic_idle: Duration::ZERO, traffic_threads: Duration::ZERO };
        let later = Reading {
            at: at + Duration::from_secs(1),
            dut_idle: Duration::from_millis(400),
            traffic_idle: Duration::from_millis(0),
            traffic_threads: Duration::from_millis(900),
        };
        assert!((later.dut_share_since(&zero) - 0.7).abs() < 1e-9, "0.6 of its core and 0.1 of the other");
    }

    #[test]
    fn a_busy_thread_is_seen() {
        let me = this_thread();
        let before = thread_time(me).unwrap();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        assert!(thread_time(me).unwrap() > before);
    }
}
