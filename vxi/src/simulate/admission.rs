//! Whom to refuse although there is room: a request whose paths waste more than the network can spare now.
//!
//! **Waste** is what an embedding costs beyond what it brings (cost less revenue), times how long it stays. A request
//! is too dear when its waste exceeds a multiple of what an average request brings in its whole stay, and the multiple
//! falls as the share of requests that found no room of late rises. A network that refuses nobody for want of room
//! therefore refuses nobody at all, and there is no threshold to set by hand for each network.
//!
//! The lifetime is known on arrival, as a lease's is.

/// The multiple, times the share of requests that found no room.
const GENEROSITY: f64 = 0.15;

/// Over how many requests that share is remembered.
const MEMORY: f64 = 64.0;

/// What the rule remembers.
#[derive(Debug, Clone, Default)]
pub struct Admission {
    seen: f64,
    mean: f64,
    crowded: f64,
}

impl Admission {
    /// Notes an arrival: what it would bring over its stay, and whether there was room for it.
    pub fn arrived(&mut self, revenue: f64, lifetime: f64, room: bool) {
        self.seen += 1.0;
        self.mean += (revenue * lifetime - self.mean) / self.seen.min(200.0);
        self.crowded += (f64::from(u8::from(!room)) - self.crowded) / MEMORY;
    }

    /// Whether an embedding with this cost is too dear now.
    pub fn too_dear(&self, cost: f64, revenue: f64, lifetime: f64) -> bool {
        (cost - revenue) * lifetime * self.crowded > GENEROSITY * self.mean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_all_find_room_nothing_is_too_dear() {
        let mut admission = Admission::default();
        (0..100).for_each(|_| admission.arrived(100.0, 10.0, true));
        assert!(!admission.too_dear(1e9, 100.0, 1e6));
    }

    #[test]
    fn where_many_find_none_waste_is_refused_and_thrift_is_not() {
        let mut admission = Admission::default();
        (0..200).for_each(|at| admission.arrived(100.0, 10.0, at % 4 != 0));
        assert!(admission.too_dear(300.0, 100.0, 10.0));
        assert!(!admission.too_dear(101.0, 100.0, 10.0));
    }
}
