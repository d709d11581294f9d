//! A kernel network device through AF_XDP: a NIC, a veth, anything with an interface index.
//!
//! [`Device`] belongs to the control side: it attaches the XDP program, knows the stations, and makes one [`NetdevPort`]
//! a receive queue for the workers. The socket module is our own because the memory must be ours: one pool a worker,
//! shared by all of its devices, which no crate allows.

mod fair;
mod pieces;
mod port;
mod program;
mod ring;
mod socket;
mod standing;
mod veth;
mod words;

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use pieces::Pieces;
pub use port::NetdevPort;
use port::Parts;
pub use program::{Attachment, Carries, MAX_STATIONS, Others};
use program::{Program, queues};
pub use socket::{Registrations, RingSizes};
use socket::{Socket, SocketMode};
pub use veth::{VethError, VethOptions, VethPair};
pub use words::FullMarks;

use crate::pool::Pool;
use crate::units::{Mac, PortId};
use crate::wire::ethernet::VlanId;

/// Why a device cannot be a port.
#[derive(Debug, thiserror::Error)]
pub enum NetdevError {
    /// No interface of that name.
    #[error("device {device}: there is no such interface here; `ip link` lists those there are")]
    Missing {
        /// The device.
        device: String,
    },
    /// Someone else's XDP program is attached.
    #[error(
        "device {device}: an XDP program is attached already, and is left in place; \
         `ip -details link show {device}` tells which, `ip link set {device} xdp off` removes one that nobody needs"
    )]
    HasProgram {
        /// The device.
        device: String,
    },
    /// Neither native nor generic XDP.
    #[error("device {device}: no XDP mode works ({reason}); choose another device, or use a tap port")]
    NoXdp {
        /// The device.
        device: String,
        /// What the kernel said.
        reason: String,
    },
    /// BPF itself failed.
    #[error(
        "device {device}: cannot {what} the XDP program: {reason}; it takes root, or CAP_BPF, CAP_NET_ADMIN and CAP_NET_RAW"
    )]
    Bpf {
        /// The device.
        device: String,
        /// Which step.
        what: String,
        /// What libbpf said.
        reason: String,
    },
    /// No socket mode works.
    #[error("device {device}, queue {queue}: no AF_XDP socket: {reason}")]
    NoSocket {
        /// The device.
        device: String,
        /// Its receive queue.
        queue: u32,
        /// What the kernel said, mode by mode.
        reason: String,
    },
    /// The configuration wants more queues than there are.
    #[error(
        "device {device} has {has} receive queues, {wants} are configured; `ethtool -L {device} combined {wants}` may raise it"
    )]
    Queues {
        /// The device.
        device: String,
        /// How many there are.
        has: u32,
        /// How many were asked for.
        wants: u32,
    },
    /// A system call failed.
    #[error("device {device}: {doing}: {source}")]
    System {
        /// The device.
        device: String,
        /// What was being done.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Which ways of attaching are tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Zero-copy, else copy, else generic.
    #[default]
    Auto,
    /// Zero-copy or nothing.
    ZeroCopy,
    /// Copy with native XDP, or nothing.
    Copy,
    /// Generic XDP, which every device has.
    Generic,
}

/// What to make of a device.
#[derive(Clone, Debug)]
pub struct Options {
    /// Ways of attaching.
    pub mode: Mode,
    /// Which frames are the engine's.
    pub carries: Carries,
    /// Let system calls run the driver's receive work.
    pub busy_poll: bool,
    /// Leave TCP that comes in pieces to the kernel and its card, where the device is in copy mode; none: where there is a
    /// card. (What a veth's far end gets by XDP has no checksums, as the kernel leaves them to a card that is not there.)
    pub tso: Option<bool>,
    /// Ring sizes of each queue.
    pub rings: RingSizes,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mode: Mode::Auto,
            carries: Carries::untagged(Others::ToHost),
            busy_poll: false,
            tso: None,
            rings: RingSizes { rx: 2048, tx: 2048 },
        }
    }
}

