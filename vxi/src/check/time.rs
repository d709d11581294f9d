//! Time: events in order and within the total time, leases of components within that of the whole.

use std::collections::HashSet;

use super::{Check, OTHERWISE, named};
use crate::model::{Component, Nanos, Timestamp};

impl<'m> Check<'_, 'm, '_> {
    pub(super) fn timeline(&mut self) {
        let infrastructure = self.infrastructure;
        let thing = named("infrastructure", &infrastructure.id);
        self.end(&thing, infrastructure.start, infrastructure.total, infrastructure.lease_at);
        let mut seen = HashSet::new();
        let mut before: Option<Nanos> = None;
        for event in &infrastructure.timeline.events {
            let thing = named("event", &event.id);
            if !seen.insert(event.id.as_str()) {
                let wrong = "an event before it has the same id";
                self.mistakes.add(event.at, &thing, wrong, "give each event an id of its own");
            }
            if event.id == OTHERWISE {
                let wrong = "the short syntax keeps this word for the periods that have no value of their own";
                self.mistakes.add(event.at, &thing, wrong, "give the event another name");
            }
            if event.id.chars().any(char::is_control) || event.id.is_empty() {
                self.mistakes.add(event.at, &thing, "its id is empty or has control characters", "give it a plain one");
            }
            if let Some(before) = before.filter(|&before| before >= event.delay) {
                let wrong = format!("its delay, {}, is not above that of the event before it, {before}", event.delay);
                self.mistakes.add(event.at, &thing, wrong, "put the events in order, each later than the one before");
            }
            if let Some(total) = infrastructure.total.filter(|&total| event.delay >= total) {
                let wrong = format!("its delay, {}, is not below the total time, {total}", event.delay);
                self.mistakes.add(event.at, &thing, wrong, "let it happen earlier, or make the total time longer");
            }
            before = Some(event.delay);
        }
    }

    /// The lease of a component.
    pub(super) fn lease(&mut self, component: Component<'m>) {
        let Some(resource) = component.resource() else { return };
        if resource.start.is_none() && resource.total.is_none() {
            return;
        }
        let thing = named(component.kind(), component.id());
        let at = resource.lease_at;
        let whole = self.infrastructure;
        let end = self.end(&thing, resource.start.or(whole.start), resource.total, at);
        if let (Some(own), Some(whole)) = (resource.start, whole.start)
            && own < whole
        {
            let wrong = format!("it starts at {own}, before the infrastructure does at {whole}");
            self.mistakes.add(at, &thing, wrong, "let it start later, or the infrastructure earlier");
        }
        let whole_end = whole.start.zip(whole.total).and_then(|(start, total)| start.after(total));
        match (end, whole_end, resource.total, whole.total) {
            (Some(own), Some(whole), ..) if own > whole => {
                let wrong = format!("it ends at {own}, after the infrastructure does at {whole}");
                self.mistakes.add(at, &thing, wrong, "let it end earlier, or make the total time longer");
            }
            (None, _, Some(own), Some(whole)) if own > whole => {
                let wrong = format!("its total time, {own}, is above that of the infrastructure, {whole}");
                self.mistakes.add(at, &thing, wrong, "let it end earlier, or make the total time longer");
            }
            _ => {}
        }
        if let (Some(start), Some(whole)) = (resource.start, whole_end)
            && start >= whole
        {
            let wrong = format!("it starts at {start}, when the infrastructure has ended at {whole}");
            self.mistakes.add(at, &thing, wrong, "let it start earlier, or make the total time longer");
        }
    }

    /// When something ends that starts then and lasts so long.
    fn end(
        &mut self,
        thing: &str,
        start: Option<Timestamp>,
        total: Option<Nanos>,
        at: crate::model::At,
    ) -> Option<Timestamp> {
        let total = total?;
        if total == Nanos(0) {
            self.mistakes.add(at, thing, "its total time is 0", "give how long it lasts, or leave it out: without end");
        }
        let end = start?.after(total);
        if end.is_none() {
            self.mistakes.add(at, thing, "it ends after the year 2262", "make its total time shorter");
        }
        end
    }
}
