//! What the command says when it cannot do what it was asked: one clear line, exit status 1, nothing left behind.

mod support;

use support::{Bed, POINTSMAN, Program, sh, try_sh};

fn config(device: &str) -> String {
    format!(
        "[[domain]]\nname = \"d\"\n[[port]]\nname = \"up\"\nkind = \"netdev\"\ndevice = \"{device}\"\ndomain = \"d\"\n"
    )
}

/// Runs the engine, which must refuse; what it said.
fn refused(bed: &Bed, host: &str, text: &str) -> String {
    let control = bed.path("control.sock");
    let file = bed.file("bad.toml", &format!("control = \"{control}\"\n{text}"));
    let line = format!("ip netns exec {host} timeout 10 {POINTSMAN} run --config {}", file.display());
    let output = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

#[test]
fn a_missing_device_is_named() {
    need!();
    let mut bed = Bed::new();
    let host = bed.host("host");
    let said = refused(&bed, &host, &config("nosuch0"));
    assert!(said.contains("nosuch0") && said.contains("ip link"), "{said}");
    assert_eq!(said.trim().lines().count(), 1, "{said}");
}

#[test]
fn a_device_with_an_xdp_program_is_left_alone() {
    need!();
    let mut bed = Bed::new();
    let [host, other] = ["host", "other"].map(|n| bed.host(n));
    bed.cable((&other, "eth0"), (&host, "up0"), 1500);
    let first = bed.engine(&host, &config("up0"));
    let before = sh(&format!("ip -n {host} -details link show up0 | grep -o 'prog/xdp id [0-9]*'"));
    let second = bed.file("second.toml", &format!("control = \"{}\"\n{}", bed.path("second.sock"), config("up0")));
    let (ok, said) = try_sh(&format!("ip netns exec {host} timeout 10 {POINTSMAN} run --config {}", second.display()));
    assert!(!ok && said.contains("up0") && said.contains("XDP program"), "{said}");
    assert_eq!(sh(&format!("ip -n {host} -details link show up0 | grep -o 'prog/xdp id [0-9]*'")), before);
    drop(first);
}

#[test]
fn a_control_socket_in_use_is_refused() {
    need!();
    let mut bed = Bed::new();
    let [host, other] = ["host", "other"].map(|n| bed.host(n));
    bed.cable((&other, "eth0"), (&host, "up0"), 1500);
    bed.cable((&other, "eth1"), (&host, "up1"), 1500);
    let _first = bed.engine(&host, &config("up0"));
    let said = refused(&bed, &host, &config("up1"));
    assert!(said.contains("control.sock") && said.contains("another engine"), "{said}");
    assert!(!sh(&format!("ip -n {host} -details link show up1")).contains("prog/xdp"), "nothing stays attached");
}

#[test]
fn without_privilege_it_says_what_it_takes() {
    need!("setpriv");
    let mut bed = Bed::new();
    let [host, other] = ["host", "other"].map(|n| bed.host(n));
    bed.cable((&other, "eth0"), (&host, "up0"), 1500);
    let file = bed.file("engine.toml", &format!("control = \"{}\"\n{}", bed.path("c.sock"), config("up0")));
    let (ok, said) = try_sh(&format!(
        "ip netns exec {host} setpriv --bounding-set=-all --inh-caps=-all timeout 10 {POINTSMAN} run --config {}",
        file.display()
    ));
    assert!(!ok && said.contains("up0") && said.contains("root"), "{said}");
}

#[test]
fn every_mistake_of_a_configuration_is_told_at_once() {
    let bed = Bed::new();
    let file = bed.file(
        "many.toml",
        "[[worker]]\nchunks = 1\n[[domain]]\nname = \"d\"\n[[port]]\nname = \"up\"\nkind = \"netdev\"\ndomain = \"e\"\n\
         [[guest]]\nname = \"g\"\n[[guest.port]]\nkind = \"memif\"\nmac = \"zz\"\ndomian = \"d\"\n",
    );
    let output = std::process::Command::new(POINTSMAN).arg("check").arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    for (line, words) in [(2, "chunks"), (5, "device"), (8, "e"), (11, "socket"), (13, "zz"), (14, "domian")] {
        assert!(
            said.lines().any(|l| l.contains(&format!("many.toml:{line}:")) && l.contains(words)),
            "no mistake told on line {line} about {words}:\n{said}"
        );
    }
}

#[test]
fn a_second_guest_on_one_memif_is_turned_away() {
    need!();
    let mut bed = Bed::new();
    let [host, other] = ["host", "other"].map(|n| bed.host(n));
    bed.cable((&other, "eth0"), (&host, "up0"), 1500);
    let socket = bed.path("g.sock");
    let guest = format!(
        "[[guest]]\nname = \"g\"\n[[guest.port]]\nkind = \"memif\"\nsocket = \"{socket}\"\nid = 0\nmac = \"02:00:00:00:00:01\"\ndomain = \"d\"\n"
    );
    let _engine = bed.engine(&host, &(config("up0") + &guest));
    let port = format!("{socket}:0,role=client,mac=02:00:00:00:00:01,address=10.0.0.1/24");
    let command = [POINTSMAN, "guest", "router", "--port", &port];
    let _first = Program::start(&host, &command, &bed.folder, "first");
    bed.await_port("g.0", true);
    let mut second = Program::start(&host, &command, &bed.folder, "second");
    second.wait_until("told why", || second.said().contains("already connected"));
    assert_eq!(second.wait().code(), Some(1));
    assert_eq!(second.said().trim().lines().count(), 1, "{}", second.said());
    assert!(bed.port("g.0")["up"].as_bool().unwrap());
}

#[test]
fn a_source_that_cannot_be_is_refused_with_what_to_change() {
    let port = "/nowhere/s.sock:0,address=10.0.0.1/24";
    for (port, words, said) in [
        ("/nowhere/s.sock:0", &["--to", "10.0.0.2"][..], "add one of IPv4: address="),
        ("/nowhere/s.sock:0,address=fd00::1/64", &["--to", "10.0.0.2"], "fd00::1 is an IPv6 address"),
        (port, &["--to", "fd00::2"], "fd00::2 is an IPv6 address"),
        (port, &["--to", "10.0.1.2"], "a neighbour in 10.0.0.0/24"),
        (port, &["--to", "10.0.0.2", "--size", "60"], "from 64 to 1518"),
        (port, &["--to", "10.0.0.2", "--size", "1519"], "from 64 to 1518"),
        (&format!("{port},mtu=1000"), &["--to", "10.0.0.2", "--size", "1019"], "the port's MTU is 1000"),
        (port, &["--to", "10.0.0.2", "--rate", "0"], "frames a second from 1 on"),
        (port, &["--to", "10.0.0.2", "--seconds", "0"], "more seconds than 0"),
        (port, &["--to", "10.0.0.2", "--seconds=-1"], "--seconds: give seconds"),
    ] {
        let command = [&["guest", "source", "--port", port], words].concat();
        let output = std::process::Command::new(POINTSMAN).args(&command).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{command:?}: {error}");
        assert!(error.contains(said) && error.trim().lines().count() == 1, "{command:?}: {error}");
        assert!(output.stdout.is_empty());
    }
}
