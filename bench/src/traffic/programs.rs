//! The traffic programs, loaded, and what can be done with them: run the generator, attach the sink, read the counts.

use std::ffi::c_void;
use std::io;
use std::mem::MaybeUninit;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result, anyhow};
use libbpf_rs::libbpf_sys;
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{MapCore, MapFlags, MapHandle};
use pointsman_bpf::traffic::TrafficSkelBuilder;
use pointsman_dataplane::wire::ethernet::VlanId;

use super::flow::{Flow, MAX_FLOWS};
use super::latency::{self, Latency};
use crate::testbed::Namespace;

/// Bytes of an 802.1Q tag.
const TAG: usize = 4;

/// Frames that the kernel takes from its pool in one go; the generator's jitter is the time they take.
const BATCH: u32 = 64;

/// The programs and their maps.
#[derive(Debug)]
pub struct Programs {
    generate: OwnedFd,
    sink: OwnedFd,
    redirect: OwnedFd,
    route: OwnedFd,
    targets: MapHandle,
    /// Entries of `targets` that are used.
    spread: u32,
    /// Bytes that these put into a frame before its IP header.
    tag: usize,
    pace: MapHandle,
    flows: MapHandle,
    arrived: MapHandle,
    latency: MapHandle,
    output: MapHandle,
}

/// An XDP program on a device, for as long as this lives.
#[derive(Debug)]
pub struct Attached(#[expect(dead_code, reason = "held until dropped")] OwnedFd);

/// Where a frame goes whose flow has no receiver of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The receiver.
    pub to: Ipv4Addr,
    /// The VLAN.
    pub vlan: Option<VlanId>,
}

/// What the sink has counted of frames that count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Frames of each flow.
    pub frames: Vec<u64>,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Frames that arrived with another time to live than the path under test gives them.
    pub strays: u64,
}

impl Programs {
    /// Loads them. `ttl` is what the sink expects: 64 behind a bridge, 63 behind a router.
    pub fn load(ttl: u8) -> Result<Self> {
        Self::load_with(ttl, &[])
    }