/// A device with the XDP program attached.
#[derive(Debug)]
pub struct Device {
    name: String,
    ifindex: u32,
    mac: Mac,
    mtu: u32,
    queues: u32,
    options: Options,
    program: Arc<Program>,
    /// Holds the device promiscuous for as long as it is open: guests' addresses are not its own.
    _promiscuous: OwnedFd,
}

impl Device {
    /// Attaches to the device.
    ///
    /// # Errors
    /// See [`NetdevError`]; nothing stays attached.
    pub fn open(name: &str, options: Options) -> Result<Self, NetdevError> {
        let system = |doing| move |source| NetdevError::System { device: name.into(), doing, source };
        let missing = || NetdevError::Missing { device: name.into() };
        let c_name = CString::new(name).map_err(|_| missing())?;
        // SAFETY: a NUL-terminated string that outlives the call.
        let ifindex = unsafe { libc::if_nametoindex(c_name.as_ptr()) };
        if ifindex == 0 {
            return Err(missing());
        }
        let attribute = |which: &str| fs::read_to_string(format!("/sys/class/net/{name}/{which}"));
        let mac = attribute("address").map_err(system("reading its address"))?;
        let mac = Mac::parse(mac.trim()).unwrap_or_default();
        let mtu = attribute("mtu").map_err(system("reading its MTU"))?.trim().parse().unwrap_or(1500);
        let attachments: &[Attachment] = match options.mode {
            Mode::Auto => &[Attachment::Native, Attachment::Generic],
            Mode::ZeroCopy | Mode::Copy => &[Attachment::Native],
            Mode::Generic => &[Attachment::Generic],
        };
        let program = Program::attach(name, ifindex, mac, &options.carries, attachments)?;
        // Counted now: virtio-net takes its spare queues into use for an XDP program, and receives on them too.
        let queues = queues(name).map_err(system("counting its queues"))?;
        let promiscuous = promiscuous(ifindex).map_err(system("making it promiscuous"))?;
        Ok(Self {
            name: name.into(),
            ifindex,
            mac,
            mtu,
            queues,
            options,
            program: Arc::new(program),
            _promiscuous: promiscuous,
        })
    }

    /// The device's own address.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// Bytes of payload that the device carries.
    pub fn mtu(&self) -> u32 {
        self.mtu
    }

    /// Receive queues it has.
    pub fn queues(&self) -> u32 {
        self.queues
    }

    /// Where workers mark guests as full.
    pub fn full_marks(&self) -> Arc<FullMarks> {
        Arc::clone(&self.program.full)
    }

    /// Frames that the program dropped because this guest's port was marked full, or had its part of a ring.
    pub fn full_drops(&self, port: PortId) -> u64 {
        self.program.full_drops(port)
    }

    /// Hands frames for `mac` to the engine, as a station behind this guest's port.
    ///
    /// # Errors
    /// More than [`MAX_STATIONS`].
    pub fn add_station(&self, mac: Mac, port: PortId) -> Result<(), NetdevError> {
        self.added(mac, self.program.add_station(mac, port))
    }

    /// Hands frames for `mac` to the engine, as the address of a VRF's interface: untagged ones, or those of a VLAN.
    ///
    /// # Errors
    /// More than [`MAX_STATIONS`].
    pub fn add_routed(&self, mac: Mac, vlan: Option<VlanId>) -> Result<(), NetdevError> {
        self.added(mac, self.program.add_routed(mac, vlan.map_or(0, VlanId::get)))
    }

    /// Hands frames for `mac` to the engine, as the address of a VRF's interface in a bridge domain of the device.
    ///
    /// # Errors
    /// More than [`MAX_STATIONS`].
    pub fn add_bridged(&self, mac: Mac) -> Result<(), NetdevError> {
        self.added(mac, self.program.add_bridged(mac))
    }

    fn added(&self, mac: Mac, done: Result<(), libbpf_rs::Error>) -> Result<(), NetdevError> {
        done.map_err(|e| NetdevError::Bpf {
            device: self.name.clone(),
            what: format!("add {mac} to"),
            reason: e.to_string(),
        })
    }

    /// Leaves frames for `mac` to the kernel again.
    pub fn remove_station(&self, mac: Mac) {
        self.program.remove_station(mac);
    }

