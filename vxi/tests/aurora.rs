//! The dialect of the Aurora cloud manager: what is in it, and what it is told.

use std::path::Path;

use pointsman_vxi::language::Syntax;
use pointsman_vxi::model::{Amount, BitsPerSecond, Bytes, Direction, Tag, VirtualInfrastructure};
use pointsman_vxi::parse;

const AURORA: &str = include_str!("data/aurora.xml");

fn read(text: &str) -> VirtualInfrastructure {
    parse(text, Path::new("aurora.xml")).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

#[test]
fn attributes_interfaces_and_controllers_are_read() {
    let slice = read(AURORA);
    assert_eq!(Syntax::of(AURORA), Syntax::Aurora);
    assert_eq!((slice.id.as_str(), slice.owner.as_deref()), ("slice", Some("tenant")));
    let web = &slice.components.nodes[0];
    assert_eq!(web.memory.in_period(None), Some(&Amount::Exactly(Bytes::from_mib(512))));
    let tag = |key: &str, value: &str| Tag { key: Some(key.into()), value: Some(value.into()) };
    assert_eq!(web.resource.tags, [tag("interface", "eth0 bridge 02:00:00:00:00:01"), tag("interface", "eth1 NAT")]);
    let router = &slice.components.routers[0];
    assert_eq!(router.resource.tags, [tag("controller", "openflow tcp 192.0.2.1 6633")]);
    assert_eq!(router.control.as_ref().and_then(|control| control.protocol.as_deref()), Some("openflow"));
    let link = &slice.components.links[0];
    assert_eq!((&*link.source.component, link.source.interface.as_deref()), ("web", Some("eth0")));
    assert_eq!((&*link.destination.component, link.direction), ("r1", Direction::Forward));
    // The committed rate and the ceiling, in Aurora's gigabits of 1,024 megabits.
    let rates =
        Amount::Range { min: Some(BitsPerSecond::from_mbps(1_024)), max: Some(BitsPerSecond::from_mbps(2_048)) };
    assert_eq!(link.forward.in_period(None), Some(&rates));
}

#[test]
fn it_can_be_converted_to_what_can_be_written() {
    let slice = read(AURORA);
    for syntax in [Syntax::Vxdl, Syntax::Toml] {
        let text = syntax.write(&slice).expect("both are written");
        assert_eq!(read(&text), slice, "{text}");
    }
    assert_eq!(Syntax::Aurora.write(&slice), None);
}

#[test]
fn mistakes_are_told_with_their_lines() {
    for (right, wrong, line, said) in [
        ("<vNode id=\"db\">", "<vNode>", 7, "<vNode> has no id"),
        ("<vNode id=\"db\">", "<vNode id=\"db\" name=\"x\">", 7, "has an attribute \"name\""),
        ("<type>NAT</type>", "<type>nat</type>", 5, "unknown type \"nat\""),
        (">main<", ">mian<", 11, "no <controllerList> mian"),
        ("<vRouter>r1</vRouter></destination>\n    <band", "</destination>\n    <band", 15, "has no component"),
        ("<vNode>db</vNode>", "<vNode>dp</vNode>", 21, "there is no component \"dp\""),
        ("<port>6633</port>", "<port>66330</port>", 26, "no whole number from 1 to 65535"),
        ("type=\"dynamic\"", "type=\"magic\"", 11, "unknown type \"magic\""),
        ("<unit>MB</unit>", "<unit>Mbps</unit>", 3, "one of bandwidth, not of size"),
    ] {
        assert!(AURORA.contains(right), "{right}");
        let text = AURORA.replacen(right, wrong, 1);
        let mistakes = parse(&text, Path::new("aurora.xml")).expect_err(wrong);
        let found = mistakes.list.iter().find(|one| one.wrong.contains(said));
        let found = found.unwrap_or_else(|| panic!("{wrong}: {mistakes}"));
        assert_eq!(found.place.map(|place| place.line), Some(line), "{found}");
    }
}
