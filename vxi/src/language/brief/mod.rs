//! The short syntax: an infrastructure in TOML, a line where VXDL has ten, and nothing lost in between.
//!
//! Amounts are written as one says them (`>= 2 GB`), ports, direction and cost are keys instead of tags. Everything
//! that the model holds can be written in both syntaxes, so each can be turned into the other and back.

pub(crate) mod amount;
mod component;
mod infrastructure;
mod section;
mod write;

use std::path::Path;

use toml::de::DeTable;

use crate::diagnostic::{Mistakes, Positions, one_line};
use crate::model::VirtualInfrastructure;
use section::{Reader, Section};
pub use write::write;

/// Reads a file in TOML.
pub(crate) fn read<'t>(text: &'t str, file: &'t Path) -> (VirtualInfrastructure, Mistakes<'t>) {
    let mut reader = Reader { positions: Positions::new(text), mistakes: Mistakes::new(text, file) };
    let (root, syntax) = DeTable::parse_recoverable(text);
    for error in &syntax {
        let offset = error.span().map_or(text.len(), |span| span.start);
        let wrong = format!("is not well-formed TOML: {}", one_line(error.message()));
        reader.wrong(offset, "document", wrong, "repair it as TOML first");
    }
    let infrastructure = reader.infrastructure(Section::new("infrastructure", 0, root.get_ref()));
    (VirtualInfrastructure { origin: file.into(), ..infrastructure }, reader.mistakes)
}

/// How many comments a text has.
pub(crate) fn comments(text: &str) -> usize {
    let (mut comments, mut rest) = (0, text);
    while let Some(at) = rest.find(['#', '"', '\'']) {
        let found = &rest[at..];
        let skip = |opening: &str, closing: &str, escapes: bool| {
            let mut at = opening.len();
            while at < found.len() && !found[at..].starts_with(closing) {
                let escaped = usize::from(escapes && found[at..].starts_with('\\'));
                at += found[at..].chars().take(1 + escaped).map(char::len_utf8).sum::<usize>();
            }
            found.get(at + closing.len()..).unwrap_or("")
        };
        rest = match found.as_bytes()[0] {
            b'#' => {
                comments += 1;
                found.split_once('\n').map_or("", |(_, rest)| rest)
            }
            _ if found.starts_with("\"\"\"") => skip("\"\"\"", "\"\"\"", true),
            _ if found.starts_with("'''") => skip("'''", "'''", false),
            b'"' => skip("\"", "\"", true),
            _ => skip("'", "'", false),
        };
    }
    comments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_told_from_strings() {
        for (text, count) in [
            ("", 0),
            ("a = 1 # one\n# two\n", 2),
            ("a = \"# \\\" # \" # one", 1),
            ("a = '# \\'\nb = 1 # one", 1),
            ("a = \"\"\"\n# \"no\" # \\\"\"\" #\n\"\"\" # one", 1),
            ("a = '''\n# '''", 0),
            ("a = \"never # closed", 0),
            ("a = \"ü\\", 0),
        ] {
            assert_eq!(comments(text), count, "{text}");
        }
    }
}
