//! The tree of a document's elements, a third of the size of the XML parser's and read from the text at once if it can.
//!
//! Large descriptions are made by programs, and plain: no attributes but the root's namespace, no entities, no prefixes.
//! Those are read here, straight into the tree. Whatever is not plain (an attribute, an `&`, a document type, anything
//! that looks wrong) is left to `roxmltree`, whose judgement on what is well-formed is the one that counts, and whose
//! tree is then copied. So the plain path has to refuse whatever it is not sure of, and may never accept what the other
//! would not.

use std::path::Path;

use memchr::{memchr, memchr_iter, memmem};

use super::{NAMESPACE, document};
use crate::diagnostic::Diagnostics;

const NONE: u32 = u32::MAX;
const SCHEMA_INSTANCE: &str = "http://www.w3.org/2001/XMLSchema-instance";

/// A part of the document's text.
#[derive(Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
}

#[derive(Clone, Copy)]
enum Kind {
    /// Its local name, and the number of its namespace.
    Element(Span, u16),
    Text(Span),
    /// Text that is not in the document as it is read: it has references.
    Owned(u32),
}

struct Data {
    kind: Kind,
    start: u32,
    parent: u32,
    first: u32,
    next: u32,
}

/// An attribute of an element.
pub(crate) struct Attribute {
    owner: u32,
    namespace: Option<String>,
    name: String,
    value: String,
    start: usize,
    value_start: usize,
}

/// A document.
pub(crate) struct Tree<'t> {
    text: &'t str,
    nodes: Vec<Data>,
    owned: Vec<String>,
    /// In the order of their elements.
    attributes: Vec<Attribute>,
    namespaces: Vec<Option<String>>,
}

/// An element of a document, or a text in it.
#[derive(Clone, Copy)]
pub(crate) struct Element<'a, 't> {
    tree: &'a Tree<'t>,
    n: u32,
}

impl<'t> Tree<'t> {
    /// Reads the document.
    pub(crate) fn read(text: &'t str, file: &Path) -> Result<Self, Diagnostics> {
        match Self::plain(text) {
            Some(tree) => Ok(tree),
            None => Ok(Self::copy(text, &document::parse(text, file)?)),
        }
    }

    pub(crate) fn root_element(&self) -> Element<'_, 't> {
        Element { tree: self, n: 0 }
    }

    fn empty(text: &'t str) -> Self {
        let nodes = memchr_iter(b'<', text.as_bytes()).count();
        Self { text, nodes: Vec::with_capacity(nodes), owned: vec![], attributes: vec![], namespaces: vec![] }
    }

    /// Adds a node behind `before`, or as the first of `parent`.
    fn add(&mut self, kind: Kind, start: usize, parent: u32, before: u32) -> u32 {
        let n = self.nodes.len() as u32;
        self.nodes.push(Data { kind, start: start as u32, parent, first: NONE, next: NONE });
        if before != NONE {
            self.nodes[before as usize].next = n;
        } else if parent != NONE {
            self.nodes[parent as usize].first = n;
        }
        n
    }

    /// Copies the parser's tree, without comments and instructions.
    fn copy(text: &'t str, document: &roxmltree::Document<'t>) -> Self {
        let mut tree = Self::empty(text);
        let mut open: Vec<(roxmltree::Node<'_, 't>, u32, u32)> = vec![];
        let mut next = Some(document.root_element());
        loop {
            let Some(node) = next else {
                let Some((parent, ..)) = open.pop() else { break };
                next = if open.is_empty() { None } else { parent.next_sibling() };
                continue;
            };
            let (parent, before) = open.last().map_or((NONE, NONE), |&(_, n, last)| (n, last));
            next = node.next_sibling().filter(|_| !open.is_empty());
            let start = node.range().start;
            let kind = if node.is_element() {
                let name = tree.span_of(node.tag_name().name());
                Some(Kind::Element(name, tree.namespace(node.tag_name().namespace())))
            } else if node.is_text() {
                Some(tree.text_kind(node.text().unwrap_or("")))
            } else {
                None
            };
            let Some(kind) = kind else { continue };
            let n = tree.add(kind, start, parent, before);
            if let Some((_, _, last)) = open.last_mut() {
                *last = n;
            }
            if node.is_element() {
                tree.attributes.extend(node.attributes().map(|attribute| Attribute {
                    owner: n,
                    namespace: attribute.namespace().map(str::to_owned),
                    name: attribute.name().to_owned(),
                    value: attribute.value().to_owned(),
                    start: attribute.range().start,
                    value_start: attribute.range_value().start,
                }));
                open.push((node, n, NONE));
                next = node.first_child();
            }
        }
        tree
    }

