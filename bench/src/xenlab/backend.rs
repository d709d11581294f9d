//! Who serves the guests' vifs: the contenders, behind the same few verbs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::domain::AGENT_DISK;
use super::{Machine, Network, PATIENCE};
use crate::process::run;

/// A network backend in dom0, with what connects its vifs to the NICs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The kernel's xen-netback, and its bridge.
    Netback,
    /// Pointsman: this command, on its ports of kind `xen-vif`.
    Pointsman(PathBuf),
}

impl Backend {
    /// As tables name it.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Netback => "netback + bridge",
            Self::Pointsman(_) => "pointsman xen-vif",
        }
    }

    /// The hotplug script that its vifs name.
    pub const fn script(&self) -> &'static str {
        match self {
            Self::Netback => "vif-bridge",
            Self::Pointsman(_) => "vif-pointsman",
        }
    }

    /// Whether it is a process, which can be killed and started again.
    pub const fn is_process(&self) -> bool {
        matches!(self, Self::Pointsman(_))
    }

    /// Brings files to dom0, once after a boot.
    ///
    /// # Errors
    /// The command cannot be read, or does not run there.
    pub fn install(&self, machine: &Machine) -> Result<()> {
        let Self::Pointsman(command) = self else { return Ok(()) };
        let program = stripped(command).with_context(|| command.display().to_string())?;
        machine.dom0().put("/usr/bin/pointsman", &program, PATIENCE)?;
        machine.run("pointsman --version").context("pointsman does not run in the lab's dom0")?;
        // The kernel unpacks RAM disks that follow each other over each other.
        let script = format!(
            "mkdir -p /tmp/agent/usr/bin && cp /usr/bin/pointsman /tmp/agent/usr/bin/ && cd /tmp/agent && \
             find . | cpio -o -H newc 2> /dev/null | gzip -1 | cat /boot/domu.cpio.gz - > {AGENT_DISK} && rm -r /tmp/agent"
        );
        machine.run(&script).context("a RAM disk with the agent")?;
        Ok(())
    }

    /// Starts it, before the first guest.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(&self, machine: &Machine) -> Result<()> {
        let mut script = String::new();
        match self {
            Self::Netback => {
                script += "modprobe xen-netback && modprobe bridge || exit 1\n";
                for network in Network::BOTH {
                    let (bridge, device) = (network.name(), network.device());
                    script += &format!(
                        "{} && brctl addbr {bridge} && brctl addif {bridge} {device} && ip link set {device} mtu 9000 up \
                         && ip link set {bridge} mtu 9000 up || exit 1\n",
                        tell_of_sent(device, true)
                    );
                }
            }
            Self::Pointsman(_) => {
                machine.dom0().put("/etc/pointsman.toml", CONFIGURATION.as_bytes(), Duration::from_secs(30))?;
                for network in Network::BOTH {
                    // As docs/configuration.md says of devices; XDP in a kernel before 6.6 wants frames in one buffer.
                    let device = network.device();
                    script += &format!(
                        "{} || exit 1\nip link set {device} mtu 1500 up && ethtool -K {device} gro off lro off\n",
                        tell_of_sent(device, false)
                    );
                }
                script += START;
            }
        }
        machine.run(&script).with_context(|| format!("starting {}", self.label()))?;
        Ok(())
    }

    /// Ends it in order, after the last guest.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(&self, machine: &Machine) -> Result<()> {
        let script = match self {
            Self::Netback => {
                "for bridge in lan out; do ip link set $bridge down && brctl delbr $bridge || exit 1; done; \
                 rmmod xen-netback"
            }
            Self::Pointsman(_) => {
                "kill $(cat /run/pointsman.pid) && for i in $(seq 50); do \
                 [ -e /proc/$(cat /run/pointsman.pid) ] || exit 0; usleep 100000; done; echo 'still there'; exit 1"
            }
        };
        machine.run(script).with_context(|| format!("stopping {}", self.label()))?;
        Ok(())
    }

    /// Kills the process as the kernel kills one that used too much memory: it cannot take its leave.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&self, machine: &Machine) -> Result<()> {
        machine.run("kill -9 $(cat /run/pointsman.pid)").context("killing the engine")?;
        Ok(())
    }

    /// Starts the killed process again.
    ///
    /// # Errors
    /// It does not start.
    pub fn revive(&self, machine: &Machine) -> Result<()> {
        machine.run(START).context("starting the engine again")?;
        Ok(())
    }
}

/// Has a card tell by interrupts that frames were sent, or not: while it is down. Real cards gather these, this one has one for
/// nearly every burst. Netback cannot do without: it sends guests' own pages, and has them until it is told.
fn tell_of_sent(device: &str, told: bool) -> String {
    let frames = u8::from(told);
    // ethtool takes what is so already for an error.
    format!(
        "ip link set {device} down && {{ ethtool -C {device} tx-frames {frames}; ethtool -c {device} | \
         grep -q 'tx-frames:.*{frames}'; }}"
    )
}

/// A program without what only a debugger wants: guests are small.
fn stripped(program: &Path) -> Result<Vec<u8>> {
    let out = std::env::temp_dir().join(format!("pointsman-stripped-{}", std::process::id()));
    run("strip", &["-o", &out.display().to_string(), &program.display().to_string()])?;
    let bytes = std::fs::read(&out);
    let _ = std::fs::remove_file(&out);
    Ok(bytes?)
}

/// The engine's configuration: both NICs, a bridge domain for each, one of VLAN 10 of the LAN, and seats for whatever vifs
/// xl creates. dom0 has no core to give away, so the worker does not spin.
const CONFIGURATION: &str = r#"
seats = 16

[[worker]]
spin = "0us"

[[domain]]
name = "lan"

[[domain]]
name = "lan.10"

[[domain]]
name = "out"

[[port]]
name = "eth0"
kind = "netdev"
device = "eth0"
domain = "lan"
vlans = { 10 = "lan.10" }

[[port]]
name = "eth1"
kind = "netdev"
device = "eth1"
domain = "out"
"#;

/// Starts the engine in dom0, and waits until it answers.
const START: &str = "pointsman run --xen --config /etc/pointsman.toml >> /tmp/pointsman.log 2>&1 &\necho $! > /run/pointsman.pid\n\
    for i in $(seq 300); do pointsman show ports > /dev/null 2>&1 && exit 0\n\
    [ -e /proc/$(cat /run/pointsman.pid) ] || break; usleep 100000; done; tail -n 20 /tmp/pointsman.log; exit 1\n";
