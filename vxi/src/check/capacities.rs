//! Capacities: events that exist, bounds in order, sums that fit.

use super::{Check, named};
use crate::diagnostic::{nearest, quoted};
use crate::model::{Amount, Capacity, Component, Name, Quantity};

impl<'m> Check<'_, 'm, '_> {
    /// `n`: how many there are of the component.
    pub(super) fn capacity<Q: Quantity>(
        &mut self,
        component: Component<'m>,
        what: &str,
        capacity: &'m Capacity<Q>,
        n: u32,
    ) {
        let thing = || named(component.kind(), component.id());
        for (nth, step) in capacity.steps.iter().enumerate() {
            if let Some(event) = &step.event
                && !self.events.contains_key(&*event.text)
            {
                self.no_event(&thing(), what, event);
            }
            // Few capacities have more than a few steps; of a hostile one the first thousand are enough.
            if capacity.steps[..nth.min(1_000)].iter().any(|earlier| earlier.event == step.event) {
                let wrong = match &step.event {
                    Some(event) => format!("{what} has a second value for event {}", quoted(event)),
                    None => format!("{what} has a second value without an event"),
                };
                self.mistakes.add(step.at, thing(), wrong, "keep one value for each period");
            }
            if let Some((wrong, remedy)) = disorder(&step.amount) {
                self.mistakes.add(step.at, thing(), format!("{what}: {wrong}"), remedy);
            }
            let largest = step.amount.quantities().into_iter().map(Q::base).max().unwrap_or(0);
            if largest.checked_mul(u64::from(n)).is_none() {
                let wrong = format!("{what} of all {n} elements together does not fit into 64 bits");
                self.mistakes.add(step.at, thing(), wrong, "lower it, or the cardinality of the array");
            }
        }
    }

    fn no_event(&mut self, thing: &str, what: &str, event: &Name) {
        let known: Vec<&str> = self.infrastructure.timeline.events.iter().map(|event| event.id.as_str()).collect();
        let remedy = match nearest(event, known.iter().copied().take(super::CANDIDATES)) {
            Some(meant) => format!("did you mean {}?", quoted(meant)),
            None if known.is_empty() => "add a timeline with this event".into(),
            None => "name an event of the timeline, or add it there".into(),
        };
        self.mistakes.add(event.at, thing, format!("{what}: there is no event {}", quoted(event)), remedy);
    }
}

/// What is wrong within an amount.
fn disorder<Q: Quantity>(amount: &Amount<Q>) -> Option<(String, &'static str)> {
    match amount {
        Amount::Range { min: Some(min), max: Some(max) } | Amount::Scale { min, max, .. } if min > max => {
            Some((format!("its least, {min}, is above its most, {max}"), "swap them"))
        }
        Amount::Scale { step, .. } if step.base() == 0 => Some(("its step is 0".into(), "give a step above 0")),
        Amount::Range { min: None, max: None } => Some(("it has no bound".into(), "give a least, a most, or both")),
        Amount::OneOf(all) if all.is_empty() => Some(("it is one of nothing".into(), "give at least one amount")),
        _ => None,
    }
}
