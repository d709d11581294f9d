//! Who gets how much when there is not enough for all: weights and rates of guests, and the scheduler before every port.
//!
//! `docs/architecture.md`, "Shares and limits", tells the whole of it. The control side writes [`Shares`], words that
//! workers read once a burst. Nothing here may hold a frame back that nothing stands in the way of, let one guest's
//! frames take what another is entitled to, or allocate once it runs.

mod drr;
mod limit;
mod shaped;
mod shaper;
mod terms;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use limit::{Counts, Gate, Limit};
pub use shaped::{PortLimits, Shaped};
pub use terms::{GuestTerms, MOST_BURST, SLOWEST, TermsError, Weight, parse_rate};

use crate::units::GuestId;

/// What workers read of a guest.
#[derive(Debug)]
struct Share {
    weight: AtomicU16,
    from: Arc<Limit>,
    to: Arc<Limit>,
}

/// Who has a place in the table.
#[derive(Clone, Debug, Default)]
struct Holder {
    /// Empty: nobody has it.
    name: String,
    terms: GuestTerms,
    /// Ports that came while the engine runs; the guests of the configuration stay without.
    ports: usize,
    stays: bool,
}

/// Weights and rates of all guests, by [`GuestId`]. [`GuestId::UPLINKS`] is there as well, with weight 1 and no rate.
#[derive(Debug)]
pub struct Shares {
    table: Box<[Share]>,
    /// The control side's: whoever changes something has it.
    holders: Mutex<Vec<Holder>>,
}

impl Shares {
    /// A table for these guests, in order, and so many that may come.
    pub fn new<'a>(guests: impl IntoIterator<Item = (&'a str, GuestTerms)>, seats: usize) -> Self {
        let mut holders = vec![Holder { stays: true, ..Holder::default() }];
        holders.extend(guests.into_iter().map(|(name, terms)| Holder {
            name: name.to_owned(),
            terms,
            ports: 0,
            stays: true,
        }));
        holders.resize(holders.len() + seats, Holder::default());
        let limit = || Arc::new(Limit::none(Counts::Frame));
        let share = |_: &Holder| Share { weight: AtomicU16::new(1), from: limit(), to: limit() };
        let table: Box<[Share]> = holders.iter().map(share).collect();
        for (share, holder) in table.iter().zip(&holders) {
            share.publish(&holder.terms);
        }
        Self { table, holders: Mutex::new(holders) }
    }

    /// Places in the table.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Never: the uplinks are always there.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The guest's weight now.
    #[inline]
    pub fn weight(&self, guest: GuestId) -> Weight {
        let times = self.table.get(guest.index()).map_or(1, |share| share.weight.load(Relaxed));
        Weight::new(times).unwrap_or(Weight::ONE)
    }

    /// What binds what the guest sends, and what it is sent.
    pub fn limits(&self, guest: GuestId) -> [Arc<Limit>; 2] {
        let none = || Arc::new(Limit::none(Counts::Frame));
        self.table
            .get(guest.index())
            .map_or_else(|| [none(), none()], |share| [Arc::clone(&share.from), Arc::clone(&share.to)])
    }

    /// The guest of that name, if there is one.
    pub fn find(&self, name: &str) -> Option<GuestId> {
        let holders = self.holders();
        let at = holders.iter().position(|holder| !holder.name.is_empty() && holder.name == name)?;
        Some(GuestId(at as u16))
    }

    /// What the guest is entitled to.
    pub fn terms(&self, guest: GuestId) -> GuestTerms {
        self.holders().get(guest.index()).map_or_else(GuestTerms::default, |holder| holder.terms)
    }

    /// Changes one of the terms of a guest, for all of its ports, from the next burst on.
    ///
    /// # Errors
    /// See [`TermsError`]; nothing has changed then.
    pub fn change(&self, guest: GuestId, key: &str, value: &str) -> Result<(), TermsError> {
        let mut holders = self.holders();
        if let (Some(holder), Some(share)) = (holders.get_mut(guest.index()), self.table.get(guest.index())) {
            holder.terms.change(key, value)?;
            share.publish(&holder.terms);
        }
        Ok(())
    }

    /// A port of this guest comes: the guest's place, a new one if it has none. None when all are taken.
    pub fn join(&self, name: &str) -> Option<GuestId> {
        let mut holders = self.holders();
        let at = holders
            .iter()
            .position(|holder| !holder.name.is_empty() && holder.name == name)
            .or_else(|| holders.iter().position(|holder| !holder.stays && holder.ports == 0))?;
        let holder = holders.get_mut(at)?;
        holder.name = name.to_owned();
        holder.ports += 1;
        Some(GuestId(at as u16))
    }

    /// A port that [came](Self::join) goes; with the last one the guest's terms are forgotten.
    pub fn part(&self, guest: GuestId) {
        let mut holders = self.holders();
        let Some(holder) = holders.get_mut(guest.index()) else { return };
        holder.ports = holder.ports.saturating_sub(1);
        if holder.ports == 0 && !holder.stays {
            *holder = Holder::default();
            if let Some(share) = self.table.get(guest.index()) {
                share.publish(&GuestTerms::default());
            }
        }
    }

    fn holders(&self) -> MutexGuard<'_, Vec<Holder>> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    fn publish(&self, terms: &GuestTerms) {
        self.weight.store(terms.weight.times() as u16, Relaxed);
        self.from.set(terms.rate_from, terms.burst);
        self.to.set(terms.rate_to, terms.burst);
    }
}
