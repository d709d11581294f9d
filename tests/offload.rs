//! End to end: Linux stacks behind taps that leave checksums and segments to the engine, and a network that gets frames as
//! they are on a cable.
//!
//! ```text
//!   [a 10.1.0.1] --tap--+
//!                       (engine) up0 --veth-- [lan 10.1.0.9]
//!   [b 10.1.0.2] --tap--+
//! ```
//!
//! Where the uplink is tagged, the far end of the cable is a second engine, and lan is behind a tap of that one: not every
//! kernel has VLANs of its own.

mod support;

use support::{Bed, POINTSMAN, Program, sh};

const A: &str = "02:00:00:00:0a:01";
const B: &str = "02:00:00:00:0a:02";
const LAN: &str = "02:00:00:00:0a:09";

struct Net {
    bed: Bed,
    a: String,
    b: String,
    lan: String,
    _engines: Vec<Program>,
}

/// A stack behind a tap.
fn guest(name: &str, host: &str, mac: &str) -> String {
    format!(
        "[[guest]]\nname = \"{name}\"\n[[guest.port]]\nkind = \"tap\"\ndevice = \"eth0\"\nnetns = \"{host}\"\n\
         mac = \"{mac}\"\ndomain = \"d\"\n"
    )
}

/// A bridge domain with an uplink; `membership` may say more of it.
fn uplink(membership: &str) -> String {
    format!("[[domain]]\nname = \"d\"\n[[port]]\nname = \"up0\"\nkind = \"netdev\"\ndevice = \"up0\"\n{membership}\n")
}

impl Net {
    fn new(workers: &str, vlan: Option<u16>) -> Self {
        Self::with(workers, vlan, None)
    }

    fn with(workers: &str, vlan: Option<u16>, tso: Option<bool>) -> Self {
        let mut bed = Bed::new();
        let [a, b, lan, host] = ["a", "b", "lan", "host"].map(|name| bed.host(name));
        let mut engines = Vec::new();
        let membership = match vlan {
            None => {
                bed.cable((&lan, "eth0"), (&host, "up0"), 1500);
                "domain = \"d\"".into()
            }
            Some(vlan) => {
                let far = bed.host("far");
                bed.cable((&far, "up0"), (&host, "up0"), 1500);
                let membership = format!("vlans = {{ {vlan} = \"d\" }}");
                let control = bed.path("far.sock");
                let config = format!("control = \"{control}\"\n{}{}", uplink(&membership), guest("lan", &lan, LAN));
                let file = bed.file("far.toml", &config).display().to_string();
                let engine = Program::start(&far, &[POINTSMAN, "run", "--config", &file], &bed.folder, "far");
                engine.wait_until("running", || std::path::Path::new(&control).exists());
                sh(&format!("ip -n {lan} link set eth0 address {LAN}"));
                engines.push(engine);
                membership
            }
        };
        let tso = tso.map(|tso| format!("tso = {tso}\n")).unwrap_or_default();
        let membership = format!("{tso}{membership}");
        let config = format!("{workers}{}{}{}", uplink(&membership), guest("a", &a, A), guest("b", &b, B));
        engines.push(bed.engine(&host, &config));
        for (host, mac, n) in [(&a, Some(A), 1), (&b, Some(B), 2), (&lan, None, 9)] {
            if let Some(mac) = mac {
                sh(&format!("ip -n {host} link set eth0 address {mac}"));
            }
            sh(&format!("ip -n {host} addr add 10.1.0.{n}/24 dev eth0 && ip -n {host} addr add fd01::{n}/64 dev eth0"));
        }
        Self { bed, a, b, lan, _engines: engines }
    }

    /// Runs iperf3 from one host to another, whose address is `to`; bits per second that arrived.
    fn iperf(&self, from: &str, (to, address): (&str, &str), options: &str) -> f64 {
        let mut server = Program::start(to, &["iperf3", "-s", "-1"], &self.bed.folder, "iperf3-server");
        server.wait_until("listening", || sh(&format!("ip netns exec {to} ss -Hltn sport = :5201")).contains("5201"));
        let said = sh(&format!("ip netns exec {from} iperf3 -J --connect-timeout 3000 -c {address} {options}"));
        server.wait();
        let report: serde_json::Value = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"));
        report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap_or_else(|| panic!("{said}"))
    }

    /// Frames and bytes of a port, one way.
    fn count(&self, port: &str, way: &str) -> (u64, u64) {
        let port = self.bed.port(port);
        let get = |what: &str| port[format!("{way}_{what}")].as_u64().unwrap();
        (get("frames"), get("bytes"))
    }

    /// Mean length of the frames that pass a port while something is done.
    fn mean(&self, port: &str, way: &str, work: impl FnOnce()) -> f64 {
        let before = self.count(port, way);
        work();
        let after = self.count(port, way);
        (after.1 - before.1) as f64 / (after.0 - before.0).max(1) as f64
    }

