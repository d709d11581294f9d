//! The testbed: three network namespaces stand for the senders, the host under test, and the receivers.
//!
//! ```text
//!   senders            host under test                 receivers
//!   [generator] gen == in  [whatever is measured]  out == sink [XDP sink]
//!   core A             core B                          core A
//! ```
//!
//! Two veth pairs are the cables. A veth receives on the core that sends unless its NAPI is "threaded": then a kernel
//! thread does it, which can be pinned. So the threads of `in` and `out` run on the core of the device under test, that
//! of `sink` on the traffic's.
//!
//! Everything carries the name `pmb-<pid>-<serial>`. It goes when the value is dropped; what a killed run left behind is
//! recognised by its dead process id and goes when the next run begins. Devices of the host's own are never touched.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::addresses::{GENERATOR_IP, GENERATOR_MAC, MAX_ROUTERS, PREFIX, SINK_MAC, receiver_ip};
use crate::cpu::{self, Cores};
use crate::process::{run, run_with_input};
use crate::{cgroup, interrupt};

/// With it the names of all namespaces and folders begin.
pub(crate) const PREFIX_OF_NAMES: &str = "pmb-";

/// A network namespace that goes when this is dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes it. IPv6 is off, so that nothing but what is measured moves; the bridge does not consult iptables.
    pub fn create(name: &str) -> Result<Self> {
        run("ip", &["netns", "add", name])?;
        let namespace = Self { name: name.to_owned() };
        namespace.shell(
            "ip link set lo up\n\
             echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6\n\
             echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6\n\
             echo 0 2> /dev/null > /proc/sys/net/bridge/bridge-nf-call-iptables || true\n",
        )?;
        Ok(namespace)
    }

    /// Its name, for `ip netns exec`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs lines of `ip` in it, all or an error.
    pub fn ip(&self, lines: &str) -> Result<()> {
        run_with_input("ip", &["-n", &self.name, "-batch", "-"], lines).map(drop)
    }

    /// Runs lines of shell in it; the first that fails ends them.
    pub fn shell(&self, lines: &str) -> Result<String> {
        run_with_input("ip", &["netns", "exec", &self.name, "sh", "-e"], lines)
    }

    /// Calls `work` on a thread that is in the namespace, and waits for it.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter(&self.name)?;
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A device's index within the namespace.
    pub fn ifindex(&self, device: &str) -> Result<u32> {
        let path = format!("/sys/class/net/{device}/ifindex");
        let text = self.shell(&format!("cat {path}\n"))?;
        text.trim().parse().with_context(|| format!("{}: {path}: {text}", self.name))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = run("ip", &["netns", "del", &self.name]);
    }
}

/// Moves the calling thread into a namespace, for good.
pub fn enter(namespace: &str) -> Result<()> {
    let path = format!("/run/netns/{namespace}");
    let file = fs::File::open(&path).with_context(|| path.clone())?;
    // SAFETY: an open descriptor; the call concerns the calling thread alone.
    if unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) } < 0 {
        return Err(std::io::Error::last_os_error()).context(path);
    }
    Ok(())
}

