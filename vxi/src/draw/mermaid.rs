//! Mermaid: a flow chart that web pages of repositories show.

use std::fmt::Write;

use super::{Drawing, Shape};
use crate::model::Direction;

pub(super) fn write(drawing: &Drawing) -> String {
    let mut out = String::from("flowchart LR\n");
    for (n, vertex) in drawing.vertices.iter().enumerate() {
        let (open, close) = match vertex.shape {
            Shape::Node => ("[", "]"),
            Shape::Storage => ("[(", ")]"),
            Shape::Router => ("([", "])"),
            Shape::AccessPoint => ("{{", "}}"),
            Shape::Array => ("[[", "]]"),
        };
        let lines: Vec<String> = std::iter::once(&vertex.title).chain(&vertex.lines).map(|line| escape(line)).collect();
        let _ = writeln!(out, "  n{n}{open}\"{}\"{close}", lines.join("<br/>"));
        if vertex.provisioned {
            let _ = writeln!(out, "  style n{n} stroke-dasharray: 4 4");
        }
    }
    for edge in &drawing.edges {
        let line = if edge.provisioned { "-.-" } else { "---" };
        // Mermaid has no arrow at the first end alone, so what only goes back is drawn from its other end.
        let (from, to, arrow) = match edge.direction {
            Direction::Forward => (0, 1, format!("{}>", &line[..2])),
            Direction::Reverse => (1, 0, format!("{}>", &line[..2])),
            Direction::Both => (0, 1, format!("<{}>", &line[..2])),
        };
        let arrow = if edge.provisioned { arrow.replace("-.>", "-.->") } else { arrow };
        let (ends, numbers) = (&edge.ends, [edge.from, edge.to]);
        let mut lines: Vec<String> = edge.lines.iter().map(|line| escape(line)).collect();
        for (end, what) in [(from, "from"), (to, "to")] {
            if !ends[end].is_empty() {
                lines.push(format!("{what} port {}", escape(&ends[end])));
            }
        }
        let label = lines.join("<br/>");
        let _ = writeln!(out, "  n{} {arrow}|\"{label}\"| n{}", numbers[from], numbers[to]);
    }
    out
}

/// Entities as Mermaid has them.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '#' | '"' | '<' | '>' | '&' | '`' | '\\' | '|' => {
                let _ = write!(escaped, "#{};", u32::from(c));
            }
            c => escaped.push(c),
        }
    }
    escaped
}
