//! Collects what is wrong while reading goes on.

use std::collections::HashMap;
use std::path::Path;

use super::error::Lines;
use super::{ConfigError, Place};

/// The mistakes found so far.
pub(super) struct Mistakes<'t> {
    text: &'t str,
    lines: Lines<'t>,
    file: &'t Path,
    /// Lines that are not TOML: what is said of them is said already.
    broken: Vec<u32>,
    found: Vec<(usize, ConfigError)>,
}

impl<'t> Mistakes<'t> {
    pub(super) fn new(text: &'t str, file: &'t Path) -> Self {
        Self { text, lines: Lines::of(text), file, broken: Vec::new(), found: Vec::new() }
    }

    /// The place of a byte.
    pub(super) fn place(&self, at: usize) -> Place {
        self.lines.place(at)
    }

    /// Something that is there and is wrong.
    pub(super) fn add(&mut self, at: usize, thing: &str, wrong: impl Into<String>, remedy: impl Into<String>) {
        let place = self.place(at);
        if self.broken.contains(&place.line) {
            return;
        }
        self.found.push((at, self.error(place, thing, wrong.into(), remedy.into())));
    }

    /// As [`add`](Self::add), of a place instead of a byte.
    pub(super) fn add_at(&mut self, place: Place, thing: &str, wrong: impl Into<String>, remedy: impl Into<String>) {
        let at = self.lines.offset(place);
        self.add(at, thing, wrong, remedy);
    }

    /// Something that is missing: not said of a file with syntax errors, because it may be in what could not be read.
    pub(super) fn add_missing(&mut self, at: usize, thing: &str, wrong: impl Into<String>, remedy: impl Into<String>) {
        if self.broken.is_empty() {
            self.add(at, thing, wrong, remedy);
        }
    }

    /// Text that is not TOML. One a line: what follows on the same line follows from it.
    pub(super) fn add_syntax(&mut self, at: usize, message: &str) {
        let place = self.place(at);
        if self.broken.contains(&place.line) {
            return;
        }
        self.broken.push(place.line);
        let line = self.text.lines().nth(place.line as usize - 1).unwrap_or("").trim();
        let remedy = syntax_remedy(line, message);
        self.found.push((at, self.error(place, "TOML", one_line(message), remedy)));
    }

    fn error(&self, place: Place, thing: &str, wrong: String, remedy: String) -> ConfigError {
        ConfigError { file: self.file.to_owned(), place: Some(place), thing: thing.to_owned(), wrong, remedy }
    }

    /// All of them in the order of the file.
    pub(super) fn finish(mut self) -> Vec<ConfigError> {
        self.found.sort_by_key(|(at, _)| *at);
        self.found.into_iter().map(|(_, error)| error).collect()
    }
}

/// What to do about a line that is not TOML.
fn syntax_remedy(line: &str, message: &str) -> String {
    let value = line.split_once('=').map_or("", |(_, value)| value.trim());
    if message.contains("duplicate key") {
        "keep one of the two".into()
    } else if value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        || (value.starts_with(|c: char| c.is_ascii_digit()) && value.contains(|c: char| c.is_ascii_alphabetic()))
    {
        "write words, paths and numbers with units in quotes: name = \"up0\", spin = \"50us\"".into()
    } else if line.starts_with('[') {
        "a section's head is [[worker]], [[domain]], [[port]], [[guest]] or [[guest.port]]".into()
    } else {
        "write key = value, one a line; see https://toml.io".into()
    }
}

/// Text from outside, fit to stand in one line of a terminal.
pub(super) fn one_line(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// Text from the file in quotes, fit for one line, and cut when it is long.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}...", &text[..end]),
    }
}

/// What may be used once only: names, devices, cores, sockets.
#[derive(Default)]
pub(super) struct Claims(HashMap<(&'static str, String), Place>);

impl Claims {
    /// Claims `value` as a `what`; complains if someone has it.
    pub(super) fn claim(
        &mut self,
        mistakes: &mut Mistakes<'_>,
        (what, value): (&'static str, &str),
        at: usize,
        thing: &str,
        remedy: &str,
    ) {
        let place = mistakes.place(at);
        let first = *self.0.entry((what, value.to_owned())).or_insert(place);
        if first != place {
            let wrong = format!("{what} {} is taken already, in line {}", one_line(value), first.line);
            mistakes.add(at, thing, wrong, remedy);
        }
    }

    /// Complains if someone has `value` as a `what`, and does not claim it.
    pub(super) fn forbid(
        &self,
        mistakes: &mut Mistakes<'_>,
        (what, value): (&'static str, &str),
        at: usize,
        thing: &str,
        remedy: &str,
    ) {
        if let Some(first) = self.0.get(&(what, value.to_owned())) {
            let wrong = format!("{what} {} is taken already, in line {}", one_line(value), first.line);
            mistakes.add(at, thing, wrong, remedy);
        }
    }
}
