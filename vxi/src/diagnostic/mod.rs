//! What is wrong with a file: every mistake with its file, line, column, an excerpt, and what to do.
//!
//! Readers and checks read on after a mistake, so that one round of editing repairs all. A hostile file must not be
//! answered with a flood: beyond [`MAX_DIAGNOSTICS`] mistakes are counted, not kept.

mod mistakes;
mod spelling;

use std::fmt;
use std::path::{Path, PathBuf};

pub use crate::model::Place;
pub(crate) use mistakes::{Mistakes, Positions, one_line, quoted};
pub(crate) use spelling::nearest;

/// Mistakes that are kept of one file.
pub const MAX_DIAGNOSTICS: usize = 1_000;

/// One mistake: `file:line:column: thing: what is wrong; what to do`, and the line that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file.
    pub file: PathBuf,
    /// Where in it; none when it could not be read at all.
    pub place: Option<Place>,
    /// The line that it is in; none when there is none, or one of thousands of characters.
    pub excerpt: Option<Excerpt>,
    /// The component or the part of the file that it is about.
    pub thing: String,
    /// What is wrong.
    pub wrong: String,
    /// What to do.
    pub remedy: String,
}

/// A part of a line that fits on a screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// The text, without control characters.
    pub text: String,
    /// Characters before the one that the mistake begins with.
    pub caret: usize,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", one_line(&self.file.to_string_lossy()))?;
        if let Some(place) = self.place {
            write!(f, "{place}:")?;
        }
        write!(f, " {}: {}; {}", self.thing, self.wrong, self.remedy)?;
        if let (Some(Place { line, .. }), Some(excerpt)) = (self.place, &self.excerpt) {
            write!(f, "\n{line:>6} | {}\n       | {:>width$}", excerpt.text, "^", width = excerpt.caret + 1)?;
        }
        Ok(())
    }
}

/// Every mistake of a file, in its order. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Diagnostics {
    /// The file.
    pub file: PathBuf,
    /// The mistakes, at most [`MAX_DIAGNOSTICS`].
    pub list: Vec<Diagnostic>,
    /// How many more there are.
    pub left_out: usize,
}

impl Diagnostics {
    /// The file cannot be read at all.
    pub fn unreadable(file: &Path, wrong: impl Into<String>, remedy: impl Into<String>) -> Self {
        let diagnostic = Diagnostic {
            file: file.to_owned(),
            place: None,
            excerpt: None,
            thing: "infrastructure".into(),
            wrong: wrong.into(),
            remedy: remedy.into(),
        };
        Self { file: file.to_owned(), list: vec![diagnostic], left_out: 0 }
    }

    /// How many mistakes there are.
    pub fn count(&self) -> usize {
        self.list.len() + self.left_out
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, diagnostic) in self.list.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            diagnostic.fmt(f)?;
        }
        if self.left_out > 0 {
            write!(f, "\n{}: and {} more; repair these first", one_line(&self.file.to_string_lossy()), self.left_out)?;
        }
        Ok(())
    }
}
