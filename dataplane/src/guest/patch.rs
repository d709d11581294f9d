//! A patch cable: what comes in on a port leaves by the port next to it, unseen. Ports 0 and 1 are joined, 2 and 3, and
//! so on.

use crate::drops::DropReason;
use crate::forward::{Forward, Outputs};
use crate::frame::Burst;
use crate::pool::Pool;
use crate::units::{Nanos, PortId};

/// Joins ports in pairs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patch;

impl Forward for Patch {
    fn forward(&mut self, pool: &mut Pool, input: PortId, burst: &mut Burst, out: &mut Outputs, _now: Nanos) {
        let output = PortId(input.0 ^ 1);
        if output.index() >= out.ports() {
            for frame in burst.drain(..) {
                out.drop(pool, input, frame, DropReason::NoOutput);
            }
            return;
        }
        for frame in burst.drain(..) {
            out.send(output, frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::port::Counters;

    #[test]
    fn pairs_are_joined_and_a_last_port_without_partner_drops() {
        let mut pool = Pool::new(64).unwrap();
        let before = pool.available();
        let counters: Vec<Arc<Counters>> = (0..3).map(|_| Arc::default()).collect();
        let mut out = Outputs::new(counters.clone());
        for (input, output) in [(0, Some(1)), (1, Some(0)), (2, None)] {
            let mut burst = Burst::new();
            for i in 0..3 {
                burst.push(pool.frame_from(&[i; 60]).unwrap());
            }
            Patch.forward(&mut pool, PortId(input), &mut burst, &mut out, Nanos(0));
            assert!(burst.is_empty());
            let mut seen = Vec::new();
            out.drain(|port, burst| {
                for frame in burst.drain(..) {
                    seen.push((port.0, pool.to_vec(&frame)[0]));
                    pool.free(frame);
                }
            });
            let expected: Vec<_> = output.map(|port| (0..3).map(|i| (port, i)).collect()).unwrap_or_default();
            assert_eq!(seen, expected);
        }
        assert_eq!(counters[2].drops.get(DropReason::NoOutput), 3);
        assert_eq!(pool.available(), before);
    }
}
