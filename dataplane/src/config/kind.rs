//! What each kind of port has of its own.

use std::path::PathBuf;

use super::mistakes::{Claims, Mistakes, quoted};
use super::read::socket_path;
use super::section::{Found, Section};
use super::{MemifRole, MemifSpec, NetdevSpec, PcapSpec, PortKind, TapSpec};
use crate::netdev::Mode;

#[derive(Clone, Copy)]
enum Kind {
    Netdev,
    Memif,
    Tap,
    Pcap,
}

const KINDS: [(&str, Kind); 4] =
    [("netdev", Kind::Netdev), ("memif", Kind::Memif), ("tap", Kind::Tap), ("pcap", Kind::Pcap)];

/// Which kinds have a key: for telling where a key belongs that a port of another kind was given.
const KEYS: [(&str, &str); 18] = [
    ("device", "netdev or tap"),
    ("mode", "netdev"),
    ("busy_poll", "netdev"),
    ("tso", "netdev"),
    ("queues", "netdev"),
    ("ring", "netdev"),
    ("socket", "memif"),
    ("id", "memif"),
    ("role", "memif"),
    ("rings", "memif"),
    ("ring_size", "memif"),
    ("buffer_size", "memif"),
    ("secret", "memif"),
    ("netns", "tap"),
    ("replay", "pcap"),
    ("record", "pcap"),
    ("repeat", "pcap"),
    ("rate", "pcap"),
];

/// What to say of a key that this port does not have and others do.
pub(super) fn where_known(key: &str) -> Option<String> {
    let (_, kinds) = KEYS.into_iter().find(|(known, _)| *known == key)?;
    Some(format!("take it out: it belongs to ports of kind {kinds}"))
}

/// The keys of all kinds, for a port whose kind is not known.
pub(super) fn all_keys() -> impl Iterator<Item = &'static str> {
    KEYS.into_iter().map(|(key, _)| key)
}

/// The kind and its keys; `None` when there is no such kind. Keys that are missing or wrong have been told of, so that
/// what stands in their place does not matter.
pub(super) fn read_kind(
    mistakes: &mut Mistakes<'_>,
    section: &mut Section<'_, '_>,
    claims: &mut Claims,
) -> Option<PortKind> {
    section.require(mistakes, "kind", "give kind = \"netdev\", \"memif\", \"tap\" or \"pcap\"");
    let kind = section.choice(mistakes, "kind", &KINDS)?;
    Some(match kind {
        Kind::Netdev => PortKind::Netdev(netdev(mistakes, section, claims)),
        Kind::Memif => PortKind::Memif(memif(mistakes, section, claims)),
        Kind::Tap => PortKind::Tap(tap(mistakes, section, claims)),
        Kind::Pcap => PortKind::Pcap(pcap(mistakes, section, claims)),
    })
}

fn netdev(mistakes: &mut Mistakes<'_>, section: &mut Section<'_, '_>, claims: &mut Claims) -> NetdevSpec {
    let device = device(mistakes, section);
    if let Some(Found { value, at }) = &device {
        let remedy = "a device is one port: use vlans to put it into several domains";
        claims.claim(mistakes, ("device", value), *at, &section.thing, remedy);
    }
    let modes = [("auto", Mode::Auto), ("zero-copy", Mode::ZeroCopy), ("copy", Mode::Copy), ("generic", Mode::Generic)];
    NetdevSpec {
        device: device.map(|found| found.value).unwrap_or_default(),
        mode: section.choice(mistakes, "mode", &modes).unwrap_or_default(),
        busy_poll: section.boolean(mistakes, "busy_poll").unwrap_or(false),
        tso: section.boolean(mistakes, "tso"),
        queues: section.integer(mistakes, "queues", 1..=1024).map(|found| found.value as u32),
        ring: section.power_of_two(mistakes, "ring", 64..=32_768).unwrap_or(2_048) as u32,
    }
}

