//! Where mistakes are gathered, and how a byte of the text becomes a line and a column.

use std::path::Path;

use super::{Diagnostic, Diagnostics, Excerpt, MAX_DIAGNOSTICS};
use crate::model::{At, Place};

/// Characters of an excerpt.
const EXCERPT: usize = 100;
/// Columns beyond this one have no excerpt: who made such a line does not read it.
const LAST_COLUMN: u32 = 10_000;

/// Turns offsets into places. It goes from the last one to the next, so that a file that is read in its order is
/// gone through once, even if it is one long line.
pub(crate) struct Positions<'t> {
    text: &'t [u8],
    offset: usize,
    line: u32,
    column: u32,
}

impl<'t> Positions<'t> {
    pub(crate) const fn new(text: &'t str) -> Self {
        Self { text: text.as_bytes(), offset: 0, line: 1, column: 1 }
    }

    /// The place of the byte at `offset`, or of the end if the text is shorter.
    pub(crate) fn at(&mut self, offset: usize) -> At {
        let offset = offset.min(self.text.len());
        if offset >= self.offset {
            self.forth(offset);
        } else {
            self.back(offset);
        }
        self.offset = offset;
        At::new(self.line, self.column)
    }

    fn forth(&mut self, offset: usize) {
        let between = &self.text[self.offset..offset];
        let (mut lines, mut last) = (0, None);
        for newline in memchr::memchr_iter(b'\n', between) {
            (lines, last) = (lines + 1, Some(newline));
        }
        self.line = self.line.saturating_add(lines);
        let rest = last.map_or(between, |newline| &between[newline + 1..]);
        let before = if last.is_some() { 1 } else { self.column };
        self.column = before.saturating_add(characters(rest));
    }

    fn back(&mut self, offset: usize) {
        let between = &self.text[offset..self.offset];
        let lines = between.iter().filter(|&&b| b == b'\n').count() as u32;
        if lines == 0 {
            self.column = self.column.saturating_sub(characters(between)).max(1);
            return;
        }
        self.line = self.line.saturating_sub(lines).max(1);
        let start = self.text[..offset].iter().rposition(|&b| b == b'\n').map_or(0, |newline| newline + 1);
        self.column = characters(&self.text[start..offset]).saturating_add(1);
    }
}

/// Bytes that continue a character of UTF-8 are 0b10xx_xxxx.
fn characters(bytes: &[u8]) -> u32 {
    bytes.iter().filter(|&&b| b & 0xc0 != 0x80).count() as u32
}

/// Mistakes of one file.
pub(crate) struct Mistakes<'t> {
    text: &'t str,
    file: &'t Path,
    /// Where lines begin, once somebody wants to know.
    lines: Vec<usize>,
    list: Vec<Diagnostic>,
    left_out: usize,
}

impl<'t> Mistakes<'t> {
    pub(crate) const fn new(text: &'t str, file: &'t Path) -> Self {
        Self { text, file, lines: Vec::new(), list: Vec::new(), left_out: 0 }
    }

    /// Adds one; `wrong` and `remedy` are one line each.
    pub(crate) fn add(
        &mut self,
        at: At,
        thing: impl Into<String>,
        wrong: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        // Sorting can only help those that are kept, so twice the number is kept till the end.
        if self.list.len() >= 2 * MAX_DIAGNOSTICS {
            self.left_out += 1;
            return;
        }
        let file = self.file.to_owned();
        let excerpt = at.0.and_then(|place| self.excerpt(place));
        self.list.push(Diagnostic {
            file,
            place: at.0,
            excerpt,
            thing: thing.into(),
            wrong: wrong.into(),
            remedy: remedy.into(),
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All of them in the order of the file; none: the file is sound.
    pub(crate) fn finish(mut self) -> Option<Diagnostics> {
        if self.list.is_empty() {
            return None;
        }
        self.list.sort_by_key(|diagnostic| diagnostic.place);
        let left_out = self.left_out + self.list.len().saturating_sub(MAX_DIAGNOSTICS);
        self.list.truncate(MAX_DIAGNOSTICS);
        Some(Diagnostics { file: self.file.to_owned(), list: self.list, left_out })
    }

    fn excerpt(&mut self, place: Place) -> Option<Excerpt> {
        if place.column > LAST_COLUMN || self.text.is_empty() {
            return None;
        }
        if self.lines.is_empty() {
            let after = self.text.bytes().enumerate().filter(|&(_, b)| b == b'\n').map(|(at, _)| at + 1);
            self.lines = std::iter::once(0).chain(after).collect();
        }
        let start = *self.lines.get(place.line as usize - 1)?;
        let line = self.text[start..].split('\n').next()?.trim_end_matches('\r');
        let before = place.column as usize - 1;
        // Three quarters of the excerpt lie before the mistake where the line is long.
        let indent = line.chars().take_while(|c| c.is_whitespace()).count().min(before);
        let skip = indent.max((before + EXCERPT / 4).saturating_sub(EXCERPT));
        let text = line.chars().skip(skip).take(EXCERPT).map(|c| if c.is_control() { ' ' } else { c }).collect();
        Some(Excerpt { text, caret: before - skip.min(before) })
    }
}

/// Text of the file within a message: quoted, without control characters, not longer than a line.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", one_line(text))
}

/// As [`quoted`], without quotes.
pub(crate) fn one_line(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut line: String =
        text.chars().take(LONGEST).map(|c| if c.is_control() || c == '\u{2028}' { ' ' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        line.push_str("...");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_forth_and_back() {
        let text = "a\nbü = 1\n";
        let places = [(0, 1, 1), (1, 1, 2), (2, 2, 1), (5, 2, 3), (10, 3, 1), (99, 3, 1)];
        let mut positions = Positions::new(text);
        for &(offset, line, column) in places.iter().chain(places.iter().rev()) {
            assert_eq!(positions.at(offset).0, Some(Place { line, column }), "byte {offset}");
        }
    }

    #[test]
    fn an_excerpt_points_at_the_character() {
        let text = format!("<a>\r\n\t<b>ü&lt;{}</b>\r\n", "x".repeat(500));
        let mut mistakes = Mistakes::new(&text, Path::new("a.xml"));
        let excerpt = mistakes.excerpt(Place { line: 2, column: 5 }).expect("the line is there");
        assert_eq!((excerpt.text.chars().count(), excerpt.caret), (EXCERPT, 3));
        assert!(excerpt.text.starts_with("<b>ü&lt;x"), "{excerpt:?}");
        let far = mistakes.excerpt(Place { line: 2, column: 400 }).expect("the line is there");
        assert_eq!(far.text.chars().nth(far.caret), Some('x'));
        assert_eq!(mistakes.excerpt(Place { line: 9, column: 1 }), None);
    }

    #[test]
    fn a_flood_is_counted() {
        let mut mistakes = Mistakes::new("", Path::new("a.xml"));
        for _ in 0..3 * MAX_DIAGNOSTICS {
            mistakes.add(At::NOWHERE, "a", "b", "c");
        }
        let all = mistakes.finish().expect("mistakes");
        assert_eq!((all.list.len(), all.count()), (MAX_DIAGNOSTICS, 3 * MAX_DIAGNOSTICS));
        assert!(all.to_string().ends_with("a.xml: and 2000 more; repair these first"));
    }
}
