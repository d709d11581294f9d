//! The stations that the configuration names: an immutable hash table in which every lookup is one cache line.
//!
//! A line holds five stations. While it is built the table grows, or mixes differently, until no line has to take a
//! sixth; so a lookup never walks on, found or not.

use std::hash::{BuildHasher, RandomState};

use super::table::Egress;
use crate::units::{Mac, PortId};

/// A station in a bridge domain, as one word: the address in the upper 48 bits, the domain's index in the lower 16.
///
/// Words whose address part is a group address are never a station's; the tables use two of them as marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key(pub(super) u64);

impl Key {
    /// No station: the broadcast address.
    pub(super) const NONE: Self = Self(u64::MAX);

    #[inline]
    pub(super) const fn new(domain: u16, mac: u64) -> Self {
        Self(mac << 16 | domain as u64)
    }

    #[inline]
    pub(super) const fn domain(self) -> u16 {
        self.0 as u16
    }

    pub(super) const fn mac(self) -> Mac {
        Mac::from_u64(self.0 >> 16)
    }
}

/// Mixes a [`Key`]. Seeded at random, so that nobody can choose addresses that collide.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mixer {
    add: u64,
    multiply: u64,
}

impl Mixer {
    pub(super) fn random() -> Self {
        let state = RandomState::new();
        Self { add: state.hash_one(0), multiply: state.hash_one(1) | 1 }
    }

    /// Twice, because addresses of one maker differ in a few low bits, and one product of those is a regular comb.
    #[inline]
    pub(super) const fn mix(self, key: Key) -> u64 {
        fold(fold(key.0 ^ self.add, self.multiply), GOLDEN)
    }
}

/// 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Both halves of the product, folded: every bit of a factor reaches high bits in one and low bits in the other.
#[inline]
const fn fold(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    product as u64 ^ (product >> 64) as u64
}

/// Where a station is reached: the port, and the tag that its domain has there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) port: PortId,
    pub(super) egress: Egress,
}

const WIDTH: usize = 5;

#[derive(Clone, Debug)]
#[repr(align(64))]
struct Line {
    keys: [Key; WIDTH],
    places: [Place; WIDTH],
}

impl Line {
    const EMPTY: Self =
        Self { keys: [Key::NONE; WIDTH], places: [Place { port: PortId(0), egress: Egress::UNTAGGED }; WIDTH] };
}

/// Which stations are where, by configuration.
#[derive(Debug)]
pub(super) struct Stations {
    mixer: Mixer,
    lines: Box<[Line]>,
}

impl Stations {
    /// Finds room for all of `stations`, whose keys differ from each other.
    pub(super) fn build(stations: &[(Key, Place)]) -> Self {
        let mut lines = stations.len().next_power_of_two();
        loop {
            for _ in 0..16 {
                if let Some(built) = Self::try_build(stations, lines, Mixer::random()) {
                    return built;
                }
            }
            lines *= 2;
        }
    }

    fn try_build(stations: &[(Key, Place)], lines: usize, mixer: Mixer) -> Option<Self> {
        let mut built = Self { mixer, lines: vec![Line::EMPTY; lines].into() };
        for &(key, place) in stations {
            let at = built.at(key);
            let line = &mut built.lines[at];
            let slot = line.keys.iter().position(|&k| k == Key::NONE)?;
            (line.keys[slot], line.places[slot]) = (key, place);
        }
        Some(built)
    }

    #[inline]
    fn at(&self, key: Key) -> usize {
        self.mixer.mix(key) as usize & (self.lines.len() - 1)
    }

    /// Where the station is, if the configuration says so.
    #[inline]
    pub(super) fn get(&self, key: Key) -> Option<Place> {
        let line = self.lines.get(self.at(key))?;
        for (&k, &place) in line.keys.iter().zip(&line.places) {
            if k == key {
                return Some(place);
            }
        }
        None
    }

    /// All of them, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, Place)> + '_ {
        self.lines
            .iter()
            .flat_map(|line| line.keys.iter().copied().zip(line.places.iter().copied()))
            .filter(|&(key, _)| key != Key::NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(port: u16) -> Place {
        Place { port: PortId(port), egress: Egress::UNTAGGED }
    }

    #[test]
    fn a_line_is_a_cache_line() {
        assert_eq!(size_of::<Line>(), 64);
    }

    #[test]
    fn an_empty_table_knows_nobody() {
        let stations = Stations::build(&[]);
        assert_eq!(stations.get(Key::new(0, 0)), None);
        assert_eq!(stations.iter().count(), 0);
    }

    #[test]
    fn thousands_of_neighbouring_addresses_are_all_found_and_no_others() {
        let all: Vec<_> = (0..4096_u16).map(|i| (Key::new(i % 7, 0x0250_4d00_0000 + u64::from(i)), place(i))).collect();
        let stations = Stations::build(&all);
        for &(key, place) in &all {
            assert_eq!(stations.get(key), Some(place));
            assert_eq!(stations.get(Key(key.0 ^ 1)), None, "another domain");
        }
        assert_eq!(stations.get(Key::new(0, 0x0250_4d00_2000)), None);
        assert_eq!(stations.iter().count(), all.len());
        assert!(stations.lines.len() <= 8192, "{} lines for 4096 stations", stations.lines.len());
    }

    #[test]
    fn neighbouring_addresses_spread_like_random_ones_whatever_the_seed() {
        for _ in 0..100 {
            let mixer = Mixer::random();
            let mut lines = [0_u32; 4096];
            for n in 0..4096 {
                lines[mixer.mix(Key::new(0, 0x0250_4d00_0000 + n)) as usize % 4096] += 1;
            }
            // Of as many random ones, 4096/e lines get none: 1507, give or take 25.
            let empty = lines.iter().filter(|&&n| n == 0).count();
            assert!((1350..1660).contains(&empty), "{empty} lines without a station under {mixer:?}");
        }
    }

    #[test]
    fn a_key_gives_back_what_it_is_made_of() {
        let mac = Mac([2, 3, 4, 5, 6, 7]);
        let key = Key::new(0xfffe, mac.as_u64());
        assert_eq!((key.mac(), key.domain()), (mac, 0xfffe));
    }
}
