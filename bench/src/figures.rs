//! The arithmetic of the tables: medians and spreads, fairness, line rates and what they force to be lost.

/// Bytes that a frame occupies on an Ethernet besides what software sees of it: frame check sequence 4, preamble and
/// start of frame 8, gap between frames 12.
pub const WIRE_OVERHEAD: u64 = 24;

/// The length of a frame as the paper and the RFCs count it, with what that means in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameSize {
    /// The shortest Ethernet frame: 64 bytes with its check sequence.
    B64,
    /// 1500 bytes of IP, the paper's other size: 1518 bytes with Ethernet's header and check sequence.
    B1500,
}

impl FrameSize {
    /// Both, in the order of the tables.
    pub const BOTH: [Self; 2] = [Self::B64, Self::B1500];

    /// As the tables and the JSON name it.
    pub const fn label(self) -> u32 {
        match self {
            Self::B64 => 64,
            Self::B1500 => 1500,
        }
    }

    /// Bytes in memory: Ethernet header to the end of the payload.
    pub const fn in_memory(self) -> usize {
        match self {
            Self::B64 => 60,
            Self::B1500 => 1514,
        }
    }

    /// What one flow of the paper's offers, frames a second: see PAPER's table I, rate / (1 - loss).
    pub const fn paper_load(self) -> f64 {
        match self {
            Self::B64 => 357_000.0,
            Self::B1500 => 81_274.0,
        }
    }

    /// Frames a second that fit on a link of `bits` a second.
    pub fn line_rate(self, bits: f64) -> f64 {
        bits / 8.0 / (self.in_memory() as u64 + WIRE_OVERHEAD) as f64
    }
}

/// The part of `offered` frames a second that a link which carries `line` of them must lose.
pub fn loss_floor(offered: f64, line: Option<f64>) -> f64 {
    match line {
        Some(line) if offered > line => 1.0 - line / offered,
        _ => 0.0,
    }
}

/// The part of `offered` that did not arrive. Zero if nothing was offered.
pub fn loss(offered: u64, delivered: u64) -> f64 {
    if offered == 0 { 0.0 } else { offered.saturating_sub(delivered) as f64 / offered as f64 }
}

/// Jain's index of fairness: 1 if all are equal, 1/n if one has everything (Jain, Chiu, Hawe 1984). 0 if nobody has anything.
pub fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|x| x * x).sum();
    if squares == 0.0 { 0.0 } else { sum * sum / (shares.len() as f64 * squares) }
}

/// The middle value; the mean of the two middle ones if there are two. Zero of nothing.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

/// How far the repeats lie apart: (largest - smallest) / median. None of fewer than two.
pub fn spread(values: &[f64]) -> Option<f64> {
    let middle = median(values);
    if values.len() < 2 || middle == 0.0 {
        return None;
    }
    let largest = values.iter().copied().fold(f64::MIN, f64::max);
    let smallest = values.iter().copied().fold(f64::MAX, f64::min);
    Some((largest - smallest) / middle)
}

/// One contender's figures beside another's of the same turns, in words: the median of the ratios, and how far they lie
/// apart. None where one of the two lost a turn, which would shift all that follow.
pub fn beside(ours: &[f64], others: &[f64]) -> Option<String> {
    if ours.len() != others.len() {
        return None;
    }
    let mut each: Vec<f64> = ours.iter().zip(others).map(|(a, b)| a / b).collect();
    each.sort_by(f64::total_cmp);
    let (least, most) = (each.first()?, each.last()?);
    Some(format!("{:.2} ({least:.2} to {most:.2}, {} turns)", median(&each), each.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_rates_are_those_of_gigabit_ethernet() {
        assert_eq!(FrameSize::B64.line_rate(1e9).floor(), 1_488_095.0);
        assert_eq!(FrameSize::B1500.line_rate(1e9).floor(), 81_274.0);
    }

    #[test]
    fn the_floor_is_the_papers_one_minus_one_over_n() {
        let line = FrameSize::B1500.line_rate(1e9);
        for n in [1.0, 2.0, 4.0, 8.0] {
            let floor = loss_floor(n * FrameSize::B1500.paper_load(), Some(line));
            assert!((floor - (1.0 - 1.0 / n)).abs() < 1e-4, "{n} routers: {floor}");
        }
        assert_eq!(loss_floor(4.0 * 357_000.0, Some(FrameSize::B64.line_rate(1e9))), 0.0);
        assert!((loss_floor(8.0 * 357_000.0, Some(FrameSize::B64.line_rate(1e9))) - 0.47896).abs() < 1e-4);
        assert_eq!(loss_floor(1e9, None), 0.0);
    }

    #[test]
    fn jain_goes_from_one_over_n_to_one() {
        assert_eq!(jain(&[5.0, 5.0, 5.0, 5.0]), 1.0);
        assert_eq!(jain(&[8.0, 0.0, 0.0, 0.0]), 0.25);
        assert!((jain(&[1.0, 2.0]) - 0.9).abs() < 1e-12);
        assert_eq!(jain(&[0.0, 0.0]), 0.0);
    }

    #[test]
    fn medians_and_spreads() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
        assert_eq!(spread(&[90.0, 100.0, 110.0]), Some(0.2));
        assert_eq!(spread(&[90.0]), None);
    }

    #[test]
    fn loss_counts_frames() {
        assert_eq!(loss(1000, 990), 0.01);
        assert_eq!(loss(1000, 1000), 0.0);
        assert_eq!(loss(0, 0), 0.0);
        assert_eq!(loss(10, 11), 0.0, "a duplicate is no negative loss");
    }
}
