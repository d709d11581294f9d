//! The file as a whole, its timeline and its arrays.

use super::amount::parse_span;
use super::section::{Reader, Section};
use crate::diagnostic::{one_line, quoted};
use crate::language::words::SPACE;
use crate::model::{Array, At, Components, Event, Timeline, VirtualInfrastructure};

impl<'t> Reader<'t> {
    pub(super) fn infrastructure(&mut self, mut root: Section<'_, 't>) -> VirtualInfrastructure {
        let id = self.string(&mut root, "id");
        match &id {
            Some(id) => root.thing = format!("infrastructure {}", one_line(id)),
            None if root.value("id").is_none() => self.missing(&root, "id", "give it an id = \"...\" of its own"),
            None => {}
        }
        let location = self.name(&mut root, "location");
        let start = self.timestamp(&mut root, "start");
        let total = self.span(&mut root, "total");
        let owner = self.string(&mut root, "owner");
        let users = self.strings(&mut root, "users");
        let timeline = self.table(&mut root, "timeline").map(|table| self.timeline(&table)).unwrap_or_default();
        let components = self.components(&mut root);
        let mut arrays = Vec::new();
        for (n, (offset, table)) in self.tables(&mut root, "array").into_iter().enumerate() {
            let section = Section::new(format!("[[array]] {}", n + 1), offset, table);
            arrays.push(self.array(section));
        }
        self.finish(&root);
        VirtualInfrastructure {
            id: id.unwrap_or_default(),
            location,
            start: start.map(|(start, _)| start),
            total: total.map(|(total, _)| total),
            owner,
            users,
            components,
            arrays,
            timeline,
            at: self.at(0),
            lease_at: total.map(|(_, at)| at).or(start.map(|(_, at)| at)).unwrap_or(At::NOWHERE),
            ..VirtualInfrastructure::default()
        }
    }

    /// Events by name; a table has no order, so they are put in that of their delays.
    fn timeline(&mut self, table: &Section<'_, 't>) -> Timeline {
        let mut events = Vec::new();
        for (id, offset, value) in table.entries() {
            let thing = format!("event {}", one_line(id));
            if id.trim_matches(SPACE) != id || id.is_empty() {
                self.wrong(offset, &thing, format!("{} is no name", quoted(id)), "give it one without space around it");
            }
            if let Some(delay) = self.accepted(&thing, "delay", value, parse_span) {
                events.push(Event { id: id.to_owned(), delay, at: self.at(offset) });
            }
        }
        events.sort_by_key(|event| event.delay);
        Timeline { events }
    }

    fn array(&mut self, mut section: Section<'_, 't>) -> Array {
        let (id, at) = self.id(&mut section, "array");
        let location = self.name(&mut section, "location");
        let tried = section.value("cardinality").is_some();
        let cardinality = self.integer(&mut section, "cardinality", (1, u64::from(u32::MAX)));
        if !tried {
            self.missing(&section, "cardinality", "say how many there are of each member");
        }
        let members = self.components(&mut section);
        self.finish(&section);
        Array { id, location, cardinality: cardinality.unwrap_or(1) as u32, members, at }
    }

    /// The id of a component, which messages call it by from then on.
    pub(super) fn id(&mut self, section: &mut Section<'_, 't>, kind: &str) -> (String, At) {
        let Some(value) = section.value("id") else {
            self.missing(section, "id", &format!("give the {kind} an id = \"...\" of its own"));
            return (String::new(), self.at(section.start));
        };
        let id = self.text(&section.thing, "id", value).unwrap_or_default();
        if !id.is_empty() {
            section.thing = format!("{kind} {}", one_line(&id));
        }
        (id, self.at(value.span().start))
    }

    fn components(&mut self, section: &mut Section<'_, 't>) -> Components {
        let mut made = Components::default();
        let within = |kind: &str, n: usize| format!("[[{kind}]] {}", n + 1);
        for (n, (offset, table)) in self.tables(section, "node").into_iter().enumerate() {
            made.nodes.push(self.node(Section::new(within("node", n), offset, table)));
        }
        for (n, (offset, table)) in self.tables(section, "storage").into_iter().enumerate() {
            made.storages.push(self.storage(Section::new(within("storage", n), offset, table)));
        }
        for (n, (offset, table)) in self.tables(section, "router").into_iter().enumerate() {
            made.routers.push(self.router(Section::new(within("router", n), offset, table)));
        }
        for (n, (offset, table)) in self.tables(section, "access_point").into_iter().enumerate() {
            made.access_points.push(self.access_point(Section::new(within("access_point", n), offset, table)));
        }
        for (n, (offset, table)) in self.tables(section, "link").into_iter().enumerate() {
            made.links.push(self.link(Section::new(within("link", n), offset, table)));
        }
        made
    }
}
