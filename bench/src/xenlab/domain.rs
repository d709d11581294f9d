//! Guests: what `xl create` is told, and how they are reached.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Backend, Machine, Network, PATIENCE, Shell};
use crate::interrupt;

/// In dom0: the RAM disk of guests in which our agent runs.
pub(super) const AGENT_DISK: &str = "/boot/domu-agent.cpio.gz";

/// How a guest is virtualised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Paravirtualised: its page tables are Xen's.
    Pv,
    /// Hardware page tables (which QEMU emulates); the kind that migrates live.
    Pvh,
}

/// A virtual interface.
#[derive(Clone, Debug)]
pub struct Vif {
    /// What it is attached to.
    pub network: Network,
    /// Last byte of its IPv4 and its MAC address.
    pub host: u8,
    /// Bytes of IP; None for Ethernet's 1500.
    pub mtu: Option<u16>,
    /// A VLAN of the network, in which the guest is without knowing of it.
    pub vlan: Option<u16>,
}

impl Vif {
    /// On the LAN.
    pub const fn lan(host: u8) -> Self {
        Self { network: Network::Lan, host, mtu: None, vlan: None }
    }

    /// On the other network.
    pub const fn out(host: u8) -> Self {
        Self { network: Network::Out, host, mtu: None, vlan: None }
    }

    /// Its MAC address.
    pub fn mac(&self) -> String {
        let network = match self.network {
            Network::Lan => 9,
            Network::Out => 8,
        };
        format!("00:16:3e:00:{network:02x}:{:02x}", self.host)
    }

    /// Its IPv4 address.
    pub fn address(&self) -> String {
        self.network.address(self.host)
    }

    /// As `xl` takes it, in a configuration and as the argument of network-attach.
    pub fn specification(&self, backend: &Backend) -> String {
        let mtu = self.mtu.map(|mtu| format!(",mtu={mtu}")).unwrap_or_default();
        // xl learned `vlan=` after Xen 4.17. To Pointsman, the bridge domain's name says the same.
        let vlan = self.vlan.map(|vlan| format!(".{vlan}")).unwrap_or_default();
        format!("mac={},bridge={}{vlan},script={}{mtu}", self.mac(), self.network.name(), backend.script())
    }
}

/// A guest.
#[derive(Clone, Debug)]
pub struct Domain {
    /// For xl and for messages.
    pub name: String,
    /// PV or PVH.
    pub kind: Kind,
    /// The first one is on the LAN.
    pub vifs: Vec<Vif>,
    /// Whether it forwards from one vif to the other.
    pub router: bool,
    /// Whether our agent runs in it, and makes rings of its vifs; with [`Backend::Pointsman`] only.
    pub agent: bool,
}

impl Domain {
    /// A guest with one vif on the LAN.
    pub fn new(name: &str, kind: Kind, host: u8) -> Self {
        Self { name: name.into(), kind, vifs: vec![Vif::lan(host)], router: false, agent: false }
    }

    /// A guest that routes between both networks.
    pub fn router(name: &str, host: u8) -> Self {
        Self {
            name: name.into(),
            kind: Kind::Pv,
            vifs: vec![Vif::lan(host), Vif::out(host)],
            router: true,
            agent: false,
        }
    }

    /// Its address on the LAN.
    pub fn address(&self) -> String {
        self.vifs[0].address()
    }

    /// Its shell, which is reached through the network under test.
    ///
    /// # Errors
    /// Its address is none.
    pub fn shell(&self) -> Result<Shell> {
        let address: IpAddr = self.address().parse().context("a guest's address")?;
        Ok(Shell::new(&self.name, SocketAddr::new(address, 22)))
    }

    /// Runs a script in it.
    ///
    /// # Errors
    /// It fails, or is not done within [`PATIENCE`].
    pub fn run(&self, script: &str) -> Result<String> {
        self.shell()?.run(script, PATIENCE)
    }

    /// Starts an iperf3 server for one client in it; the port. One that served before may not be ready again.
    ///
    /// # Errors
    /// It does not listen within ten seconds.
    pub fn serve_iperf3(&self) -> Result<u16> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let port = 5300 + (NEXT.fetch_add(1, Ordering::Relaxed) + std::process::id() as u16 % 97 * 97) % 10_000;
        self.run(&format!(
            "iperf3 -s -1 -p {port} > /tmp/iperf3-{port}.log 2>&1 & n=0; until netstat -lnt | grep -q ':{port} '; do \
             n=$((n+1)); [ $n -lt 100 ] || {{ cat /tmp/iperf3-{port}.log; exit 1; }}; usleep 100000; done"
        ))?;
        Ok(port)
    }

    /// Creates it, and waits until its shell answers.
    ///
    /// # Errors
    /// `xl create` fails, or the guest is not heard of.
    pub fn create(&self, machine: &Machine, backend: &Backend) -> Result<()> {
        self.create_only(machine, backend)?;
        self.await_shell()
    }

    /// Creates it and does not wait for it.
    ///
    /// # Errors
    /// `xl create` fails.
    pub fn create_only(&self, machine: &Machine, backend: &Backend) -> Result<()> {
        let name = &self.name;
        let file = format!("/etc/xen/{name}.cfg");
        machine.dom0().put(&file, self.configuration(backend).as_bytes(), Duration::from_secs(30))?;
        machine.run(&format!(
            "xl create {file} > /tmp/{name}.create.log 2>&1 || {{ cat /tmp/{name}.create.log; false; }}"
        ))?;
        Ok(())
    }

    /// Waits until its shell answers through the network under test.
    ///
    /// # Errors
    /// It does not within [`PATIENCE`].
    pub fn await_shell(&self) -> Result<()> {
        let shell = self.shell()?;
        interrupt::wait_for(&format!("an answer from {}", self.name), PATIENCE, || {
            Ok(shell.run("true", Duration::from_secs(5)).is_ok())
        })
    }

    /// Its configuration file.
    fn configuration(&self, backend: &Backend) -> String {
        let mut command_line = format!("console=hvc0 quiet guest={}", self.name);
        for (n, vif) in self.vifs.iter().enumerate() {
            let _ = write!(command_line, " ip{n}={}/24", vif.address());
            if let Some(mtu) = vif.mtu {
                let _ = write!(command_line, " mtu{n}={mtu}");
            }
        }
        if self.router {
            command_line.push_str(" forward=1");
        }
        let (mut disk, mut memory) = ("/boot/domu.cpio.gz", 192);
        if self.agent {
            command_line.push_str(" agent=1");
            (disk, memory) = (AGENT_DISK, 256);
        }
        let vifs: Vec<String> = self.vifs.iter().map(|vif| format!("'{}'", vif.specification(backend))).collect();
        let kind = match self.kind {
            Kind::Pv => "pv",
            Kind::Pvh => "pvh",
        };
        // QEMU's processor does not call its clock invariant, so Xen would emulate every look at it: on real ones it does not.
        format!(
            "type = '{kind}'\nname = '{}'\nkernel = '/boot/vmlinux'\nramdisk = '{disk}'\nmemory = {memory}\n\
             tsc_mode = 'native'\nvcpus = 1\ncmdline = '{command_line}'\nvif = [ {} ]\non_crash = 'preserve'\n",
            self.name,
            vifs.join(", "),
        )
    }
}
