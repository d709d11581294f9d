use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::link_rate::LineRate;
use crate::rib::{Action, Hop, InterfaceId};
use crate::router::SourceCheck;
use crate::vrf::PuntRate;

const FILE: &str = "pointsman.toml";

fn parse(text: &str) -> Result<Config, Vec<String>> {
    let errors = |ConfigErrors(errors)| errors.iter().map(ToString::to_string).collect();
    Config::parse(text, Path::new(FILE)).map_err(errors)
}

#[test]
fn a_whole_configuration_is_read() {
    let config = parse(include_str!("tests/whole.toml")).expect("it is sound");
    assert_eq!(config.control, Path::new("/tmp/pointsman.sock"));
    let workers: Vec<_> = config.workers.iter().map(|w| (w.core, w.chunks, w.spin)).collect();
    assert_eq!(workers, [(Some(0), 32_768, Nanos::from_micros(50)), (Some(1), 8_192, Nanos(0))]);
    let domains: Vec<_> = config.domains.iter().map(|d| (&*d.name, d.age, d.max_learned)).collect();
    assert_eq!(domains, [("left", Nanos::from_secs(300), 4_096), ("right", Nanos::from_secs(60), 16)]);
    let ports: Vec<_> = config.ports.iter().map(|p| (&*p.name, p.guest, p.kind.name(), p.worker)).collect();
    assert_eq!(
        ports,
        [
            ("up0", None, "netdev", Some(1)),
            ("trunk", None, "netdev", None),
            ("tape", None, "pcap", None),
            ("r1.0", Some(0), "memif", None),
            ("r1-right", Some(0), "memif", Some(0)),
            ("r2.0", Some(1), "tap", None),
        ]
    );
    let [up0, trunk, tape, r1_left, r1_right, r2] = &config.ports[..] else { panic!("six ports") };
    assert_eq!(up0.line_rate, LineRate::new(1_000_000_000));
    assert_eq!(up0.membership, Membership { native: Some(0), vlans: vec![] });
    assert_eq!(up0.place, Place { line: 18, column: 1 });
    let device = |device: &str, mode, busy_poll, queues, ring| {
        PortKind::Netdev(NetdevSpec { device: device.into(), mode, busy_poll, tso: None, queues, ring })
    };
    assert_eq!(up0.kind, device("eth1", Mode::Copy, true, Some(2), 512));
    assert_eq!(trunk.kind, device("eth2", Mode::Auto, false, None, 2_048));
    let vlan = |number| VlanId::new(number).expect("a VLAN");
    assert_eq!(trunk.membership, Membership { native: None, vlans: vec![(vlan(10), 0), (vlan(20), 1)] });
    let record = Some("/tmp/out.pcap".into());
    assert_eq!(tape.kind, PortKind::Pcap(PcapSpec { replay: None, record, repeat: false, rate: None }));
    let memif = |id, role, secret: &str| {
        let socket = "/run/pointsman/r1.sock".into();
        let secret = secret.into();
        PortKind::Memif(MemifSpec { socket, id, role, rings: 1, ring_size: 1_024, buffer_size: 2_048, secret })
    };
    assert_eq!(r1_left.kind, memif(0, MemifRole::Server, ""));
    assert_eq!(r1_right.kind, memif(1, MemifRole::Client, "psst"));
    assert_eq!(r1_left.macs, [Mac([2, 0, 0, 0, 1, 1])]);
    assert_eq!(r1_right.macs, [Mac([2, 0, 0, 0, 1, 2]), Mac([2, 0, 0, 0, 1, 3])]);
    assert_eq!(r2.kind, PortKind::Tap(TapSpec { device: "r2".into(), netns: Some("router2".into()) }));
}

#[test]
fn little_is_needed() {
    let text = "domain = [{ name = \"d\" }]\n[[port]]\nname = \"a\"\nkind = \"tap\"\ndevice = \"a\"\ndomain = \"d\"\n";
    let config = parse(text).expect("it is sound");
    assert_eq!(config.control, Path::new(DEFAULT_CONTROL));
    assert_eq!(config.workers.len(), 1);
    assert_eq!(config.workers[0].core, None);
}

