//! What the engine is to be: workers, bridge domains, guests and ports, read from a TOML file.
//!
//! A configuration is either whole and sound, or it is refused with every mistake that is in it, each with its line, so
//! that one round of editing repairs all. The types here hold what was checked: indices instead of names, numbers
//! instead of "1Gbit". Reading looks at nothing but the text, and the files of routes that it names. What this machine has
//! is a question of its own ([`Config::warnings`]), because a file may be checked on one machine and run on another.
//!
//! It must never panic, whatever the text: `tests/fuzz` holds it to that.

mod error;
mod feed;
mod kind;
mod machine;
mod mistakes;
mod placing;
mod port;
mod read;
mod route;
mod route_file;
mod section;
mod span;
mod spelling;
#[cfg(test)]
mod tests;
mod vrf;

use std::path::PathBuf;

pub use error::{ConfigError, ConfigErrors, Place};
pub use feed::FeedSpec;
pub use machine::usable_cores;
pub use route_file::ListedRoutes;
pub use vrf::{InterfaceLink, VrfInterfaceSpec, VrfSpec};

use crate::link_rate::LineRate;
use crate::netdev::Mode;
use crate::shares::GuestTerms;
use crate::units::{Mac, Nanos};
use crate::wire::ethernet::VlanId;

/// Where the control socket is when the file names none.
pub const DEFAULT_CONTROL: &str = "/run/pointsman/control.sock";

/// A whole configuration, checked: every index in it is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file that it was read from, for errors that show only later.
    pub file: PathBuf,
    /// Unix socket on which `show` asks.
    pub control: PathBuf,
    /// At least one.
    pub workers: Vec<WorkerSpec>,
    /// Bridge domains; [`Membership`] refers to them by index.
    pub domains: Vec<DomainSpec>,
    /// Virtual routers; [`PortSpec::guest`] refers to them by index.
    pub guests: Vec<GuestSpec>,
    /// Ports of guests that may come while the engine runs, at a time.
    pub seats: usize,
    /// All ports, those of guests included, in the order of the file: uplinks first, then guest by guest.
    pub ports: Vec<PortSpec>,
    /// Routing tables, with the interfaces between which they route. All ports of one have the same worker.
    pub vrfs: Vec<VrfSpec>,
    /// Where routing daemons tell their routes.
    pub feeds: Vec<FeedSpec>,
}

/// `[[worker]]`: a thread that forwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerSpec {
    /// Core that it is pinned to; none: wherever the scheduler puts it.
    pub core: Option<usize>,
    /// Chunks of frame memory.
    pub chunks: usize,
    /// How long it looks for work before it sleeps.
    pub spin: Nanos,
    /// Where the file says so.
    pub place: Place,
}

/// `[[domain]]`: ports that share a broadcast domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainSpec {
    /// Its name, unique among domains.
    pub name: String,
    /// How long a learned address is believed without being seen.
    pub age: Nanos,
    /// Addresses learned at most.
    pub max_learned: usize,
    /// Where the file says so.
    pub place: Place,
}

/// `[[guest]]`: a virtual router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestSpec {
    /// Its name, unique among guests.
    pub name: String,
    /// What it is entitled to.
    pub terms: GuestTerms,
    /// Where the file says so.
    pub place: Place,
}

/// `[[port]]` or `[[guest.port]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSpec {
    /// Its name, unique among ports.
    pub name: String,
    /// Index of the guest that it belongs to; none: an uplink.
    pub guest: Option<usize>,
    /// What is on its other side.
    pub kind: PortKind,
    /// The bridge domains that it is in: at least one, but for a port that VRFs use.
    pub membership: Membership,
    /// Addresses that the guest may send from and is reached at. At least one for a guest's port, none for others.
    pub macs: Vec<Mac>,
    /// Rate to which the output is shaped.
    pub line_rate: Option<LineRate>,
    /// Index of the worker that does its work; none: the engine spreads ports over workers.
    pub worker: Option<usize>,
    /// Where the file says so.
    pub place: Place,
}

/// The bridge domains that a port is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// Index of the domain of untagged frames; none: they are dropped.
    pub native: Option<usize>,
    /// Index of the domain of each VLAN, sorted by VLAN. No domain occurs twice in a membership.
    pub vlans: Vec<(VlanId, usize)>,
}

impl Membership {
    /// Whether the port is in this domain, by whatever tag.
    pub fn contains(&self, domain: usize) -> bool {
        self.native == Some(domain) || self.vlans.iter().any(|&(_, other)| other == domain)
    }
}

/// What is on the other side of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortKind {
    /// A kernel network device, through AF_XDP.
    Netdev(NetdevSpec),
    /// A local process, through shared memory.
    Memif(MemifSpec),
    /// The stack of this host or of a network namespace.
    Tap(TapSpec),
    /// Files: replay and record.
    Pcap(PcapSpec),
}

impl PortKind {
    /// As the file spells it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Netdev(_) => "netdev",
            Self::Memif(_) => "memif",
            Self::Tap(_) => "tap",
            Self::Pcap(_) => "pcap",
        }
    }
}

/// `kind = "netdev"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetdevSpec {
    /// The interface.
    pub device: String,
    /// Ways of attaching.
    pub mode: Mode,
    /// Let system calls run the driver's receive work.
    pub busy_poll: bool,
    /// Leave TCP that comes in pieces to the kernel and its card; none: where there is a card.
    pub tso: Option<bool>,
    /// Receive queues that are used; none: all that the device has.
    pub queues: Option<u32>,
    /// Descriptors of each of its rings: a power of two.
    pub ring: u32,
}

/// Which side of a memif a port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemifRole {
    /// Listens on the socket (the protocol's old word: master).
    Server,
    /// Connects, and brings the memory (slave).
    Client,
}

/// `kind = "memif"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemifSpec {
    /// The unix socket; several interfaces may share one.
    pub socket: PathBuf,
    /// Interface on that socket.
    pub id: u32,
    /// Which side this is.
    pub role: MemifRole,
    /// Rings in each direction; as a client, what is asked for.
    pub rings: u16,
    /// Descriptors of a ring: a power of two. As a client, what is asked for.
    pub ring_size: u32,
    /// Bytes of a buffer; as a client, what the region is made of.
    pub buffer_size: u32,
    /// Shared secret, up to 24 bytes; empty: none.
    pub secret: String,
}

/// `kind = "tap"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapSpec {
    /// The tap interface, made if it is not there.
    pub device: String,
    /// Network namespace it is moved to: a name under `/run/netns`, or a path.
    pub netns: Option<String>,
}

/// `kind = "pcap"`. At least one of `replay` and `record` is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PcapSpec {
    /// Frames that come in from this port.
    pub replay: Option<PathBuf>,
    /// Where frames go that leave by this port.
    pub record: Option<PathBuf>,
    /// Begin again at the end of the file.
    pub repeat: bool,
    /// Frames a second; none: as fast as they are taken.
    pub rate: Option<u64>,
}
