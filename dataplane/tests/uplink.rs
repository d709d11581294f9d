//! A device's receive ring under a flood that the worker cannot keep up with, on a real veth.

use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::time::Duration;

use pointsman_dataplane::frame::{BURST, Burst};
use pointsman_dataplane::netdev::{Carries, Device, NetdevPort, Options, Others, Registrations};
use pointsman_dataplane::pool::Pool;
use pointsman_dataplane::port::Port;
use pointsman_dataplane::units::{Mac, Nanos, PortId};

/// Set in the copy of this test that runs in a namespace of its own.
const INSIDE: &str = "POINTSMAN_TEST_INSIDE";

/// A namespace that goes with the test.
struct Namespace(String);

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// Runs this test again in a namespace with a cable from `near` to `far`. False: this is that run, or there can be none.
fn outside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return false;
    }
    // SAFETY: no arguments, cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        println!("skipped: needs root, for network namespaces and XDP");
        return true;
    }
    let namespace = Namespace(format!("pmu-{}-{}", std::process::id(), &test[..4]));
    let ip = |words: &str| {
        let status = Command::new("ip").args(words.split(' ')).status().expect("ip runs");
        assert!(status.success(), "ip {words}");
    };
    ip(&format!("netns add {}", namespace.0));
    ip(&format!("-n {} link add near type veth peer name far", namespace.0));
    ip(&format!("-n {} link set near up", namespace.0));
    ip(&format!("-n {} link set far up", namespace.0));
    let program = std::env::current_exe().expect("this program");
    let status = Command::new("ip")
        .args(["netns", "exec", &namespace.0])
        .arg(program)
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .expect("ip runs");
    assert!(status.success(), "see above");
    true
}

/// A socket that sends frames out of a device as they are.
fn sender(device: &str) -> OwnedFd {
    // SAFETY: no pointers; the result is checked.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0) };
    assert!(fd >= 0, "a packet socket");
    // SAFETY: the kernel just gave us this descriptor.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let name = CString::new(device).expect("no NUL");
    // SAFETY: zero is a valid address; the name ends with NUL.
    let (mut address, index) =
        unsafe { (std::mem::zeroed::<libc::sockaddr_ll>(), libc::if_nametoindex(name.as_ptr())) };
    (address.sll_family, address.sll_ifindex) = (libc::AF_PACKET as u16, index as i32);
    // SAFETY: an address of the size that is told.
    let bound = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), size_of_val(&address) as u32) };
    assert_eq!(bound, 0, "bound to {device}");
    fd
}

struct Bed {
    far: OwnedFd,
    device: Device,
    pool: Pool,
    port: NetdevPort,
    now: Nanos,
}

impl Bed {
    fn new() -> Self {
        let device = Device::open("near", Options::default()).expect("a veth is a port");
        for station in [1, 2] {
            device.add_station(mac(station), PortId(station.into())).expect("there is room");
        }
        Self::of(device)
    }

    /// Two routers' interfaces in place of guests.
    fn of_vrfs() -> Self {
        let mut carries = Carries::nothing(Others::ToHost);
        carries.add_routed(0);
        let device = Device::open("near", Options { carries, ..Options::default() }).expect("a veth is a port");
        for station in [1, 2] {
            device.add_routed(mac(station), None).expect("there is room");
        }
        Self::of(device)
    }

    fn of(device: Device) -> Self {
        let mut pool = Pool::new(16_384).expect("memory");
        let port = device.queue(0, &mut pool, &mut Registrations::default()).expect("a socket");
        Self { far: sender("far"), device, pool, port, now: Nanos::now() }
    }

