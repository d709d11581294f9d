//! End to end: `pointsman trace` tells what becomes of frames that real programs send, and writes it down.

mod support;

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use serde_json::Value;
use support::lans::Lans;
use support::{Bed, POINTSMAN, arp_request, inject, sh, try_sh};

/// A trace in the background.
struct Trace(Child);

impl Trace {
    fn start(bed: &Bed, options: &str) -> Self {
        let line = format!("exec {POINTSMAN} trace --json --control {} {options}", bed.path("control.sock"));
        let child = Command::new("sh").args(["-c", &line]).stdout(Stdio::piped()).spawn().unwrap();
        // It says nothing before the first frame; the engine is asked within milliseconds.
        std::thread::sleep(Duration::from_millis(500));
        Self(child)
    }

    /// What it told: frames, and its end.
    fn told(self) -> (Vec<Value>, Value) {
        let output = self.0.wait_with_output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let frames = lines.iter().filter(|line| line.get("frame").is_some()).map(|line| line["frame"].clone());
        (frames.collect(), lines.last().unwrap()["end"].clone())
    }
}

/// Steps of a frame, each as `word text`.
fn steps(frame: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    frame["steps"].as_array().unwrap().iter().map(|step| text(&step["step"]) + " " + &text(&step["text"])).collect()
}

/// Frames of a file: port, whether it left, its length, its comment.
fn read_pcapng(path: &Path) -> Vec<(String, bool, u32, String)> {
    let mut reader = PcapNgReader::new(File::open(path).unwrap()).unwrap();
    let (mut ports, mut frames) = (Vec::new(), Vec::new());
    while let Some(block) = reader.next_block() {
        match block.unwrap() {
            Block::InterfaceDescription(block) => {
                let name = block.options.iter().find_map(|option| match option {
                    InterfaceDescriptionOption::IfName(name) => Some(name.to_string()),
                    _ => None,
                });
                ports.push(name.unwrap());
            }
            Block::EnhancedPacket(block) => {
                let (mut comment, mut flags) = (String::new(), 0);
                for option in &block.options {
                    match option {
                        EnhancedPacketOption::Comment(text) => comment = text.to_string(),
                        EnhancedPacketOption::Flags(word) => flags = *word,
                        _ => (),
                    }
                }
                let port = ports[block.interface_id as usize].clone();
                frames.push((port, flags & 3 == 2, block.original_len, comment));
            }
            _ => (),
        }
    }
    frames
}

/// Two hosts on a bridge domain, whose second is a guest's tap that may send from one address only.
fn bridged(bed: &mut Bed) -> (String, String, String) {
    let [left, host, right] = ["left", "host", "right"].map(|name| bed.host(name));
    bed.cable((&left, "eth0"), (&host, "up0"), 1500);
    let config = format!(
        "[[domain]]\nname = \"lan\"\n\
         [[port]]\nname = \"up0\"\nkind = \"netdev\"\ndevice = \"up0\"\ndomain = \"lan\"\n\
         [[guest]]\nname = \"g1\"\n[[guest.port]]\nname = \"tap0\"\nkind = \"tap\"\ndevice = \"eth0\"\nnetns = \"{right}\"\n\
         mac = \"02:00:00:00:00:01\"\ndomain = \"lan\"\n"
    );
    (left, right, format!("{host}\n{config}"))
}

