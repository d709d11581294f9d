//! One order for what can be written in several: two files that say the same are read into the same model.

use std::collections::HashMap;

use crate::model::{Amount, Capacity, Components, Name, Quantity, VirtualInfrastructure};

/// Puts the values of each capacity in the order of the timeline, the one without an event first. An event that is not
/// there comes last; of two values for one event the first stays first.
pub(super) fn put_in_order(infrastructure: &mut VirtualInfrastructure) {
    let events = infrastructure.timeline.events.iter().enumerate();
    let order: HashMap<String, usize> = events.map(|(n, event)| (event.id.clone(), n)).collect();
    components(&mut infrastructure.components, &order);
    for array in &mut infrastructure.arrays {
        components(&mut array.members, &order);
    }
}

fn components(all: &mut Components, order: &HashMap<String, usize>) {
    for node in &mut all.nodes {
        capacity(&mut node.memory, order);
        capacity(&mut node.storage, order);
        capacity(&mut node.cpu.cores, order);
        capacity(&mut node.cpu.frequency, order);
    }
    for storage in &mut all.storages {
        capacity(&mut storage.size, order);
    }
    for router in &mut all.routers {
        capacity(&mut router.memory, order);
    }
    for link in &mut all.links {
        capacity(&mut link.forward, order);
        capacity(&mut link.reverse, order);
        capacity(&mut link.latency, order);
    }
}

fn capacity<Q: Quantity>(of: &mut Capacity<Q>, order: &HashMap<String, usize>) {
    if of.steps.len() > 1 {
        let place = |event: &Name| order.get(&event.text).copied().unwrap_or(usize::MAX);
        of.steps.sort_by_key(|step| step.event.as_ref().map(place));
    }
    for step in &mut of.steps {
        // One of one is that one.
        if let Amount::OneOf(all) = &step.amount
            && let [only] = all[..]
        {
            step.amount = Amount::Exactly(only);
        }
    }
}