#[test]
fn every_mistake_is_reported_at_once() {
    let found = parse(include_str!("tests/mistakes.toml")).expect_err("it is full of mistakes");
    let expected: Vec<_> = include_str!("tests/mistakes.txt").lines().collect();
    assert_eq!(found, expected, "\n{}", found.join("\n"));
}

#[test]
fn every_mistake_about_vrfs_is_reported_at_once() {
    let found = parse(include_str!("tests/vrf.toml")).expect_err("it is full of mistakes");
    let expected: Vec<_> = include_str!("tests/vrf.txt").lines().collect();
    assert_eq!(found, expected, "\n{}", found.join("\n"));
}

#[test]
fn interfaces_that_share_a_link_have_addresses_of_their_own() {
    let text = include_str!("tests/shared.toml");
    let found = parse(text).expect_err("two have none, and two have the same");
    let expected: Vec<_> = include_str!("tests/shared.txt").lines().collect();
    assert_eq!(found, expected, "\n{}", found.join("\n"));
    let sound = text.split("[[vrf]]\nname = \"r3\"").next().unwrap_or_default();
    let sound = sound.replace("vlan = 10\n[[", "vlan = 10\nmac = \"02:00:00:00:00:02\"\n[[");
    let sound = sound.replace("vlan = 20\n\n", "vlan = 20\nmac = \"02:00:00:00:00:03\"\n\n");
    let config = parse(&format!("[[worker]]\n[[worker]]\n{sound}")).expect("each has its own");
    assert_eq!((config.vrfs.len(), config.ports[0].worker), (2, Some(0)), "one worker for all who share");
}

#[test]
fn every_mistake_about_interfaces_in_domains_is_reported_at_once() {
    let found = parse(include_str!("tests/domain.toml")).expect_err("it is full of mistakes");
    let expected: Vec<_> = include_str!("tests/domain.txt").lines().collect();
    assert_eq!(found, expected, "\n{}", found.join("\n"));
}

#[test]
fn a_vrf_that_is_only_in_domains_has_the_worker_of_their_ports_or_the_next() {
    let vrf = |name: &str, domain: &str| {
        format!("[[vrf]]\nname = \"{name}\"\n[[vrf.interface]]\nname = \"lan\"\ndomain = \"{domain}\"\n")
    };
    let text = "[[worker]]\n[[worker]]\n[[domain]]\nname = \"a\"\n[[domain]]\nname = \"b\"\n\
                [[port]]\nname = \"up0\"\nkind = \"netdev\"\ndevice = \"eth1\"\ndomain = \"a\"\nworker = 1\n\
                [[port]]\nname = \"up1\"\nkind = \"netdev\"\ndevice = \"eth2\"\nvlans = { 5 = \"a\", 6 = \"b\" }\n";
    let text = format!("{text}{}{}{}", vrf("r1", "a"), vrf("r2", "b"), vrf("r3", "b"));
    let config = parse(&text).expect("it is sound");
    let placed: Vec<_> = config.vrfs.iter().map(|vrf| (vrf.worker, vrf.interfaces[0].link)).collect();
    let domain = InterfaceLink::Domain;
    assert_eq!(placed, [(1, domain(0)), (0, domain(1)), (1, domain(1))]);
    assert_eq!(config.ports[1].worker, None, "ports of domains stay where they are");
}

