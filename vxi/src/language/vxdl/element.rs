//! Elements of an XML document, read one by one: what is in them once, several times, or should not be there.
//!
//! No entity is resolved but XML's own five, because a document type is refused, and nothing recurses: what is read
//! here is as deep as the language is.

use std::borrow::Cow;

use super::tree::{Attribute, Element};

use super::NAMESPACE;
use crate::diagnostic::{Mistakes, Positions, nearest, one_line, quoted};
use crate::language::words::{SPACE, number_error, parse_bool};
use crate::model::quantity::parse_scaled;
use crate::model::time::parse_timestamp;
use crate::model::{At, Name, NumberError, Timestamp};

/// Levels of elements that are read; the language has seven.
pub(crate) const MAX_DEPTH: usize = 32;

/// A dialect of VXDL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Version 2.0 of the VXDL Forum: a namespace, and no attributes.
    Forum,
    /// Aurora's: no namespace, and ids as attributes.
    Aurora,
}

impl Dialect {
    const fn namespace(self) -> Option<&'static str> {
        match self {
            Self::Forum => Some(NAMESPACE),
            Self::Aurora => None,
        }
    }

    /// Attributes that an element may have.
    fn attributes(self, element: &str) -> &'static [&'static str] {
        match (self, element) {
            (Self::Forum, _) => &[],
            (Self::Aurora, "virtualInfrastructure") => &["id", "owner"],
            (Self::Aurora, "vNode" | "vLink" | "vRouter" | "vStorage" | "vAccessPoint" | "controllerList") => &["id"],
            (Self::Aurora, "controlPlane") => &["type", "routingProtocol"],
            (Self::Aurora, "controller") => &["type"],
            (Self::Aurora, _) => &[],
        }
    }
}

/// A document that is being read.
pub(crate) struct Reader<'t> {
    pub(crate) positions: Positions<'t>,
    pub(crate) mistakes: Mistakes<'t>,
    pub(crate) dialect: Dialect,
}

/// Text of an element, and the offset that it begins at.
#[derive(Clone)]
pub(crate) struct Text<'a> {
    pub(crate) text: Cow<'a, str>,
    pub(crate) offset: usize,
}

impl<'t> Reader<'t> {
    /// The place of an element.
    pub(crate) fn at(&mut self, element: Element<'_, '_>) -> At {
        self.positions.at(element.start())
    }

    /// Notes a mistake at an offset.
    pub(crate) fn wrong(
        &mut self,
        element: Element<'_, '_>,
        offset: usize,
        wrong: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let at = self.positions.at(offset);
        self.mistakes.add(at, thing(element), wrong, remedy);
    }

    /// The next element among siblings; what should not be between them is a mistake.
    pub(crate) fn next<'a, 'd>(&mut self, next: &mut Option<Element<'a, 'd>>) -> Option<Element<'a, 'd>> {
        while let Some(sibling) = *next {
            *next = sibling.next_sibling();
            if sibling.is_element() {
                if sibling.namespace() != self.dialect.namespace() {
                    self.foreign(sibling);
                    continue;
                }
                if !sibling.attributes().is_empty() {
                    self.attributes(sibling);
                }
                return Some(sibling);
            }
            if let Some(text) = sibling.text().filter(|_| sibling.is_text()) {
                let stray = text.trim_start_matches(SPACE);
                if !stray.is_empty() {
                    let parent = sibling.parent().map_or("", |parent| parent.name());
                    let offset = sibling.start() + (text.len() - stray.len());
                    let wrong = format!("text {} within <{parent}>, which has only elements", quoted(stray.trim_end()));
                    self.wrong(sibling, offset, wrong, "take it out, or put it into an element");
                }
            }
        }
        None
    }

    #[cold]
    fn foreign(&mut self, element: Element<'_, '_>) {
        let name = element.name();
        let wrong = match element.namespace() {
            Some(other) => format!("<{name}> is of another language: namespace {}", quoted(other)),
            None => format!("<{name}> is in no namespace"),
        };
        let remedy = match self.dialect.namespace() {
            Some(namespace) => format!("take it out, or declare xmlns=\"{namespace}\" on the root alone"),
            None => "take it out: this dialect has no namespace".into(),
        };
        self.wrong(element, element.start(), wrong, remedy);
    }

