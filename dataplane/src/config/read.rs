//! From text to [`Config`]: the file's sections in order, each mistake noted, reading on after each.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeTable;

use super::feed::read_feed;
use super::mistakes::{Claims, Mistakes, one_line, quoted};
use super::placing::place_vrfs;
use super::port::{PortReader, add_homeless};
use super::route_file;
use super::section::{Found, Section};
use super::span::parse_span;
use super::vrf::VrfReader;
use super::{Config, ConfigError, ConfigErrors, DEFAULT_CONTROL, DomainSpec, GuestSpec, PortSpec, VrfSpec, WorkerSpec};
use crate::link_rate::LineRate;
use crate::shares::{GuestTerms, MOST_BURST, SLOWEST, Weight};
use crate::units::Nanos;

/// The largest file that is read: a configuration of thousands of guests is a tenth of it.
const MAX_FILE: u64 = 16 << 20;
/// Longest path of a unix socket (unix(7): 108 bytes with the NUL).
const MAX_SOCKET_PATH: usize = 107;
const DEFAULT_WORKER: (usize, Nanos) = (32_768, Nanos::from_micros(50));
const DEFAULT_DOMAIN: (Nanos, usize) = (Nanos::from_secs(300), 4_096);

impl Config {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read, or every mistake that is in it.
    pub fn load(file: &Path) -> Result<Self, ConfigErrors> {
        let unreadable = |wrong: String, remedy| ConfigErrors::unreadable(file, wrong, remedy);
        let size = std::fs::metadata(file)
            .map_err(|e| unreadable(format!("cannot be read: {e}"), "give the path of a TOML file"))?;
        if !size.is_file() && size.len() > 0 {
            return Err(unreadable("is not a file".into(), "give the path of a TOML file"));
        }
        if size.len() > MAX_FILE {
            return Err(unreadable(format!("has {} bytes", size.len()), "keep it below 16 MiB"));
        }
        let bytes = std::fs::read(file)
            .map_err(|e| unreadable(format!("cannot be read: {e}"), "give the path of a TOML file"))?;
        let text = String::from_utf8(bytes)
            .map_err(|e| unreadable(format!("is not UTF-8: {}", e.utf8_error()), "save it as UTF-8 text"))?;
        let (mut config, mut errors) = read(&text, file);
        let folder = file.parent().unwrap_or_else(|| Path::new(""));
        for vrf in &mut config.vrfs {
            match route_file::load(vrf, folder) {
                Ok(listed) => vrf.listed = Arc::new(listed),
                Err(found) => errors.extend(found),
            }
        }
        if errors.is_empty() { Ok(config) } else { Err(ConfigErrors(errors)) }
    }

    /// Reads a configuration from its text; `file` is what messages call it. Files of routes that it names are not read.
    ///
    /// # Errors
    /// Every mistake that is in it.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigErrors> {
        let (config, errors) = read(text, file);
        if errors.is_empty() { Ok(config) } else { Err(ConfigErrors(errors)) }
    }
}

/// What could be read, and every mistake.
fn read(text: &str, file: &Path) -> (Config, Vec<ConfigError>) {
    let mut mistakes = Mistakes::new(text, file);
    let (root, syntax) = DeTable::parse_recoverable(text);
    for error in &syntax {
        mistakes.add_syntax(error.span().map_or(text.len(), |span| span.start), error.message());
    }
    let config = read_root(&mut mistakes, root.get_ref(), file);
    (config, mistakes.finish())
}