    /// Where a text that the parser borrowed from the document is in it.
    fn span_of(&self, part: &str) -> Span {
        let start = (part.as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize);
        Span { start: start as u32, end: (start + part.len()) as u32 }
    }

    fn text_kind(&mut self, part: &str) -> Kind {
        let span = self.span_of(part);
        let borrowed = self.text.get(span.start as usize..span.end as usize);
        if borrowed.is_some_and(|same| std::ptr::eq(same, part)) {
            return Kind::Text(span);
        }
        self.owned.push(part.to_owned());
        Kind::Owned(self.owned.len() as u32 - 1)
    }

    fn namespace(&mut self, of: Option<&str>) -> u16 {
        let known = self.namespaces.iter().position(|known| known.as_deref() == of);
        let number = known.unwrap_or_else(|| {
            self.namespaces.push(of.map(str::to_owned));
            self.namespaces.len() - 1
        });
        // Nobody has so many; those beyond share the last number, and are foreign all the same.
        number.min(usize::from(u16::MAX)) as u16
    }

    /// Reads a plain document; none: it is not plain, or not well-formed.
    fn plain(text: &'t str) -> Option<Self> {
        let bytes = text.as_bytes();
        // Control characters, and the reference and the line end that would have to be replaced.
        let hard = |b: &u8| (*b < 0x20 && *b != b'\n' && *b != b'\t') || *b == b'&';
        if bytes.len() >= NONE as usize || bytes.iter().filter(|b| hard(b)).count() > 0 {
            return None;
        }
        if memmem::find(bytes, "\u{fffe}".as_bytes()).or_else(|| memmem::find(bytes, "\u{ffff}".as_bytes())).is_some() {
            return None;
        }
        let mut at = 0;
        for declaration in ["<?xml version=\"1.0\" encoding=\"UTF-8\"?>", "<?xml version=\"1.0\"?>"] {
            if at == 0 && text.starts_with(declaration) {
                at = declaration.len();
            }
        }
        let mut tree = Self::empty(text);
        tree.namespaces.push(Some(NAMESPACE.to_owned()));
        // Open elements, each with its last child.
        let mut open: Vec<(u32, u32)> = Vec::with_capacity(16);
        let mut done = false;
        loop {
            let Some(run) = memchr(b'<', &bytes[at..]) else {
                let rest = &bytes[at..];
                return (done && open.is_empty() && rest.iter().all(u8::is_ascii_whitespace)).then_some(tree);
            };
            let tag = at + run;
            if run > 0 {
                tree.plain_text(at, tag, &mut open)?;
            }
            at = match bytes.get(tag + 1)? {
                b'/' => {
                    let (n, _) = open.pop()?;
                    let name = tree.name(n);
                    let end = tag + 2 + name.len();
                    if bytes.get(tag + 2..end)? != name.as_bytes() || *bytes.get(end)? != b'>' {
                        return None;
                    }
                    done |= open.is_empty();
                    end + 1
                }
                b'!' => {
                    let body = text.get(tag..)?.strip_prefix("<!--")?;
                    let end = memmem::find(body.as_bytes(), b"--")?;
                    if !body[end..].starts_with("-->") {
                        return None;
                    }
                    tag + 4 + end + 3
                }
                _ => {
                    if done {
                        return None;
                    }
                    tree.plain_tag(tag, &mut open, &mut done)?
                }
            };
        }
    }