fn memif(mistakes: &mut Mistakes<'_>, section: &mut Section<'_, '_>, claims: &mut Claims) -> MemifSpec {
    section.require(mistakes, "socket", "give socket = \"/run/pointsman/NAME.sock\"");
    let socket = section.string(mistakes, "socket");
    let socket = socket.and_then(|found| socket_path(mistakes, &section.thing, "socket", found));
    let id = section.integer(mistakes, "id", 0..=u64::from(u32::MAX)).map_or(0, |found| found.value as u32);
    if let Some(Found { value, at }) = &socket {
        let endpoint = format!("{} id {id}", value.display());
        let remedy = "give each memif on a socket an id of its own";
        claims.claim(mistakes, ("memif", &endpoint), *at, &section.thing, remedy);
        claims.forbid(mistakes, ("socket path", &value.to_string_lossy()), *at, &section.thing, "give it another path");
    }
    let roles = [("server", MemifRole::Server), ("client", MemifRole::Client)];
    let secret = section.string(mistakes, "secret");
    if let Some(Found { value, at }) = secret.filter(|s| s.value.len() > 24 || s.value.contains('\0')) {
        let wrong = format!("secret has {} bytes, or a NUL among them", value.len());
        mistakes.add(at, &section.thing, wrong, "give at most 24 bytes, none of them zero");
    }
    MemifSpec {
        socket: socket.map(|found| found.value).unwrap_or_default(),
        id,
        role: section.choice(mistakes, "role", &roles).unwrap_or(MemifRole::Server),
        rings: section.integer(mistakes, "rings", 1..=255).map_or(1, |found| found.value as u16),
        ring_size: section.power_of_two(mistakes, "ring_size", 32..=16_384).unwrap_or(1_024) as u32,
        buffer_size: section.integer(mistakes, "buffer_size", 128..=65_536).map_or(2_048, |found| found.value as u32),
        secret: secret.map(|found| found.value.to_owned()).unwrap_or_default(),
    }
}

fn tap(mistakes: &mut Mistakes<'_>, section: &mut Section<'_, '_>, claims: &mut Claims) -> TapSpec {
    let device = device(mistakes, section);
    let shape = ("a network namespace", "give a name that `ip netns` lists, or a path such as /proc/PID/ns/net");
    let netns = section.parsed(mistakes, "netns", shape, |text| {
        let is_name = !text.contains('/') && text != "." && text != "..";
        let fits = !text.is_empty() && text.len() < 256 && !text.contains('\0');
        (fits && (is_name || text.starts_with('/'))).then(|| text.to_owned())
    });
    let netns = netns.map(|found| found.value);
    if let Some(Found { value, at }) = &device {
        let remedy = "a tap is one port: use vlans to put it into several domains";
        let whole = format!("{value}{}", netns.as_ref().map(|ns| format!(" in netns {ns}")).unwrap_or_default());
        claims.claim(mistakes, ("tap", &whole), *at, &section.thing, remedy);
    }
    TapSpec { device: device.map(|found| found.value).unwrap_or_default(), netns }
}

fn pcap(mistakes: &mut Mistakes<'_>, section: &mut Section<'_, '_>, claims: &mut Claims) -> PcapSpec {
    let shape = ("a path", "give the path of a file");
    let path = |text: &str| (!text.is_empty() && !text.contains('\0')).then(|| PathBuf::from(text));
    let replay = section.parsed(mistakes, "replay", shape, path);
    let record = section.parsed(mistakes, "record", shape, path);
    if !section.has("replay") && !section.has("record") {
        let remedy = "give replay = FILE, record = FILE, or both";
        mistakes.add_missing(section.at, &section.thing, "it has neither replay nor record", remedy);
    }
    if let Some(Found { value, at }) = &record {
        let remedy = "record each port in a file of its own";
        claims.claim(mistakes, ("recording", &value.to_string_lossy()), *at, &section.thing, remedy);
        if replay.as_ref().is_some_and(|replay| replay.value == *value) {
            let wrong = format!("{} is both replayed and recorded", quoted(&value.to_string_lossy()));
            mistakes.add(*at, &section.thing, wrong, "record in another file");
        }
    }
    let repeat = section.boolean(mistakes, "repeat").unwrap_or(false);
    let rate = section.integer(mistakes, "rate", 1..=1_000_000_000).map(|found| found.value);
    for key in ["repeat", "rate"] {
        if section.has(key) && !section.has("replay") {
            let wrong = format!("{key} is given, but nothing is replayed");
            mistakes.add_missing(section.at, &section.thing, wrong, "give replay = FILE, or take it out");
        }
    }
    PcapSpec { replay: replay.map(|found| found.value), record: record.map(|found| found.value), repeat, rate }
}

/// The name of an interface (`dev_valid_name` in net/core/dev.c).
fn device(mistakes: &mut Mistakes<'_>, section: &mut Section<'_, '_>) -> Option<Found<String>> {
    section.require(mistakes, "device", "give device = \"eth1\", an interface that `ip link` lists");
    let shape = ("the name of an interface", "give 1 to 15 characters without blanks, slashes and colons");
    section.parsed(mistakes, "device", shape, |text| {
        let plain = !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/' || c == ':');
        ((1..=15).contains(&text.len()) && plain && text != "." && text != "..").then(|| text.to_owned())
    })
}
