//! A table of the file, read key by key: what is asked for is what is known, the rest is a mistake.

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::amount::{Refusal, parse_amount, parse_span};
use crate::check::OTHERWISE;
use crate::diagnostic::{Mistakes, Positions, nearest, one_line, quoted};
use crate::language::words::{SPACE, number_error, parse_cost};
use crate::model::time::parse_timestamp;
use crate::model::{Amount, At, Capacity, Cost, Name, Nanos, Quantity, Step, Timestamp};

/// A file that is being read.
pub(super) struct Reader<'t> {
    pub(super) positions: Positions<'t>,
    pub(super) mistakes: Mistakes<'t>,
}

/// A table that is being read.
pub(super) struct Section<'a, 't> {
    /// What messages call it.
    pub(super) thing: String,
    /// Where it begins, in bytes.
    pub(super) start: usize,
    table: &'a DeTable<'t>,
    asked: Vec<&'static str>,
}

/// A value of the file.
pub(super) type Value<'a, 't> = &'a Spanned<DeValue<'t>>;

impl<'a, 't> Section<'a, 't> {
    pub(super) fn new(thing: impl Into<String>, start: usize, table: &'a DeTable<'t>) -> Self {
        Self { thing: thing.into(), start, table, asked: Vec::new() }
    }

    pub(super) fn value(&mut self, key: &'static str) -> Option<Value<'a, 't>> {
        self.asked.push(key);
        self.table.get(key)
    }

    /// Every key and its value, known or not.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a str, usize, Value<'a, 't>)> + use<'a, 't> {
        self.table.iter().map(|(key, value)| (&**key.get_ref(), key.span().start, value))
    }
}

impl<'t> Reader<'t> {
    pub(super) fn at(&mut self, offset: usize) -> At {
        self.positions.at(offset)
    }

    pub(super) fn wrong(&mut self, offset: usize, thing: &str, wrong: impl Into<String>, remedy: impl Into<String>) {
        let at = self.positions.at(offset);
        self.mistakes.add(at, thing, wrong, remedy);
    }

    fn wrong_type(&mut self, thing: &str, key: &str, value: Value<'_, '_>, remedy: &str) {
        let wrong = format!("{} is {}", one_line(key), kind(value.get_ref()));
        self.wrong(value.span().start, thing, wrong, remedy);
    }

    /// Text of the model: without space around it, and without control characters.
    pub(super) fn text(&mut self, thing: &str, key: &str, value: Value<'_, '_>) -> Option<String> {
        let DeValue::String(text) = value.get_ref() else {
            self.wrong_type(thing, key, value, "write it in quotes");
            return None;
        };
        let start = value.span().start;
        let trimmed = text.trim_matches(SPACE);
        if let Some(c) = trimmed.chars().find(|&c| !is_plain(c)) {
            let wrong = format!("{} has the character U+{:04X}", one_line(key), u32::from(c));
            self.wrong(start, thing, wrong, "take it out: XML cannot hold it");
            return None;
        }
        if trimmed.is_empty() {
            self.wrong(start, thing, format!("{} is empty", one_line(key)), "give it a value, or take it out");
            return None;
        }
        Some(trimmed.to_owned())
    }

    pub(super) fn string(&mut self, section: &mut Section<'_, 't>, key: &'static str) -> Option<String> {
        let value = section.value(key)?;
        self.text(&section.thing, key, value)
    }

    /// A name that refers to something.
    pub(super) fn name(&mut self, section: &mut Section<'_, 't>, key: &'static str) -> Option<Name> {
        let value = section.value(key)?;
        let text = self.text(&section.thing, key, value)?;
        Some(Name::new(text, self.at(value.span().start)))
    }

    /// A list of texts with their places.
    pub(super) fn names(&mut self, section: &mut Section<'_, 't>, key: &'static str) -> Vec<Name> {
        let Some(value) = section.value(key) else { return Vec::new() };
        let Some(items) = self.items(&section.thing, key, value) else { return Vec::new() };
        let mut names = Vec::new();
        for item in items.iter() {
            if let Some(text) = self.text(&section.thing, key, item) {
                names.push(Name::new(text, self.at(item.span().start)));
            }
        }
        names
    }

