//! `[[vrf]] routes = "FILE"`: static routes by the hundred thousand, one a line.
//!
//! ```text
//! # a comment
//! 192.0.2.0/24 via 10.0.0.254
//! 2001:db8::/32 via fe80::1 dev eth0
//! 198.51.100.0/24 via 10.0.0.254,10.0.1.254    # several ways, each flow takes one
//! 10.9.0.0/16 dev eth1
//! 203.0.113.0/24 blackhole
//! ```
//!
//! TOML would hold a million routes in a hundred times the memory, and its reader is not made for it. What the lines
//! have in common is kept once: after a prefix, the rest of the line is looked up among those that were read before, so a
//! line costs the reading of its prefix. The file is refused as a whole with what is wrong in it, up to
//! [`MOST_MISTAKES`] lines; it must never panic, whatever is in it.

use std::collections::HashMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use super::mistakes::{one_line, quoted};
use super::route::{objection_hop, objection_prefix};
use super::{ConfigError, Place, VrfInterfaceSpec, VrfSpec};
use crate::fib::MAX_HOPS;
use crate::prefix::{Prefix, read_pair};
use crate::rib::{Action, Hop, InterfaceId, Route};

/// The largest file that is read: sixteen million routes, and their comments.
const MAX_FILE: u64 = 1 << 30;
/// Mistakes that are told of one file; the last line says that there are more.
const MOST_MISTAKES: usize = 20;

/// The routes of a file, no two for one prefix, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedRoutes {
    /// Each different action once.
    actions: Vec<Action>,
    routes: Vec<(Prefix, u32)>,
}

impl ListedRoutes {
    /// How many there are.
    pub const fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// All of them, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = Route> + '_ {
        self.routes.iter().filter_map(|&(prefix, action)| {
            Some(Route { prefix, metric: 0, action: self.actions.get(action as usize)?.clone() })
        })
    }
}

/// Reads the route file of a VRF, if it has one.
///
/// # Errors
/// It cannot be read, or the mistakes that are in it.
pub(super) fn load(vrf: &VrfSpec, folder: &Path) -> Result<ListedRoutes, Vec<ConfigError>> {
    let Some(name) = &vrf.route_file else { return Ok(ListedRoutes::default()) };
    let path = folder.join(name);
    let unreadable = |wrong: String, remedy: &str| {
        vec![ConfigError {
            file: path.clone(),
            place: None,
            thing: format!("routes of vrf {}", vrf.name),
            wrong,
            remedy: remedy.into(),
        }]
    };
    let remedy = "give the path of a text file, relative to the configuration's folder";
    let found = fs::metadata(&path).map_err(|e| unreadable(format!("cannot be read: {e}"), remedy))?;
    if !found.is_file() {
        return Err(unreadable("is not a file".into(), remedy));
    }
    if found.len() > MAX_FILE {
        return Err(unreadable(format!("has {} bytes", found.len()), "keep it below 1 GiB"));
    }
    let bytes = fs::read(&path).map_err(|e| unreadable(format!("cannot be read: {e}"), remedy))?;
    let text = String::from_utf8(bytes).map_err(|e| {
        let line = e.as_bytes()[..e.utf8_error().valid_up_to()].iter().filter(|&&b| b == b'\n').count() + 1;
        unreadable(format!("line {line} is not UTF-8"), "save it as UTF-8 text")
    })?;
    parse(&text, &path, vrf)
}

/// Reads routes from text; `file` is what messages call it.
///
/// # Errors
/// The mistakes that are in it.
pub(super) fn parse(text: &str, file: &Path, vrf: &VrfSpec) -> Result<ListedRoutes, Vec<ConfigError>> {
    let mut reader = Reader::new(file, vrf);
    for (line, text) in (1..).zip(text.lines()) {
        if reader.is_full() {
            break;
        }
        reader.line(line, text);
    }
    reader.finish()
}