/// A folder that goes, with all that is in it, when this is dropped.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes it: `pmb-<pid>-<name>` among the temporary files.
    pub fn create(name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("{PREFIX_OF_NAMES}{}-{name}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Three namespaces and two cables. Fields are dropped in order: devices go before the namespaces they join.
#[derive(Debug)]
pub struct Testbed {
    /// Where the generator is.
    pub senders: Namespace,
    /// Where the device under test is.
    pub host: Namespace,
    /// Where the sink is.
    pub receivers: Namespace,
    /// For sockets, configuration files and logs.
    pub folder: Folder,
    /// Who runs where.
    pub cores: Cores,
    /// `pmb-<pid>-<serial>`
    id: String,
    /// `pmb<pid>.<serial>`: with it the names of the devices begin, as a kernel thread is found by its device's name.
    short: String,
}

impl Testbed {
    /// Builds it: cables up, addresses set, nothing between `in` and `out`.
    pub fn build(cores: Cores) -> Result<Self> {
        let Names { serial, id, short } = Names::next();
        let folder = Folder::create(&serial)?;
        let bed = Self {
            senders: Namespace::create(&format!("{id}-send"))?,
            host: Namespace::create(&format!("{id}-host"))?,
            receivers: Namespace::create(&format!("{id}-recv"))?,
            folder,
            cores,
            id,
            short,
        };
        let (generator, input) = (bed.generator_device(), bed.in_device());
        let (output, sink) = (bed.out_device(), bed.sink_device());
        let queues = "numtxqueues 1 numrxqueues 1";
        bed.host.ip(&format!(
            "link add {input} {queues} type veth peer name {generator} address {GENERATOR_MAC} {queues} netns {}\n\
             link add {output} {queues} type veth peer name {sink} address {SINK_MAC} {queues} netns {}\n\
             link set {input} up\n\
             link set {output} up\n",
            bed.senders.name, bed.receivers.name,
        ))?;
        bed.senders.ip(&format!("link set {generator} up\naddress add {GENERATOR_IP}/{PREFIX} dev {generator}\n"))?;
        let mut lines = format!("link set {sink} up\n");
        for i in 0..MAX_ROUTERS {
            lines += &format!("address add {}/{PREFIX} dev {sink}\n", receiver_ip(i));
        }
        bed.receivers.ip(&lines)?;
        for (namespace, device) in [(&bed.host, &input), (&bed.host, &output), (&bed.receivers, &sink)] {
            receive_in_thread(namespace, device)?;
        }
        for device in [input, output] {
            pin_receiver(&device, cores.dut)?;
        }
        Ok(bed)
    }

    /// The name with which all that belongs to it begins.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A further namespace of this testbed.
    pub fn namespace(&self, name: &str) -> Result<Namespace> {
        Namespace::create(&format!("{}-{name}", self.id))
    }

    /// The senders' end of the cable to the host under test.
    pub fn generator_device(&self) -> String {
        format!("{}g", self.short)
    }

    /// Where the host under test receives.
    pub fn in_device(&self) -> String {
        format!("{}i", self.short)
    }

    /// Where the host under test sends.
    pub fn out_device(&self) -> String {
        format!("{}o", self.short)
    }

    /// The receivers' end of the cable from the host under test.
    pub fn sink_device(&self) -> String {
        format!("{}s", self.short)
    }

    /// Lets the receive threads of the host go before ordinary threads: for a peer that polls, and never gives up the core
    /// that it shares with them. The receive ring of a veth holds 256 frames, and an ordinary thread that wakes up may
    /// have to wait for the end of another's time slice, which is milliseconds.
    pub fn receive_first(&self) -> Result<()> {
        [self.in_device(), self.out_device()].iter().try_for_each(|device| raise_receiver(device))
    }

    /// Teaches whatever learns addresses where the senders and the receivers are: one broadcast from each side.
    pub fn announce(&self) -> Result<()> {
        // Nobody answers for these addresses; the ARP requests are what matters.
        let call = |address: &str| format!("timeout 0.05 ping -c 1 -W 1 {address} > /dev/null 2>&1 || true\n");
        self.senders.shell(&call("10.10.255.1"))?;
        self.receivers.shell(&call("10.20.255.1"))?;
        interrupt::check()
    }
}

/// What a testbed is called.
#[derive(Debug)]
pub(crate) struct Names {
    /// For its folder.
    pub(crate) serial: String,
    /// `pmb-<pid>-<serial>`
    pub(crate) id: String,
    /// `pmb<pid>.<serial>`, for devices, as a kernel thread is found by its device's name.
    pub(crate) short: String,
}

impl Names {
    /// Those of the next one.
    pub(crate) fn next() -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        // Two decimals, because a device's name has 15 characters at most; a bed is long gone when its number returns.
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed) % 100;
        let pid = std::process::id();
        Self {
            serial: serial.to_string(),
            id: format!("{PREFIX_OF_NAMES}{pid}-{serial}"),
            short: format!("pmb{pid}.{serial}"),
        }
    }
}

