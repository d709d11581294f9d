//! The report: one page of HTML that needs nothing else. Its pictures are in it, and it loads nothing.

use std::fmt::Write as _;

use super::grid::Grid;
use super::picture::{Chart, escape, svg};

/// One table or figure of the paper.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) title: &'static str,
    /// What was done, and what must be known to read it.
    pub(crate) text: String,
    /// Rows of pictures.
    pub(crate) charts: Vec<Vec<Chart>>,
    pub(crate) grids: Vec<Grid>,
}

const STYLE: &str = "body{font:15px/1.45 sans-serif;color:#000;max-width:72em;margin:2em auto;padding:0 1em}\
h1{font-size:1.6em}h2{font-size:1.25em;margin-top:2.2em;border-bottom:1px solid #000}\
table{border-collapse:collapse;font-size:13px;margin:.8em 0}caption{text-align:left;font-weight:bold;padding:.3em 0}\
th,td{border-bottom:1px solid #bbb;padding:.15em .6em;text-align:right;vertical-align:top}\
th{border-bottom:1px solid #000}td:last-child{max-width:40em}svg{max-width:100%;height:auto;display:block;margin:1em 0}\
dt{float:left;clear:left;width:11em}dd{margin-left:11.5em}.missing{border:1px solid #000;padding:.2em 1em}\
@media print{h2{break-before:page}}";

/// Everything on one page. `manifest` is names and values; `missing` what could not be measured.
pub(crate) fn page(
    title: &str,
    lead: &str,
    manifest: &[(String, String)],
    sections: &[Section],
    missing: &[String],
) -> String {
    let mut text = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{0}</title>\n<style>{STYLE}</style>\n\
         </head>\n<body>\n<h1>{0}</h1>\n<p>{1}</p>\n<dl>\n",
        escape(title),
        escape(lead)
    );
    for (name, value) in manifest {
        let _ = writeln!(text, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(value));
    }
    text += "</dl>\n";
    if !missing.is_empty() {
        text += "<div class=\"missing\"><p>Not measured:</p><ul>\n";
        for line in missing {
            let _ = writeln!(text, "<li>{}</li>", escape(line));
        }
        text += "</ul></div>\n";
    }
    for section in sections {
        let _ = writeln!(text, "<h2>{}</h2>\n<p>{}</p>", escape(section.title), escape(&section.text));
        for charts in &section.charts {
            text += &svg(charts);
        }
        for grid in &section.grids {
            table(&mut text, grid);
        }
    }
    text + "</body>\n</html>\n"
}

fn table(text: &mut String, grid: &Grid) {
    let _ = write!(text, "<table><caption>{}</caption>\n<tr>", escape(&grid.title));
    for heading in &grid.headings {
        let _ = write!(text, "<th>{}</th>", escape(heading));
    }
    *text += "</tr>\n";
    for row in &grid.rows {
        *text += "<tr>";
        for cell in row {
            let _ = write!(text, "<td>{}</td>", escape(cell));
        }
        *text += "</tr>\n";
    }
    *text += "</table>\n";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_stands_alone_and_hides_nothing() {
        let mut grid = Grid::new("Table", &["path", "what happened"]);
        grid.rows.push(vec!["ovs".into(), "ended: <signal>".into()]);
        let section = Section { title: "One", text: "text".into(), charts: vec![vec![]], grids: vec![grid] };
        let missing = ["failed: testpmd".to_owned()];
        let text = page("t", "lead", &[("kernel".into(), "6".into())], &[section], &missing);
        for word in ["<td>ended: &lt;signal&gt;</td>", "failed: testpmd", "<dt>kernel</dt><dd>6</dd>"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        let addresses = text.matches("http").count();
        assert_eq!(addresses, 1, "the name space of SVG, and nothing that is loaded: {text}");
    }
}
