//! "Did you mean": the known word that is nearest to one that is not known.

/// The candidate nearest to `word`, if it is near enough to be what was meant.
pub(super) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    // Nobody means a known word by one much longer than all of them.
    const LONGEST: usize = 64;
    if word.is_empty() || word.len() > LONGEST {
        return None;
    }
    let limit = (word.chars().count() / 3).max(1);
    let near = candidates.into_iter().filter(|c| !c.is_empty() && c.len() <= LONGEST).map(|c| (distance(word, c), c));
    near.filter(|&(d, _)| d <= limit).min_by_key(|&(d, _)| d).map(|(_, c)| c)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`; case and `-` against `_` cost
/// nothing (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let fold =
        |s: &str| -> Vec<char> { s.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect() };
    let (a, b) = (fold(a), fold(b));
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let mut best = replace.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_understood_and_other_words_are_not() {
        let keys = ["device", "domain", "ring_size", "rings", "vlans"];
        for (word, meant) in [
            ("devcie", Some("device")),
            ("Device", Some("device")),
            ("ring-size", Some("ring_size")),
            ("vlan", Some("vlans")),
            ("doman", Some("domain")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, keys), meant, "{word:?}");
        }
        assert_eq!(nearest(&"x".repeat(1_000_000), keys), None);
    }
}
