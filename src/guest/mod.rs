//! `pointsman guest`: the guest's side of a memif or of a domU's ring, as a virtual router of our own, as a way to a
//! namespace's Linux, or as a source of traffic; and of a feed of routes, as the mirror of that Linux's.

mod netlink;
mod source;
mod xen;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand};
use pointsman_dataplane::forward::Forward;
use pointsman_dataplane::guest::MemifAddress;
use pointsman_dataplane::guest::patch::Patch;
use pointsman_dataplane::guest::source::Tally;
use pointsman_dataplane::guest::spec::{PortSpec, router_config};
use pointsman_dataplane::memif::{Memif, MemifOptions, MemifPort, Role};
use pointsman_dataplane::netdev::{Carries, Device, Options, Registrations, VethOptions, VethPair};
use pointsman_dataplane::pool::Pool;
use pointsman_dataplane::port::Port;
use pointsman_dataplane::router::{RouteConfig, Router};
use pointsman_dataplane::signals::Signals;
use pointsman_dataplane::tap::{TapOptions, TapPort};
use pointsman_dataplane::units::{Mac, Nanos, PortId};
use pointsman_dataplane::worker::{Worker, WorkerConfig};
use pointsman_xen::ring::RingAgent;

use netlink::NetlinkArgs;
use source::SourceArgs;
use xen::{Xen, XenArgs};

/// Be a guest of an engine: a virtual router, a way to one, a mirror of its routes, or a source of traffic.
#[derive(Debug, Args)]
pub struct Guest {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Router(RouterArgs),
    Tap(TapArgs),
    Veth(VethArgs),
    Netlink(NetlinkArgs),
    Source(SourceArgs),
}

/// A software router between memifs: IPv4 and IPv6, static routes, ARP and ND, ICMP errors.
#[derive(Debug, Args)]
struct RouterArgs {
    #[arg(long = "port", value_name = "PORT", required = true, help = PORT_HELP)]
    ports: Vec<PortSpec>,
    /// A static route; repeat for each: PREFIX,via=GATEWAY or PREFIX,dev=N
    #[arg(long = "route", value_name = "ROUTE")]
    routes: Vec<RouteConfig>,
    #[command(flatten)]
    xen: XenArgs,
    #[command(flatten)]
    thread: Thread,
}

/// Join memifs to taps, so that the Linux of a namespace is the virtual router.
#[derive(Debug, Args)]
struct TapArgs {
    /// The tap that is joined to it
    #[arg(long = "tap", value_name = "DEVICE", required = true)]
    taps: Vec<String>,
    #[command(flatten)]
    stacks: Stacks,
}

/// Join memifs to veths by AF_XDP: as with taps, but a burst is one system call, and TCP comes in segments.
///
/// For guests in which system calls are dear, as in a Xen PV domU.
#[derive(Debug, Args)]
struct VethArgs {
    /// The stack's end of the veth that is joined to it: made, with the other end beside us as DEVICE-pm
    #[arg(long = "veth", value_name = "DEVICE", required = true)]
    veths: Vec<String>,
    #[command(flatten)]
    stacks: Stacks,
}

/// What is joined to devices of a network stack.
#[derive(Debug, Args)]
struct Stacks {
    #[arg(long = "memif", value_name = "MEMIF", required = true, help = MEMIF_HELP)]
    memifs: Vec<MemifAddress>,
    /// The namespace of the device; once for all, or once for each
    #[arg(long = "netns", value_name = "NAMESPACE")]
    namespaces: Vec<PathBuf>,
    #[command(flatten)]
    xen: XenArgs,
    #[command(flatten)]
    thread: Thread,
}

#[derive(Debug, Args)]
struct Thread {
    /// Pin to this core
    #[arg(long, value_name = "N")]
    core: Option<usize>,
    /// Look for work so many microseconds before sleeping
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 0)]
    spin: u64,
}