#[test]
fn a_flow_over_a_bridge_is_told_and_written_down() {
    need!("ping");
    let mut bed = Bed::new();
    let (left, right, rest) = bridged(&mut bed);
    let (host, config) = rest.split_once('\n').unwrap();
    let _engine = bed.engine(host, config);
    sh(&format!("ip -n {left} addr add 10.0.0.1/24 dev eth0"));
    sh(&format!(
        "ip -n {right} link set eth0 address 02:00:00:00:00:01 && ip -n {right} addr add 10.0.0.2/24 dev eth0 && \
         ip -n {right} link set eth0 up"
    ));
    sh(&format!("ip netns exec {left} ping -c 1 -W 3 10.0.0.2"));
    let file = bed.folder.join("flow.pcapng");
    let options =
        format!("--host 10.0.0.1 --host 10.0.0.2 --proto icmp --count 6 --for 8s --pcapng {}", file.display());
    let trace = Trace::start(&bed, &options);
    sh(&format!("ip netns exec {left} ping -c 5 -i 0.05 -W 3 10.0.0.2"));
    let (frames, end) = trace.told();
    assert_eq!((frames.len(), &end["why"], &end["untold"]), (6, &"count".into(), &0.into()), "{end}");
    let (request, reply) = (steps(&frames[0]), steps(&frames[1]));
    assert!(frames[0]["summary"].as_str().unwrap().contains("10.0.0.1 > 10.0.0.2 ICMP echo request"), "{}", frames[0]);
    assert_eq!(
        request,
        [
            "in 98 bytes by up0, worker 0",
            "bridge domain lan: 02:00:00:00:00:01 is behind tap0, as configured",
            "out by tap0"
        ]
    );
    assert!(reply[1].contains("was learned behind up0") && reply[2] == "out by up0", "{reply:?}");
    // The same as a capture: each frame as it came, with its story, and as it left.
    let captured = read_pcapng(&file);
    assert_eq!(captured.len(), 12, "{captured:?}");
    let (port, left, len, comment) = &captured[0];
    assert_eq!((&**port, *left, *len), ("up0", false, 98));
    assert!(comment.contains("is behind tap0, as configured") && comment.contains("out: by tap0"), "{comment}");
    assert_eq!((&*captured[1].0, captured[1].1), ("tap0", true));
}

#[test]
fn a_spoofed_source_is_told_with_its_reason_and_nothing_else_is() {
    let mut bed = Bed::new();
    let (_left, right, rest) = bridged(&mut bed);
    let (host, config) = rest.split_once('\n').unwrap();
    let _engine = bed.engine(host, config);
    sh(&format!("ip -n {right} link set eth0 address 02:00:00:00:00:01 && ip -n {right} link set eth0 up"));
    let file = bed.folder.join("spoofed.pcapng");
    let trace = Trace::start(&bed, &format!("--drops --port tap0 --count 2 --for 8s --pcapng {}", file.display()));
    let own = arp_request(None, [2, 0, 0, 0, 0, 1], [10, 0, 0, 2], [10, 0, 0, 1]);
    let spoofed = arp_request(None, [2, 0, 0, 0, 0, 0x99], [10, 0, 0, 9], [10, 0, 0, 1]);
    inject(&right, "eth0", &[own.clone(), spoofed.clone(), own, spoofed]);
    let (frames, end) = trace.told();
    assert_eq!((frames.len(), &end["why"]), (2, &"count".into()), "{frames:?} {end}");
    for frame in &frames {
        let told = steps(frame);
        assert_eq!(told.last().unwrap(), "drop source-spoofed at tap0", "{told:?}");
        assert!(frame["summary"].as_str().unwrap().contains("ARP who has 10.0.0.1, tell 10.0.0.9"), "{frame}");
        let step = frame["steps"].as_array().unwrap().last().unwrap();
        assert_eq!((&step["reason"], &step["port"]), (&"source-spoofed".into(), &"tap0".into()));
    }
    let captured = read_pcapng(&file);
    assert_eq!(captured.len(), 2, "{captured:?}");
    assert!(captured[0].3.contains("drop: source-spoofed at tap0"), "{captured:?}");
}

fn vrf() -> String {
    let port = |n: u32| format!("[[port]]\nname = \"up{n}\"\nkind = \"netdev\"\ndevice = \"up{n}\"\n");
    let interface = |n: u32| {
        let lan = n + 1;
        format!(
            "[[vrf.interface]]\nname = \"eth{n}\"\nport = \"up{n}\"\nmac = \"02:00:00:00:0{n}:01\"\n\
             addresses = [\"10.{lan}.0.1/16\"]\n"
        )
    };
    let routes = "[[vrf.route]]\nto = \"10.99.0.0/16\"\nvia = \"10.2.0.2\"\n\
                  [[vrf.route]]\nto = \"10.66.0.0/16\"\naction = \"blackhole\"\n";
    format!("{}{}[[vrf]]\nname = \"r1\"\n{}{}{routes}", port(0), port(1), interface(0), interface(1))
}

