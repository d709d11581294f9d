//! Where something was written: beside the data, and no part of it.
//!
//! Two infrastructures that say the same are equal, whichever file and syntax they came from; yet an error that shows
//! only later ("link G does not fit") can still name the line.

use std::fmt;
use std::ops::Deref;

/// A place in a file, both counted from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Where the thing that holds it was written; none if it was made by a program. Always equal to every other.
#[derive(Clone, Copy, Debug, Default)]
pub struct At(pub Option<Place>);

impl At {
    /// Of a thing made by a program.
    pub const NOWHERE: Self = Self(None);

    /// Of a thing that was read.
    pub const fn new(line: u32, column: u32) -> Self {
        Self(Some(Place { line, column }))
    }
}

impl PartialEq for At {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for At {}

/// A name that refers to something, with the place of the reference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Name {
    /// The name itself.
    pub text: String,
    /// Where it stands.
    pub at: At,
}

impl Name {
    /// A name that was read at a place.
    pub fn new(text: impl Into<String>, at: At) -> Self {
        Self { text: text.into(), at }
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self::new(text, At::NOWHERE)
    }
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        Self::new(text, At::NOWHERE)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
