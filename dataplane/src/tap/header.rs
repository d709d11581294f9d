//! The header before every frame of a tap (virtio 1.2, 5.1.6, in the kernel's legacy form of 10 bytes), and the one
//! request in it that we may have to fulfil: a checksum that the sender left to the device.

use crate::frame::Frame;
use crate::pool::Pool;

/// Bytes of the header: without the buffer count, which only a ring needs.
pub const HEADER: usize = 10;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`.
const NEEDS_CHECKSUM: u8 = 1;

mod field {
    use std::ops::Range;

    pub const FLAGS: usize = 0;
    pub const GSO_TYPE: usize = 1;
    pub const CHECKSUM_START: Range<usize> = 6..8;
    pub const CHECKSUM_OFFSET: Range<usize> = 8..10;
}

/// Does what `header` asks for. False when it asks for what was not offered or cannot be: the frame is then unusable.
pub fn fulfil(header: &[u8; HEADER], pool: &mut Pool, frame: &mut Frame) -> bool {
    // Segmentation was never offered (TUNSETOFFLOAD 0).
    if header[field::GSO_TYPE] != 0 {
        return false;
    }
    if header[field::FLAGS] & NEEDS_CHECKSUM == 0 {
        return true;
    }
    complete_checksum(header, pool, frame)
}

/// Sums the frame from the start named in the header, and puts the result where it says; the pseudo-header's sum stands
/// there already and is summed with the rest.
#[cold]
fn complete_checksum(header: &[u8; HEADER], pool: &mut Pool, frame: &mut Frame) -> bool {
    let half = |at: std::ops::Range<usize>| usize::from(u16::from_ne_bytes([header[at.start], header[at.start + 1]]));
    let start = half(field::CHECKSUM_START);
    let at = start + half(field::CHECKSUM_OFFSET);
    if at + 2 > frame.head_len() {
        return false;
    }
    let mut sum = 0u64;
    let mut skip = start;
    let mut odd = false;
    for (part, len) in pool.parts(frame) {
        // SAFETY: a part of our own frame, which nobody writes while `pool` is borrowed.
        let bytes = unsafe { std::slice::from_raw_parts(part, len) };
        for &byte in bytes.get(skip..).unwrap_or_default() {
            sum += if odd { u64::from(byte) } else { u64::from(byte) << 8 };
            odd = !odd;
        }
        skip = skip.saturating_sub(len);
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // Zero would mean "none" to UDP; to TCP both forms of zero are the same.
    let checksum = match !(sum as u16) {
        0 => 0xffff,
        checksum => checksum,
    };
    if let Some(place) = pool.head_mut(frame).get_mut(at..at + 2) {
        place.copy_from_slice(&checksum.to_be_bytes());
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(flags: u8, gso: u8, start: u16, offset: u16) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[field::FLAGS] = flags;
        header[field::GSO_TYPE] = gso;
        header[field::CHECKSUM_START].copy_from_slice(&start.to_ne_bytes());
        header[field::CHECKSUM_OFFSET].copy_from_slice(&offset.to_ne_bytes());
        header
    }

    /// A UDP packet as a stack hands it over when the device is to fill in the checksum, and as it should be sent.
    fn udp(payload: usize) -> (Vec<u8>, Vec<u8>) {
        let payload: Vec<u8> = (0..payload).map(|i| (i * 37 + 1) as u8).collect();
        let builder = etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .udp(1000, 2000);
        let mut right = Vec::new();
        builder.write(&mut right, &payload).unwrap();
        let mut partial = right.clone();
        let len = right.len() - 34;
        let mut pseudo: u32 = (0x0a00 + 1) + (0x0a00 + 2) + 17 + len as u32;
        pseudo = (pseudo & 0xffff) + (pseudo >> 16);
        partial[40..42].copy_from_slice(&(pseudo as u16).to_be_bytes());
        (partial, right)
    }

    #[test]
    fn a_checksum_left_to_the_device_is_completed() {
        let mut pool = Pool::new(64).unwrap();
        // Even, odd, and over chunks of even and odd position.
        for payload in [0, 1, 18, 19, 1400, 1750, 1751, 5000, 9001] {
            let (partial, right) = udp(payload);
            let mut frame = pool.frame_from(&partial).unwrap();
            assert!(fulfil(&header(NEEDS_CHECKSUM, 0, 34, 6), &mut pool, &mut frame));
            assert_eq!(pool.to_vec(&frame), right, "{payload} bytes");
            pool.free(frame);
        }
    }

    #[test]
    fn without_a_request_nothing_is_touched() {
        let mut pool = Pool::new(64).unwrap();
        let (partial, _) = udp(100);
        let mut frame = pool.frame_from(&partial).unwrap();
        assert!(fulfil(&header(0, 0, 34, 6), &mut pool, &mut frame));
        assert_eq!(pool.to_vec(&frame), partial);
    }

    #[test]
    fn what_was_not_offered_or_points_outside_is_refused() {
        let mut pool = Pool::new(64).unwrap();
        let mut frame = pool.frame_from(&udp(18).0).unwrap();
        for header in [
            header(0, 1, 0, 0),
            header(0, 4, 0, 0),
            header(NEEDS_CHECKSUM, 0, 34, 60),
            header(NEEDS_CHECKSUM, 0, u16::MAX, u16::MAX),
            header(NEEDS_CHECKSUM, 0, 59, 0),
        ] {
            assert!(!fulfil(&header, &mut pool, &mut frame), "{header:?}");
        }
    }
}