#[test]
fn a_routed_flow_is_told_with_its_route_its_neighbour_and_its_errors() {
    need!("ping");
    let lans = Lans::new(1500);
    let _engine = lans.bed.engine(&lans.host, &vrf());
    for n in [66, 99] {
        sh(&format!("ip -n {} route add 10.{n}.0.0/16 via 10.1.0.1", lans.left));
    }
    sh(&format!("ip -n {} addr add 10.99.0.1/32 dev lo", lans.right));
    let trace = Trace::start(&lans.bed, "--port up0 --host 10.1.0.2 --proto icmp --count 4 --for 10s");
    // The first waits for 10.2.0.2's Ethernet address.
    lans.ping("-c 1", "10.99.0.1");
    lans.ping("-c 1", "10.99.0.1");
    let said = try_sh(&format!("ip netns exec {} ping -c 1 -t 1 -W 2 10.2.0.2", lans.left)).1;
    assert!(said.contains("Time to live exceeded"), "{said}");
    try_sh(&format!("ip netns exec {} ping -c 1 -W 1 10.66.0.1", lans.left));
    let (frames, end) = trace.told();
    assert_eq!((frames.len(), &end["why"]), (4, &"count".into()), "{frames:?} {end}");
    let told: Vec<_> = frames.iter().map(steps).collect();
    let has = |frame: usize, start: &str, within: &str| {
        let found = told[frame].iter().any(|step| step.starts_with(start) && step.contains(within));
        assert!(found, "no {start:?} with {within:?} in {:#?}", told[frame]);
    };
    has(0, "vrf", "r1, interface eth0");
    has(0, "answer", "ARP who has 10.2.0.2, tell 10.2.0.1");
    has(0, "wait", "Ethernet address");
    has(0, "out by up1, to 10.2.0.2 at ", "ms after it came");
    has(1, "route", "10.99.0.1 is in 10.99.0.0/16 (static): via 10.2.0.2; 10.2.0.2 by 10.2.0.0/16");
    has(1, "out by up1, to 10.2.0.2 at ", "");
    assert_eq!(told[1].len(), 4, "{:#?}", told[1]);
    has(2, "answer by up0", "10.1.0.1 > 10.1.0.2 ICMP time exceeded");
    has(2, "drop", "ttl-expired at up0");
    has(3, "route", "10.66.0.1 is in 10.66.0.0/16 (static): blackhole");
    has(3, "drop", "blackhole at up0");
}

#[test]
fn what_cannot_be_traced_is_refused_with_a_remedy() {
    let mut bed = Bed::new();
    let (_left, _right, rest) = bridged(&mut bed);
    let (host, config) = rest.split_once('\n').unwrap();
    let _engine = bed.engine(host, config);
    let control = bed.path("control.sock");
    let ask = |options: &str| try_sh(&format!("{POINTSMAN} trace --control {control} {options}"));
    for (options, remedy) in [
        ("--port up9", "there is no port \"up9\"; those there are: up0, tap0"),
        ("--mac 02:00", "\"02:00\" is no Ethernet address; write one like"),
        ("--vlan 4095", "there is no VLAN 4095; give 1 to 4094"),
        ("--host 10.0.0.1 --host 10.0.0.2 --host 10.0.0.3", "a packet has two ends"),
        ("--host ten", "invalid IP address"),
        ("--proto http", "\"http\" is no protocol; give tcp, udp, icmp"),
        ("--proto icmp --l4-port 80", "ICMP has no ports"),
        ("--count 0", "give a count of at least 1"),
        ("--for 3weeks", "give a time up to 24h"),
        ("--pcapng /no/such/folder/x", "cannot write /no/such/folder/x; give --pcapng a file in a folder that exists"),
    ] {
        let (ok, said) = ask(options);
        assert!(!ok && said.contains(remedy), "{options}: {said}");
    }
    let (ok, said) = try_sh(&format!("{POINTSMAN} trace --control {control}.not"));
    assert!(!ok && said.contains("is `pointsman run` running?"), "{said}");
    // A trace ends with its client, and four run at a time: killed ones make room; meanwhile others are answered.
    for _ in 0..2 {
        let mut four: Vec<Trace> =
            (0..4).map(|_| Trace::start(&bed, "--port up0 --mac 02:00:00:00:00:99 --for 60s")).collect();
        let (ok, said) = ask("--for 100ms");
        assert!(!ok && said.contains("4 traces run already"), "{said}");
        assert!(bed.show("ports").0);
        for trace in &mut four {
            trace.0.kill().unwrap();
            trace.0.wait().unwrap();
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    let (ok, said) = ask("--mac 02:00:00:00:00:99 --for 100ms");
    assert!(ok && said.contains("0 frames: the time is over"), "{said}");
}
