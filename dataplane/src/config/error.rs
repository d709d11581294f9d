//! What is wrong with a configuration, and where.

use std::fmt;
use std::path::{Path, PathBuf};

/// A place in the file, both counted from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

/// Where the lines of a text begin.
pub(super) struct Lines<'t> {
    text: &'t [u8],
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        let text = text.as_bytes();
        let after_newline = text.iter().enumerate().filter(|&(_, &b)| b == b'\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(after_newline).collect() }
    }

    /// The first byte of the line of `place`.
    pub(super) fn offset(&self, place: Place) -> usize {
        self.starts.get(place.line as usize - 1).copied().unwrap_or(self.text.len())
    }

    /// The place of the byte at `offset`, or of the end if the text is shorter.
    pub(super) fn place(&self, offset: usize) -> Place {
        let offset = offset.min(self.text.len());
        let line = self.starts.partition_point(|&start| start <= offset);
        let before = &self.text[self.starts[line - 1]..offset];
        // Bytes that continue a character of UTF-8 are 0b10xx_xxxx.
        let column = before.iter().filter(|&&b| b & 0xc0 != 0x80).count() + 1;
        Place { line: line as u32, column: column as u32 }
    }
}

/// One mistake: `file:line:column: thing: what is wrong; what to do`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// Where in it; none when it could not be read at all.
    pub place: Option<Place>,
    /// The section or the port, guest, domain that it is about.
    pub thing: String,
    /// What is wrong.
    pub wrong: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(Place { line, column }) = self.place {
            write!(f, "{line}:{column}:")?;
        }
        write!(f, " {}: {}; {}", self.thing, self.wrong, self.remedy)
    }
}

/// Every mistake of a configuration, in the order of the file, one a line. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl ConfigErrors {
    /// The file itself cannot be read.
    pub(super) fn unreadable(file: &Path, wrong: String, remedy: &str) -> Self {
        let thing = "configuration".to_owned();
        Self(vec![ConfigError { file: file.to_owned(), place: None, thing, wrong, remedy: remedy.to_owned() }])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters() {
        let text = "a\nbü = 1\n";
        for (offset, line, column) in [(0, 1, 1), (1, 1, 2), (2, 2, 1), (5, 2, 3), (10, 3, 1), (99, 3, 1)] {
            assert_eq!(Lines::of(text).place(offset), Place { line, column }, "byte {offset}");
        }
    }
}
