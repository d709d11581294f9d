//! What a frame takes of an Ethernet line.

use crate::units::Nanos;

/// How far the line may lag behind the clock and catch up: what a worker that wakes late, or pulls in bursts, must not
/// cost the line. It is also the longest burst that leaves an idle line at once.
pub const TOLERANCE: Nanos = Nanos::from_micros(200);

/// What a frame costs on the wire beyond its own bytes: FCS 4, preamble and start delimiter 8, inter-frame gap 12
/// (IEEE 802.3-2018, 3.1.1 and 4.4.2).
const OVERHEAD: u64 = 24;

/// Shortest frame without FCS; shorter ones are padded.
const MIN_FRAME: u64 = 60;

/// Bytes of line time that a frame of `len` bytes (without FCS) takes.
pub const fn wire_len(len: usize) -> u64 {
    let len = len as u64;
    OVERHEAD + if len < MIN_FRAME { MIN_FRAME } else { len }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_length_is_that_of_ethernet() {
        // 1.488 million frames a second is what 1 Gb/s carries of the shortest, 81,274 of 1514 bytes.
        assert_eq!(1_000_000_000 / (wire_len(60) * 8), 1_488_095);
        assert_eq!(1_000_000_000 / (wire_len(1514) * 8), 81_274);
        assert_eq!(wire_len(14), wire_len(60));
        assert_eq!(wire_len(61), wire_len(60) + 1);
    }
}
