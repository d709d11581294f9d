//! The lease calendar: how much of a thing there is, is held back, is taken, at every instant.
//!
//! Whatever has a capacity has it over time, because leases begin and end and a resource may be there for a while only.
//! [`Steps`] is that: a step function over time. Nothing here rounds time to slots: a lease holds from one instant
//! (inclusive) to another (exclusive), both to the nanosecond, so that one may begin when another ends.
//!
//! [`Calendar`] puts three of them together: what there is in all, what of it is provisioned (held back, opened on
//! demand), and what is allocated. What is free follows; it is never stored, so that it cannot disagree.

mod steps;
mod window;

pub use steps::{OutOfRange, Steps};
pub use window::Window;

/// What there is of one capacity of one component, over time, and what state it is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calendar {
    /// What there is in all, whatever its state.
    pub total: Steps,
    /// What of it is held back: not to be allocated until it is opened.
    pub provisioned: Steps,
    /// What leases have.
    pub allocated: Steps,
}

impl Calendar {
    /// All of `total` is free.
    pub fn new(total: Steps) -> Self {
        Self { total, provisioned: Steps::default(), allocated: Steps::default() }
    }

    /// What is free: in none of the other states. Where more is held back or allocated than there is, nothing.
    pub fn free(&self) -> Steps {
        let open = self.total.combine(&self.provisioned, u64::saturating_sub);
        open.combine(&self.allocated, u64::saturating_sub)
    }

    /// The least that is free during a window.
    pub fn least_free(&self, window: Window) -> u64 {
        self.free().least(window)
    }

    /// Where more is allocated than there is open: the first instant, what is allocated then and what is open.
    pub fn overcommitted(&self) -> Option<(crate::model::Timestamp, u64, u64)> {
        let open = self.total.combine(&self.provisioned, u64::saturating_sub);
        let lacking = self.allocated.combine(&open, u64::saturating_sub);
        let at = lacking.pieces().find(|&(_, amount)| amount > 0).map(|(window, _)| window.from)?;
        Some((at, self.allocated.at(at), open.at(at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn window(from: i64, until: i64) -> Window {
        Window::new(Timestamp(from), Some(Timestamp(until))).expect("it has a length")
    }

    #[test]
    fn what_is_neither_held_back_nor_allocated_is_free() {
        let mut calendar = Calendar::new(Steps::constant(1000));
        calendar.provisioned.add(window(0, 10), 400).expect("in range");
        calendar.allocated.add(window(5, 20), 300).expect("in range");
        let free = calendar.free();
        assert_eq!([-1, 0, 5, 10, 20].map(|t| free.at(Timestamp(t))), [1000, 600, 300, 700, 1000]);
        assert_eq!(calendar.least_free(window(8, 30)), 300);
        assert_eq!(calendar.least_free(window(10, 30)), 700);
        assert_eq!(calendar.overcommitted(), None);
    }

    #[test]
    fn more_than_there_is_open_is_told_with_its_instant() {
        let mut calendar = Calendar::new(Steps::constant(1000));
        calendar.total.set(window(50, 60), 200);
        calendar.allocated.add(window(0, 100), 300).expect("in range");
        assert_eq!(calendar.overcommitted(), Some((Timestamp(50), 300, 200)));
        assert_eq!(calendar.least_free(window(0, 100)), 0);
    }
}