const PORT_HELP: &str = "An interface; repeat for each: SOCKET:ID (with --xen, vif:HANDLE)[,role=client|server][,mac=MAC][,address=ADDRESS/LENGTH]...[,mtu=BYTES]";
const MEMIF_HELP: &str =
    "A memif: SOCKET:ID (with --xen, vif:HANDLE)[,role=client|server]; repeat for each, with its --tap";

/// Frame memory of a guest: both directions of two memifs, and a flood's worth in hand.
const CHUNKS: usize = 8192;

fn frame_memory() -> anyhow::Result<Pool> {
    Pool::new(CHUNKS).context("getting frame memory")
}

impl Guest {
    pub fn run(self) -> anyhow::Result<()> {
        match self.what {
            What::Router(router) => router.run(),
            What::Tap(tap) => tap.run(),
            What::Veth(veth) => veth.run(),
            What::Netlink(netlink) => netlink.run(),
            What::Source(source) => source.run(),
        }
    }
}

impl RouterArgs {
    fn run(mut self) -> anyhow::Result<()> {
        // Before the first thread: all of them inherit what is blocked.
        let signals = Signals::block().context("blocking signals")?;
        let xen = self.xen.open(self.ports.len())?;
        if let Some(xen) = &xen {
            for port in self.ports.iter_mut().filter(|port| !port.names_mac) {
                port.interface.mac = xen.mac(&port.memif)?;
            }
        }
        let router = Router::new(router_config(&self.ports, &self.routes))?;
        let (mut channels, mut ports) = (Vec::new(), Vec::<Box<dyn Port>>::new());
        for (n, spec) in self.ports.iter().enumerate() {
            let (channel, port) = connect(xen.as_ref(), &spec.memif, &format!("router{n}"))?;
            channels.push(channel);
            ports.push(Box::new(port));
        }
        self.thread.run(frame_memory()?, ports, Box::new(router), &channels, &signals, None)
    }
}

impl TapArgs {
    fn run(self) -> anyhow::Result<()> {
        self.stacks.join("tap", &self.taps, |_, device, netns, mac| {
            let options = TapOptions { device, netns, mtu: None, mac };
            Ok((Box::new(TapPort::open(&options)?), ()))
        })
    }
}

impl VethArgs {
    fn run(self) -> anyhow::Result<()> {
        let mut shared = Registrations::default();
        self.stacks.join("veth", &self.veths, |pool, device, netns, mac| {
            let pair = VethPair::create(&VethOptions { device, netns, mac })?;
            let options = Options { carries: Carries::everything(), ..Options::default() };
            let device = Device::open(pair.ours(), options)?;
            let port = device.queue(0, pool, &mut shared)?;
            Ok((Box::new(port), (device, pair)))
        })
    }
}

impl Stacks {
    /// Joins each memif to one of the devices; `open` makes the port of a device, given its name, namespace and address, and
    /// what must live as long.
    fn join<K>(
        self,
        kind: &str,
        devices: &[String],
        mut open: impl FnMut(&mut Pool, String, Option<PathBuf>, Option<Mac>) -> anyhow::Result<(Box<dyn Port>, K)>,
    ) -> anyhow::Result<()> {
        let pairs = self.memifs.len();
        if devices.len() != pairs {
            bail!("{pairs} memifs and {} {kind}s; give one --{kind} for each --memif", devices.len());
        }
        let namespaces = self.namespaces.len();
        if namespaces > 1 && namespaces != pairs {
            bail!("{namespaces} namespaces for {pairs} {kind}s; give --netns once, or once for each");
        }
        let signals = Signals::block().context("blocking signals")?;
        let xen = self.xen.open(pairs)?;
        let mut pool = frame_memory()?;
        let (mut channels, mut kept, mut ports) = (Vec::new(), Vec::new(), Vec::<Box<dyn Port>>::new());
        for (n, (address, device)) in self.memifs.iter().zip(devices).enumerate() {
            let netns = self.namespaces.get(n).or(self.namespaces.first()).cloned();
            // The engine takes frames from the vif's own address only.
            let mac = xen.as_ref().map(|xen| xen.mac(address)).transpose()?;
            let (channel, port) = connect(xen.as_ref(), address, device)?;
            channels.push(channel);
            ports.push(Box::new(port));
            let (port, keep) = open(&mut pool, device.clone(), netns, mac)?;
            ports.push(port);
            kept.push(keep);
        }
        self.thread.run(pool, ports, Box::new(Patch), &channels, &signals, None)
    }
}