    pub(super) fn strings(&mut self, section: &mut Section<'_, 't>, key: &'static str) -> Vec<String> {
        self.names(section, key).into_iter().map(|name| name.text).collect()
    }

    fn items<'a>(&mut self, thing: &str, key: &str, value: Value<'a, 't>) -> Option<&'a DeArray<'t>> {
        if let DeValue::Array(items) = value.get_ref() {
            return Some(items);
        }
        self.wrong_type(thing, key, value, "write a list in brackets");
        None
    }

    pub(super) fn bool(&mut self, section: &mut Section<'_, 't>, key: &'static str) -> bool {
        match section.value(key).map(|value| (value, value.get_ref())) {
            None => false,
            Some((_, DeValue::Boolean(value))) => *value,
            Some((value, _)) => {
                self.wrong_type(&section.thing, key, value, "write true or false, without quotes");
                false
            }
        }
    }

    /// A whole number from `least` to `most`.
    pub(super) fn integer(
        &mut self,
        section: &mut Section<'_, 't>,
        key: &'static str,
        (least, most): (u64, u64),
    ) -> Option<u64> {
        let value = section.value(key)?;
        let DeValue::Integer(number) = value.get_ref() else {
            self.wrong_type(&section.thing, key, value, &format!("give a whole number from {least} to {most}"));
            return None;
        };
        match i128::from_str_radix(number.as_str(), number.radix()) {
            Ok(n) if u64::try_from(n).is_ok_and(|n| (least..=most).contains(&n)) => Some(n as u64),
            _ => {
                let wrong = format!("{key} = {} is out of range", one_line(&number.to_string()));
                self.wrong(value.span().start, &section.thing, wrong, format!("give {least} to {most}"));
                None
            }
        }
    }

    /// A text that `accept` makes something of; numbers and dates stand without quotes.
    fn parsed<T>(
        &mut self,
        section: &mut Section<'_, 't>,
        key: &'static str,
        accept: impl FnOnce(&str) -> Result<T, Refusal>,
    ) -> Option<(T, At)> {
        let value = section.value(key)?;
        self.accepted(&section.thing, key, value, accept).map(|read| (read, self.at(value.span().start)))
    }

    pub(super) fn accepted<T>(
        &mut self,
        thing: &str,
        key: &str,
        value: Value<'_, 't>,
        accept: impl FnOnce(&str) -> Result<T, Refusal>,
    ) -> Option<T> {
        let read = match value.get_ref() {
            DeValue::String(text) => accept(text),
            DeValue::Integer(number) if number.radix() == 10 => accept(number.as_str()),
            DeValue::Float(number) => accept(number.as_str()),
            DeValue::Datetime(date) => accept(&date.to_string()),
            _ => {
                self.wrong_type(thing, key, value, "write it in quotes");
                return None;
            }
        };
        match read {
            Ok(read) => Some(read),
            Err((wrong, remedy)) => {
                self.wrong(value.span().start, thing, format!("{}: {wrong}", one_line(key)), remedy);
                None
            }
        }
    }

    pub(super) fn timestamp(&mut self, section: &mut Section<'_, 't>, key: &'static str) -> Option<(Timestamp, At)> {
        self.parsed(section, key, |text| {
            let how = "write it like 2009-10-12T08:00:00Z, between 1678 and 2262";
            parse_timestamp(text).ok_or_else(|| (format!("{} is no date and time", quoted(text)), how.into()))
        })
    }

    pub(super) fn span(&mut self, section: &mut Section<'_, 't>, key: &'static str) -> Option<(Nanos, At)> {
        self.parsed(section, key, parse_span)
    }

    pub(super) fn cost(&mut self, section: &mut Section<'_, 't>) -> Option<Cost> {
        let read = self.parsed(section, "cost", |text| {
            parse_cost(text).map_err(|error| {
                let (wrong, remedy) = number_error(error);
                (format!("{} {wrong}", quoted(text)), remedy.to_owned())
            })
        });
        read.map(|(cost, _)| cost)
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(
        &mut self,
        section: &mut Section<'_, 't>,
        key: &'static str,
        words: &[(T, &str)],
    ) -> Option<T> {
        let (value, _) = self.parsed(section, key, |text| {
            let found = words.iter().find(|(_, word)| *word == text).map(|&(value, _)| value);
            let known = || words.iter().map(|(_, word)| *word).collect::<Vec<_>>().join(", ");
            found.ok_or_else(|| (format!("{} is unknown", quoted(text)), format!("write one of {}", known())))
        })?;
        Some(value)
    }

    /// A capacity: one amount, or a table of amounts by event.
    pub(super) fn capacity<Q: Quantity>(&mut self, section: &mut Section<'_, 't>, key: &'static str) -> Capacity<Q> {
        let Some(value) = section.value(key) else { return Capacity::default() };
        let mut steps = Vec::new();
        let DeValue::Table(table) = value.get_ref() else {
            let amount = self.amount(&section.thing, key, value);
            let at = self.at(value.span().start);
            steps.extend(amount.map(|amount| Step { event: None, amount, at }));
            return Capacity { steps };
        };
        for (event, value) in table {
            let Some(amount) = self.amount(&section.thing, key, value) else { continue };
            let at = self.at(value.span().start);
            let name = event.get_ref().trim_matches(SPACE);
            let event = (name != OTHERWISE).then(|| Name::new(name, self.at(event.span().start)));
            steps.push(Step { event, amount, at });
        }
        if table.is_empty() {
            let remedy = format!("name events, like {{ I = \"...\", {OTHERWISE} = \"...\" }}");
            self.wrong(value.span().start, &section.thing, format!("{key} is an empty table"), remedy);
        }
        Capacity { steps }
    }

    fn amount<Q: Quantity>(&mut self, thing: &str, key: &str, value: Value<'_, 't>) -> Option<Amount<Q>> {
        self.accepted(thing, key, value, parse_amount)
    }

    /// Tables under a key: `[[key]]`, or a list of inline tables.
    pub(super) fn tables<'a>(
        &mut self,
        section: &mut Section<'a, 't>,
        key: &'static str,
    ) -> Vec<(usize, &'a DeTable<'t>)> {
        let Some(value) = section.value(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            let remedy = format!("write [[{key}]], once for each");
            self.wrong_type(&section.thing, key, value, &remedy);
            return Vec::new();
        };
        let mut tables = Vec::new();
        for item in items.iter() {
            match item.get_ref() {
                DeValue::Table(table) => tables.push((item.span().start, table)),
                _ => self.wrong_type(&section.thing, key, item, "write a table: { ... }"),
            }
        }
        tables
    }

    /// A table under a key.
    pub(super) fn table<'a>(&mut self, section: &mut Section<'a, 't>, key: &'static str) -> Option<Section<'a, 't>> {
        let value = section.value(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(Section::new(section.thing.clone(), value.span().start, table)),
            _ => {
                self.wrong_type(&section.thing, key, value, "write a table: { ... }");
                None
            }
        }
    }

    /// Something that must be there is not.
    pub(super) fn missing(&mut self, section: &Section<'_, 't>, key: &str, remedy: &str) {
        self.wrong(section.start, &section.thing, format!("{key} is missing"), remedy);
    }

    /// Tells of every key that nobody asked for.
    pub(super) fn finish(&mut self, section: &Section<'_, 't>) {
        for (key, start, _) in section.entries() {
            if section.asked.contains(&key) {
                continue;
            }
            let remedy = match nearest(key, section.asked.iter().copied()) {
                Some(meant) => format!("did you mean {meant}?"),
                None => format!("take it out; known here are {}", section.asked.join(", ")),
            };
            self.wrong(start, &section.thing, format!("unknown key {}", quoted(key)), remedy);
        }
    }
}

/// Whether XML can hold the character.
pub(super) fn is_plain(c: char) -> bool {
    (!c.is_control() || c == '\n' || c == '\t') && !matches!(c, '\u{fffe}' | '\u{ffff}')
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
