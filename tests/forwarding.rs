//! End to end: two LANs joined by virtual routers, real programs on both sides.

mod support;

use std::time::{Duration, Instant};

use support::lans::Lans;
use support::{Bed, POINTSMAN, Program, arp_request, inject, sh, try_sh, wait_for};

#[test]
fn ping_and_iperf_cross_a_guest_router() {
    need!("ping", "iperf3", "ss");
    let lans = Lans::new(1500);
    let _engine = lans.bed.engine(&lans.host, &(Lans::uplinks() + &lans.guest(1)));
    let _router = lans.router(1, 1500);
    lans.await_guest(1);
    lans.ping("-c 5 -i 0.05", "10.2.0.2");
    lans.ping("-c 5 -i 0.05", "fd02::2");
    lans.ping("-c 3 -i 0.05 -s 1472 -M do", "10.2.0.2");
    // The router answers for itself, on both of its addresses.
    lans.ping("-c 2 -i 0.05", "10.1.0.1");
    lans.ping("-c 2 -i 0.05", "10.2.0.1");
    let tcp = lans.iperf("-t 3");
    assert!(tcp["end"]["sum_received"]["bits_per_second"].as_f64().unwrap() > 50e6, "{}", tcp["end"]);
    // The engine of a test is not optimised, and the machine may be busy: a rate that leaves it room.
    let udp = lans.iperf("-u -b 10M -t 3");
    assert!(udp["end"]["sum"]["lost_percent"].as_f64().unwrap() < 1.0, "{}", udp["end"]["sum"]);
    // TTL went down by one, and a TTL of one ends at the router.
    let said = sh(&format!("ip netns exec {} ping -c 1 10.2.0.2", lans.left));
    assert!(said.contains("ttl=63"), "{said}");
    let (_, said) = try_sh(&format!("ip netns exec {} ping -c 1 -t 1 10.2.0.2", lans.left));
    assert!(said.contains("Time to live exceeded"), "{said}");
}

/// A namespace's Linux is the virtual router, behind two taps or veths of a guest. Ends the guest in order.
fn a_linux_router_forwards(kind: &str) {
    let mut lans = Lans::new(1500);
    let _engine = lans.bed.engine(&lans.host, &(Lans::uplinks() + &lans.guest(1)));
    let vm = lans.bed.host("vm");
    let socket = lans.bed.path("r1.sock");
    let (a, b) = (format!("{socket}:0,role=client"), format!("{socket}:1,role=client"));
    let device = format!("--{kind}");
    let command = [
        POINTSMAN, "guest", kind, "--memif", &a, &device, "t0", "--netns", &vm, "--memif", &b, &device, "t1",
        "--netns", &vm,
    ];
    let is_there = || try_sh(&format!("ip -n {vm} link show t1 up")).0;
    let mut guest = Program::start(&lans.host, &command, &lans.bed.folder, "guest");
    guest.wait_until("with both devices", is_there);
    for n in 0..2 {
        let lan = n + 1;
        sh(&format!(
            "ip -n {vm} link set t{n} address 02:00:00:00:0{n}:01 && ip -n {vm} link set t{n} up && \
             ip -n {vm} addr add 10.{lan}.0.1/16 dev t{n} && ip -n {vm} addr add fd0{lan}::1/64 dev t{n}"
        ));
    }
    sh(&format!("ip netns exec {vm} sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1"));
    let forwards = || {
        lans.await_guest(1);
        lans.ping("-c 5 -i 0.05", "10.2.0.2");
        lans.ping("-c 5 -i 0.05", "fd02::2");
    };
    forwards();
    let tcp = lans.iperf("-t 3");
    assert!(tcp["end"]["sum_received"]["bits_per_second"].as_f64().unwrap() > 20e6, "{}", tcp["end"]);
    if kind == "veth" {
        // The stack's own connections need complete checksums too.
        lans.ping("-c 2 -i 0.05", "10.1.0.1");
        // A pair that a killed guest left is taken over, with all that its stack has configured.
        guest.end(libc::SIGKILL);
        guest = Program::start(&lans.host, &command, &lans.bed.folder, "guest");
        let ask = format!("ip netns exec {} ping -c 1 -W 1 10.2.0.2", lans.left);
        wait_for("an answer through the next guest", Duration::from_secs(20), || try_sh(&ask).0);
        forwards();
    }
    guest.end(libc::SIGTERM);
    assert!(!is_there(), "what was made goes with the guest");
}