/// The control side of a way to an engine, which must live as long as its port is used.
enum Channel {
    Memif(Memif),
    Ring {
        /// Takes the ring down when it goes.
        _agent: RingAgent,
    },
}

fn connect(xen: Option<&Xen>, address: &MemifAddress, name: &str) -> anyhow::Result<(Channel, MemifPort)> {
    if let Some(xen) = xen {
        let (agent, port) = xen.connect(address)?;
        return Ok((Channel::Ring { _agent: agent }, port));
    }
    let role = if address.server { Role::Server } else { Role::Client };
    let (memif, ports) = Memif::start(&MemifOptions::new(name, &address.socket, address.id, role))?;
    let port = ports.into_iter().next().with_context(|| format!("memif {address}: no ring"))?;
    Ok((Channel::Memif(memif), port))
}

/// How often a guest looks whether it was let in.
const LOOK: Duration = Duration::from_millis(500);
/// How often it finds that it was not before it gives up.
const PATIENCE: u32 = 3;
/// How long a source that has ended stays: for what it has sent to be taken out of the ring.
const LINGER: Duration = Duration::from_millis(100);

/// The error of a memif that another guest has, and that was never ours.
fn taken(channel: &Channel) -> Option<anyhow::Error> {
    let Channel::Memif(memif) = channel else { return None };
    let state = memif.state();
    let reason = state.last_disconnect.filter(|reason| state.connects == 0 && reason.contains("already connected"))?;
    let place = format!("{}:{}", state.socket.display(), state.id);
    Some(anyhow!("memif {place}: {reason}; stop the guest that has it, or connect to another id"))
}

impl Thread {
    /// Runs the guest's one worker until a signal ends it, a source has sent all, or another guest turns out to be in its place.
    fn run(
        &self,
        pool: Pool,
        ports: Vec<Box<dyn Port>>,
        forward: Box<dyn Forward>,
        channels: &[Channel],
        signals: &Signals,
        source: Option<&Tally>,
    ) -> anyhow::Result<()> {
        let config =
            WorkerConfig { name: "guest".into(), core: self.core, chunks: CHUNKS, spin: Nanos::from_micros(self.spin) };
        let ids = ports.len();
        let ports = (0..).map(PortId).zip(ports).collect();
        let worker = Worker::new(config, pool, ports, ids, forward).context("making a worker")?;
        let bell = worker.doorbell();
        let thread = std::thread::Builder::new().name("guest".into()).spawn(move || worker.run())?;
        let mut refusals = 0;
        let ended = loop {
            let left = source.and_then(|source| source.left(Nanos::now())).map(|left| Duration::from_nanos(left.0));
            if left == Some(Duration::ZERO) || signals.wait_for(left.map_or(LOOK, |left| left.min(LOOK))) {
                break Ok(());
            }
            match channels.iter().find_map(taken) {
                // The engine may not have noticed yet that the guest before us has died.
                Some(reason) if refusals == PATIENCE => break Err(reason),
                Some(_) => refusals += 1,
                None => refusals = 0,
            }
        };
        if let Some(source) = source {
            source.end(Nanos::now());
            if source.sent() > 0 {
                std::thread::sleep(LINGER);
            }
        }
        bell.stop();
        // A worker that panicked has said so.
        let _ = thread.join();
        ended
    }
}