struct Reader<'t, 'v> {
    file: &'t Path,
    vrf: &'v VrfSpec,
    listed: ListedRoutes,
    /// The line of each route.
    lines: Vec<u32>,
    /// What follows a prefix of IPv4 (false) or IPv6 (true), and which action it is; none: it is a mistake.
    known: [HashMap<&'t str, u32>; 2],
    last: [(&'t str, u32); 2],
    mistakes: Vec<ConfigError>,
}

/// A piece of a line, what is wrong with it, and what to do.
type Objection<'t> = (&'t str, String, String);

impl<'t, 'v> Reader<'t, 'v> {
    fn new(file: &'t Path, vrf: &'v VrfSpec) -> Self {
        Self {
            file,
            vrf,
            listed: ListedRoutes::default(),
            lines: Vec::new(),
            known: [HashMap::new(), HashMap::new()],
            last: [("", 0); 2],
            mistakes: Vec::new(),
        }
    }

    /// Whether enough is wrong.
    fn is_full(&self) -> bool {
        self.mistakes.len() > MOST_MISTAKES
    }

    fn line(&mut self, number: u32, whole: &'t str) {
        let text = whole.split('#').next().unwrap_or_default().trim();
        if text.is_empty() {
            return;
        }
        let (to, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
        let read = read_prefix(to).and_then(|prefix| Ok((prefix, self.action(prefix, rest.trim_start(), text)?)));
        match read {
            Ok(_) if self.lines.len() + self.vrf.routes.len() >= self.vrf.max_routes => {
                let wrong = format!("there are more routes than max_routes = {} allows", self.vrf.max_routes);
                let remedy = "raise max_routes of the [[vrf]], or take routes out";
                self.add(Place { line: number, column: 1 }, to, wrong, remedy.into());
                // All that follow are too many as well.
                let full = self.mistakes.last().cloned();
                self.mistakes.extend(full.into_iter().cycle().take(MOST_MISTAKES));
                self.mistakes.truncate(MOST_MISTAKES + 1);
            }
            Ok(route) => {
                self.listed.routes.push(route);
                self.lines.push(number);
            }
            Err((piece, wrong, remedy)) => {
                // `piece` is a part of `whole`.
                let offset = (piece.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize).min(whole.len());
                let column = whole.get(..offset).map_or(1, |before| before.chars().count() as u32 + 1);
                self.add(Place { line: number, column }, to, wrong, remedy);
            }
        }
    }

    fn add(&mut self, place: Place, to: &str, wrong: String, remedy: String) {
        let thing = format!("vrf {} route to {}", self.vrf.name, cut(to));
        self.mistakes.push(ConfigError { file: self.file.to_owned(), place: Some(place), thing, wrong, remedy });
    }

    /// Which action the rest of a line is.
    fn action(&mut self, prefix: Prefix, rest: &'t str, whole: &'t str) -> Result<u32, Objection<'t>> {
        let family = usize::from(!prefix.is_ipv4());
        let (last, index) = self.last[family];
        if last == rest && !last.is_empty() {
            return Ok(index);
        }
        let index = match self.known[family].get(rest) {
            Some(&index) => index,
            None => {
                let action = read_action(prefix, rest, whole, &self.vrf.interfaces)?;
                let index = self.listed.actions.len() as u32;
                self.listed.actions.push(action);
                self.known[family].insert(rest, index);
                index
            }
        };
        self.last[family] = (rest, index);
        Ok(index)
    }

    /// No prefix may have two routes.
    fn finish(mut self) -> Result<ListedRoutes, Vec<ConfigError>> {
        let mut order: Vec<(Prefix, u32)> =
            self.listed.routes.iter().zip(&self.lines).map(|(&(prefix, _), &line)| (prefix, line)).collect();
        // Most files are in order already, and then this is one pass.
        order.sort_unstable();
        for pair in order.windows(2) {
            let [(prefix, first), (other, line)] = *pair else { continue };
            if prefix == other && !self.is_full() {
                let wrong = format!("it has a route already, in line {first}");
                let remedy = "keep one of the two, or give one several ways: via ADDRESS,ADDRESS";
                self.add(Place { line, column: 1 }, &prefix.to_string(), wrong, remedy.into());
            }
        }
        for route in &self.vrf.routes {
            if let Ok(at) = order.binary_search_by_key(&route.prefix, |&(prefix, _)| prefix)
                && !self.is_full()
            {
                let wrong = "it has a [[vrf.route]] already".to_owned();
                self.add(Place { line: order[at].1, column: 1 }, &route.prefix.to_string(), wrong, "keep one".into());
            }
        }
        if self.mistakes.is_empty() {
            self.listed.routes.shrink_to_fit();
            return Ok(self.listed);
        }
        self.mistakes.dedup();
        self.mistakes.sort_by_key(|mistake| mistake.place);
        if self.mistakes.len() > MOST_MISTAKES {
            self.mistakes.truncate(MOST_MISTAKES);
            self.mistakes.push(ConfigError {
                file: self.file.to_owned(),
                place: None,
                thing: format!("routes of vrf {}", self.vrf.name),
                wrong: "there are more mistakes".into(),
                remedy: "repair these first".into(),
            });
        }
        Err(self.mistakes)
    }
}

fn read_prefix(text: &str) -> Result<Prefix, Objection<'_>> {
    let Some((network, length)) = read_pair(text) else {
        let remedy = "write a route like 10.0.0.0/8 via 10.0.0.254, or 0.0.0.0/0 for all that no other route has";
        return Err((text, format!("{} is not a network", quoted(text)), remedy.into()));
    };
    Prefix::new(network, length).ok_or_else(|| {
        let (wrong, remedy) = objection_prefix(network, length);
        (text, wrong, remedy)
    })
}

/// The action that a line's rest says; `whole` is the line.
fn read_action<'t>(
    prefix: Prefix,
    rest: &'t str,
    whole: &'t str,
    interfaces: &[VrfInterfaceSpec],
) -> Result<Action, Objection<'t>> {
    const SHAPE: &str =
        "write via ADDRESS[,ADDRESS] [dev INTERFACE], dev INTERFACE, blackhole, unreachable or prohibit";
    let mut words = rest.split_ascii_whitespace();
    let mut via = None;
    let mut dev = None;
    let first = words.next();
    let action = match first {
        Some("blackhole") => Some(Action::Blackhole),
        Some("unreachable") => Some(Action::Unreachable),
        Some("prohibit") => Some(Action::Prohibit),
        _ => None,
    };
    let mut word = if action.is_some() { words.next() } else { first };
    while let Some(name) = word {
        let slot = match name {
            "via" if action.is_none() => &mut via,
            "dev" if action.is_none() => &mut dev,
            _ => return Err((name, format!("{} is not understood", quoted(name)), SHAPE.into())),
        };
        let Some(value) = words.next() else {
            return Err((name, format!("nothing follows {name}"), SHAPE.into()));
        };
        if slot.replace(value).is_some() {
            return Err((name, format!("{name} is there twice"), "keep one; write several ways with commas".into()));
        }
        word = words.next();
    }
    if let Some(action) = action {
        return Ok(action);
    }
    let interface = match dev {
        None => None,
        Some(dev) => match interfaces.iter().position(|interface| interface.name == dev) {
            Some(at) => Some(InterfaceId(at as u16)),
            None => {
                let known: Vec<_> = interfaces.iter().take(8).map(|interface| &*interface.name).collect();
                let remedy = format!("name one of the VRF's own [[vrf.interface]] sections: {}", known.join(", "));
                return Err((dev, format!("there is no interface {}", quoted(dev)), remedy));
            }
        },
    };
    let mut hops = Vec::new();
    for text in via.into_iter().flat_map(|via| via.split(',')) {
        let Ok(gateway) = text.parse::<IpAddr>() else {
            let remedy = "give that of a neighbour, like 10.0.0.254; several with commas and no spaces";
            return Err((text, format!("{} is not an address", quoted(text)), remedy.into()));
        };
        if let Some((wrong, remedy)) = objection_hop(gateway, Some(prefix), interface.is_some(), interfaces) {
            return Err((text, format!("via {gateway} {wrong}"), remedy));
        }
        hops.push(Hop { gateway: Some(gateway), interface, weight: 1 });
    }
    if hops.len() > MAX_HOPS {
        return Err((whole, format!("it has {} ways", hops.len()), format!("give at most {MAX_HOPS}")));
    }
    if hops.is_empty() {
        let Some(interface) = interface else {
            return Err((whole, "it leads nowhere".into(), SHAPE.into()));
        };
        hops.push(Hop { gateway: None, interface: Some(interface), weight: 1 });
    }
    Ok(Action::Via(hops))
}

/// Text from the file, for the name of a thing.
fn cut(text: &str) -> String {
    one_line(&text.chars().take(50).collect::<String>())
}

#[cfg(test)]
#[path = "tests/route_file.rs"]
mod tests;