fn read_root(mistakes: &mut Mistakes<'_>, table: &DeTable<'_>, file: &Path) -> Config {
    let mut root = Section::new("configuration".into(), 0, table);
    let mut claims = Claims::default();
    let control = root.string(mistakes, "control");
    let control = control.and_then(|path| socket_path(mistakes, &root.thing, "control", path));
    if let Some(Found { value, at }) = &control {
        let socket = ("socket path", value.to_string_lossy());
        claims.claim(mistakes, (socket.0, &socket.1), *at, &root.thing, "");
    }
    let seats = root.integer(mistakes, "seats", 0..=1_024).map_or(0, |found| found.value as usize);
    let workers = read_workers(mistakes, &mut root, &mut claims);
    let domains = read_domains(mistakes, &mut root, &mut claims);
    let mut reader = PortReader::new(&domains, workers.len(), claims);
    let (mut ports, mut begins) = (Vec::new(), Vec::new());
    for (n, (at, table)) in root.sections(mistakes, "port", "port").into_iter().enumerate() {
        let section = Section::new(format!("[[port]] {}", n + 1), at, table);
        ports.extend(reader.read(mistakes, section, None));
        begins.resize(ports.len(), at);
    }
    let (mut guests, mut portless) = (Vec::new(), Vec::new());
    for (n, (at, table)) in root.sections(mistakes, "guest", "guest").into_iter().enumerate() {
        let mut section = Section::new(format!("[[guest]] {}", n + 1), at, table);
        let name = read_name(mistakes, &mut section, &mut reader.claims, "guest");
        let name = name.unwrap_or_else(|| format!("guest {}", n + 1));
        let terms = read_terms(mistakes, &mut section);
        let tables = section.sections(mistakes, "port", "guest.port");
        if tables.is_empty() && !section.has("port") {
            portless.push((guests.len(), at, section.thing.clone()));
        }
        for (n, (at, table)) in tables.into_iter().enumerate() {
            let default_name = format!("{name}.{n}");
            let thing = format!("port {}", one_line(&default_name));
            ports.extend(reader.read(mistakes, Section::new(thing, at, table), Some((guests.len(), default_name))));
        }
        section.finish(mistakes, |_| Some("a guest has a name, a weight, rates and [[guest.port]] sections".into()));
        guests.push(GuestSpec { name, terms, place: mistakes.place(at) });
    }
    let mut vrfs = read_vrfs(mistakes, &mut root, &mut reader, (&ports, &begins), &domains, &guests);
    for (guest, at, thing) in portless {
        if !vrfs.iter().any(|vrf| vrf.guest == Some(guest)) {
            mistakes.add_missing(at, &thing, "it has no port", "add a [[guest.port]] section below it");
        }
    }
    place_vrfs(mistakes, &mut vrfs, &mut ports, workers.len());
    let mut feeds = Vec::new();
    for (n, (at, table)) in root.sections(mistakes, "feed", "feed").into_iter().enumerate() {
        let section = Section::new(format!("[[feed]] {}", n + 1), at, table);
        feeds.extend(read_feed(mistakes, section, &mut reader.claims, &vrfs));
    }
    if !root.has("port") && !root.has("guest") && seats == 0 {
        let remedy = "add [[port]] sections for uplinks, and [[guest]] with [[guest.port]] for virtual routers; or seats for \
                      those that come later";
        mistakes.add_missing(0, &root.thing, "it has no port", remedy);
    }
    root.finish(mistakes, |_| None);
    let control = control.map_or_else(|| DEFAULT_CONTROL.into(), |found| found.value);
    Config { file: file.to_owned(), control, workers, domains, guests, seats, ports, vrfs, feeds }
}

fn read_vrfs(
    mistakes: &mut Mistakes<'_>,
    root: &mut Section<'_, '_>,
    reader: &mut PortReader<'_>,
    (ports, begins): (&[PortSpec], &[usize]),
    domains: &[DomainSpec],
    guests: &[GuestSpec],
) -> Vec<VrfSpec> {
    let mut vrf_reader = VrfReader::new(ports, domains, guests);
    let mut vrfs = Vec::new();
    for (n, (at, table)) in root.sections(mistakes, "vrf", "vrf").into_iter().enumerate() {
        let section = Section::new(format!("[[vrf]] {}", n + 1), at, table);
        vrfs.push(vrf_reader.read(mistakes, section, &mut reader.claims));
    }
    for (at, thing) in &reader.homeless {
        // A port of no known kind has no place among the ports; that has been said of it.
        let port = begins.iter().position(|begin| begin == at);
        if port.is_none_or(|port| !vrf_reader.uses(port)) {
            add_homeless(mistakes, *at, thing);
        }
    }
    vrfs
}

/// What a guest is entitled to.
fn read_terms(mistakes: &mut Mistakes<'_>, section: &mut Section<'_, '_>) -> GuestTerms {
    let mut terms = GuestTerms::default();
    if let Some(found) = section.integer(mistakes, "weight", 1..=Weight::MAX.into()) {
        terms.weight = Weight::new(found.value as u16).unwrap_or_default();
    }
    let both = read_rate(mistakes, section, "rate");
    terms.rate_from = read_rate(mistakes, section, "rate_from").or(both);
    terms.rate_to = read_rate(mistakes, section, "rate_to").or(both);
    terms.burst = section.integer(mistakes, "burst", 0..=MOST_BURST).map(|found| found.value);
    if let (Some(_), None, None) = (terms.burst, terms.rate_from, terms.rate_to) {
        let remedy = "give it a rate too, or take burst out";
        mistakes.add_missing(section.at, &section.thing, "it has a burst and no rate", remedy);
    }
    terms
}

/// A rate in quotes.
pub(super) fn read_rate(
    mistakes: &mut Mistakes<'_>,
    section: &mut Section<'_, '_>,
    key: &'static str,
) -> Option<LineRate> {
    let shape = ("a rate of 1kbit to 10Tbit", "write it like \"1Gbit\", \"200Mbit\" or \"10kbit\"");
    let accept = |text: &str| LineRate::parse(text).ok().filter(|rate| rate.bits_per_second() >= SLOWEST);
    section.parsed(mistakes, key, shape, accept).map(|found| found.value)
}

