//! `virtualInfrastructure`, `vArray` and `timeline`.

use super::tree::Element;

use super::element::{Dialect, Reader, Text};
use crate::diagnostic::quoted;
use crate::language::words::{DurationError, number_error, parse_duration};
use crate::model::quantity::parse_scaled;
use crate::model::{Array, At, Components, Event, Nanos, Timeline, VirtualInfrastructure};

const VERTICES_AND_LINKS: [&str; 5] = ["vNode", "vStorage", "vRouter", "vAccessPoint", "vLink"];

impl<'t> Reader<'t> {
    pub(super) fn infrastructure(&mut self, element: Element<'_, 't>) -> VirtualInfrastructure {
        let mut made = VirtualInfrastructure { at: self.at(element), ..VirtualInfrastructure::default() };
        let (mut id, mut timeline) = (None, None);
        let mut next = element.first_child();
        while let Some(child) = self.next(&mut next) {
            match child.name() {
                "id" if self.dialect == Dialect::Forum => self.set_text(&mut id, child),
                // What is in it was read before, since routers refer to it.
                "controllerList" if self.dialect == Dialect::Aurora => {}
                "location" => self.set_name(&mut made.location, child),
                "startDate" => self.set_timestamp(&mut made.start, &mut made.lease_at, child),
                "totalTime" => self.set_duration(&mut made.total, &mut made.lease_at, child),
                "owner" => self.set_text(&mut made.owner, child),
                "user" => made.users.extend(self.filled(child).map(|text| text.text.into_owned())),
                "vArray" => {
                    let array = self.array(child);
                    made.arrays.push(array);
                }
                "timeline" => {
                    let read = Some(self.timeline(child));
                    self.once(&mut timeline, child, read);
                }
                _ if self.component(child, &mut made.components) => {}
                _ => {
                    let mut known = vec!["id", "location", "startDate", "totalTime", "owner", "user"];
                    known.extend(VERTICES_AND_LINKS.iter().chain(&["vArray", "timeline"]));
                    self.unknown(child, &known);
                }
            }
        }
        let id = id.or_else(|| self.attribute_id(element).map(|id| id.text));
        made.id = id.unwrap_or_else(|| {
            self.missing(element, "id", "add an <id> of its own");
            String::new()
        });
        made.timeline = timeline.unwrap_or_default();
        made
    }

    /// Reads a vertex or a link; false: it is none.
    fn component(&mut self, child: Element<'_, 't>, into: &mut Components) -> bool {
        match child.name() {
            "vNode" => into.nodes.push(self.node(child)),
            "vStorage" => into.storages.push(self.storage(child)),
            "vRouter" => into.routers.push(self.router(child)),
            "vAccessPoint" => into.access_points.push(self.access_point(child)),
            "vLink" => into.links.push(self.link(child)),
            _ => return false,
        }
        true
    }

    fn array(&mut self, element: Element<'_, 't>) -> Array {
        let mut made = Array { at: self.at(element), ..Array::default() };
        let (mut id, mut cardinality, mut tried) = (None, None, false);
        let mut next = element.first_child();
        while let Some(child) = self.next(&mut next) {
            match child.name() {
                "id" => {
                    let name = self.name(child);
                    self.once(&mut id, child, name);
                }
                "location" => self.set_name(&mut made.location, child),
                "cardinality" => {
                    tried = true;
                    let n = self.integer(child, (1, u64::from(u32::MAX))).map(|n| n as u32);
                    self.once(&mut cardinality, child, n);
                }
                _ if self.component(child, &mut made.members) => {}
                _ => {
                    let mut known = vec!["id", "location", "cardinality"];
                    known.extend(VERTICES_AND_LINKS);
                    self.unknown(child, &known);
                }
            }
        }
        match id {
            Some(id) => (made.id, made.at) = (id.text, id.at),
            None => self.missing(element, "id", "add an <id> of its own"),
        }
        if cardinality.is_none() && !tried {
            self.missing(element, "cardinality", "add a <cardinality>: how many there are of each member");
        }
        made.cardinality = cardinality.unwrap_or(1).max(1);
        made
    }

    fn timeline(&mut self, element: Element<'_, 't>) -> Timeline {
        let mut events = Vec::new();
        let mut next = element.first_child();
        while let Some(child) = self.next(&mut next) {
            if child.name() == "event" {
                events.extend(self.event(child));
            } else {
                self.unknown(child, &["event"]);
            }
        }
        Timeline { events }
    }

    fn event(&mut self, element: Element<'_, 't>) -> Option<Event> {
        let at = self.at(element);
        let (mut id, mut delay, mut tried) = (None, None, false);
        let mut next = element.first_child();
        while let Some(child) = self.next(&mut next) {
            match child.name() {
                "id" => self.set_text(&mut id, child),
                "delay" => {
                    tried = true;
                    let read = self.seconds(child);
                    self.once(&mut delay, child, read);
                }
                _ => self.unknown(child, &["id", "delay"]),
            }
        }
        if id.is_none() {
            self.missing(element, "id", "add an <id> of its own");
        }
        if delay.is_none() && !tried {
            self.missing(element, "delay", "add a <delay>: seconds from the start of the infrastructure");
        }
        Some(Event { id: id?, delay: delay?, at })
    }

    fn seconds(&mut self, element: Element<'_, 't>) -> Option<Nanos> {
        let Text { text, offset } = self.filled(element)?;
        match parse_scaled(&text, Nanos::from_secs(1).0) {
            Ok(nanos) => Some(Nanos(nanos)),
            Err(error) => {
                let (wrong, remedy) = number_error(error);
                self.wrong(element, offset, format!("<delay> {} {wrong}", quoted(&text)), remedy);
                None
            }
        }
    }

    /// An xs:duration.
    pub(super) fn set_duration(&mut self, slot: &mut Option<Nanos>, at: &mut At, element: Element<'_, 't>) {
        let Some(Text { text, offset }) = self.filled(element) else { return };
        *at = self.positions.at(offset);
        let value = parse_duration(&text);
        if let Err(error) = value {
            let (wrong, remedy) = match error {
                DurationError::Malformed => ("is no duration", "write it like PT5H, PT90M or P1DT12H"),
                DurationError::YearsOrMonths => {
                    ("has years or months, which have no fixed length", "give days: P365D, P30D")
                }
                DurationError::Negative => ("is below zero", "write it without the minus"),
                DurationError::TooLong => ("is more than 584 years", "write less, or leave it out: without end"),
            };
            let name = element.name();
            self.wrong(element, offset, format!("<{name}> {} {wrong}", quoted(&text)), remedy);
        }
        self.once(slot, element, value.ok());
    }
}