    /// Tells of attributes that the element cannot have.
    fn attributes(&mut self, element: Element<'_, '_>) {
        let name = element.name();
        let known = self.dialect.attributes(name);
        for attribute in element.attributes() {
            if !attribute.of_schema() && (attribute.has_namespace() || !known.contains(&attribute.name())) {
                let wrong = format!("<{name}> has an attribute {}", quoted(attribute.name()));
                let remedy = match self.dialect {
                    Dialect::Forum => {
                        "VXDL 2.0 has no attributes: make it an element within, or a tag with key and value"
                    }
                    Dialect::Aurora => "take it out: Aurora's dialect does not have it",
                };
                self.wrong(element, attribute.start(), wrong, remedy);
            }
        }
    }

    /// An element that does not belong where it is.
    #[cold]
    pub(crate) fn unknown(&mut self, element: Element<'_, '_>, known: &[&str]) {
        let name = element.name();
        let parent = element.parent().map_or("document", |parent| parent.name());
        let start = element.start();
        let remedy = match nearest(name, known.iter().copied()) {
            Some(meant) => format!("did you mean <{meant}>?"),
            None if known.is_empty() => "take it out: nothing may be within".into(),
            None => format!("take it out; known here are {}", known.join(", ")),
        };
        if deeper_than(element, MAX_DEPTH) {
            let wrong = format!("elements are nested deeper than {MAX_DEPTH} levels in <{}>", one_line(name));
            self.wrong(element, start, wrong, remedy);
        } else {
            self.wrong(element, start, format!("there is no <{}> in <{parent}>", one_line(name)), remedy);
        }
    }

    /// The text of an element that has nothing else, without space around it.
    pub(crate) fn text<'a>(&mut self, element: Element<'a, 't>) -> Text<'a> {
        let (whole, offset) = match element.first_child() {
            None => (Cow::Borrowed(""), element.start()),
            Some(only) if only.is_text() && only.next_sibling().is_none() => {
                (Cow::Borrowed(only.text().unwrap_or("")), only.start())
            }
            Some(first) => {
                let mut whole = String::new();
                for part in element.children() {
                    if part.is_element() {
                        self.unknown(part, &[]);
                    } else if part.is_text() {
                        whole.push_str(part.text().unwrap_or(""));
                    }
                }
                (Cow::Owned(whole), first.start())
            }
        };
        let skipped = whole.len() - whole.trim_start_matches(SPACE).len();
        let text = match whole {
            Cow::Borrowed(whole) => Cow::Borrowed(whole.trim_matches(SPACE)),
            Cow::Owned(whole) => Cow::Owned(whole.trim_matches(SPACE).to_owned()),
        };
        if let Some(c) = text.chars().find(|&c| c.is_control() && c != '\n' && c != '\t') {
            let wrong = format!("<{}> has the control character U+{:04X}", element.name(), u32::from(c));
            self.wrong(element, offset + skipped, wrong, "take it out");
        }
        let offset = if text.is_empty() { element.start() } else { offset + skipped };
        Text { text, offset }
    }

    /// As [`Self::text`], which must not be empty.
    pub(crate) fn filled<'a>(&mut self, element: Element<'a, 't>) -> Option<Text<'a>> {
        let text = self.text(element);
        if text.text.is_empty() {
            let name = element.name();
            self.wrong(element, text.offset, format!("<{name}> is empty"), "give it a value, or take it out");
            return None;
        }
        Some(text)
    }

    /// A name with its place.
    pub(crate) fn name(&mut self, element: Element<'_, 't>) -> Option<Name> {
        let text = self.filled(element)?;
        Some(Name::new(text.text, self.positions.at(text.offset)))
    }

    /// Puts what was read into a slot that is filled once.
    pub(crate) fn once<T>(&mut self, slot: &mut Option<T>, element: Element<'_, '_>, value: Option<T>) {
        if slot.is_some() {
            self.twice(element);
        } else {
            *slot = value;
        }
    }

    /// An element that may be there once is there again.
    #[cold]
    pub(crate) fn twice(&mut self, element: Element<'_, '_>) {
        let name = element.name();
        let parent = element.parent().map_or("document", |parent| parent.name());
        let wrong = format!("<{parent}> has a second <{name}>");
        self.wrong(element, element.start(), wrong, format!("keep one <{name}>"));
    }

    /// Something that must be there is not.
    #[cold]
    pub(crate) fn missing(&mut self, element: Element<'_, '_>, what: &str, remedy: impl Into<String>) {
        let name = element.name();
        self.wrong(element, element.start(), format!("<{name}> has no {what}"), remedy);
    }

