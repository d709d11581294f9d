//! `[[feed]]`: where routing daemons, and agents that mirror a kernel's routes, tell theirs.

use std::path::PathBuf;

use toml::de::DeValue;

use super::mistakes::{Claims, Mistakes, quoted};
use super::read::{read_name, span};
use super::section::{Found, Section, wrong_type};
use super::spelling::nearest;
use super::{Place, VrfSpec};
use crate::fpm::{self, TableId};
use crate::units::Nanos;

/// How long routes stay that a daemon did not say again after it came back, where the file says nothing.
const DEFAULT_STALE: Nanos = Nanos::from_secs(30);

/// `[[feed]]`: a listener for streams of routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedSpec {
    /// Its name, unique among feeds.
    pub name: String,
    /// Where it listens.
    pub listen: fpm::Place,
    /// The network namespace in which it listens: a name under `/run/netns`, or a path.
    pub netns: Option<PathBuf>,
    /// The VRF, by its index, that the routes of each kernel table are for.
    pub tables: Vec<(TableId, usize)>,
    /// How long what is not said again stays after a client has come.
    pub stale: Nanos,
    /// How long routes stay when no client comes again; none: for ever.
    pub keep: Option<Nanos>,
    /// Where the file says so.
    pub place: Place,
}

/// Reads a feed. `None` when it listens nowhere, which has been said.
pub(super) fn read_feed(
    mistakes: &mut Mistakes<'_>,
    mut section: Section<'_, '_>,
    claims: &mut Claims,
    vrfs: &[VrfSpec],
) -> Option<FeedSpec> {
    let name = read_name(mistakes, &mut section, claims, "feed").unwrap_or_default();
    section.require(mistakes, "listen", "give listen = \"127.0.0.1:2620\", or the path of a unix socket");
    let shape = ("a place to listen", "write ADDRESS:PORT, as in \"127.0.0.1:2620\", or a path with a slash");
    let listen = section.parsed(mistakes, "listen", shape, |text| text.parse::<fpm::Place>().ok());
    let shape = ("a network namespace", "give a name that `ip netns` lists, or a path such as /proc/PID/ns/net");
    let netns = section.parsed(mistakes, "netns", shape, |text| {
        (!text.is_empty() && !text.contains('\0')).then(|| PathBuf::from(text))
    });
    if let Some(Found { value, at }) = &listen {
        let whole = match &netns {
            Some(netns) => format!("{value} in netns {}", netns.value.display()),
            None => value.to_string(),
        };
        claims.claim(mistakes, ("place to listen", &whole), *at, &section.thing, "give each feed a place of its own");
    }
    let tables = read_tables(mistakes, &mut section, vrfs);
    let range = Nanos::from_secs(1)..=Nanos::from_secs(86_400);
    let stale = span(mistakes, &mut section, "stale", range.clone(), "30s");
    let keep = span(mistakes, &mut section, "keep", range, "10min");
    let place = mistakes.place(section.at);
    section.finish(mistakes, |key| {
        matches!(key, "vrf" | "table").then(|| "write tables = { \"254\" = \"r1\" }: kernel table, VRF".into())
    });
    Some(FeedSpec {
        name,
        listen: listen?.value,
        netns: netns.map(|found| found.value),
        tables,
        stale: stale.unwrap_or(DEFAULT_STALE),
        keep,
        place,
    })
}

fn read_tables(mistakes: &mut Mistakes<'_>, section: &mut Section<'_, '_>, vrfs: &[VrfSpec]) -> Vec<(TableId, usize)> {
    section.require(
        mistakes,
        "tables",
        "give tables = { \"254\" = \"r1\" }: which VRF the routes of a kernel table are for",
    );
    let Some(value) = section.value("tables") else { return Vec::new() };
    let example = "write tables = { \"254\" = \"r1\" }";
    let DeValue::Table(table) = value.get_ref() else {
        let wrong = wrong_type("tables", value.get_ref(), "a table of kernel table and VRF");
        mistakes.add(value.span().start, &section.thing, wrong, example);
        return Vec::new();
    };
    if table.is_empty() {
        mistakes.add(value.span().start, &section.thing, "tables is empty", example);
    }
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    let mut tables: Vec<(TableId, usize)> = Vec::new();
    for (key, value) in entries {
        let (text, at) = (key.get_ref(), key.span().start);
        let number = text.parse::<u32>().ok().filter(|&number| number > 0);
        let Some(number) = number else {
            let remedy = "give the number that `ip route show table` takes, as in \"254\" for the main one";
            mistakes.add(at, &section.thing, format!("{} is no kernel table", quoted(text)), remedy);
            continue;
        };
        let DeValue::String(name) = value.get_ref() else {
            let wrong = wrong_type(&format!("table {number}"), value.get_ref(), "the name of a VRF");
            mistakes.add(value.span().start, &section.thing, wrong, example);
            continue;
        };
        let Some(vrf) = vrfs.iter().position(|vrf| !name.is_empty() && vrf.name == **name) else {
            let names = vrfs.iter().map(|vrf| &*vrf.name).filter(|name| !name.is_empty());
            let remedy = match nearest(name, names) {
                Some(near) => format!("did you mean {near:?}?"),
                None => "add a [[vrf]] section with this name".into(),
            };
            mistakes.add_missing(
                value.span().start,
                &section.thing,
                format!("there is no vrf {}", quoted(name)),
                remedy,
            );
            continue;
        };
        if tables.iter().any(|(known, _)| known.0 == number) {
            mistakes.add(at, &section.thing, format!("table {number} is given twice"), "keep one of the two");
        } else if tables.iter().any(|(_, known)| *known == vrf) {
            let wrong = format!("two tables are for vrf {name}");
            mistakes.add(at, &section.thing, wrong, "a feed tells a VRF one table: keep one, or add another [[feed]]");
        }
        tables.push((TableId(number), vrf));
    }
    tables
}