#[test]
fn a_linux_router_behind_guest_tap_forwards() {
    need!("ping", "iperf3", "ss");
    a_linux_router_forwards("tap");
}

#[test]
fn a_linux_router_behind_guest_veth_forwards() {
    need!("ping", "iperf3", "ss");
    a_linux_router_forwards("veth");
}

#[test]
fn jumbo_frames_pass_whole() {
    need!("ping", "iperf3", "ss");
    let lans = Lans::new(9000);
    let _engine = lans.bed.engine(&lans.host, &(Lans::uplinks() + &lans.guest(1)));
    let _router = lans.router(1, 9000);
    lans.await_guest(1);
    lans.ping("-c 3 -i 0.05 -s 8972 -M do", "10.2.0.2");
    let tcp = lans.iperf("-t 2");
    assert!(tcp["end"]["sum_received"]["bits_per_second"].as_f64().unwrap() > 50e6, "{}", tcp["end"]);
}

#[test]
fn eight_guests_forward_side_by_side() {
    need!("ping");
    // .2 is the host on each LAN.
    let numbers = [1, 3, 4, 5, 6, 7, 8, 9];
    let lans = Lans::new(1500);
    let guests: String = numbers.map(|n| lans.guest(n)).concat();
    let _engine = lans.bed.engine(&lans.host, &(Lans::uplinks() + &guests));
    let _routers = numbers.map(|n| lans.router(n, 1500));
    for n in numbers {
        lans.await_guest(n);
        let (left, right) = (&lans.left, &lans.right);
        sh(&format!(
            "ip -n {right} addr add 10.2.1.{n}/32 dev eth0 && ip -n {left} route add 10.2.1.{n}/32 via 10.1.0.{n}"
        ));
    }
    for n in numbers {
        let before = lans.bed.port(&format!("r{n}.1"))["rx_frames"].as_u64().unwrap();
        lans.ping("-c 5 -i 0.05", &format!("10.2.1.{n}"));
        let after = lans.bed.port(&format!("r{n}.1"))["rx_frames"].as_u64().unwrap();
        assert!(after >= before + 5, "guest r{n} forwarded its own flow: {before} {after}");
    }
}

