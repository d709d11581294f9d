//! Quantities and identities that must not be confused with each other.

use std::fmt;

/// A point in time or a span, in nanoseconds of `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

impl Nanos {
    /// A span of whole microseconds.
    pub const fn from_micros(n: u64) -> Self {
        Self(n * 1_000)
    }

    /// A span of whole milliseconds.
    pub const fn from_millis(n: u64) -> Self {
        Self(n * 1_000_000)
    }

    /// A span of whole seconds.
    pub const fn from_secs(n: u64) -> Self {
        Self(n * 1_000_000_000)
    }

    /// Reads the monotonic clock (a vDSO call, about 25 ns: once a breath, never once a frame).
    pub fn now() -> Self {
        let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `t` is a valid timespec that outlives the call.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t) };
        Self(t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64)
    }

    /// The span from `earlier` to `self`, zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }

    /// The earlier of two instants that may not be.
    pub fn earlier(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// `self` moved later by `span`.
    pub const fn plus(self, span: Self) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

/// A port's place in the engine's tables: dense, from 0, fixed for the life of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(pub u16);

impl PortId {
    /// As an index into a table of ports.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A guest's place in the engine's tables: dense, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuestId(pub u16);

impl GuestId {
    /// No guest: the uplinks, which are one source together.
    pub const UPLINKS: Self = Self(0);

    /// As an index into a table of guests.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// An IEEE 802 address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// All ones: every station.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// The address as the low 48 bits of a word, first byte most significant.
    pub const fn as_u64(self) -> u64 {
        let b = self.0;
        u64::from_be_bytes([0, 0, b[0], b[1], b[2], b[3], b[4], b[5]])
    }

    /// The address that the low 48 bits of `word` are, see [`as_u64`](Self::as_u64).
    pub const fn from_u64(word: u64) -> Self {
        let [_, _, a, b, c, d, e, f] = word.to_be_bytes();
        Self([a, b, c, d, e, f])
    }

    /// The group bit: broadcast or multicast (IEEE 802-2014, 8.2.2).
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// 01:80:c2:00:00:00 to :0f, which no bridge forwards (IEEE 802.1Q-2018, table 8-1).
    pub const fn is_link_local(self) -> bool {
        self.as_u64() & !0xf == 0x0180_c200_0000
    }

    /// Not a group address and not all zero: may be a station's own.
    pub const fn is_station(self) -> bool {
        !self.is_group() && self.as_u64() != 0
    }

    /// Reads `aa:bb:cc:dd:ee:ff`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2 && p.bytes().all(|c| c.is_ascii_hexdigit()))?;
            *byte = u8::from_str_radix(part, 16).ok()?;
        }
        parts.next().is_none().then_some(Self(bytes))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let b = self.0;
        write!(f, "{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", b[0], b[1], b[2], b[3], b[4], b[5])
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_reads_what_it_writes_and_refuses_the_rest() {
        let mac = Mac([0x02, 0x50, 0x4d, 0, 0xff, 1]);
        assert_eq!(Mac::parse(&mac.to_string()), Some(mac));
        for bad in
            ["", "02:50:4d:00:ff", "02:50:4d:00:ff:01:02", "02:50:4d:00:ff:1", "02-50-4d-00-ff-01", "+2:50:4d:00:ff:01"]
        {
            assert_eq!(Mac::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn link_local_is_the_sixteen_reserved_addresses() {
        for last in 0..=0xff {
            assert_eq!(Mac([0x01, 0x80, 0xc2, 0, 0, last]).is_link_local(), last < 0x10);
        }
        assert!(!Mac([0x01, 0x80, 0xc2, 0, 1, 0]).is_link_local());
    }
}
