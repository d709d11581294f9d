//! "Did you mean": the known word that is nearest to one that is not known.

/// Nobody means a known word by one that is much longer than all of them.
const LONGEST: usize = 48;

/// The candidate nearest to `word`, if it is near enough to be what was meant.
pub(crate) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let length = word.chars().count();
    if length == 0 || length > LONGEST {
        return None;
    }
    let near = candidates.into_iter().filter(|c| c.chars().count().abs_diff(length) <= 3 && c.len() <= LONGEST);
    let near = near.map(|c| (distance(word, c), c)).filter(|&(d, _)| d <= (length / 3).max(1));
    near.min().map(|(_, c)| c)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one into the other; case costs nothing.
fn distance(a: &str, b: &str) -> usize {
    let fold = |s: &str| s.chars().map(|c| c.to_ascii_lowercase()).collect::<Vec<char>>();
    let (a, b) = (fold(a), fold(b));
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let mut best = (last[j - 1] + usize::from(a[i - 1] != b[j - 1])).min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_understood_and_other_words_are_not() {
        let names = ["vNode", "vRouter", "vStorage", "latency"];
        for (word, meant) in [
            ("vnode", Some("vNode")),
            ("vRotuer", Some("vRouter")),
            ("vStorge", Some("vStorage")),
            ("latenzy", Some("latency")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, names), meant, "{word:?}");
        }
        assert_eq!(nearest(&"x".repeat(1_000_000), names), None);
    }
}