/// The trunk's tags are made by hand, because not every kernel has VLAN devices; the answers come from Linux stacks behind
/// access ports, and tcpdump reads them.
#[test]
fn vlans_are_kept_apart_on_a_trunk() {
    need!("tcpdump", "ping");
    let mut bed = Bed::new();
    let [trunk, ten, twenty, host] = ["trunk", "ten", "twenty", "host"].map(|name| bed.host(name));
    for (lan, device) in [(&trunk, "up0"), (&ten, "up1"), (&twenty, "up2")] {
        bed.cable((lan, "eth0"), (&host, device), 1500);
    }
    // Tags must stay in the frame, on both sides of the cable.
    sh(&format!(
        "ip netns exec {host} ethtool -K up0 rxvlan off txvlan off > /dev/null; \
         ip netns exec {trunk} ethtool -K eth0 rxvlan off txvlan off > /dev/null"
    ));
    sh(&format!("ip -n {ten} addr add 10.0.0.10/24 dev eth0 && ip -n {twenty} addr add 10.0.0.20/24 dev eth0"));
    let port =
        |n: usize, rest: &str| format!("[[port]]\nname = \"up{n}\"\nkind = \"netdev\"\ndevice = \"up{n}\"\n{rest}\n");
    let config = String::from("[[domain]]\nname = \"ten\"\n[[domain]]\nname = \"twenty\"\n")
        + &port(0, "vlans = { 10 = \"ten\", 20 = \"twenty\" }")
        + &port(1, "domain = \"ten\"")
        + &port(2, "domain = \"twenty\"");
    let _engine = bed.engine(&host, &config);
    let mac = [2, 0, 0, 0, 0, 0xaa];
    let capture = Program::start(
        &trunk,
        &["timeout", "3", "tcpdump", "-e", "-n", "-l", "-Q", "in", "-i", "eth0", "ether", "dst", "02:00:00:00:00:aa"],
        &bed.folder,
        "tcpdump",
    );
    capture.wait_until("listening", || capture.said().contains("listening"));
    let ask = |vlan, target| arp_request(vlan, mac, [10, 0, 0, 1], [10, 0, 0, target]);
    // 10 asks for the station of 10, 20 for that of 20; then each for the other's, and one without a tag.
    let frames =
        [ask(Some(10), 10), ask(Some(20), 20), ask(Some(10), 20), ask(Some(20), 10), ask(None, 10), ask(Some(30), 10)];
    inject(&trunk, "eth0", &frames);
    std::thread::sleep(Duration::from_millis(1500));
    let said = capture.said();
    let replies: Vec<&str> = said.lines().filter(|l| l.contains("is-at")).collect();
    assert_eq!(replies.len(), 2, "{said}");
    assert!(replies.iter().any(|l| l.contains("vlan 10,") && l.contains("10.0.0.10 is-at")), "{said}");
    assert!(replies.iter().any(|l| l.contains("vlan 20,") && l.contains("10.0.0.20 is-at")), "{said}");
    // The two access ports are in different domains.
    sh(&format!("ip -n {ten} addr add 10.0.0.11/24 dev eth0"));
    let (reached, said) = try_sh(&format!("ip netns exec {ten} ping -c 1 -W 1 10.0.0.20"));
    assert!(!reached, "a frame crossed from VLAN 10 to VLAN 20: {said}");
    let (ok, fdb) = bed.show("fdb");
    let on_trunk = |domain: &str| {
        let stations: Vec<serde_json::Value> = serde_json::from_str(&fdb).unwrap();
        stations.iter().any(|s| s["domain"] == domain && s["mac"] == "02:00:00:00:00:aa" && s["port"] == "up0")
    };
    assert!(ok && on_trunk("ten") && on_trunk("twenty"), "{fdb}");
}

#[test]
fn broken_frames_are_dropped_and_counted() {
    need!();
    let lans = Lans::new(1500);
    let _engine = lans.bed.engine(&lans.host, &(Lans::uplinks() + &lans.guest(1)));
    let _router = lans.router(1, 1500);
    lans.await_guest(1);
    let to_guest = |rest: &[u8]| [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0xaa][..], rest].concat();
    let mut ipv4 = vec![0x08, 0x00, 0x45, 0, 0xff, 0xff, 0, 0, 0, 0, 64, 17, 0, 0, 10, 1, 0, 2, 10, 2, 0, 2];
    ipv4.resize(60, 0);
    let from_group = [&[2, 0, 0, 0, 0, 1, 3, 0, 0, 0, 0, 0xaa, 0x08, 0x00][..], &[0; 46]].concat();
    let frames = vec![
        to_guest(&ipv4),                                       // its length lies
        to_guest(&[0x08, 0x00, 0x4f, 0]),                      // ends in the header
        to_guest(&[0x81, 0x00, 0x00, 0x05, 0x81, 0x00, 0, 6]), // tags that nobody asked for
        to_guest(&[0x88, 0xa8, 0, 1, 0x81, 0x00, 0, 2, 0x08, 0x00]),
        from_group,
    ];
    for _ in 0..50 {
        inject(&lans.left, "eth0", &frames);
    }
    lans.ping("-c 3 -i 0.05", "10.2.0.2");
    let drops = lans.bed.port("up0")["drops"].clone();
    assert_eq!(drops["source-invalid"], 50, "{drops}");
}

