//! Anchors: a location that names a component is that component's place, so there must be no cycle of them.

use std::collections::HashMap;

use super::{Check, named};
use crate::diagnostic::quoted;
use crate::model::index::each;
use crate::model::{Array, At, Component, Found, Index, Name};

/// Components of a cycle that a message names.
const NAMED: usize = 8;

impl<'m> Check<'_, 'm, '_> {
    pub(super) fn anchors(&mut self) {
        let infrastructure = self.infrastructure;
        if let Some(location) = &infrastructure.location
            && let Some(found) = self.index.get(location)
        {
            let wrong = format!("its location {} is one of its own components: a {}", quoted(location), kind(found));
            let thing = named("infrastructure", &infrastructure.id);
            self.mistakes.add(location.at, thing, wrong, "name a site that is no component's id");
        }
        // Where the walk that saw a component began. One that meets itself has found a cycle.
        let mut seen: HashMap<&'m str, usize> = HashMap::new();
        let mut walk = 0;
        let mut from = |check: &mut Self, id: &'m str, component: Component<'m>, array: Option<&'m Array>| {
            walk += 1;
            let found = Found { component, array };
            let Some(location) = Index::location(found) else { return };
            if let Some(to) = check.index.get(location) {
                // What the array says for all of its members is told once, of the array.
                if component.location().is_some() {
                    check.anchor(component, location, to, array);
                }
                check.walk(id, found, walk, &mut seen);
            }
        };
        each(&infrastructure.components, |id, component| from(self, id, component, None));
        for array in &infrastructure.arrays {
            if let Some(location) = &array.location
                && let Some(to) = self.index.get(location)
            {
                self.anchor(Component::Array(array), location, to, None);
            }
            each(&array.members, |id, component| from(self, id, component, Some(array)));
        }
    }

    /// Whether a component can be a place.
    fn anchor(&mut self, component: Component<'m>, location: &'m Name, to: Found<'m>, array: Option<&'m Array>) {
        let wrong = match (to.component, to.array) {
            (Component::Link(_), _) => "a link, which has no place",
            (Component::Array(_), _) => "an array, whose elements may be in several places",
            (_, Some(of)) if !array.is_some_and(|array| std::ptr::eq(array, of)) => {
                "a member of an array, whose elements may be in several places"
            }
            _ => return,
        };
        let wrong = format!("its location {} is {wrong}", quoted(location));
        let remedy = "name a site, or a single component";
        self.mistakes.add(location.at, named(component.kind(), component.id()), wrong, remedy);
    }

    fn walk(&mut self, id: &'m str, start: Found<'m>, walk: usize, seen: &mut HashMap<&'m str, usize>) {
        let (mut id, mut found) = (id, start);
        let mut way: Vec<(&'m str, At)> = Vec::new();
        loop {
            match seen.get(id) {
                Some(&earlier) if earlier == walk => break,
                Some(_) => return,
                None => _ = seen.insert(id, walk),
            }
            let Some(location) = Index::location(found) else { return };
            way.push((id, location.at));
            let Some(next) = self.index.get(location) else { return };
            (id, found) = (&location.text, next);
        }
        let first = way.iter().position(|(of, _)| *of == id).unwrap_or(0);
        let cycle = &way[first..];
        let mut names: Vec<String> = cycle.iter().take(NAMED).map(|(id, _)| quoted(id)).collect();
        if cycle.len() > NAMED {
            names.push(format!("{} more", cycle.len() - NAMED));
        }
        names.push(quoted(id));
        let at = cycle.iter().map(|&(_, at)| at).min_by_key(|at| at.0).unwrap_or(At::NOWHERE);
        let thing = named(kind(found), id);
        let wrong = format!("anchors have a cycle: {}", names.join(" at "));
        self.mistakes.add(at, thing, wrong, "anchor one of them at a site");
    }
}

fn kind(found: Found<'_>) -> &'static str {
    found.component.kind()
}
