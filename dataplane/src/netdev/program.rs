//! The XDP program on a device: loaded, attached as a BPF link, its maps within reach.
//!
//! The link is a file descriptor of this process and nothing else holds it: however the process ends, the program goes
//! and every frame passes to the kernel again. A device that has an XDP program already is left alone; where that is one
//! of ours, its engine is given the time to finish dying that a successor may find it in.

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use libbpf_rs::libbpf_sys;
use libbpf_rs::query::ProgInfoIter;
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{MapCore, MapFlags, MapHandle};
use pointsman_bpf::pointsman::PointsmanSkelBuilder;

use super::NetdevError;
use super::words::{FullMarks, Waiting};
use crate::units::{Mac, PortId};

/// How many stations a device tells apart, and the ports behind which they are; as `MAX_STATIONS` in the program.
pub const MAX_STATIONS: usize = 4096;

/// The program's name in the kernel.
const NAME: &str = "pointsman";
/// How long a killed engine is given to let go of its devices.
const DYING: Duration = Duration::from_secs(5);
/// Marks a VLAN in the key of a routed station; as `ROUTED` in the program.
const ROUTED: u16 = 0x8000;
/// In place of a port's number: beyond the marks and counts of all ports, so the program finds none.
const NO_PORT: u32 = u32::MAX;

/// Where in the receive path the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// In the driver, before a socket buffer is made.
    Native,
    /// Behind the driver: any device, slower.
    Generic,
}

/// What the program does with frames whose destination is no guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// They pass to the kernel.
    ToHost,
    /// They go to the engine, but for those to the device's own address: other uplinks share the bridge domain.
    ToEngine,
}

/// Which frames of a device the engine carries; all others are the kernel's.
#[derive(Clone, Copy, Debug)]
pub struct Carries {
    /// Unicast frames for nobody that the program knows.
    pub others: Others,
    /// One bit a VLAN; bit 0 stands for untagged frames.
    vlans: [u64; 64],
    /// Those of them that are interfaces of VRFs.
    routed: [u64; 64],
}

impl Carries {
    /// Nothing yet.
    pub const fn nothing(others: Others) -> Self {
        Self { others, vlans: [0; 64], routed: [0; 64] }
    }

    /// Untagged frames alone: an access port.
    pub fn untagged(others: Others) -> Self {
        let mut carries = Self::nothing(others);
        carries.add_vlan(0);
        carries
    }

    /// Every frame, but for those to the device's own address: its far end is all that the engine serves.
    pub fn everything() -> Self {
        Self { others: Others::ToEngine, vlans: [u64::MAX; 64], routed: [0; 64] }
    }

    /// Frames of this VLAN too; 0 stands for untagged ones.
    pub fn add_vlan(&mut self, vlan: u16) {
        let vlan = usize::from(vlan & 0xfff);
        self.vlans[vlan / 64] |= 1 << (vlan % 64);
    }

    /// Frames of this VLAN too, which is an interface of a VRF: of unicast only those for the stations that are told.
    pub fn add_routed(&mut self, vlan: u16) {
        self.add_vlan(vlan);
        let vlan = usize::from(vlan & 0xfff);
        self.routed[vlan / 64] |= 1 << (vlan % 64);
    }
}

/// The program, attached.
#[derive(Debug)]
pub struct Program {
    _link: OwnedFd,
    to_host: OwnedFd,
    stations: MapHandle,
    sockets: MapHandle,
    full_drops: MapHandle,
    /// Marks of guests, shared with the workers.
    pub full: Arc<FullMarks>,
    /// Frames of guests that wait in the rings.
    pub waiting: Waiting,
    /// Native or generic.
    pub attachment: Attachment,
    /// Why it is not native, when it is not.
    pub why: Option<String>,
    ifindex: u32,
}

