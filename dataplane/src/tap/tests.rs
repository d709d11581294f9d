//! Against the kernel's own tap driver, each test in a namespace of its own.

use std::path::Path;
use std::process::Command;

use super::*;
use crate::offload::tests::Sink;
use crate::units::Mac;

/// A network namespace that goes with the test.
struct Netns(String);

impl Netns {
    /// `None`, and a word about it, where the test cannot run.
    fn new(test: &str) -> Option<Self> {
        // SAFETY: no arguments, cannot fail.
        if unsafe { libc::geteuid() } != 0 || !Path::new("/dev/net/tun").exists() {
            eprintln!("skipped: needs root and /dev/net/tun");
            return None;
        }
        let name = format!("ports-{test}-{}", std::process::id());
        let made = Command::new("ip").args(["netns", "add", &name]).status();
        if !made.is_ok_and(|status| status.success()) {
            eprintln!("skipped: `ip netns add` does not work here");
            return None;
        }
        Some(Self(name))
    }

    fn run(&self, command: &str) -> String {
        let output = Command::new("ip").args(["netns", "exec", &self.0]).args(command.split(' ')).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn options(&self, device: &str) -> TapOptions {
        TapOptions {
            device: device.to_owned(),
            netns: Some(self.0.clone().into()),
            mtu: None,
            mac: Some(Mac([2, 0x50, 0x4d, 0, 0, 1])),
        }
    }

    /// A port whose device has 10.9.0.1/24 and knows 10.9.0.2 at 02:50:4d:00:00:02, and no chatter of its own.
    fn port(&self, mtu: u32) -> TapPort {
        self.run("sysctl -qw net.ipv6.conf.default.disable_ipv6=1");
        let mut options = self.options("tap0");
        options.mtu = Some(mtu);
        let port = TapPort::open(&options).unwrap();
        self.run("ip addr add 10.9.0.1/24 dev tap0");
        self.run("ip neigh replace 10.9.0.2 lladdr 02:50:4d:00:00:02 dev tap0 nud permanent");
        port
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// Pulls until `enough` frames came or a second went by.
fn pull(port: &mut TapPort, pool: &mut Pool, enough: usize) -> Vec<Vec<u8>> {
    let until = Nanos::now().plus(Nanos::from_secs(1));
    let mut frames = Vec::new();
    while frames.len() < enough && Nanos::now() < until {
        let mut burst = Burst::new();
        port.pull(pool, &mut burst);
        for frame in burst.drain(..) {
            frames.push(pool.to_vec(&frame));
            pool.free(frame);
        }
        std::thread::yield_now();
    }
    frames
}

/// Answers an echo request in place: addresses swapped, type 0, checksum adjusted.
fn answer(request: &[u8]) -> Vec<u8> {
    let mut reply = request.to_vec();
    reply[..6].copy_from_slice(&request[6..12]);
    reply[6..12].copy_from_slice(&request[..6]);
    reply[26..30].copy_from_slice(&request[30..34]);
    reply[30..34].copy_from_slice(&request[26..30]);
    reply[34] = 0;
    let sum = u32::from(u16::from_be_bytes([request[36], request[37]])) + 0x0800;
    reply[36..38].copy_from_slice(&((sum & 0xffff) + (sum >> 16)).to_be_bytes()[2..]);
    reply
}

#[test]
fn the_stack_behind_a_tap_pings_through_it_with_every_frame_size() {
    let Some(netns) = Netns::new("ping") else { return };
    let mut pool = Pool::new(256).unwrap();
    let before = pool.available();
    let mut port = netns.port(9000);
    let sizes = [16, 1458, 1472, 1750, 1751, 5000, 8972];
    let pings = std::thread::scope(|scope| {
        let pings = scope.spawn(|| sizes.map(|size| netns.run(&format!("ping -c1 -W2 -M do -s {size} 10.9.0.2"))));
        while !pings.is_finished() {
            for request in pull(&mut port, &mut pool, 1) {
                let mut burst = Burst::new();
                burst.push(pool.frame_from(&answer(&request)).unwrap());
                port.push(&mut pool, &mut burst);
            }
        }
        pings.join().unwrap()
    });
    assert!(pings.iter().all(|ping| ping.contains(" 0% packet loss")), "{pings:?}");
    let counters = port.counters();
    assert_eq!(counters.rx_frames.load(std::sync::atomic::Ordering::Relaxed), sizes.len() as u64);
    assert_eq!(counters.drops.total(), 0);
    assert_eq!(pool.available() + port.landing.len(), before);
    assert!(netns.run("ip link show tap0").contains("02:50:4d:00:00:01"));
}

#[test]
fn tcp_and_udp_checksums_that_the_stack_leaves_to_us_are_completed() {
    let Some(netns) = Netns::new("sum") else { return };
    let mut pool = Pool::new(256).unwrap();
    let mut port = netns.port(1500);
    let script = "exec 3<>/dev/udp/10.9.0.2/7; echo hello >&3; timeout 0.2 bash -c 'exec 4<>/dev/tcp/10.9.0.2/7'; true";
    let status = Command::new("ip").args(["netns", "exec", &netns.0, "bash", "-c", script]).status().unwrap();
    assert!(status.success());
    let (mut sink, mut burst, mut spare) = (Sink::default(), Burst::new(), Burst::new());
    let until = Nanos::now().plus(Nanos::from_secs(1));
    while sink.got.len() < 2 && Nanos::now() < until {
        port.pull(&mut pool, &mut burst);
        assert!(burst.iter().all(|frame| frame.has_offload()), "the stack computed a checksum itself");
        offload::push(&mut sink, &mut pool, &mut burst, &mut spare);
    }
    let mut seen = Vec::new();
    for (frame, _) in sink.got {
        let packet = etherparse::SlicedPacket::from_ethernet(&frame).unwrap();
        let Some(etherparse::NetSlice::Ipv4(ip)) = packet.net else { continue };
        let ip_header = ip.header().to_header();
        match packet.transport {
            Some(etherparse::TransportSlice::Udp(udp)) => {
                assert_eq!(udp.to_header().calc_checksum_ipv4(&ip_header, udp.payload()), Ok(udp.checksum()));
                seen.push("udp");
            }
            Some(etherparse::TransportSlice::Tcp(tcp)) => {
                assert_eq!(tcp.calc_checksum_ipv4(ip_header.source, ip_header.destination), Ok(tcp.checksum()));
                seen.push("tcp");
            }
            _ => {}
        }
    }
    assert!(seen.contains(&"udp") && seen.contains(&"tcp"), "{seen:?}");
}

#[test]
fn datagrams_of_a_burst_pass_the_stack_behind_a_tap_as_one() {
    let Some(netns) = Netns::new("uso") else { return };
    let mut pool = Pool::new(256).unwrap();
    let mut port = netns.port(1500);
    // Back where they came from, without a word about it.
    netns.run("sysctl -qw net.ipv4.ip_forward=1");
    netns.run("sysctl -qw net.ipv4.conf.all.send_redirects=0");
    netns.run("sysctl -qw net.ipv4.conf.tap0.send_redirects=0");
    netns.run("ip route add 10.7.0.0/24 via 10.9.0.2");
    let datagram = |n: u8, ttl: u8| {
        let mut bytes = Vec::new();
        let ip = etherparse::Ipv4Header {
            identification: n.into(),
            ..etherparse::Ipv4Header::new(0, ttl, etherparse::ip_number::UDP, [10, 9, 0, 2], [10, 7, 0, 1]).unwrap()
        };
        let ip = etherparse::IpHeaders::Ipv4(ip, etherparse::Ipv4Extensions::default());
        let ethernet = etherparse::PacketBuilder::ethernet2([2, 0x50, 0x4d, 0, 0, 2], [2, 0x50, 0x4d, 0, 0, 1]);
        ethernet.ip(ip).udp(5, 7).write(&mut bytes, &[n; 18]).unwrap();
        bytes
    };
    let mut burst: Burst = (0..40).map(|n| pool.frame_from(&datagram(n, 64)).unwrap()).collect();
    port.push(&mut pool, &mut burst);
    assert_eq!(
        port.counters().tx_frames.load(std::sync::atomic::Ordering::Relaxed),
        if port.device.as_ref().unwrap().cuts_udp { 1 } else { 40 }
    );
    let (mut sink, mut spare) = (Sink::default(), Burst::new());
    let until = Nanos::now().plus(Nanos::from_secs(2));
    while sink.got.len() < 40 && Nanos::now() < until {
        port.pull(&mut pool, &mut burst);
        offload::push(&mut sink, &mut pool, &mut burst, &mut spare);
    }
    let got: Vec<_> = sink.got.iter().map(|(bytes, _)| bytes[14..].to_vec()).collect();
    let expected: Vec<_> = (0..40).map(|n| datagram(n, 63)[14..].to_vec()).collect();
    assert_eq!(got, expected);
}

#[test]
fn flows_are_spread_over_queues_and_every_frame_is_on_one() {
    let Some(netns) = Netns::new("queues") else { return };
    let mut pool = Pool::new(256).unwrap();
    netns.run("sysctl -qw net.ipv6.conf.default.disable_ipv6=1");
    let mut queues = TapPort::open_queues(&netns.options("tap0"), 4).unwrap();
    netns.run("ip addr add 10.9.0.1/24 dev tap0");
    netns.run("ip neigh replace 10.9.0.2 lladdr 02:50:4d:00:00:02 dev tap0 nud permanent");
    let script = "for port in $(seq 1000 1031); do echo hello > /dev/udp/10.9.0.2/$port; done";
    let status = Command::new("ip").args(["netns", "exec", &netns.0, "bash", "-c", script]).status().unwrap();
    assert!(status.success());
    let got: Vec<_> = queues
        .iter_mut()
        .map(|queue| {
            let mut burst = Burst::new();
            queue.pull(&mut pool, &mut burst);
            let frames = burst.len();
            pool.free_all(burst.drain(..));
            frames
        })
        .collect();
    assert_eq!(got.iter().sum::<usize>(), 32, "{got:?}");
    assert!(got.iter().filter(|&&frames| frames > 0).count() > 1, "{got:?}");
}

#[test]
fn a_raised_mtu_costs_no_frame() {
    let Some(netns) = Netns::new("mtu") else { return };
    let mut pool = Pool::new(256).unwrap();
    let mut port = netns.port(1500);
    netns.run("ip link set tap0 mtu 9000");
    let pings = || {
        Command::new("ip").args(["netns", "exec", &netns.0]).args("ping -c1 -W0.1 -s 3000 10.9.0.2".split(' ')).output()
    };
    for _ in 0..2 {
        pings().unwrap();
        assert_eq!(pull(&mut port, &mut pool, 1).len(), 1);
    }
    assert_eq!(port.counters().drops.total(), 0);
}

#[test]
fn an_empty_pool_leaves_frames_in_the_kernel() {
    let Some(netns) = Netns::new("pool") else { return };
    let mut pool = Pool::new(64).unwrap();
    let mut port = netns.port(1500);
    let held: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    let _ = Command::new("ip").args(["netns", "exec", &netns.0, "ping", "-c1", "-W0.1", "10.9.0.2"]).output();
    let mut burst = Burst::new();
    port.pull(&mut pool, &mut burst);
    assert!(burst.is_empty());
    pool.free_all(held);
    assert_eq!(pull(&mut port, &mut pool, 1).len(), 1);
    assert_eq!(port.counters().drops.total(), 0);
}

#[test]
fn a_device_that_is_set_down_comes_back_and_one_that_is_deleted_does_not() {
    let Some(netns) = Netns::new("gone") else { return };
    let mut pool = Pool::new(64).unwrap();
    let before = pool.available();
    let mut port = netns.port(1500);
    let send = |port: &mut TapPort, pool: &mut Pool| {
        let mut burst = Burst::new();
        burst.push(pool.frame_from(&[2; 60]).unwrap());
        port.push(pool, &mut burst);
    };
    let sleep = Sleep::new().unwrap();
    assert!(port.arm(&sleep));

    netns.run("ip link set tap0 down");
    send(&mut port, &mut pool);
    assert!(!port.is_up());
    assert_eq!(port.counters().drops.get(DropReason::OutputDown), 1);
    netns.run("ip link set tap0 up");
    port.tick(&mut pool, Nanos::now());
    assert!(port.is_up());
    send(&mut port, &mut pool);
    assert_eq!(port.counters().drops.total(), 1);

    netns.run("ip link del tap0");
    assert!(pull(&mut port, &mut pool, 1).is_empty());
    assert!(!port.is_up());
    assert_eq!(port.counters().drops.get(DropReason::TapError), 1);
    send(&mut port, &mut pool);
    assert_eq!(port.counters().drops.get(DropReason::OutputDown), 2);
    port.tick(&mut pool, Nanos::now());
    assert_eq!(pool.available(), before, "chunks to read into are given back");
    // Nothing wakes a worker for it any more.
    assert!(port.arm(&sleep));
    let asleep = Nanos::now();
    sleep.wait(Nanos::from_millis(50));
    assert!(Nanos::now().since(asleep) >= Nanos::from_millis(49));
    assert!(port.mode().contains("deleted"));
}

#[test]
fn a_sleeping_worker_is_woken_by_a_frame() {
    let Some(netns) = Netns::new("wake") else { return };
    let mut pool = Pool::new(64).unwrap();
    let mut port = netns.port(1500);
    assert!(pull(&mut port, &mut pool, 1).is_empty());
    let sleep = Sleep::new().unwrap();
    assert!(port.arm(&sleep));
    let woken = std::thread::scope(|scope| {
        let sleeper = scope.spawn(move || {
            let began = Nanos::now();
            sleep.wait(Nanos::from_secs(5));
            Nanos::now().since(began)
        });
        let _ = Command::new("ip").args(["netns", "exec", &netns.0, "ping", "-c1", "-W0.1", "10.9.0.2"]).output();
        sleeper.join().unwrap()
    });
    assert!(woken < Nanos::from_secs(2), "{woken:?}");
    assert_eq!(pull(&mut port, &mut pool, 1).len(), 1);
}

#[test]
fn every_reason_not_to_open_is_told_with_what_to_do() {
    for device in ["", "a-name-too-long-", "with space", "a/b", "tap%d", "..", "a:b"] {
        let error = TapPort::open(&TapOptions { device: device.to_owned(), ..TapOptions::default() }).unwrap_err();
        assert!(matches!(error, TapError::Name { .. }), "{device:?}: {error}");
    }
    let Some(netns) = Netns::new("err") else { return };
    let open = |options: &TapOptions| TapPort::open(options).unwrap_err();

    let _port = TapPort::open(&netns.options("tap1")).unwrap();
    assert!(matches!(open(&netns.options("tap1")), TapError::Busy { .. }));
    assert!(matches!(open(&netns.options("lo")), TapError::NotTap { .. }));
    let mut nowhere = netns.options("tap2");
    nowhere.netns = Some("ports-no-such-netns".into());
    let error = open(&nowhere).to_string();
    assert!(error.contains("ports-no-such-netns") && error.contains("ip netns list"), "{error}");
    let mut long = netns.options("tap2");
    long.mtu = Some(70_000);
    let error = open(&long).to_string();
    assert!(error.contains("70000"), "{error}");
    let mut group = netns.options("tap2");
    group.mac = Some(Mac::BROADCAST);
    assert!(open(&group).to_string().contains("ff:ff:ff:ff:ff:ff"));

    // A device that was made beforehand is used and stays.
    netns.run("ip tuntap add tap3 mode tap");
    drop(TapPort::open(&netns.options("tap3")).unwrap());
    netns.run("ip link show tap3");
    // And we are where we were.
    assert!(!Path::new("/sys/class/net/tap1").exists());
}
