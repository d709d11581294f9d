//! `tag`: what the schema has no element for, under keys that we give a meaning.
//!
//! A key that we do not know stays a tag. One that we know must be sound, and be where it means something.

use super::tree::Element;

use super::element::{Reader, Text};
use crate::diagnostic::quoted;
use crate::language::words::{number_error, parse_bool, parse_cost};
use crate::model::{At, Cost, Direction, Endpoint, Link, Name, Per, Port, Ports, Resource, Router, Tag};

/// The component that a tag is on.
pub(super) enum TagOwner<'m> {
    Router(&'m mut Router),
    /// The direction is apart, because without the tag it follows from the bandwidths.
    Link(&'m mut Link, &'m mut Option<Direction>),
    /// A kind that has no keys of its own.
    Other(&'static str),
}

/// Keys with a meaning, and what they are for.
const KEYS: [(&str, &str); 11] = [
    ("provisioned", "component"),
    ("cost", "component"),
    ("ports", "router"),
    ("portmap", "router"),
    ("definition", "link"),
    ("direction", "link"),
    ("per", "link"),
    ("source.port", "link"),
    ("destination.port", "link"),
    ("source.interface", "link"),
    ("destination.interface", "link"),
];

/// Whether a tag with this key is more than a tag.
pub(crate) fn known_tag(key: &str) -> bool {
    KEYS.iter().any(|(known, _)| *known == key)
}

impl<'t> Reader<'t> {
    pub(super) fn tag(&mut self, element: Element<'_, 't>, resource: &mut Resource, owner: &mut TagOwner<'_>) {
        let (mut key, mut value) = (None, None);
        let mut next = element.first_child();
        while let Some(child) = self.next(&mut next) {
            match child.name() {
                "key" => {
                    let text = self.filled(child);
                    self.once(&mut key, child, text);
                }
                "value" => {
                    let text = Some(self.text(child));
                    self.once(&mut value, child, text);
                }
                _ => self.unknown(child, &["key", "value"]),
            }
        }
        if let Some(Text { text: key, offset }) = &key
            && let Some(&(known, of)) = KEYS.iter().find(|(known, _)| known == key)
        {
            match &value {
                Some(value) if !value.text.is_empty() => {
                    self.known_tag(element, (known, of, *offset), value, resource, owner);
                }
                _ => self.wrong(element, *offset, format!("tag {known} has no value"), "give it one, or take it out"),
            }
            return;
        }
        let own = |text: Option<Text<'_>>| text.map(|text| text.text.into_owned());
        resource.tags.push(Tag { key: own(key), value: own(value) });
    }

    fn known_tag(
        &mut self,
        element: Element<'_, 't>,
        (key, of, key_offset): (&str, &str, usize),
        value: &Text<'_>,
        resource: &mut Resource,
        owner: &mut TagOwner<'_>,
    ) {
        let mut tag = KnownTag { reader: self, element, key, key_offset, value };
        match (key, owner) {
            ("provisioned", _) => tag.provisioned(&mut resource.provisioned),
            ("cost", _) => tag.cost(&mut resource.cost),
            ("ports", TagOwner::Router(router)) => tag.ports(&mut router.ports),
            ("portmap", TagOwner::Router(router)) => tag.portmap(&mut router.ports),
            ("definition", TagOwner::Link(link, _)) => tag.text(&mut link.definition),
            ("direction", TagOwner::Link(_, direction)) => tag.word(direction, &Direction::ALL),
            ("per", TagOwner::Link(link, _)) => {
                let mut per = (link.per != Per::default()).then_some(link.per);
                tag.word(&mut per, &Per::ALL);
                link.per = per.unwrap_or_default();
            }
            ("source.port", TagOwner::Link(link, _)) => tag.port(&mut link.source),
            ("destination.port", TagOwner::Link(link, _)) => tag.port(&mut link.destination),
            ("source.interface", TagOwner::Link(link, _)) => tag.text(&mut link.source.interface),
            ("destination.interface", TagOwner::Link(link, _)) => tag.text(&mut link.destination.interface),
            (_, owner) => {
                let kind = match owner {
                    TagOwner::Router(_) => "router",
                    TagOwner::Link(..) => "link",
                    TagOwner::Other(kind) => kind,
                };
                let wrong = format!("tag {key} means nothing on a {kind}");
                self.wrong(element, key_offset, wrong, format!("move it to a {of}, or use another key"));
            }
        }
    }
}

struct KnownTag<'r, 't, 'e, 'a> {
    reader: &'r mut Reader<'t>,
    element: Element<'e, 't>,
    key: &'a str,
    key_offset: usize,
    value: &'a Text<'a>,
}

impl KnownTag<'_, '_, '_, '_> {
    fn wrong(&mut self, wrong: &str, remedy: &str) {
        let wrong = format!("tag {} {} {wrong}", self.key, quoted(&self.value.text));
        self.reader.wrong(self.element, self.value.offset, wrong, remedy);
    }

    fn once<T>(&mut self, slot: &mut Option<T>, value: T) {
        if slot.is_some() {
            let wrong = format!("tag {} is there twice", self.key);
            self.reader.wrong(self.element, self.key_offset, wrong, "keep one");
        } else {
            *slot = Some(value);
        }
    }

    fn at(&mut self) -> At {
        self.reader.positions.at(self.value.offset)
    }

    fn text(&mut self, slot: &mut Option<String>) {
        self.once(slot, self.value.text.to_string());
    }

    fn provisioned(&mut self, slot: &mut bool) {
        match parse_bool(&self.value.text) {
            Some(value) => *slot = value,
            None => self.wrong("is neither true nor false", "write true or false"),
        }
    }

    fn cost(&mut self, slot: &mut Option<Cost>) {
        match parse_cost(&self.value.text) {
            Ok(cost) => self.once(slot, cost),
            Err(error) => {
                let (wrong, remedy) = number_error(error);
                self.wrong(wrong, remedy);
            }
        }
    }

    fn word<T: Copy>(&mut self, slot: &mut Option<T>, words: &[(T, &str)]) {
        match words.iter().find(|(_, word)| *word == self.value.text) {
            Some(&(value, _)) => self.once(slot, value),
            None => {
                let known: Vec<&str> = words.iter().map(|(_, word)| *word).collect();
                self.wrong("is unknown", &format!("write one of {}", known.join(", ")));
            }
        }
    }

    fn number(&mut self, text: &str) -> Option<u32> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let number = digits.then(|| text.parse().ok()).flatten().filter(|&n| (1..=65_535).contains(&n));
        if number.is_none() {
            self.wrong("is no number of ports", "give a whole number from 1 to 65535");
        }
        number
    }

    fn port(&mut self, end: &mut Endpoint) {
        if let Some(number) = self.number(&self.value.text) {
            end.port_at = self.at();
            self.once(&mut end.port, number);
        }
    }

    fn ports(&mut self, slot: &mut Option<Ports>) {
        let Some(count) = self.number(&self.value.text) else { return };
        let at = self.at();
        match slot {
            Some(ports) if ports.count == 0 => (ports.count, ports.at) = (count, at),
            slot => self.once(slot, Ports { count, map: Vec::new(), at }),
        }
    }

    /// `ports 1=A 2=C 3=I`; the first word may be left out.
    fn portmap(&mut self, slot: &mut Option<Ports>) {
        let at = self.at();
        let text = self.value.text.trim();
        let rest = text.strip_prefix("ports").filter(|rest| rest.starts_with(char::is_whitespace)).unwrap_or(text);
        let mut map: Vec<Port> = Vec::new();
        for entry in rest.split_whitespace() {
            let Some((number, to)) = entry.split_once('=').filter(|(_, to)| !to.is_empty()) else {
                return self.wrong("is no port map", "write PORT=ID for each port, like: ports 1=A 2=C");
            };
            let Some(number) = self.number(number) else { return };
            map.push(Port { number, to: Name::new(to, at) });
        }
        map.sort_by_key(|port| port.number);
        let ports = slot.get_or_insert_default();
        if ports.map.is_empty() {
            ports.map = map;
        } else {
            self.once(&mut Some(()), ());
        }
    }
}
