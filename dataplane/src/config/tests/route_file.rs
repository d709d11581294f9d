use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::config::Config;

const CONFIG: &str = r#"
[[port]]
name = "a"
kind = "tap"
device = "a"
[[port]]
name = "b"
kind = "tap"
device = "b"
[[vrf]]
name = "r1"
max_routes = 8
routes = "r1.routes"
[[vrf.interface]]
name = "eth0"
port = "a"
mac = "02:00:00:00:00:01"
addresses = ["10.0.0.1/24", "2001:db8::1/64"]
[[vrf.interface]]
name = "eth1"
port = "b"
mac = "02:00:00:00:00:02"
addresses = ["10.0.1.1/24"]
[[vrf.route]]
to = "10.77.0.0/16"
via = "10.0.0.2"
"#;

fn vrf() -> VrfSpec {
    Config::parse(CONFIG, Path::new("pointsman.toml")).expect("it is sound").vrfs.remove(0)
}

fn read(text: &str) -> Result<Vec<Route>, Vec<String>> {
    let errors = |errors: Vec<ConfigError>| errors.iter().map(ToString::to_string).collect();
    parse(text, Path::new("r1.routes"), &vrf()).map(|listed| listed.iter().collect()).map_err(errors)
}

fn via(gateways: &[&str], interface: Option<u16>) -> Action {
    let hop = |gateway: &&str| Hop {
        gateway: Some(gateway.parse().expect("an address")),
        interface: interface.map(InterfaceId),
        weight: 1,
    };
    Action::Via(gateways.iter().map(hop).collect())
}

#[test]
fn routes_are_read_one_a_line() {
    let text = "# all kinds\n\n192.0.2.0/24 via 10.0.0.2\n  198.51.100.0/24\tvia 10.0.0.2,10.0.1.2 # two\r\n\
                2001:db8:1::/48 via fe80::2 dev eth0\n10.9.0.0/16 dev eth1\n0.0.0.0/0 via 10.0.0.2\n\
                203.0.113.0/24 blackhole\n::/0 prohibit";
    let routes = read(text).expect("it is sound");
    let expected = [
        ("192.0.2.0/24", via(&["10.0.0.2"], None)),
        ("198.51.100.0/24", via(&["10.0.0.2", "10.0.1.2"], None)),
        ("2001:db8:1::/48", via(&["fe80::2"], Some(0))),
        ("10.9.0.0/16", Action::Via(vec![Hop { gateway: None, interface: Some(InterfaceId(1)), weight: 1 }])),
        ("0.0.0.0/0", via(&["10.0.0.2"], None)),
        ("203.0.113.0/24", Action::Blackhole),
        ("::/0", Action::Prohibit),
    ];
    let found: Vec<_> = routes.iter().map(|route| (route.prefix.to_string(), route.action.clone())).collect();
    assert_eq!(found, expected.map(|(prefix, action)| (prefix.to_owned(), action)));
}

#[test]
fn every_mistake_has_its_place_and_a_remedy() {
    let text = "10.0.0.0/33 via 10.0.0.2\n10.1.1.1/16 via 10.0.0.2\nhere via there\n10.2.0.0/16\n\
                10.3.0.0/16 via 10.0.0.2x\n10.4.0.0/16 via 2001:db8::2\n10.5.0.0/16 via 10.0.0.1\n\
                10.6.0.0/16 via 10.0.0.2 dev eth9\n10.7.0.0/16 blackhole via 10.0.0.2\n10.8.0.0/16 via\n\
                10.10.0.0/16 via 10.0.0.2 via 10.0.1.2\n10.77.0.0/16 prohibit\n10.11.0.0/16 prohibit\n10.11.0.0/16 prohibit\n\
                10.12.0.0/+16 prohibit";
    let found = read(text).expect_err("it is full of mistakes");
    let expected: Vec<_> = include_str!("route_file.txt").lines().collect();
    assert_eq!(found, expected, "\n{}", found.join("\n"));
}

#[test]
fn mistakes_are_bounded_and_so_are_routes() {
    let found = read(&"nonsense\n".repeat(100_000)).expect_err("nonsense");
    assert_eq!(found.len(), MOST_MISTAKES + 1);
    assert!(found[MOST_MISTAKES].contains("there are more mistakes"), "{}", found[MOST_MISTAKES]);
    // One is a [[vrf.route]], so seven more may be here.
    let many = |n: u8| (0..n).map(|i| format!("192.0.{i}.0/24 via 10.0.0.2\n")).collect::<String>();
    assert_eq!(read(&many(7)).map(|routes| routes.len()), Ok(7));
    let found = read(&many(200)).expect_err("too many");
    let wrong = "r1.routes:8:1: vrf r1 route to 192.0.7.0/24: there are more routes than max_routes = 8 allows; raise \
                 max_routes of the [[vrf]], or take routes out";
    assert_eq!(found, [wrong]);
}

#[test]
fn a_file_is_sought_beside_the_configuration_and_its_mistakes_join_the_others() {
    let folder = std::env::temp_dir().join(format!("pointsman-routes-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("pointsman.toml");
    std::fs::write(&file, CONFIG).expect("written");
    let failed = Config::load(&file).expect_err("there is no route file").to_string();
    assert!(failed.contains("r1.routes: routes of vrf r1: cannot be read"), "{failed}");
    std::fs::write(folder.join("r1.routes"), "192.0.2.0/24 via 10.0.0.2\n").expect("written");
    let config = Config::load(&file).expect("it is sound");
    let routes: Vec<_> = config.vrfs[0].static_routes().map(|route| route.prefix.to_string()).collect();
    assert_eq!(routes, ["10.77.0.0/16", "192.0.2.0/24"]);
    std::fs::write(&file, format!("sets = 3\n{CONFIG}")).expect("written");
    std::fs::write(folder.join("r1.routes"), b"192.0.2.0/24 via 10.0.0.2\n\n\xff\n").expect("written");
    let failed = Config::load(&file).expect_err("both are wrong").to_string();
    assert!(failed.contains("unknown key \"sets\"") && failed.contains("line 3 is not UTF-8"), "{failed}");
    std::fs::remove_dir_all(&folder).expect("removed");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[0-9a-f:./, #viadenthblckop\t\n]{0,200}|\\PC{0,80}") {
        let _ = read(&text);
    }
}