#[test]
fn the_hosts_own_connection_outlives_the_engine() {
    need!("ping");
    let lans = Lans::new(1500);
    sh(&format!("ip -n {} addr add 10.1.0.200/16 dev up0", lans.host));
    let config = Lans::uplinks() + &lans.guest(1);
    let reach = |when: &str| {
        let said = sh(&format!("ip netns exec {} ping -c 3 -i 0.05 -W 2 10.1.0.200", lans.left));
        assert!(said.contains(" 0% packet loss"), "{when}: {said}");
        // A new neighbour, so that broadcasts reach the host as well.
        sh(&format!("ip -n {} neigh flush dev eth0", lans.left));
    };
    reach("before");
    let engine = lans.bed.engine(&lans.host, &config);
    reach("while it runs");
    assert!(engine.end(libc::SIGTERM).success());
    reach("after it has ended");
    let engine = lans.bed.engine(&lans.host, &config);
    engine.end(libc::SIGKILL);
    reach("after kill -9");
    let _router = lans.router(1, 1500);
    let _engine = lans.bed.engine(&lans.host, &config);
    lans.await_guest(1);
    lans.ping("-c 2 -i 0.05", "10.2.0.2");
    reach("after a restart");
}

#[test]
fn guests_and_engine_survive_each_others_death() {
    need!("ping");
    let lans = Lans::new(1500);
    let config = Lans::uplinks() + &lans.guest(1) + &lans.guest(3);
    let engine = lans.bed.engine(&lans.host, &config);
    let router = lans.router(1, 1500);
    let _neighbour = lans.router(3, 1500);
    sh(&format!("ip -n {} route add 10.2.0.3/32 via 10.1.0.3", lans.left));
    lans.await_guest(1);
    lans.await_guest(3);
    lans.ping("-c 2 -i 0.05", "10.2.0.2");
    // The guest dies; its neighbour loses nothing while it is gone and while it returns.
    let flow = Program::start(
        &lans.left,
        &["ping", "-i", "0.01", "-c", "200", "-W", "1", "10.2.0.3"],
        &lans.bed.folder,
        "neighbour-ping",
    );
    router.end(libc::SIGKILL);
    lans.bed.await_port("r1.0", false);
    let _router = lans.router(1, 1500);
    lans.await_guest(1);
    lans.ping("-c 2 -i 0.05", "10.2.0.2");
    flow.wait_until("done", || flow.said().contains("packet loss"));
    assert!(flow.said().contains(" 0% packet loss"), "{}", flow.said());
    // The engine dies; the guest connects to the next one by itself.
    engine.end(libc::SIGKILL);
    let _engine = lans.bed.engine(&lans.host, &config);
    lans.await_guest(1);
    lans.ping("-c 2 -i 0.05", "10.2.0.2");
}

#[test]
fn a_guest_that_does_not_read_costs_its_neighbour_nothing() {
    need!("ping", "iperf3", "ss");
    let lans = Lans::new(1500);
    let config = Lans::uplinks() + &lans.guest(1) + &lans.guest(3);
    let _engine = lans.bed.engine(&lans.host, &config);
    let _router = lans.router(1, 1500);
    let deaf = lans.router(3, 1500);
    lans.await_guest(1);
    lans.await_guest(3);
    lans.ping("-c 2 -i 0.05", "10.2.0.2");
    // SAFETY: our own child.
    unsafe { libc::kill(deaf.pid() as i32, libc::SIGSTOP) };
    sh(&format!(
        "ip -n {0} neigh replace 10.1.0.3 lladdr 02:00:00:00:00:03 dev eth0 && ip -n {0} route add 10.9.0.0/16 via 10.1.0.3",
        lans.left
    ));
    let flood = Program::start(
        &lans.left,
        &["ping", "-f", "-w", "3", "-s", "18", "-l", "1000", "10.9.0.1"],
        &lans.bed.folder,
        "flood",
    );
    std::thread::sleep(Duration::from_millis(300));
    lans.ping("-c 50 -i 0.02", "10.2.0.2");
    drop(flood);
    let drops = lans.bed.port("r3.0")["drops"].clone();
    assert!(drops["guest-full-xdp"].as_u64().unwrap_or(0) + drops["output-full"].as_u64().unwrap_or(0) > 0, "{drops}");
    // SAFETY: our own child.
    unsafe { libc::kill(deaf.pid() as i32, libc::SIGCONT) };
    wait_for("the deaf guest to listen again", Duration::from_secs(5), || {
        try_sh(&format!("ip netns exec {} ping -c 1 -W 1 10.1.0.3", lans.left)).0
    });
}

