//! Figures as they are kept: what was measured of whom, and every run's value. Tables, pictures and files are made of them.

use std::fmt::Write as _;

use serde::{Serialize, Serializer};

use crate::figures::{median, spread};

/// One figure of one contender in one situation.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// The table or picture that it belongs to: `table1`, `fig5`, ...
    pub part: &'static str,
    /// As [`crate::peers::Path::label`].
    pub path: &'static str,
    /// As [`crate::peers::Path::guest`].
    pub guest: &'static str,
    /// Virtual routers; 0: from device to device.
    pub routers: usize,
    /// What is offered or done meanwhile.
    pub load: String,
    /// Percent of the CPU that the engine has, where it is divided.
    pub share: Option<u32>,
    /// When, of figures over time: milliseconds after what happens in the middle.
    pub at: Option<i32>,
    /// What the figure says: `loss`, `p99`, ...
    pub what: &'static str,
    /// Of the values.
    pub unit: &'static str,
    /// One for each run that succeeded.
    pub values: Vec<f64>,
    /// What went wrong with others, or why there are none.
    pub note: Option<String>,
}

impl Figure {
    /// The middle one of the runs' values. None if there are none.
    pub fn median(&self) -> Option<f64> {
        (!self.values.is_empty()).then(|| median(&self.values))
    }

    /// How far the runs lie apart: (largest - smallest) / median.
    pub fn spread(&self) -> Option<f64> {
        spread(&self.values)
    }

    /// The smallest and the largest value.
    pub fn range(&self) -> Option<(f64, f64)> {
        let least = self.values.iter().copied().reduce(f64::min)?;
        Some((least, self.values.iter().copied().fold(least, f64::max)))
    }

    /// Whether both say something of the same contender in the same situation.
    pub fn same_row(&self, other: &Self) -> bool {
        let row = |f: &Self| (f.part, f.path, f.guest, f.routers, f.share, f.at);
        row(self) == row(other) && self.load == other.load
    }

    /// The contender, for people.
    pub fn contender(&self) -> String {
        contender(self.path, self.guest)
    }
}

/// Those of a part.
pub(crate) fn part<'a>(figures: &'a [Figure], part: &str) -> Vec<&'a Figure> {
    figures.iter().filter(|f| f.part == part).collect()
}

/// A path and its guests, for people.
pub(crate) fn contender(path: &str, guest: &str) -> String {
    if guest == "none" { path.to_owned() } else { format!("{path} / {guest}") }
}

#[derive(Serialize)]
struct Line<'a> {
    part: &'a str,
    path: &'a str,
    guest: &'a str,
    routers: usize,
    load: &'a str,
    share: Option<u32>,
    #[serde(rename = "at_ms")]
    at: Option<i32>,
    what: &'a str,
    unit: &'a str,
    median: Option<f64>,
    least: Option<f64>,
    most: Option<f64>,
    values: &'a [f64],
    note: Option<&'a str>,
}

impl<'a> From<&'a Figure> for Line<'a> {
    fn from(f: &'a Figure) -> Self {
        Self {
            part: f.part,
            path: f.path,
            guest: f.guest,
            routers: f.routers,
            load: &f.load,
            share: f.share,
            at: f.at,
            what: f.what,
            unit: f.unit,
            median: f.median(),
            least: f.range().map(|r| r.0),
            most: f.range().map(|r| r.1),
            values: &f.values,
            note: f.note.as_deref(),
        }
    }
}

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Line::from(self).serialize(serializer)
    }
}

/// All of them as comma-separated values (RFC 4180), with a heading.
pub(crate) fn csv(figures: &[Figure]) -> String {
    let mut text = String::from("part,path,guest,routers,load,share,at_ms,what,unit,median,least,most,runs,note\r\n");
    for figure in figures {
        let line = Line::from(figure);
        let number = |value: Option<f64>| value.map_or_else(String::new, |v| v.to_string());
        let _ = write!(
            text,
            "{},{},{},{},{},{},{},{},{},{},{},{},{},{}\r\n",
            line.part,
            line.path,
            line.guest,
            line.routers,
            quoted(line.load),
            line.share.map_or_else(String::new, |share| share.to_string()),
            line.at.map_or_else(String::new, |at| at.to_string()),
            line.what,
            quoted(line.unit),
            number(line.median),
            number(line.least),
            number(line.most),
            line.values.len(),
            quoted(line.note.unwrap_or_default())
        );
    }
    text
}

fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
pub(crate) fn sample(part: &'static str, path: &'static str, routers: usize, values: &[f64]) -> Figure {
    Figure {
        part,
        path,
        guest: "none",
        routers,
        load: "idle".into(),
        share: None,
        at: None,
        what: "mean",
        unit: "us",
        values: values.to_vec(),
        note: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_every_run() {
        let value = serde_json::to_value(sample("table2", "pointsman", 2, &[3.0, 1.0, 2.0])).unwrap();
        assert_eq!(value["median"], 2.0);
        assert_eq!((&value["least"], &value["most"]), (&1.0.into(), &3.0.into()));
        assert_eq!(value["values"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn csv_survives_what_programs_say() {
        let mut figure = sample("table2", "ovs", 1, &[]);
        figure.note = Some("ended early: \"signal\", 9\nlast words".into());
        let text = csv(&[figure]);
        let row = text.split_once("\r\n").unwrap().1;
        assert_eq!(row, "table2,ovs,none,1,idle,,,mean,us,,,,0,\"ended early: \"\"signal\"\", 9\nlast words\"\r\n");
    }
}
