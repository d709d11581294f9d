//! Real Xen, without hardware that can: QEMU emulates a machine, Xen boots on it, and Linux as dom0 and guests on Xen.
//!
//! Simulated grants prove that a backend follows the protocol as we understand it. That we understand it is proved here,
//! by the hypervisor, the toolstack and the netfront that everybody runs. The image comes from `tests/xen/build.sh`.
//!
//! ```text
//!   this process's namespace        emulated machine
//!   lan 10.9.0.1  ==== eth0 --- backend --- eth0 of guests (10.9.0.11 ...)
//!   out 10.8.0.1  ==== eth1 --- backend --- eth1 of guests that route
//!   lo  :PORT     ==== mg       shell of dom0
//! ```
//!
//! The namespace has no name and belongs to this process alone; QEMU is told by the kernel to die with it, and the taps
//! are QEMU's. So nothing has to be cleaned up, however the process ends.
//!
//! **Everything is emulated**, one instruction after the other. Figures compare with figures of the same run, and with
//! nothing else.

mod backend;
mod domain;
mod machine;
mod shell;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

pub use backend::Backend;
pub use domain::{Domain, Kind, Vif};
pub use machine::Machine;
pub use shell::{Pending, Shell};

use crate::process::{installed, run};

/// The two networks that the emulated machine is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Where guests are; the emulated machine's eth0.
    Lan,
    /// Where guests that route send to; its eth1.
    Out,
}

impl Network {
    /// Both, in the order of the emulated machine's devices.
    pub const BOTH: [Self; 2] = [Self::Lan, Self::Out];

    /// Name of the tap here, and of the bridge or bridge domain there.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lan => "lan",
            Self::Out => "out",
        }
    }

    /// The device in dom0.
    pub const fn device(self) -> &'static str {
        match self {
            Self::Lan => "eth0",
            Self::Out => "eth1",
        }
    }

    /// An address in it.
    pub fn address(self, host: u8) -> String {
        match self {
            Self::Lan => format!("10.9.0.{host}"),
            Self::Out => format!("10.8.0.{host}"),
        }
    }
}

/// The files to boot from.
#[derive(Clone, Debug)]
pub struct Image {
    folder: PathBuf,
}

impl Image {
    /// Where `tests/xen/build.sh` puts it: below `$POINTSMAN_XEN_CACHE`, else the user's cache folder.
    ///
    /// # Errors
    /// It has not been built, or QEMU is not installed.
    pub fn find() -> Result<Self> {
        let variable = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let cache = variable("POINTSMAN_XEN_CACHE")
            .or_else(|| variable("XDG_CACHE_HOME").map(|folder| folder.join("pointsman-xen")))
            .or_else(|| variable("HOME").map(|folder| folder.join(".cache/pointsman-xen")))
            .context("neither POINTSMAN_XEN_CACHE nor HOME is set: where is the image of tests/xen/build.sh?")?;
        let image = Self { folder: cache.join("image") };
        for file in [image.xen(), image.kernel(), image.dom0()] {
            if !file.is_file() {
                bail!("{}: no such file; tests/xen/build.sh builds it", file.display());
            }
        }
        if !installed("qemu-system-x86_64") {
            bail!("qemu-system-x86_64 is not installed: apt install qemu-system-x86");
        }
        Ok(image)
    }

    fn xen(&self) -> PathBuf {
        self.folder.join("xen")
    }

    fn kernel(&self) -> PathBuf {
        self.folder.join("vmlinux")
    }

    fn dom0(&self) -> PathBuf {
        self.folder.join("dom0.cpio")
    }
}

/// Moves this thread, and what it starts from now on, to a network namespace of its own.
///
/// # Errors
/// Not root.
pub fn leave_network() -> Result<()> {
    // SAFETY: the call takes flags only; it concerns this thread.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } < 0 {
        return Err(std::io::Error::last_os_error()).context("a network namespace of our own: needs root");
    }
    run("ip", &["link", "set", "lo", "up"])?;
    Ok(())
}

/// Frames and bytes that a device of this thread's namespace received.
///
/// # Errors
/// No such device.
pub fn received(device: &str) -> Result<u64> {
    let table = std::fs::read_to_string("/proc/thread-self/net/dev")?;
    let line = table.lines().find_map(|line| line.trim().strip_prefix(device)?.strip_prefix(':'));
    let line = line.with_context(|| format!("{device}: no such device here"))?;
    let frames = line.split_whitespace().nth(1).and_then(|word| word.parse().ok());
    frames.with_context(|| format!("/proc/net/dev: {line}"))
}

/// How long anything may take that somebody waits for: creating, saving or migrating a guest, or its boot. On an idle
/// machine each takes a few seconds; on one that builds something beside it, twenty times that.
pub const PATIENCE: Duration = Duration::from_secs(180);