    /// Makes the port for one receive queue, on the pool of the worker that will own it.
    ///
    /// # Errors
    /// No mode works, each with the kernel's reason.
    pub fn queue(&self, queue: u32, pool: &mut Pool, shared: &mut Registrations) -> Result<NetdevPort, NetdevError> {
        let jumbo = self.mtu as usize + 18 > crate::pool::CHUNK_DATA;
        let native = self.program.attachment == Attachment::Native;
        let mut candidates = Vec::new();
        for zero_copy in [true, false] {
            let wanted = match self.options.mode {
                Mode::Auto => native || !zero_copy,
                Mode::ZeroCopy => zero_copy,
                Mode::Copy | Mode::Generic => !zero_copy,
            };
            if wanted {
                candidates.push(SocketMode { zero_copy, multi_buffer: true });
                if !jumbo {
                    // Before kernel 6.6, and in drivers that cannot chain.
                    candidates.push(SocketMode { zero_copy, multi_buffer: false });
                }
            }
        }
        let mut refused: Vec<String> = self.program.why.iter().cloned().collect();
        for mode in candidates {
            let socket = Socket::bind(pool.memory(), self.ifindex, queue, mode, self.options.rings, shared);
            let socket = match socket {
                Ok(socket) => socket,
                Err(e) => {
                    let how = if mode.zero_copy { "zero-copy" } else { "copy" };
                    let chained = if mode.multi_buffer { ", multi-buffer" } else { "" };
                    refused.push(format!("{how}{chained}: {e}"));
                    continue;
                }
            };
            let system = |doing| move |source| NetdevError::System { device: self.name.clone(), doing, source };
            if self.options.busy_poll {
                socket.prefer_busy_poll(64).map_err(system("turning on busy polling"))?;
            }
            let host = self.program.host(queue).map_err(system("opening the way to the host's stack"))?;
            self.program.add_socket(queue, socket.as_raw_fd()).map_err(|e| NetdevError::Bpf {
                device: self.name.clone(),
                what: "hand frames to a socket in".into(),
                reason: e.to_string(),
            })?;
            let how = describe(self.program.attachment, mode, &refused, self.options.busy_poll);
            let has_card = || fs::exists(format!("/sys/class/net/{}/device", self.name)).unwrap_or(false);
            let pieces = match !mode.zero_copy && self.options.tso.unwrap_or_else(has_card) {
                true => Some(Pieces::open(self.ifindex).map_err(system("opening the way for pieces of TCP"))?),
                false => None,
            };
            let parts = Parts { queue, socket, host, program: Arc::clone(&self.program), pieces };
            return Ok(NetdevPort::new(parts, pool, how, self.mtu as usize + 18, self.options.busy_poll));
        }
        Err(NetdevError::NoSocket { device: self.name.clone(), queue, reason: refused.join("; ") })
    }
}

fn describe(attachment: Attachment, mode: SocketMode, refused: &[String], busy_poll: bool) -> String {
    let mut how = match (attachment, mode.zero_copy) {
        (Attachment::Generic, _) => "generic".to_owned(),
        (Attachment::Native, true) => "zero-copy".to_owned(),
        (Attachment::Native, false) => "copy".to_owned(),
    };
    if mode.multi_buffer {
        how.push_str(", multi-buffer");
    }
    if busy_poll {
        how.push_str(", busy-poll");
    }
    if !refused.is_empty() {
        how.push_str(&format!(" ({})", refused.join("; ")));
    }
    how
}

/// A packet socket whose membership keeps the device promiscuous until it is closed, by us or by our death.
fn promiscuous(ifindex: u32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers; the result is checked. Protocol 0: the socket receives nothing.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let membership = libc::packet_mreq {
        mr_ifindex: ifindex as i32,
        mr_type: libc::PACKET_MR_PROMISC as u16,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    // SAFETY: the address and size of a structure that outlives the call.
    let set = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_ADD_MEMBERSHIP,
            (&raw const membership).cast(),
            size_of_val(&membership) as u32,
        )
    };
    if set == 0 { Ok(fd) } else { Err(io::Error::last_os_error()) }
}