/// A port, a VLAN of another, and a tap behind which the stack is.
const VRF: &str = r#"
[[worker]]
[[worker]]
[[port]]
name = "up0"
kind = "netdev"
device = "eth1"
[[port]]
name = "up1"
kind = "netdev"
device = "eth2"
worker = 1
[[port]]
name = "tap"
kind = "tap"
device = "r1"
netns = "r1"
[[guest]]
name = "g1"
[[vrf]]
name = "r1"
guest = "g1"
max_routes = 1000
punt_rate = 50
[[vrf.interface]]
name = "eth0"
port = "up0"
addresses = ["10.0.0.1/24", "2001:db8::1/64"]
punt = "tap"
source_check = "strict"
[[vrf.interface]]
name = "eth1"
port = "up1"
vlan = 10
mac = "02:00:00:00:00:01"
mtu = 9000
[[vrf.route]]
to = "0.0.0.0/0"
via = ["10.0.0.2", "10.0.0.3"]
[[vrf.route]]
to = "2001:db8:1::/48"
via = "fe80::1"
interface = "eth1"
[[vrf.route]]
to = "10.9.0.0/16"
action = "prohibit"
"#;

#[test]
fn a_vrf_is_read_and_all_its_ports_have_one_worker() {
    let config = parse(VRF).expect("it is sound");
    let [vrf] = &config.vrfs[..] else { panic!("one VRF") };
    assert_eq!((vrf.guest, vrf.max_routes, vrf.punt), (Some(0), 1000, PuntRate { rate: 50, burst: 1000 }));
    let interfaces: Vec<_> =
        vrf.interfaces.iter().map(|i| (i.port(), i.vlan().map(|v| v.get()), i.mtu, i.punt)).collect();
    assert_eq!(interfaces, [(Some(0), None, 1500, Some(2)), (Some(1), Some(10), 9000, None)]);
    assert_eq!((vrf.interfaces[0].check, vrf.interfaces[1].check), (SourceCheck::Strict, SourceCheck::Off));
    assert_eq!(vrf.interfaces[1].mac, Some(Mac([2, 0, 0, 0, 0, 1])));
    let hop = |gateway: &str, interface| Hop { gateway: Some(gateway.parse().unwrap()), interface, weight: 1 };
    let actions: Vec<_> = vrf.routes.iter().map(|route| route.action.clone()).collect();
    let expected = [
        Action::Via(vec![hop("10.0.0.2", None), hop("10.0.0.3", None)]),
        Action::Via(vec![hop("fe80::1", Some(InterfaceId(1)))]),
        Action::Prohibit,
    ];
    assert_eq!(actions, expected);
    assert_eq!(config.ports.iter().map(|port| port.worker).collect::<Vec<_>>(), [Some(1); 3]);
    let [wrong] = &parse(&VRF.replace("device = \"eth1\"", "device = \"eth1\"\nworker = 0")).unwrap_err()[..] else {
        panic!()
    };
    assert_eq!(
        wrong,
        "pointsman.toml:21:1: vrf r1: ports up0 and up1 name workers 0 and 1, but all ports of a VRF are one worker's; \
         name one worker, or none"
    );
}

#[test]
fn virtual_routers_have_numbers_and_a_stack() {
    let with = |value: &str| parse(&VRF.replace("source_check = \"strict\"", &format!("vrrp = {value}")));
    assert_eq!(with("[5, 255]").unwrap().vrfs[0].interfaces[0].vrrp, [5, 255]);
    assert_eq!(with("[]").unwrap().vrfs[0].interfaces[0].vrrp, [0; 0]);
    for (value, wrong) in [
        ("[0]", "vrrp names what is no virtual router"),
        ("[256]", "vrrp names what is no virtual router"),
        ("[\"5\"]", "vrrp names what is no virtual router"),
        ("[5, 5]", "vrrp names 5 twice"),
        ("5", "vrrp"),
    ] {
        let found = with(value).unwrap_err();
        assert!(found.len() == 1 && found[0].contains(wrong), "{value}: {found:?}");
    }
    let found = parse(&VRF.replace("mtu = 9000", "vrrp = [5]")).unwrap_err();
    assert!(found.len() == 1 && found[0].contains("the engine does not speak it"), "{found:?}");
}

#[test]
fn syntax_errors_do_not_hide_other_mistakes() {
    let found = parse(include_str!("tests/syntax.toml")).expect_err("it is not TOML");
    let expected: Vec<_> = include_str!("tests/syntax.txt").lines().collect();
    assert_eq!(found, expected, "\n{}", found.join("\n"));
}