    /// Checksums that receivers found wrong.
    fn checksum_errors(&self, host: &str) -> u64 {
        let said = sh(&format!("ip netns exec {host} cat /proc/net/snmp /proc/net/snmp6"));
        let mut errors = 0;
        let lines: Vec<Vec<&str>> = said.lines().map(|line| line.split_whitespace().collect()).collect();
        for pair in lines.windows(2) {
            if pair[0].len() == pair[1].len() && pair[0][0] == pair[1][0] {
                let both = pair[0].iter().zip(&pair[1]);
                errors += both
                    .filter(|(name, _)| **name == "InCsumErrors")
                    .map(|(_, n)| n.parse::<u64>().unwrap())
                    .sum::<u64>();
            }
        }
        let six = lines.iter().filter(|line| line[0].ends_with("InCsumErrors"));
        errors + six.map(|line| line[1].parse::<u64>().unwrap()).sum::<u64>()
    }

    fn no_checksum_was_wrong(&self) {
        for host in [&self.a, &self.b, &self.lan] {
            assert_eq!(self.checksum_errors(host), 0, "{host}");
        }
        let (_, drops) = self.bed.show("drops");
        assert!(!drops.contains("-request"), "{drops}");
    }
}

const TWO_WORKERS: &str = "[[worker]]\nchunks = 16384\n[[worker]]\nchunks = 16384\n";

#[test]
fn between_two_stacks_pieces_pass_whole() {
    need!("iperf3", "ss");
    // With two workers the taps are on different ones, and every piece crosses.
    for workers in ["", TWO_WORKERS] {
        let net = Net::new(workers, None);
        for (address, options) in [("10.1.0.2", "-t 1"), ("fd01::2", "-6 -t 1")] {
            let mut rate = 0.0;
            let entered = net.mean("a.0", "rx", || rate = net.iperf(&net.a, (&net.b, address), options));
            assert!(entered > 8000.0, "{address}: mean frame of {entered} bytes, at {rate} b/s");
        }
        let left = net.mean("b.0", "tx", || {
            net.iperf(&net.a, (&net.b, "10.1.0.2"), "-t 1");
        });
        assert!(left > 8000.0, "mean frame of {left} bytes");
        net.no_checksum_was_wrong();
    }
}

#[test]
fn a_network_gets_segments_with_right_checksums() {
    need!("iperf3", "ss", "tcpdump");
    for (workers, vlan) in [("", None), ("", Some(10)), (TWO_WORKERS, None)] {
        let net = Net::new(workers, vlan);
        let capture = "exec tcpdump -i eth0 -Q in -nn -vv -c 400 ip or ip6 2>&1";
        let dump = Program::start(&net.lan, &["sh", "-c", capture], &net.bed.folder, "tcpdump");
        dump.wait_until("listening", || dump.said().contains("listening"));
        for (address, options) in [("10.1.0.9", "-n 20M"), ("fd01::9", "-6 -n 20M")] {
            let mut left = 0.0;
            let entered = net.mean("a.0", "rx", || {
                left = net.mean("up0", "tx", || {
                    let rate = net.iperf(&net.a, (&net.lan, address), options);
                    assert!(rate > 50e6, "{address}: {rate} b/s");
                });
            });
            assert!(entered > 2000.0, "{address}: mean frame of {entered} bytes");
            assert!((500.0..=1518.0).contains(&left), "{address}: mean frame of {left} bytes");
        }
        dump.wait_until("full", || dump.said().contains("packets captured"));
        let said = dump.said();
        // Behind the VLAN is a tap, whose engine has joined the segments again: only those whose sums it found right.
        if vlan.is_none() {
            assert!(said.matches("(correct)").count() > 300 && !said.contains("incorrect"), "{said}");
        }
        // And the other way, which brings frames as they are.
        let rate = net.iperf(&net.lan, (&net.a, "10.1.0.1"), "-n 20M");
        assert!(rate > 50e6, "{rate} b/s");
        net.no_checksum_was_wrong();
    }
}

#[test]
fn pieces_are_left_to_the_kernel() {
    need!("iperf3", "ss");
    for workers in ["", TWO_WORKERS] {
        let net = Net::with(workers, None, Some(true));
        for (address, options) in [("10.1.0.9", "-n 40M"), ("fd01::9", "-6 -n 40M")] {
            let left = net.mean("up0", "tx", || {
                let rate = net.iperf(&net.a, (&net.lan, address), options);
                assert!(rate > 50e6, "{address}: {rate} b/s");
            });
            assert!(left > 2000.0, "{address}: mean frame of {left} bytes");
        }
        net.no_checksum_was_wrong();
    }
}

#[test]
fn udp_checksums_are_completed_for_a_network() {
    need!("iperf3", "ss");
    let net = Net::new("", None);
    for (address, options) in [("10.1.0.9", "-u -b 20M -l 1111 -t 1"), ("fd01::9", "-6 -u -b 20M -l 1000 -t 1")] {
        let rate = net.iperf(&net.a, (&net.lan, address), options);
        assert!(rate > 15e6, "{address}: {rate} b/s");
    }
    net.no_checksum_was_wrong();
}