/// Has a kernel thread receive for a veth, which can be pinned.
pub(crate) fn receive_in_thread(namespace: &Namespace, device: &str) -> Result<()> {
    // GRO gives a veth its NAPI, with or without an XDP program; single UDP frames are not merged.
    let lines = format!("ethtool -K {device} gro on > /dev/null\necho 1 > /sys/class/net/{device}/threaded\n");
    namespace.shell(&lines).map(drop)
}

/// Pins what receives for a device.
pub(crate) fn pin_receiver(device: &str, core: cpu::Core) -> Result<()> {
    for thread in await_napi_threads(device)? {
        cpu::pin(thread, core).with_context(|| format!("pinning the receive thread of {device}"))?;
    }
    Ok(())
}

/// Lets what receives for a device go before ordinary threads.
pub(crate) fn raise_receiver(device: &str) -> Result<()> {
    for thread in napi_threads(device)? {
        cpu::before_all_others(thread).with_context(|| format!("raising the receive thread of {device}"))?;
    }
    Ok(())
}

/// The kernel threads that receive for a device with threaded NAPI.
pub fn napi_threads(device: &str) -> Result<Vec<i32>> {
    let prefix = format!("napi/{device}-");
    let mut threads = Vec::new();
    for entry in fs::read_dir("/proc").context("/proc")? {
        let Some(id) = entry?.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
        // A process may end between the listing and the reading.
        let name = fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
        if name.starts_with(&prefix) {
            threads.push(id);
        }
    }
    Ok(threads)
}

/// Waits for a device's receive threads.
pub fn await_napi_threads(device: &str) -> Result<Vec<i32>> {
    let mut threads = Vec::new();
    interrupt::wait_for(&format!("receive thread of {device}"), Duration::from_secs(2), || {
        threads = napi_threads(device)?;
        Ok(!threads.is_empty())
    })?;
    Ok(threads)
}

/// Removes what runs left behind whose process is gone. Returns the names, for the user to read.
pub fn remove_stale() -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for name in names_in("/run/netns") {
        if is_stale(&name) {
            run("ip", &["netns", "del", &name])?;
            removed.push(name);
        }
    }
    let folders = std::env::temp_dir();
    for name in names_in(&folders) {
        if is_stale(&name) && fs::remove_dir_all(folders.join(&name)).is_ok() {
            removed.push(name);
        }
    }
    removed.extend(cgroup::remove_stale());
    Ok(removed)
}

pub(crate) fn names_in(folder: impl AsRef<Path>) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().into_string().ok()).collect()
}

/// Whether a name is one of ours and its process is gone.
pub(crate) fn is_stale(name: &str) -> bool {
    let pid = name.strip_prefix(PREFIX_OF_NAMES).and_then(|rest| rest.split('-').next()).and_then(|p| p.parse().ok());
    pid.is_some_and(|pid: u32| !Path::new(&format!("/proc/{pid}")).exists())
}

/// An error unless this process may do what a testbed needs.
pub fn require_root() -> Result<()> {
    // SAFETY: the call has no arguments and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        bail!("the benchmark makes network namespaces and loads XDP programs: run it as root");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_dead_processes_are_stale() {
        assert!(!is_stale(&format!("pmb-{}-0-host", std::process::id())));
        assert!(is_stale("pmb-4194305-0-host"), "beyond the largest process id");
        for other in ["pmb", "pmb-", "pmb-x-0", "eth0", "other-4194305-0"] {
            assert!(!is_stale(other), "{other}");
        }
    }
}