    /// As [`Programs::load`]; if there are targets, the frames of all flows go to them in this order, and begin anew after
    /// the last. All of them have a VLAN, or none.
    pub fn load_with(ttl: u8, targets: &[Target]) -> Result<Self> {
        let mut storage = MaybeUninit::uninit();
        let mut open = TrafficSkelBuilder::default().open(&mut storage).context("the traffic programs")?;
        if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
            rodata.expected_ttl = ttl;
        }
        open.maps.targets.set_max_entries(targets.len().max(1) as u32)?;
        let skeleton = open.load().context("the traffic programs: the kernel did not take them")?;
        let this = Self {
            generate: skeleton.progs.generate.as_fd().try_clone_to_owned()?,
            sink: skeleton.progs.sink.as_fd().try_clone_to_owned()?,
            redirect: skeleton.progs.redirect.as_fd().try_clone_to_owned()?,
            pace: MapHandle::try_from(&skeleton.maps.pace)?,
            flows: MapHandle::try_from(&skeleton.maps.flows)?,
            arrived: MapHandle::try_from(&skeleton.maps.arrived)?,
            latency: MapHandle::try_from(&skeleton.maps.latency)?,
            output: MapHandle::try_from(&skeleton.maps.output)?,
            route: skeleton.progs.route.as_fd().try_clone_to_owned()?,
            targets: MapHandle::try_from(&skeleton.maps.targets)?,
            spread: targets.len() as u32,
            tag: if targets.iter().any(|target| target.vlan.is_some()) { TAG } else { 0 },
        };
        if !targets.is_empty() {
            let keys: Vec<u8> = (0..this.spread).flat_map(u32::to_ne_bytes).collect();
            let values: Vec<u8> = targets.iter().flat_map(Target::value).collect();
            this.targets
                .update_batch(&keys, &values, this.spread, MapFlags::ANY, MapFlags::ANY)
                .context("the targets")?;
        }
        Ok(this)
    }

    /// How many targets there are; none: each flow has its own receiver.
    pub const fn targets(&self) -> u32 {
        self.spread
    }

    /// Attaches the sink to a device of a namespace: it counts and drops the generator's frames and passes all others.
    pub fn attach_sink(&self, namespace: &Namespace, device: &str) -> Result<Attached> {
        attach(&self.sink, namespace, device)
    }

    /// Redirects all that arrives at `from` to `to`, inside the kernel.
    pub fn attach_redirect(&self, namespace: &Namespace, from: &str, to: &str) -> Result<Attached> {
        let index = namespace.ifindex(to)?;
        // A device map takes the index in the caller's namespace.
        namespace.within(|| Ok(self.output.update(&0_u32.to_ne_bytes(), &index.to_ne_bytes(), MapFlags::ANY)?))?;
        attach(&self.redirect, namespace, from)
    }

    /// Routes what arrives at `from` by the tables of the namespace, inside the kernel and before its stack.
    pub fn attach_route(&self, namespace: &Namespace, from: &str) -> Result<Attached> {
        attach(&self.route, namespace, from)
    }

    /// Gives the generator its orders, from [`super::Pace::orders`], and its flows. Nothing moves yet.
    pub fn prepare(&self, orders: &[u8], flows: &[Flow], length: usize) -> Result<()> {
        if flows.is_empty() || flows.len() > MAX_FLOWS {
            return Err(anyhow!("{} flows: the generator sends 1 to {MAX_FLOWS}", flows.len()));
        }
        for (i, flow) in flows.iter().enumerate() {
            // The generator puts the target's address in place of none.
            let flow = if self.spread > 0 { Flow { to: Ipv4Addr::UNSPECIFIED, ..*flow } } else { *flow };
            let mut value = flow.headers(i, length - self.tag).to_vec();
            value.extend([0; 16]);
            self.flows.update(&(i as u32).to_ne_bytes(), &value, MapFlags::ANY)?;
        }
        self.pace.update(&0_u32.to_ne_bytes(), orders, MapFlags::ANY)?;
        Ok(())
    }

    /// Runs the generator on the calling thread, whose namespace holds the device, until a signal comes.
    pub fn generate(&self, length: usize) -> io::Result<()> {
        let frame = vec![0_u8; length];
        // SAFETY: the options structure is plain integers and pointers; zero means "not given" throughout.
        let mut options: libbpf_sys::bpf_test_run_opts = unsafe { std::mem::zeroed() };
        options.sz = size_of::<libbpf_sys::bpf_test_run_opts>() as _;
        options.data_in = frame.as_ptr().cast::<c_void>();
        options.data_size_in = length as u32;
        options.repeat = i32::MAX;
        options.flags = libbpf_sys::BPF_F_TEST_XDP_LIVE_FRAMES;
        options.batch_size = BATCH;
        // SAFETY: an open program; the options point to memory that outlives the call.
        let done = unsafe { libbpf_sys::bpf_prog_test_run_opts(self.generate.as_raw_fd(), &raw mut options) };
        if done < 0 { Err(io::Error::from_raw_os_error(-done)) } else { Ok(()) }
    }

    /// How many frames of each flow the generator has sent that count.
    pub fn counted(&self, flows: usize) -> Result<Vec<u64>> {
        (0..flows as u32)
            .map(|i| {
                let value = self.flows.lookup(&i.to_ne_bytes(), MapFlags::ANY)?.context("a flow's counters")?;
                word(&value, 7).context("a flow's counters")
            })
            .collect()
    }

    /// How many frames that were due, and would have counted, the generator was too late to send.
    pub fn missed(&self) -> Result<u64> {
        let value = self.pace.lookup(&0_u32.to_ne_bytes(), MapFlags::ANY)?.context("the generator's orders")?;
        word(&value, 8).context("the generator's orders")
    }

    /// What the sink has counted since it was loaded.
    pub fn arrived(&self, flows: usize) -> Result<Arrived> {
        let mut total = Arrived { frames: Vec::with_capacity(flows), bytes: 0, strays: 0 };
        for i in 0..flows as u32 {
            let (frames, bytes) = self.tally(2 * i + 1)?;
            total.frames.push(frames);
            total.bytes += bytes;
        }
        total.strays = self.tally(2 * MAX_FLOWS as u32)?.0;
        Ok(total)
    }

    /// Frames of each flow that reached the sink and do not count.
    pub fn arrived_uncounted(&self, flows: usize) -> Result<Vec<u64>> {
        (0..flows as u32).map(|i| Ok(self.tally(2 * i)?.0)).collect()
    }

    /// Forgets what stamped frames took so far.
    pub fn forget_latency(&self) -> Result<()> {
        let nothing = vec![0; size_of::<pointsman_bpf::traffic::types::latency>()];
        Ok(self.latency.update(&0_u32.to_ne_bytes(), &nothing, MapFlags::ANY)?)
    }

    /// What stamped frames took, since it was forgotten.
    pub fn latency(&self) -> Result<Latency> {
        let value = self.latency.lookup(&0_u32.to_ne_bytes(), MapFlags::ANY)?.context("the histogram")?;
        let words: Vec<u64> = (0..value.len() / 8).filter_map(|i| word(&value, i)).collect();
        latency::read(&words).context("the histogram")
    }

    fn tally(&self, index: u32) -> Result<(u64, u64)> {
        let per_cpu = self.arrived.lookup_percpu(&index.to_ne_bytes(), MapFlags::ANY)?.unwrap_or_default();
        let sum = |i| per_cpu.iter().filter_map(|value| word(value, i)).sum();
        Ok((sum(0), sum(1)))
    }
}

impl Target {
    /// As `struct target` in `traffic.bpf.c`.
    fn value(&self) -> [u8; 8] {
        let [a, b, c, d] = self.to.octets();
        let [e, f] = self.vlan.map_or(0, VlanId::get).to_be_bytes();
        [a, b, c, d, e, f, 0, 0]
    }
}

fn word(bytes: &[u8], index: usize) -> Option<u64> {
    bytes.get(8 * index..8 * index + 8)?.try_into().ok().map(u64::from_ne_bytes)
}

fn attach(program: &OwnedFd, namespace: &Namespace, device: &str) -> Result<Attached> {
    let index = namespace.ifindex(device)?;
    let fd = namespace.within(|| {
        // SAFETY: the options structure is plain integers; zero means "not given" throughout.
        let mut options: libbpf_sys::bpf_link_create_opts = unsafe { std::mem::zeroed() };
        options.sz = size_of::<libbpf_sys::bpf_link_create_opts>() as _;
        options.flags = libbpf_sys::XDP_FLAGS_DRV_MODE;
        // SAFETY: an open program, and options of the size they tell.
        let fd = unsafe {
            libbpf_sys::bpf_link_create(program.as_raw_fd(), index as i32, libbpf_sys::BPF_XDP, &raw const options)
        };
        if fd < 0 {
            let error = io::Error::from_raw_os_error(-fd);
            return Err(error).with_context(|| format!("{device}: attaching a traffic program"));
        }
        // SAFETY: the kernel just gave us this descriptor.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    })?;
    Ok(Attached(fd))
}
