//! Routes and destinations for the benchmark of look-ups, and others that look them up.

pub mod dpdk;
pub mod peers;

use std::collections::HashSet;

/// Prefixes of each length in a million, in the proportions of the Internet's table of 2025 as RIPE RIS collectors see it,
/// with 1 % longer than /24, as an operator's own network adds them.
const LENGTHS: [(u8, usize); 25] = [
    (8, 16),
    (9, 14),
    (10, 40),
    (11, 100),
    (12, 300),
    (13, 600),
    (14, 1_200),
    (15, 2_100),
    (16, 13_600),
    (17, 8_500),
    (18, 14_500),
    (19, 25_000),
    (20, 45_000),
    (21, 54_000),
    (22, 112_000),
    (23, 105_000),
    (24, 608_030),
    (25, 1_000),
    (26, 1_000),
    (27, 1_000),
    (28, 1_500),
    (29, 1_500),
    (30, 1_500),
    (31, 500),
    (32, 2_000),
];

/// A generator of numbers that are the same in every run (xorshift64*).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }
}

/// `n` different IPv4 prefixes, in no order.
pub fn routes_v4(n: usize, random: &mut Random) -> Vec<(u32, u8)> {
    let total: usize = LENGTHS.iter().map(|(_, part)| part).sum();
    let (mut seen, mut routes) = (HashSet::new(), Vec::with_capacity(n));
    while routes.len() < n {
        let mut part = random.below(total);
        let mut lengths = LENGTHS.iter();
        let length = loop {
            let Some((length, of)) = lengths.next() else { break 24 };
            match part.checked_sub(*of) {
                Some(rest) => part = rest,
                None => break *length,
            }
        };
        // 1.0.0.0 to 223.255.255.255.
        let address = (1 << 24) + random.below(223 << 24) as u32;
        let prefix = (address & (u32::MAX << (32 - length)), length);
        if seen.insert(prefix) {
            routes.push(prefix);
        }
    }
    routes
}

/// `n` different IPv6 prefixes: mostly /48 in a few thousand /32, as the Internet's table has them.
pub fn routes_v6(n: usize, random: &mut Random) -> Vec<(u128, u8)> {
    let (mut seen, mut routes) = (HashSet::new(), Vec::with_capacity(n));
    let blocks: Vec<u64> = (0..40_000).map(|_| 0x2000_0000_0000_0000 | random.next() >> 3 & !0xffff_ffff).collect();
    while routes.len() < n {
        let block = blocks[random.below(blocks.len())];
        let length = [32, 36, 40, 44, 48, 48, 48, 48, 48, 64][random.below(10)];
        let bits = u128::from(block | random.next() & 0xffff_ffff) << 64;
        let prefix = (bits & (u128::MAX << (128 - length)), length);
        if seen.insert(prefix) {
            routes.push(prefix);
        }
    }
    routes
}

/// Destinations over all of the routes, each as likely.
pub fn destinations_v4(routes: &[(u32, u8)], n: usize, random: &mut Random) -> Vec<u32> {
    let one = |_| {
        let (network, length) = routes[random.below(routes.len())];
        network | (random.next() as u32).checked_shr(length.into()).unwrap_or(0)
    };
    (0..n).map(one).collect()
}

pub fn destinations_v6(routes: &[(u128, u8)], n: usize, random: &mut Random) -> Vec<u128> {
    let one = |_| {
        let (network, length) = routes[random.below(routes.len())];
        network | (u128::from(random.next()) << 64 | u128::from(random.next())).checked_shr(length.into()).unwrap_or(0)
    };
    (0..n).map(one).collect()
}
