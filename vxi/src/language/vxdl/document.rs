//! From bytes to a tree of elements, or to the one mistake that keeps it from being one.

use std::path::Path;

use roxmltree::{Document, Error, ParsingOptions};

use crate::diagnostic::{Diagnostics, Mistakes, Positions};
use crate::model::{At, Place};

/// Elements and texts of a document; a substrate of a hundred thousand components has ten million.
const MAX_XML_NODES: u32 = 100_000_000;

/// Reads the tree. What is not well-formed XML has no reading, so there is one mistake.
pub(crate) fn parse<'t>(text: &'t str, file: &Path) -> Result<Document<'t>, Diagnostics> {
    let options = ParsingOptions { allow_dtd: false, nodes_limit: MAX_XML_NODES, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).map_err(|error| {
        let mut mistakes = Mistakes::new(text, file);
        let (at, wrong, remedy) = explain(text, &error);
        mistakes.add(at, "document", wrong, remedy);
        mistakes.finish().unwrap_or_else(|| Diagnostics::unreadable(file, "is no XML", "repair it"))
    })
}

fn explain(text: &str, error: &Error) -> (At, String, String) {
    let offset = |offset: usize| Positions::new(text).at(offset);
    let end = || offset(text.trim_end().len());
    let of_error = || {
        let position = error.pos();
        At(Some(Place { line: position.row.max(1), column: position.col.max(1) }))
    };
    match error {
        Error::DtdDetected => {
            let wrong = "a document type (<!DOCTYPE) is not read, because entities can be made to explode";
            let remedy = "take the document type out, and write each entity's text where it is used";
            (offset(text.find("<!DOCTYPE").unwrap_or(0)), wrong.into(), remedy.into())
        }
        Error::UnclosedRootNode | Error::UnexpectedEndOfStream => {
            let wrong = "the document ends within an element";
            (end(), wrong.into(), "add what is cut off: the last closing tag has the root's name".into())
        }
        Error::NoRootNode => (end(), "there is no element in it".into(), "add a <description>".into()),
        Error::UnexpectedCloseTag(expected, actual, _) => {
            let wrong = format!("</{}> closes <{}>", one(actual), one(expected));
            (of_error(), wrong, format!("add </{}> before it, or take it out", one(expected)))
        }
        Error::UnknownEntityReference(name, _) => {
            let wrong = format!("&{}; is unknown", one(name));
            (of_error(), wrong, "write the text itself, or &amp; for an ampersand".into())
        }
        Error::MalformedEntityReference(_) => {
            (of_error(), "an & that begins no reference".into(), "write &amp; for an ampersand".into())
        }
        Error::NodesLimitReached => {
            let wrong = format!("more than {MAX_XML_NODES} elements and texts");
            (At::NOWHERE, wrong, "split the infrastructure, or use arrays".into())
        }
        other => {
            // The library appends the position, which stands before the message here.
            let said = other.to_string();
            let said = said.rsplit_once(" at ").map_or(said.as_str(), |(what, _)| what);
            (of_error(), format!("is not well-formed XML: {}", one(said)), "repair it as XML first".into())
        }
    }
}

fn one(text: &str) -> String {
    crate::diagnostic::one_line(text)
}

/// How many comments a document has.
pub(crate) fn comments(text: &str) -> usize {
    Document::parse(text).map_or(0, |document| document.descendants().filter(|node| node.is_comment()).count())
}

/// The local name of the root, as far as it can be told without reading the document.
pub(crate) fn root_name(text: &str) -> Option<&str> {
    let mut rest = text;
    loop {
        rest = &rest[rest.find('<')? + 1..];
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = comment.split_once("-->")?.1;
        } else if let Some(instruction) = rest.strip_prefix('?') {
            rest = instruction.split_once("?>")?.1;
        } else if !rest.starts_with('!') {
            let end = rest.find(|c: char| c.is_ascii_whitespace() || c == '>' || c == '/').unwrap_or(rest.len());
            return rest[..end].rsplit(':').next();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_found_behind_what_may_come_before() {
        for (text, name) in [
            ("<a/>", Some("a")),
            ("<?xml version='1.0'?><!-- <b> -->\n<v:description x='1'>", Some("description")),
            ("<!DOCTYPE a><a>", Some("a")),
            ("<!-- <b>", None),
            ("<a", Some("a")),
            ("", None),
        ] {
            assert_eq!(root_name(text), name, "{text}");
        }
    }
}
