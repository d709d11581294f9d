//! One table of the file, read key by key: what is asked for is what is known, the rest is a mistake.

use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistakes::{Mistakes, one_line, quoted};
use super::spelling::nearest;

/// A value, and where it stands.
#[derive(Clone, Copy)]
pub(super) struct Found<T> {
    pub(super) value: T,
    pub(super) at: usize,
}

/// A table that is being read.
pub(super) struct Section<'a, 't> {
    /// What messages call it.
    pub(super) thing: String,
    /// Where it begins.
    pub(super) at: usize,
    table: &'a DeTable<'t>,
    asked: Vec<&'static str>,
}

impl<'a, 't> Section<'a, 't> {
    pub(super) fn new(thing: String, at: usize, table: &'a DeTable<'t>) -> Self {
        Self { thing, at, table, asked: Vec::new() }
    }

    /// Whether the key is there, right or wrong.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Complains if the key is not there.
    pub(super) fn require(&mut self, mistakes: &mut Mistakes<'_>, key: &'static str, remedy: &str) {
        self.asked.push(key);
        if !self.has(key) {
            mistakes.add_missing(self.at, &self.thing, format!("{key} is missing"), remedy);
        }
    }

    /// The value of the key, of whatever type.
    pub(super) fn value(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'t>>> {
        self.asked.push(key);
        self.table.get(key)
    }

    /// A string.
    pub(super) fn string(&mut self, mistakes: &mut Mistakes<'_>, key: &'static str) -> Option<Found<&'a str>> {
        let value = self.value(key)?;
        let at = value.span().start;
        match value.get_ref() {
            DeValue::String(text) => Some(Found { value: text, at }),
            other => {
                let remedy = format!("write {key} = \"...\"");
                mistakes.add(at, &self.thing, wrong_type(key, other, "a string"), remedy);
                None
            }
        }
    }

    /// A string of which `accept` makes something; `shape` is what it is to be, and how that is written.
    pub(super) fn parsed<T>(
        &mut self,
        mistakes: &mut Mistakes<'_>,
        key: &'static str,
        (what, how): (&str, &str),
        accept: impl FnOnce(&str) -> Option<T>,
    ) -> Option<Found<T>> {
        let Found { value: text, at } = self.string(mistakes, key)?;
        match accept(text) {
            Some(value) => Some(Found { value, at }),
            None => {
                mistakes.add(at, &self.thing, format!("{key} = {} is not {what}", quoted(text)), how);
                None
            }
        }
    }

    /// One of the given words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        mistakes: &mut Mistakes<'_>,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let Found { value: text, at } = self.string(mistakes, key)?;
        if let Some(&(_, value)) = choices.iter().find(|(word, _)| *word == text) {
            return Some(value);
        }
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        let remedy = match nearest(text, words.iter().copied()) {
            Some(word) => format!("did you mean {word:?}? there are {}", words.join(", ")),
            None => format!("choose one of {}", words.join(", ")),
        };
        mistakes.add(at, &self.thing, format!("{key} = {} is unknown", quoted(text)), remedy);
        None
    }

    /// A whole number within a range.
    pub(super) fn integer(
        &mut self,
        mistakes: &mut Mistakes<'_>,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<Found<u64>> {
        let value = self.value(key)?;
        let at = value.span().start;
        let DeValue::Integer(number) = value.get_ref() else {
            let remedy = format!("give a whole number, {}", describe(&range));
            mistakes.add(at, &self.thing, wrong_type(key, value.get_ref(), "a whole number"), remedy);
            return None;
        };
        match i128::from_str_radix(number.as_str(), number.radix()) {
            Ok(n) if u64::try_from(n).is_ok_and(|n| range.contains(&n)) => Some(Found { value: n as u64, at }),
            _ => {
                let wrong = format!("{key} = {} is out of range", one_line(&number.to_string()));
                mistakes.add(at, &self.thing, wrong, format!("give {}", describe(&range)));
                None
            }
        }
    }

    /// A power of two within a range.
    pub(super) fn power_of_two(
        &mut self,
        mistakes: &mut Mistakes<'_>,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        let Found { value, at } = self.integer(mistakes, key, range.clone())?;
        if value.is_power_of_two() {
            return Some(value);
        }
        let above = value.next_power_of_two().min(*range.end());
        let remedy = format!("give {} or {above}", above / 2);
        mistakes.add(at, &self.thing, format!("{key} = {value} is not a power of two"), remedy);
        None
    }

    /// True or false.
    pub(super) fn boolean(&mut self, mistakes: &mut Mistakes<'_>, key: &'static str) -> Option<bool> {
        let value = self.value(key)?;
        if let DeValue::Boolean(truth) = value.get_ref() {
            return Some(*truth);
        }
        let remedy = format!("write {key} = true or {key} = false, without quotes");
        mistakes.add(value.span().start, &self.thing, wrong_type(key, value.get_ref(), "true or false"), remedy);
        None
    }

    /// The tables of `[[key]]`, each with the place where it begins; `[key]` is a mistake, and is read all the same.
    pub(super) fn sections(
        &mut self,
        mistakes: &mut Mistakes<'_>,
        key: &'static str,
        head: &str,
    ) -> Vec<(usize, &'a DeTable<'t>)> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let mut tables = Vec::new();
        let items: &mut dyn Iterator<Item = &'a Spanned<DeValue<'t>>> = match value.get_ref() {
            DeValue::Array(array) => &mut array.iter(),
            DeValue::Table(_) => {
                let wrong = format!("[{head}] is a single table, but there may be several");
                mistakes.add(value.span().start, &self.thing, wrong, format!("write [[{head}]]"));
                &mut std::iter::once(value)
            }
            _ => &mut std::iter::once(value),
        };
        for item in items {
            let Range { start, .. } = item.span();
            match item.get_ref() {
                DeValue::Table(table) => tables.push((start, table)),
                other => {
                    let remedy = format!("begin a section with [[{head}]]");
                    mistakes.add(start, &self.thing, wrong_type(key, other, "a section"), remedy);
                }
            }
        }
        tables
    }

    /// Lets keys pass that nobody asks for.
    pub(super) fn allow(&mut self, keys: impl IntoIterator<Item = &'static str>) {
        self.asked.extend(keys);
    }

    /// Ends reading: every key that nobody asked for is a mistake. `elsewhere` may know where such a key belongs.
    pub(super) fn finish(self, mistakes: &mut Mistakes<'_>, elsewhere: impl Fn(&str) -> Option<String>) {
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if self.asked.contains(&name) {
                continue;
            }
            let remedy = match nearest(name, self.asked.iter().copied()) {
                Some(known) => format!("did you mean {known}?"),
                None => elsewhere(name).unwrap_or_else(|| {
                    let mut known = self.asked.clone();
                    known.sort_unstable();
                    known.dedup();
                    format!("take it out; known here are {}", known.join(", "))
                }),
            };
            mistakes.add(key.span().start, &self.thing, format!("unknown key {}", quoted(name)), remedy);
        }
    }
}

/// "ring is a string, not a whole number".
pub(super) fn wrong_type(key: &str, value: &DeValue<'_>, wanted: &str) -> String {
    let is = match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    };
    format!("{key} is {is}, not {wanted}")
}

fn describe(range: &RangeInclusive<u64>) -> String {
    format!("{} to {}", range.start(), range.end())
}
