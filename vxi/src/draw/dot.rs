//! Graphviz: `dot -Tsvg`.

use std::fmt::Write;

use super::{Drawing, Shape};
use crate::model::Direction;

pub(super) fn write(drawing: &Drawing) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "digraph {} {{", quote(&[&drawing.title]));
    out.push_str("  rankdir=LR;\n  node [fontname=\"sans-serif\", fontsize=11];\n");
    out.push_str("  edge [fontname=\"sans-serif\", fontsize=9];\n");
    for (n, vertex) in drawing.vertices.iter().enumerate() {
        let shape = match vertex.shape {
            Shape::Node => "box",
            Shape::Storage => "cylinder",
            Shape::Router => "ellipse",
            Shape::AccessPoint => "house",
            Shape::Array => "box3d",
        };
        let style = if vertex.provisioned { ", style=dashed" } else { "" };
        let lines: Vec<&str> = std::iter::once(&vertex.title).chain(&vertex.lines).map(String::as_str).collect();
        let _ = writeln!(out, "  n{n} [shape={shape}{style}, label={}];", quote(&lines));
    }
    for edge in &drawing.edges {
        let way = match edge.direction {
            Direction::Forward => "forward",
            Direction::Reverse => "back",
            Direction::Both => "both",
        };
        let lines: Vec<&str> = edge.lines.iter().map(String::as_str).collect();
        let _ = write!(out, "  n{} -> n{} [dir={way}, label={}", edge.from, edge.to, quote(&lines));
        for (key, end) in [("taillabel", &edge.ends[0]), ("headlabel", &edge.ends[1])] {
            if !end.is_empty() {
                let _ = write!(out, ", {key}={}", quote(&[end]));
            }
        }
        out.push_str(if edge.provisioned { ", style=dashed];\n" } else { "];\n" });
    }
    out.push_str("}\n");
    out
}

/// Lines as one string in quotes.
fn quote(lines: &[&str]) -> String {
    let lines: Vec<String> = lines.iter().map(|line| line.replace('\\', "\\\\").replace('"', "\\\"")).collect();
    format!("\"{}\"", lines.join("\\n"))
}