    fn plain_text(&mut self, start: usize, end: usize, open: &mut [(u32, u32)]) -> Option<()> {
        let bytes = self.text.as_bytes();
        let blank = bytes[start..end].iter().all(u8::is_ascii_whitespace);
        let Some((parent, last)) = open.last_mut() else { return blank.then_some(()) };
        let after_text = *last != NONE && !matches!(self.nodes[*last as usize].kind, Kind::Element(..));
        // Space between elements is nothing; beside a comment it may be part of a text.
        if blank && !after_text && bytes.get(end + 1) != Some(&b'!') {
            return Some(());
        }
        if memmem::find(&bytes[start..end], b"]]>").is_some() {
            return None;
        }
        let kind = Kind::Text(Span { start: start as u32, end: end as u32 });
        let (parent, before) = (*parent, *last);
        *last = self.add(kind, start, parent, before);
        Some(())
    }

    /// An opening tag, and where it ends.
    fn plain_tag(&mut self, tag: usize, open: &mut Vec<(u32, u32)>, done: &mut bool) -> Option<usize> {
        let bytes = self.text.as_bytes();
        let start = tag + 1;
        let length = bytes[start..].iter().position(|b| !b.is_ascii_alphanumeric() && *b != b'_')?;
        if length == 0 || bytes[start].is_ascii_digit() {
            return None;
        }
        let mut end = start + length;
        let root = self.nodes.is_empty();
        if root {
            let close = memchr(b'>', &bytes[end..])?;
            if !plain_root(&self.text[end..end + close]) {
                return None;
            }
            end += close;
        }
        let empty = bytes.get(end) == Some(&b'/');
        end += usize::from(empty);
        if *bytes.get(end)? != b'>' {
            return None;
        }
        let (parent, before) = open.last().copied().unwrap_or((NONE, NONE));
        let name = Span { start: start as u32, end: (start + length) as u32 };
        let n = self.add(Kind::Element(name, 0), tag, parent, before);
        if let Some((_, last)) = open.last_mut() {
            *last = n;
        }
        if !empty {
            open.push((n, NONE));
        }
        *done |= open.is_empty();
        Some(end + 1)
    }

    fn name(&self, n: u32) -> &'t str {
        match self.nodes[n as usize].kind {
            Kind::Element(name, _) => &self.text[name.start as usize..name.end as usize],
            _ => "",
        }
    }
}

/// Whether the attributes of the root are what a canonical or a usual document has.
fn plain_root(attributes: &str) -> bool {
    let own = format!(" xmlns=\"{NAMESPACE}\"");
    let Some(rest) = attributes.strip_prefix(&own) else { return false };
    let schema = format!(" xmlns:xsi=\"{SCHEMA_INSTANCE}\" xsi:schemaLocation=\"{NAMESPACE} VXDL.xsd\"");
    rest.is_empty() || rest == schema
}

impl<'a, 't> Element<'a, 't> {
    fn data(self) -> &'a Data {
        &self.tree.nodes[self.n as usize]
    }

    fn at(self, n: u32) -> Option<Self> {
        (n != NONE).then_some(Self { tree: self.tree, n })
    }

    pub(crate) fn is_element(self) -> bool {
        matches!(self.data().kind, Kind::Element(..))
    }

    pub(crate) fn is_text(self) -> bool {
        !self.is_element()
    }

    /// Its local name; of a text: nothing.
    pub(crate) fn name(self) -> &'t str {
        self.tree.name(self.n)
    }

    pub(crate) fn namespace(self) -> Option<&'a str> {
        match self.data().kind {
            Kind::Element(_, number) => self.tree.namespaces[usize::from(number)].as_deref(),
            _ => None,
        }
    }

    /// The text that it is; of an element: none.
    pub(crate) fn text(self) -> Option<&'a str> {
        match self.data().kind {
            Kind::Element(..) => None,
            Kind::Text(Span { start, end }) => Some(&self.tree.text[start as usize..end as usize]),
            Kind::Owned(n) => Some(&self.tree.owned[n as usize]),
        }
    }

    /// The offset that it begins at.
    pub(crate) fn start(self) -> usize {
        self.data().start as usize
    }

    pub(crate) fn first_child(self) -> Option<Self> {
        self.at(self.data().first)
    }

    pub(crate) fn next_sibling(self) -> Option<Self> {
        self.at(self.data().next)
    }

    pub(crate) fn parent(self) -> Option<Self> {
        self.at(self.data().parent)
    }

    pub(crate) fn children(self) -> impl Iterator<Item = Self> {
        std::iter::successors(self.first_child(), |child| child.next_sibling())
    }

    /// Itself and the elements that it is in.
    pub(crate) fn ancestors(self) -> impl Iterator<Item = Self> {
        std::iter::successors(Some(self), |element| element.parent())
    }

    pub(crate) fn root(self) -> Self {
        self.tree.root_element()
    }

    pub(crate) fn attributes(self) -> &'a [Attribute] {
        let all = &self.tree.attributes;
        if all.is_empty() {
            return all;
        }
        let first = all.partition_point(|attribute| attribute.owner < self.n);
        let own = all[first..].iter().take_while(|attribute| attribute.owner == self.n).count();
        &all[first..first + own]
    }

    /// The attribute of this name that is in no namespace.
    pub(crate) fn attribute(self, name: &str) -> Option<&'a Attribute> {
        self.attributes().iter().find(|attribute| attribute.namespace.is_none() && attribute.name == name)
    }
}