#[test]
fn an_idle_engine_costs_nothing_and_wakes_at_once() {
    need!("ping");
    let lans = Lans::new(1500);
    let engine = lans.bed.engine(&lans.host, &(Lans::uplinks() + &lans.guest(1)));
    let router = lans.router(1, 1500);
    lans.await_guest(1);
    lans.ping("-c 2 -i 0.05", "10.2.0.2");
    sh(&format!("ip netns exec {} sh -c 'ip neigh show dev eth0 | grep -q .'", lans.left));
    let ticks = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<u64> =
            stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2).map(|f| f.parse().unwrap()).collect();
        fields[0] + fields[1]
    };
    // REST_SECONDS=60 shows what the shorter ones here stand for.
    let seconds = std::env::var("REST_SECONDS").ok().and_then(|text| text.parse().ok());
    let rest = Duration::from_secs(seconds.unwrap_or(10));
    let before = [ticks(engine.pid()), ticks(router.pid())];
    let begin = Instant::now();
    std::thread::sleep(rest);
    let after = [ticks(engine.pid()), ticks(router.pid())];
    let elapsed = begin.elapsed().as_secs_f64();
    for (name, before, after) in [("engine", before[0], after[0]), ("router", before[1], after[1])] {
        // A tick is 10 ms of CPU: 1 % of a core is one tick a second.
        let share = (after - before) as f64 / 100.0 / elapsed;
        assert!(share <= 0.01, "{name} at rest: {:.2} % of a core", share * 100.0);
    }
    // Whoever else runs on the machine may delay one first frame; not three.
    let first = || {
        std::thread::sleep(Duration::from_secs(seconds.unwrap_or(2)));
        let said = sh(&format!("ip netns exec {} ping -c 1 10.2.0.2", lans.left));
        said.split("time=").nth(1).unwrap().split(' ').next().unwrap().parse::<f64>().unwrap()
    };
    let times = [first(), first(), first()];
    let best = times.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(best < 2.0, "there and back after a rest, at most 1 ms each way: {times:?} ms");
}

#[test]
fn two_workers_share_ports_and_frames_cross() {
    need!("ping", "iperf3", "ss");
    let lans = Lans::new(1500);
    let workers = "[[worker]]\nchunks = 16384\n[[worker]]\nchunks = 16384\n";
    let uplinks = Lans::uplinks().replace("device = \"up0\"", "device = \"up0\"\nworker = 0");
    let uplinks = uplinks.replace("device = \"up1\"", "device = \"up1\"\nworker = 1");
    let guest = lans.guest(1).replace("id = 0", "id = 0\nworker = 1").replace("id = 1", "id = 1\nworker = 0");
    let _engine = lans.bed.engine(&lans.host, &(workers.to_owned() + &uplinks + &guest));
    let _router = lans.router(1, 1500);
    lans.await_guest(1);
    lans.ping("-c 5 -i 0.05", "10.2.0.2");
    let tcp = lans.iperf("-t 2");
    assert!(tcp["end"]["sum_received"]["bits_per_second"].as_f64().unwrap() > 20e6, "{}", tcp["end"]);
    let (_, workers) = lans.bed.show("workers");
    let workers: Vec<serde_json::Value> = serde_json::from_str(&workers).unwrap();
    assert_eq!(workers.len(), 2);
    assert!(workers.iter().all(|w| w["frames"].as_u64().unwrap() > 10), "{workers:?}");
}
