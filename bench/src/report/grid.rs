//! A table before it is shown: headings and cells. The terminal and the page show the same ones.

use std::fmt;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Attribute, Cell, CellAlignment, Table};

/// Rows below headings.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Grid {
    pub(crate) title: String,
    pub(crate) headings: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Grid {
    pub(crate) fn new(title: impl Into<String>, headings: &[&str]) -> Self {
        let headings = headings.iter().map(|&h| h.to_owned()).collect();
        Self { title: title.into(), headings, rows: Vec::new() }
    }
}

impl fmt::Display for Grid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_preset(UTF8_FULL_CONDENSED);
        table.set_header(self.headings.iter().map(|h| Cell::new(h).add_attribute(Attribute::Bold)));
        for row in &self.rows {
            table.add_row(row.iter().map(|c| Cell::new(c).set_alignment(CellAlignment::Right)));
        }
        writeln!(f, "{}\n{table}", self.title)
    }
}

/// Large ones without a fraction.
pub(crate) fn number(value: f64) -> String {
    if value >= 100.0 { thousands(value) } else { format!("{value:.2}") }
}

/// 1234567.8 as 1,234,568.
pub(crate) fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A part of one in percent: with the digits that matter, as 0.001 % does.
pub(crate) fn percent(part: f64) -> String {
    match part * 100.0 {
        0.0 => "0 %".into(),
        p if p < 0.1 => format!("{p:.4} %"),
        p => format!("{p:.1} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(thousands(1_234_567.8), "1,234,568");
        assert_eq!(thousands(999.0), "999");
        assert_eq!(thousands(0.0), "0");
        assert_eq!(percent(0.0), "0 %");
        assert_eq!(percent(0.00001), "0.0010 %");
        assert_eq!(percent(0.479), "47.9 %");
        assert_eq!((number(12.345), number(1234.5)), ("12.35".to_owned(), "1,234".to_owned()));
    }
}