impl Attribute {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Without space around it.
    pub(crate) fn value(&self) -> &str {
        self.value.trim()
    }

    pub(crate) fn start(&self) -> usize {
        self.start
    }

    pub(crate) fn value_start(&self) -> usize {
        self.value_start
    }

    /// Of the schema's own, which every document may have.
    pub(crate) fn of_schema(&self) -> bool {
        self.namespace.as_deref() == Some(SCHEMA_INSTANCE)
    }

    pub(crate) fn has_namespace(&self) -> bool {
        self.namespace.is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a reader sees of a tree, texts that follow each other as one and space between elements as nothing.
    fn seen(element: Element<'_, '_>, out: &mut Vec<String>) {
        out.push(format!("{} {:?} {}", element.name(), element.namespace(), element.start()));
        let mut text = String::new();
        for child in element.children() {
            match child.text() {
                Some(part) => text += part,
                None => {
                    out.push(std::mem::take(&mut text).trim().to_owned());
                    seen(child, out);
                }
            }
        }
        out.push(text.trim().to_owned());
        out.retain(|line| !line.is_empty());
    }

    fn compare(text: &str) -> bool {
        let Some(plain) = Tree::plain(text) else { return false };
        let parsed = document::parse(text, Path::new("made"));
        let parsed = parsed.unwrap_or_else(|mistakes| panic!("accepted here alone: {mistakes}\n{text}"));
        let (mut here, mut there) = (Vec::new(), Vec::new());
        seen(plain.root_element(), &mut here);
        seen(Tree::copy(text, &parsed).root_element(), &mut there);
        assert_eq!(here, there, "{text}");
        true
    }

    #[test]
    fn what_is_plain_is_read_as_the_parser_reads_it() {
        let sound = include_str!("../../../tests/data/sound.vxdl.xml");
        assert!(compare(sound), "a plain document is read here");
        assert!(compare(include_str!("../../../tests/data/fig4.vxdl.xml")), "so is one with comments and a schema");
        for hard in [
            "&amp;",
            "<b x='1'/>",
            "<x:b/>",
            "<![CDATA[x]]>",
            "<?pi?>",
            "\r",
            "<!-- -- -->",
            "]]>",
            "</b>",
            "\u{1}",
            "<1/>",
        ] {
            let text = sound.replacen("lyon.site", hard, 1);
            assert!(Tree::plain(&text).is_none(), "{hard}");
        }
        assert!(Tree::plain(&format!("{sound}<a/>")).is_none());
        assert!(Tree::plain(&format!("{sound}x")).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn no_text_is_accepted_here_alone(within in "(<a>|</a>|<b>|</b>|<c/>|x|\n| |<!--|-->|-|\\]\\]>|&lt;|<d e='f'>|<\\?g\\?>|ü|<|>|/){0,12}") {
            compare(&format!("<description xmlns=\"{NAMESPACE}\">{within}</description>"));
        }
    }
}