fn read_workers(mistakes: &mut Mistakes<'_>, root: &mut Section<'_, '_>, claims: &mut Claims) -> Vec<WorkerSpec> {
    let mut workers = Vec::new();
    for (n, (at, table)) in root.sections(mistakes, "worker", "worker").into_iter().enumerate() {
        let mut section = Section::new(format!("worker {n}"), at, table);
        let core = section.integer(mistakes, "core", 0..=1023);
        if let Some(Found { value, at }) = core {
            let remedy = "pin each worker to a core of its own";
            claims.claim(mistakes, ("core", &value.to_string()), at, &section.thing, remedy);
        }
        let chunks = section.integer(mistakes, "chunks", 1_024..=4_194_304);
        let spin = span(mistakes, &mut section, "spin", Nanos(0)..=Nanos::from_secs(1), "50us");
        section.finish(mistakes, |_| None);
        workers.push(WorkerSpec {
            core: core.map(|found| found.value as usize),
            chunks: chunks.map_or(DEFAULT_WORKER.0, |found| found.value as usize),
            spin: spin.unwrap_or(DEFAULT_WORKER.1),
            place: mistakes.place(at),
        });
    }
    if workers.is_empty() {
        let (chunks, spin) = DEFAULT_WORKER;
        workers.push(WorkerSpec { core: None, chunks, spin, place: mistakes.place(0) });
    }
    workers
}

fn read_domains(mistakes: &mut Mistakes<'_>, root: &mut Section<'_, '_>, claims: &mut Claims) -> Vec<DomainSpec> {
    let mut domains = Vec::new();
    for (n, (at, table)) in root.sections(mistakes, "domain", "domain").into_iter().enumerate() {
        let mut section = Section::new(format!("[[domain]] {}", n + 1), at, table);
        let name = read_name(mistakes, &mut section, claims, "domain");
        // 802.1Q-2018, table 8-8: ageing time from 10 s to 1,000,000 s; shorter ones serve tests.
        let age = span(mistakes, &mut section, "age", Nanos::from_secs(1)..=Nanos::from_secs(1_000_000), "300s");
        let max_learned = section.integer(mistakes, "max_learned", 1..=1_048_576);
        section.finish(mistakes, |key| {
            (key == "ports" || key == "vlan" || key == "vlans")
                .then(|| "a port says which domains it is in: domain = NAME, vlans = { 10 = NAME }".into())
        });
        domains.push(DomainSpec {
            name: name.unwrap_or_default(),
            age: age.unwrap_or(DEFAULT_DOMAIN.0),
            max_learned: max_learned.map_or(DEFAULT_DOMAIN.1, |found| found.value as usize),
            place: mistakes.place(at),
        });
    }
    domains
}

/// The section's name, which must be there, and which messages call the section by from then on.
pub(super) fn read_name(
    mistakes: &mut Mistakes<'_>,
    section: &mut Section<'_, '_>,
    claims: &mut Claims,
    what: &'static str,
) -> Option<String> {
    section.require(mistakes, "name", &format!("give the {what} a name = \"...\" of its own"));
    claim_name(mistakes, section, claims, what)
}

/// As [`read_name`], where the section can do without.
pub(super) fn claim_name(
    mistakes: &mut Mistakes<'_>,
    section: &mut Section<'_, '_>,
    claims: &mut Claims,
    what: &'static str,
) -> Option<String> {
    let shape = ("a name", "use 1 to 64 letters, digits and . _ - : and begin with a letter or digit");
    let accept = |text: &str| is_name(text).then(|| text.to_owned());
    let Found { value: name, at } = section.parsed(mistakes, "name", shape, accept)?;
    section.thing = format!("{what} {name}");
    claims.claim(mistakes, (what, &name), at, &section.thing, &format!("give each {what} a name of its own"));
    Some(name)
}

/// Names stand in tables and JSON, in names of threads, and on command lines.
fn is_name(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:".contains(&b))
}

/// A span of time in quotes, within a range.
pub(super) fn span(
    mistakes: &mut Mistakes<'_>,
    section: &mut Section<'_, '_>,
    key: &'static str,
    range: std::ops::RangeInclusive<Nanos>,
    example: &str,
) -> Option<Nanos> {
    let how = format!("write a number with its unit (ns, us, ms, s, min, h), like {example:?}");
    let Found { value, at } = section.parsed(mistakes, key, ("a time", &how), parse_span)?;
    if range.contains(&value) {
        return Some(value);
    }
    let seconds = |n: &Nanos| n.0 / 1_000_000_000;
    let remedy = format!("give {}s to {}s", seconds(range.start()), seconds(range.end()));
    mistakes.add(at, &section.thing, format!("{key} is out of range"), remedy);
    None
}

/// A path that a unix socket can have.
pub(super) fn socket_path(
    mistakes: &mut Mistakes<'_>,
    thing: &str,
    key: &str,
    Found { value, at }: Found<&str>,
) -> Option<Found<PathBuf>> {
    let remedy = if value.is_empty() || value.contains('\0') {
        mistakes.add(at, thing, format!("{key} = {} is not a path", quoted(value)), "give a path");
        return None;
    } else if value.len() > MAX_SOCKET_PATH {
        format!("a socket's path has at most {MAX_SOCKET_PATH}: choose a shorter one, such as /run/pointsman/NAME.sock")
    } else {
        return Some(Found { value: value.into(), at });
    };
    mistakes.add(at, thing, format!("{key} = {} has {} bytes", quoted(value), value.len()), remedy);
    None
}