impl Program {
    /// Loads the program and attaches it to the device; native, or else generic where `may_be_generic`.
    ///
    /// # Errors
    /// The device has an XDP program already, the kernel refuses BPF, or no mode works.
    pub fn attach(
        device: &str,
        ifindex: u32,
        own: Mac,
        carries: &Carries,
        modes: &[Attachment],
    ) -> Result<Self, NetdevError> {
        let bpf = |what: &str, e: libbpf_rs::Error| NetdevError::Bpf {
            device: device.into(),
            what: what.into(),
            reason: e.to_string(),
        };
        let mut storage = MaybeUninit::uninit();
        let mut open = PointsmanSkelBuilder::default().open(&mut storage).map_err(|e| bpf("open", e))?;
        if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
            rodata.own.mac = own.0;
            rodata.transit = u32::from(carries.others == Others::ToEngine);
            rodata.vlans = carries.vlans;
            rodata.routed = carries.routed;
        }
        let skeleton = open.load().map_err(|e| bpf("load", e))?;
        let handle = |map: &libbpf_rs::MapMut<'_>| MapHandle::try_from(map).map_err(|e| bpf("keep a map", e));
        let mapping = |source| NetdevError::System {
            device: device.into(),
            doing: "mapping what it shares with workers",
            source,
        };
        let full = FullMarks::map(&handle(&skeleton.maps.full)?).map_err(mapping)?;
        let waiting =
            Waiting::map(&handle(&skeleton.maps.waiting)?, &handle(&skeleton.maps.parts)?).map_err(mapping)?;
        let clone = |fd: std::os::fd::BorrowedFd<'_>| {
            fd.try_clone_to_owned().map_err(|source| NetdevError::System {
                device: device.into(),
                doing: "duplicating a program's descriptor",
                source,
            })
        };
        let uplink = clone(skeleton.progs.pointsman.as_fd())?;
        let to_host = clone(skeleton.progs.to_host.as_fd())?;
        let mut why = None;
        for &attachment in modes {
            match create_link_after_ours(&uplink, ifindex, attachment) {
                Ok(link) => {
                    return Ok(Self {
                        _link: link,
                        to_host,
                        stations: handle(&skeleton.maps.stations)?,
                        sockets: handle(&skeleton.maps.sockets)?,
                        full_drops: handle(&skeleton.maps.full_drops)?,
                        full: Arc::new(full),
                        waiting,
                        attachment,
                        why,
                        ifindex,
                    });
                }
                Err(e) if is_taken(&e) => {
                    return Err(NetdevError::HasProgram { device: device.into() });
                }
                Err(e) => why = Some(format!("{attachment:?} XDP: {e}").to_lowercase()),
            }
        }
        Err(NetdevError::NoXdp { device: device.into(), reason: why.unwrap_or_else(|| "no mode allowed".into()) })
    }

    /// Tells the program that `mac` is a station behind this guest's port.
    ///
    /// # Errors
    /// The map is full.
    pub fn add_station(&self, mac: Mac, port: PortId) -> Result<(), libbpf_rs::Error> {
        self.waiting.note_port(port);
        self.stations.update(&station(mac), &u32::from(port.0).to_ne_bytes(), MapFlags::ANY)
    }

    /// Tells the program that `mac` is the address of a VRF's interface, in this VLAN; 0 stands for untagged frames.
    ///
    /// # Errors
    /// The map is full.
    pub fn add_routed(&self, mac: Mac, vlan: u16) -> Result<(), libbpf_rs::Error> {
        self.waiting.note_router();
        let mut key = station(mac);
        key[6..].copy_from_slice(&(ROUTED | vlan).to_ne_bytes());
        self.stations.update(&key, &0u32.to_ne_bytes(), MapFlags::ANY)
    }

    /// Tells the program that `mac` is a station that nobody holds back: it is behind no port.
    ///
    /// # Errors
    /// The map is full.
    pub fn add_bridged(&self, mac: Mac) -> Result<(), libbpf_rs::Error> {
        self.stations.update(&station(mac), &NO_PORT.to_ne_bytes(), MapFlags::ANY)
    }

    /// Forgets a station; no error when there is none.
    pub fn remove_station(&self, mac: Mac) {
        let _ = self.stations.delete(&station(mac));
    }

    /// Hands the frames of `queue` to `socket` from now on.
    ///
    /// # Errors
    /// The queue number is beyond the map, or the socket is not bound to this device.
    pub fn add_socket(&self, queue: u32, socket: impl AsRawFd) -> Result<(), libbpf_rs::Error> {
        self.sockets.update(&queue.to_ne_bytes(), &(socket.as_raw_fd() as u32).to_ne_bytes(), MapFlags::ANY)
    }

    /// Frames dropped so far because this guest's port was marked full, or had its part of a ring.
    pub fn full_drops(&self, port: PortId) -> u64 {
        let counts = self.full_drops.lookup_percpu(&u32::from(port.0).to_ne_bytes(), MapFlags::ANY);
        let per_cpu = counts.ok().flatten().unwrap_or_default();
        per_cpu.iter().filter_map(|b| b.get(..8)?.try_into().ok().map(u64::from_ne_bytes)).sum()
    }

    /// The way into the host's own stack, for the worker that owns `queue`.
    ///
    /// # Errors
    /// No descriptor left.
    pub fn host(&self, queue: u32) -> io::Result<HostStack> {
        Ok(HostStack { program: self.to_host.try_clone()?, ifindex: self.ifindex, queue })
    }
}