#[test]
fn a_file_that_cannot_be_read_is_one_error() {
    for (path, what) in [("/nonexistent/x.toml", "cannot be read"), ("/", "is not a file")] {
        let ConfigErrors(errors) = Config::load(Path::new(path)).expect_err("nothing there");
        let [error] = &errors[..] else { panic!("{errors:?}") };
        assert!(error.to_string().starts_with(&format!("{path}: configuration: {what}")), "{error}");
    }
}

#[test]
fn an_empty_file_is_a_mistake() {
    let found = parse("").expect_err("nothing to do");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("pointsman.toml:1:1: configuration: it has no port; add [[port]]"), "{found:?}");
}

/// Values of every type, right and wrong, for keys of the file.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        any::<bool>().prop_map(|b| b.to_string()),
        Just("[]".into()),
        Just("{}".into()),
        Just("{ 10 = \"left\", 4095 = 1, x = [] }".into()),
        Just("[[1], { a = 2 }, 1979-05-27]".into()),
        Just("99999999999999999999999999999999999999999999".into()),
        Just("-0x8000_0000".into()),
        "[a-z0-9:.]{0,12}".prop_map(|s| format!("{s:?}")),
        "\\PC{0,8}".prop_map(|s| format!("{s:?}")),
    ]
}

fn document() -> impl Strategy<Value = String> {
    let heads = ["[[worker]]", "[[domain]]", "[[port]]", "[[guest]]", "[[guest.port]]", "[port]", "[guest.port]", "["];
    let keys = [
        "control",
        "core",
        "chunks",
        "spin",
        "name",
        "age",
        "max_learned",
        "kind",
        "device",
        "mode",
        "ring",
        "queues",
        "line_rate",
        "domain",
        "vlans",
        "worker",
        "socket",
        "id",
        "role",
        "rings",
        "ring_size",
        "buffer_size",
        "secret",
        "mac",
        "macs",
        "netns",
        "replay",
        "record",
        "repeat",
        "rate",
        "port",
        "guest",
        "nonsense",
        "",
    ];
    let kind = prop_oneof![Just("netdev"), Just("memif"), Just("tap"), Just("pcap")];
    let line = prop_oneof![
        2 => prop::sample::select(heads.to_vec()).prop_map(str::to_owned),
        6 => (prop::sample::select(keys.to_vec()), value()).prop_map(|(key, value)| format!("{key} = {value}")),
        1 => kind.prop_map(|kind| format!("kind = {kind:?}")),
        1 => "\\PC{0,16}",
    ];
    prop::collection::vec(line, 0..40).prop_map(|lines| lines.join("\n"))
}

/// Whatever the text: no panic, and each mistake is one line that says where.
fn holds(text: &str) -> Result<(), TestCaseError> {
    match Config::parse(text, Path::new(FILE)) {
        Ok(config) => {
            prop_assert!(!config.ports.is_empty() && !config.workers.is_empty());
            for port in &config.ports {
                prop_assert!(port.worker.is_none_or(|w| w < config.workers.len()));
                prop_assert!(port.guest.is_none_or(|g| g < config.guests.len()));
                prop_assert!(port.membership.native.is_some() || !port.membership.vlans.is_empty());
            }
        }
        Err(ConfigErrors(errors)) => {
            prop_assert!(!errors.is_empty());
            let lines = text.split('\n').count() as u32;
            for error in errors {
                prop_assert!(error.place.is_some_and(|p| p.line <= lines), "{error}");
                prop_assert!(!error.to_string().contains(char::is_control), "{:?}", error.to_string());
                prop_assert!(!error.remedy.is_empty(), "{error}");
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_text_is_answered(text in any::<String>()) {
        holds(&text)?;
    }

    #[test]
    fn any_lines_of_the_file_are_answered(text in document()) {
        holds(&text)?;
    }

    #[test]
    fn a_sound_file_with_a_byte_changed_is_answered(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = include_bytes!("tests/whole.toml").to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        holds(&String::from_utf8_lossy(&bytes))?;
    }
}
