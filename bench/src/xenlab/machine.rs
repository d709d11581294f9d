//! The emulated machine.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{Image, Network, Shell};
use crate::interrupt;
use crate::process::run;

/// Where dom0's shell is reached in our namespace: it has no other listener.
const DOM0: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 2200);

/// How long Xen and dom0 may take to boot; an idle machine needs 15 s.
const PATIENCE: Duration = Duration::from_secs(240);

/// QEMU with Xen and dom0 on it. Dropping it is pulling the plug.
#[derive(Debug)]
pub struct Machine {
    /// None: it was booted, and will be ended, by another process.
    qemu: Option<Child>,
    /// What the serial line said: hypervisor and dom0's kernel.
    console: PathBuf,
    folder: PathBuf,
}

impl Machine {
    /// Boots, and waits until dom0's shell answers. [`super::leave_network`] comes first.
    ///
    /// # Errors
    /// QEMU does not start, or dom0 does not come up; with the last lines of the console.
    pub fn boot(image: &Image) -> Result<Self> {
        let folder = folder_of(std::process::id());
        fs::create_dir_all(&folder)?;
        let console = folder.join("console.log");
        let mut command = Command::new("qemu-system-x86_64");
        command.args(arguments(image, &console));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(folder.join("qemu.log"))?);
        command.process_group(0);
        // SAFETY: one system call between fork and exec; nothing is allocated.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let qemu = command.spawn().context("qemu-system-x86_64 cannot be started; is it installed?")?;
        let mut machine = Self { qemu: Some(qemu), console, folder };
        machine.await_dom0()?;
        for network in Network::BOTH {
            let name = network.name();
            run("ip", &["link", "set", name, "mtu", "9000", "up"])?;
            run("ip", &["addr", "add", &format!("{}/24", network.address(1)), "dev", name])?;
        }
        Ok(machine)
    }

    /// A machine that another process of ours has booted: `keeper` is that process, whose network this thread enters.
    ///
    /// # Errors
    /// No such process, or not root, or its dom0 does not answer.
    pub fn borrow(keeper: u32) -> Result<Self> {
        let network = File::open(format!("/proc/{keeper}/ns/net")).with_context(|| format!("process {keeper}"))?;
        // SAFETY: the descriptor is open; the call concerns this thread.
        if unsafe { libc::setns(network.as_raw_fd(), libc::CLONE_NEWNET) } < 0 {
            return Err(std::io::Error::last_os_error()).context("entering its network namespace: needs root");
        }
        let folder = folder_of(keeper);
        let mut machine = Self { qemu: None, console: folder.join("console.log"), folder };
        machine.await_dom0()?;
        Ok(machine)
    }

    /// The shell of dom0.
    pub fn dom0(&self) -> Shell {
        Shell::new("dom0", DOM0)
    }

    /// Whether another process has booted it.
    pub fn is_borrowed(&self) -> bool {
        self.qemu.is_none()
    }

    /// Runs a script in dom0.
    ///
    /// # Errors
    /// It fails, or is not done within [`super::PATIENCE`].
    pub fn run(&self, script: &str) -> Result<String> {
        self.dom0().run(script, super::PATIENCE)
    }

    /// The last `lines` lines of what hypervisor and dom0's kernel said.
    pub fn console(&self, lines: usize) -> String {
        let text = fs::read(&self.console).unwrap_or_default();
        tail(&String::from_utf8_lossy(&text).replace('\r', ""), lines)
    }

    /// What helps to understand a failure: the state of Xen, and the logs of dom0 and of every guest.
    pub fn evidence(&self) -> String {
        let script = "echo '--- xl list'; xl list; echo '--- backends'; xenstore-ls -f backend/vif; \
                      for f in /var/log/xen/*.log /var/log/xen/console/*.log /tmp/*.log; do \
                      [ -s $f ] || continue; echo \"--- $f\"; tail -n 25 $f; done; echo '--- dmesg'; dmesg | tail -n 25";
        let dom0 = self.run(script).unwrap_or_else(|why| format!("dom0 does not answer: {why:#}"));
        format!("{dom0}\n--- serial line of Xen and dom0\n{}", self.console(15))
    }

    fn await_dom0(&mut self) -> Result<()> {
        let begin = Instant::now();
        loop {
            if let Some(qemu) = &mut self.qemu
                && let Some(status) = qemu.try_wait()?
            {
                let said = fs::read_to_string(self.folder.join("qemu.log")).unwrap_or_default();
                bail!("qemu ended: {status}\n{said}{}", self.console(40));
            }
            if self.dom0().run("true", Duration::from_secs(2)).is_ok() {
                return Ok(());
            }
            if begin.elapsed() > PATIENCE {
                bail!("dom0 is not up after {PATIENCE:?}; the serial line said:\n{}", self.console(40));
            }
            interrupt::sleep(Duration::from_millis(200))?;
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let Some(qemu) = &mut self.qemu else { return };
        let _ = qemu.kill();
        let _ = qemu.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Where the process that boots keeps its files.
fn folder_of(process: u32) -> PathBuf {
    std::env::temp_dir().join(format!("pointsman-xen-{process}"))
}

/// QEMU's command line.
fn arguments(image: &Image, console: &Path) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut add = |text: &str| words.extend(text.split(' ').map(str::to_owned));
    // Two processors: Xen's scheduler and event channels between processors are part of what is tested. The model is one
    // whose features QEMU 7.2 emulates completely enough for Xen: with SMAP, dom0 dies as it starts.
    add("-accel tcg,thread=multi -machine q35 -cpu qemu64,+svm,+npt -smp 2 -m 2560 -display none -no-reboot");
    add("-monitor none -nodefaults");
    // The shell's network: QEMU's own, without a way out.
    add("-device virtio-net-pci,netdev=mg,mac=52:54:00:00:00:0f -netdev");
    add(&format!("user,id=mg,restrict=on,hostfwd=tcp:{DOM0}-10.0.2.15:22"));
    for (network, last) in Network::BOTH.into_iter().zip(["0a", "0b"]) {
        // One queue. With several, the hash of a flow decides which processor it comes in on, and so how fast it is.
        let name = network.name();
        add(&format!("-netdev tap,id={name},ifname={name},script=no,downscript=no -device"));
        // A cable carries frames of at most its MTU: what arrives is not joined, unless whoever receives does that.
        let whole = "guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off";
        // A doorbell costs the emulated processor a lock that QEMU's network thread has most of the time: a real one, next to
        // nothing. So what was told of is looked at for 200 us, without a further one.
        let doorbell = "tx=timer,x-txtimer=200000,x-txburst=256";
        let card = format!("virtio-net-pci,netdev={name},mac=52:54:00:00:00:{last},host_mtu=9000");
        add(&format!("{card},{doorbell},{whole}"));
    }
    words.extend(["-chardev".into(), format!("file,id=console,path={}", console.display())]);
    words.extend(["-serial".into(), "chardev:console".into()]);
    words.extend(["-kernel".into(), image.xen().display().to_string(), "-append".into()]);
    words.push(
        "dom0_mem=1024M,max:1024M dom0_max_vcpus=2 console=com1 com1=115200,8n1 loglvl=info guest_loglvl=info \
         no-real-mode smt=on spec-ctrl=no xpti=no"
            .into(),
    );
    words.push("-initrd".into());
    words.push(format!("{} console=hvc0 quiet,{}", image.kernel().display(), image.dom0().display()));
    words
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