    /// Free text.
    pub(crate) fn set_text(&mut self, slot: &mut Option<String>, element: Element<'_, 't>) {
        let text = self.filled(element).map(|text| text.text.into_owned());
        self.once(slot, element, text);
    }

    /// A name that refers to something.
    pub(crate) fn set_name(&mut self, slot: &mut Option<Name>, element: Element<'_, 't>) {
        let name = self.name(element);
        self.once(slot, element, name);
    }

    /// A whole number from `min` to `max`.
    pub(crate) fn integer(&mut self, element: Element<'_, 't>, (min, max): (u64, u64)) -> Option<u64> {
        let Text { text, offset } = self.filled(element)?;
        let name = element.name();
        match parse_scaled(&text, 1) {
            Ok(n) if (min..=max).contains(&n) && text.bytes().all(|b| b.is_ascii_digit() || b == b'+' || b == b'-') => {
                Some(n)
            }
            Ok(_) | Err(NumberError::TooFine | NumberError::TooLarge | NumberError::NotANumber) => {
                let wrong = format!("<{name}> is {}, which is no whole number from {min} to {max}", quoted(&text));
                self.wrong(element, offset, wrong, format!("give a whole number from {min} to {max}"));
                None
            }
            Err(error) => {
                let (wrong, remedy) = number_error(error);
                self.wrong(element, offset, format!("<{name}> {} {wrong}", quoted(&text)), remedy);
                None
            }
        }
    }

    /// An xs:boolean.
    pub(crate) fn set_bool(&mut self, slot: &mut Option<bool>, element: Element<'_, 't>) {
        let Some(Text { text, offset }) = self.filled(element) else { return };
        let value = parse_bool(&text);
        if value.is_none() {
            let wrong = format!("<{}> is {}", element.name(), quoted(&text));
            self.wrong(element, offset, wrong, "write true or false");
        }
        self.once(slot, element, value);
    }

    /// An xs:dateTime.
    pub(crate) fn set_timestamp(&mut self, slot: &mut Option<Timestamp>, at: &mut At, element: Element<'_, 't>) {
        let Some(Text { text, offset }) = self.filled(element) else { return };
        if at.0.is_none() {
            *at = self.positions.at(offset);
        }
        let value = parse_timestamp(&text);
        if value.is_none() {
            let wrong = format!("<{}> {} is no date and time", element.name(), quoted(&text));
            self.wrong(element, offset, wrong, "write it like 2009-10-12T08:00:00Z, between 1678 and 2262");
        }
        self.once(slot, element, value);
    }
}

/// What messages call the component that an element is in.
pub(crate) fn thing(element: Element<'_, '_>) -> String {
    for ancestor in element.ancestors().filter(|ancestor| ancestor.is_element()) {
        let kind = match ancestor.name() {
            "vNode" => "node",
            "vStorage" => "storage",
            "vRouter" => "router",
            "vAccessPoint" => "access point",
            "vLink" => "link",
            "vArray" => "array",
            "event" if ancestor.parent().is_some_and(|parent| parent.has_tag_name_local("timeline")) => "event",
            "virtualInfrastructure" => "infrastructure",
            _ => continue,
        };
        let own = ancestor.children().take(200).find(|child| child.has_tag_name_local("id"));
        let id = own
            .and_then(|id| id.first_child())
            .and_then(Element::text)
            .or_else(|| ancestor.attribute("id").map(Attribute::value))
            .unwrap_or("")
            .trim();
        return format!("{kind} {}", one_line(id)).trim_end().to_owned();
    }
    "document".into()
}

/// Local names, whatever the namespace: for messages alone.
trait Local {
    fn has_tag_name_local(&self, name: &str) -> bool;
}

impl Local for Element<'_, '_> {
    fn has_tag_name_local(&self, name: &str) -> bool {
        self.is_element() && self.name() == name
    }
}

/// Whether elements are nested deeper below this one, going down first children and on to siblings.
fn deeper_than(top: Element<'_, '_>, levels: usize) -> bool {
    let (mut at, mut depth) = (top, 0);
    loop {
        if let Some(child) = at.children().find(|child| child.is_element()) {
            (at, depth) = (child, depth + 1);
            if depth > levels {
                return true;
            }
            continue;
        }
        loop {
            if depth == 0 {
                return false;
            }
            if let Some(sibling) =
                std::iter::successors(at.next_sibling(), |next| next.next_sibling()).find(|next| next.is_element())
            {
                at = sibling;
                break;
            }
            match at.parent() {
                Some(parent) => (at, depth) = (parent, depth - 1),
                None => return false,
            }
        }
    }
}