fn station(mac: Mac) -> [u8; 8] {
    let m = mac.0;
    [m[0], m[1], m[2], m[3], m[4], m[5], 0, 0]
}

/// As [`create_link`]. A process that was killed holds its link until the kernel has taken all its memory apart: mapped
/// grants and rings, which takes longer than to start another.
fn create_link_after_ours(program: &OwnedFd, ifindex: u32, attachment: Attachment) -> io::Result<OwnedFd> {
    let begin = Instant::now();
    loop {
        match create_link(program, ifindex, attachment) {
            Err(e) if is_taken(&e) && begin.elapsed() < DYING && is_ours(ifindex) => std::thread::sleep(DYING / 200),
            done => return done,
        }
    }
}

/// Whether the error says that the device has a program.
fn is_taken(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EBUSY | libc::EEXIST))
}

/// Whether the device's program has our program's name, or has just gone.
fn is_ours(ifindex: u32) -> bool {
    let mut id = 0;
    // SAFETY: room for the number that is asked for.
    if unsafe { libbpf_sys::bpf_xdp_query_id(ifindex as i32, 0, &raw mut id) } < 0 {
        return false;
    }
    match ProgInfoIter::default().find(|program| program.id == id) {
        Some(program) => program.name.to_str() == Some(NAME),
        None => true,
    }
}

fn create_link(program: &OwnedFd, ifindex: u32, attachment: Attachment) -> io::Result<OwnedFd> {
    // SAFETY: the options structure is plain integers; zero means "not given" throughout.
    let mut options: libbpf_sys::bpf_link_create_opts = unsafe { std::mem::zeroed() };
    options.sz = size_of::<libbpf_sys::bpf_link_create_opts>() as _;
    options.flags = match attachment {
        Attachment::Native => libbpf_sys::XDP_FLAGS_DRV_MODE,
        Attachment::Generic => libbpf_sys::XDP_FLAGS_SKB_MODE,
    };
    // SAFETY: an open program, and options of the size they tell.
    let fd = unsafe {
        libbpf_sys::bpf_link_create(program.as_raw_fd(), ifindex as i32, libbpf_sys::BPF_XDP, &raw const options)
    };
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(-fd));
    }
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Puts frames into the host's stack as if they had just arrived on the device (`BPF_F_TEST_XDP_LIVE_FRAMES`, kernel
/// 5.18). One system call a frame: for group frames only, and the caller limits their rate.
#[derive(Debug)]
pub struct HostStack {
    program: OwnedFd,
    ifindex: u32,
    queue: u32,
}

impl HostStack {
    /// Longest frame that fits the page in which the kernel builds it, beside its own headroom and tail.
    pub const MAX: usize = 3000;

    /// Delivers one frame. False when the kernel would not take it.
    pub fn deliver(&self, frame: &[u8]) -> bool {
        if frame.len() > Self::MAX {
            return false;
        }
        // SAFETY: both structures are plain integers and pointers; zero means "not given" throughout.
        let (mut options, mut context): (libbpf_sys::bpf_test_run_opts, libbpf_sys::xdp_md) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        context.data_end = frame.len() as u32;
        context.ingress_ifindex = self.ifindex;
        context.rx_queue_index = self.queue;
        options.sz = size_of::<libbpf_sys::bpf_test_run_opts>() as _;
        options.data_in = frame.as_ptr().cast();
        options.data_size_in = frame.len() as u32;
        options.ctx_in = (&raw const context).cast();
        options.ctx_size_in = size_of::<libbpf_sys::xdp_md>() as u32;
        options.repeat = 1;
        options.flags = libbpf_sys::BPF_F_TEST_XDP_LIVE_FRAMES;
        // SAFETY: an open program; the options point to memory that outlives the call.
        unsafe { libbpf_sys::bpf_prog_test_run_opts(self.program.as_raw_fd(), &raw mut options) == 0 }
    }
}

/// Number of receive queues of a device, from sysfs.
pub(super) fn queues(device: &str) -> io::Result<u32> {
    let entries = fs::read_dir(format!("/sys/class/net/{device}/queues"))?;
    let names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok());
    Ok(names.filter(|n| n.starts_with("rx-")).count() as u32)
}