    fn send(&self, station: u8, frames: usize) {
        let mut frame = [0; 60];
        frame[..6].copy_from_slice(&mac(station).0);
        frame[6..14].copy_from_slice(&[2, 0, 0, 0, 0, 9, 0x88, 0xb5]);
        for _ in 0..frames {
            // SAFETY: a buffer of the length that is told. A frame that a full device refuses is lost, as on a cable.
            unsafe { libc::send(self.far.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        }
    }

    /// One burst, as a worker treats it; how many frames of stations 1 and 2. A tenth of a tick passes.
    fn breathe(&mut self) -> [usize; 2] {
        let mut burst = Burst::new();
        self.port.pull(&mut self.pool, &mut burst);
        let mut got = [0; 2];
        for frame in burst.drain(..) {
            // The namespace's own IPv6 sends to groups, whose addresses may end like a station's.
            let to = self.pool.head(&frame).first_chunk().map(|to| Mac(*to));
            if let Some(at) = [mac(1), mac(2)].iter().position(|station| Some(*station) == to) {
                got[at] += 1;
            }
            self.pool.free(frame);
        }
        for (station, &frames) in got.iter().enumerate() {
            self.port.sorted(PortId(station as u16 + 1), frames);
        }
        let before = self.now.0 / 10_000_000;
        self.now = self.now.plus(Nanos::from_millis(1));
        if self.now.0 / 10_000_000 > before {
            self.port.tick(&mut self.pool, self.now);
        }
        got
    }
}

fn mac(station: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, station])
}

#[test]
fn a_flood_that_fills_the_ring_costs_another_guest_neither_frames_nor_time() {
    if outside("a_flood_that_fills_the_ring_costs_another_guest_neither_frames_nor_time") {
        return;
    }
    let mut bed = Bed::new();
    // More than the worker takes: the ring fills, which it may, and then is found to stand, and drains to its bound.
    for _ in 0..100 {
        bed.send(1, 150);
        bed.breathe();
    }
    let (mut sent, mut got, mut longest, mut waited) = (0, 0, 0, 0);
    for _ in 0..200 {
        bed.send(1, 150);
        if sent == got {
            bed.send(2, 1);
            (sent, waited) = (sent + 1, 0);
        }
        got += bed.breathe()[1];
        waited += 1;
        longest = longest.max(waited);
    }
    assert!(sent - got <= 1 && sent > 15, "{got} of {sent} arrived");
    // What the bound lets stand, and what stands before it: the veth's own ring.
    assert!(longest <= (256 + 256) / BURST + 2, "{longest} bursts before it");
    assert_eq!(bed.device.full_drops(PortId(2)), 0);
    let dropped = bed.device.full_drops(PortId(1));
    assert!(dropped > 10_000, "{dropped} in XDP");
    // The flood ends, and so does the bound: a burst as long as the ring passes whole.
    for _ in 0..2000 {
        bed.breathe();
    }
    bed.send(1, 1500);
    let passed: usize = (0..40).map(|_| bed.breathe()[0]).sum();
    assert_eq!(passed, 1500);
}

/// A long burst that is worked off within a tick is no flood, and nothing of it is lost; but nobody else waits for its end.
#[test]
fn one_frame_does_not_wait_behind_a_long_burst_for_another_router() {
    if outside("one_frame_does_not_wait_behind_a_long_burst_for_another_router") {
        return;
    }
    let mut bed = Bed::of_vrfs();
    for round in 0..20 {
        bed.send(1, 500);
        bed.send(2, 1);
        let first = bed.breathe();
        assert_eq!(first[1], 1, "round {round}: {first:?}");
        let rest: usize = (0..500 / BURST + 4).map(|_| bed.breathe()[0]).sum();
        assert_eq!(first[0] + rest, 500, "round {round}");
    }
}

/// The kernel tells of such a frame in two of its counts.
#[test]
fn a_frame_that_finds_no_chunk_is_lost_once() {
    if outside("a_frame_that_finds_no_chunk_is_lost_once") {
        return;
    }
    let mut bed = Bed::new();
    bed.send(1, 6000);
    // The kernel is asked for its counts once in so many breaths.
    let got: usize = (0..400).map(|_| bed.breathe()[0]).sum();
    let lost = bed.port.counters().drops.total() as usize;
    // The namespace's IPv6 has said a few words, which may be among them.
    assert!(got < 3000 && (6000..6020).contains(&(got + lost)), "of 6000, {got} arrived and {lost} were lost");
}

/// A supervisor starts the next engine before the kernel has taken a killed one apart.
#[test]
fn whoever_comes_while_a_dead_engine_lets_go_waits_for_it() {
    if outside("whoever_comes_while_a_dead_engine_lets_go_waits_for_it") {
        return;
    }
    let dying = Device::open("near", Options::default()).expect("a veth is a port");
    let going = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        drop(dying);
    });
    Device::open("near", Options::default()).expect("the other one has gone by now");
    assert!(going.join().is_ok());
}
