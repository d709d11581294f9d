//! VXDL 2.0: a `description` in the namespace of the VXDL Forum, as its schema of 2010-2011 has it.
//!
//! The schema lets elements come in any order and more often than makes sense; what may be there once is checked here.
//! Two things go beyond it: a capacity may be there several times with different events, one value for each period,
//! and ports, direction, cost and provisioning ride in `tag`, the schema's only place for what it does not know.

mod aurora;
mod capacity;
mod component;
pub(crate) mod document;
pub(crate) mod element;
mod infrastructure;
mod tags;
pub(crate) mod tree;
mod write;

use std::path::Path;

use crate::diagnostic::{Mistakes, Positions};
use crate::model::VirtualInfrastructure;
use element::{Dialect, Reader};
pub(crate) use tags::known_tag;
use tree::{Element, Tree};
pub use write::write;

/// The namespace of VXDL 2.0.
pub const NAMESPACE: &str = "http://www.vxdlforum.org/vxdl";

/// Reads a document in one of the dialects.
pub(crate) fn read<'t>(
    document: &Tree<'t>,
    text: &'t str,
    file: &'t Path,
    dialect: Dialect,
) -> (VirtualInfrastructure, Mistakes<'t>) {
    let mut reader = Reader { positions: Positions::new(text), mistakes: Mistakes::new(text, file), dialect };
    let root = document.root_element();
    let infrastructure = match dialect {
        Dialect::Forum => reader.description(root),
        Dialect::Aurora => reader.aurora(root),
    };
    (VirtualInfrastructure { origin: file.into(), ..infrastructure }, reader.mistakes)
}

impl<'t> Reader<'t> {
    fn description(&mut self, root: Element<'_, 't>) -> VirtualInfrastructure {
        let mut siblings = Some(root);
        if self.next(&mut siblings).is_none() {
            // It is of another namespace, which was told; so are all of its elements.
            return VirtualInfrastructure::default();
        }
        if root.name() != "description" {
            self.unknown(root, &["description"]);
            return VirtualInfrastructure::default();
        }
        let mut infrastructure = None;
        let mut next = root.first_child();
        while let Some(child) = self.next(&mut next) {
            match child.name() {
                "virtualInfrastructure" if infrastructure.is_some() => self.twice(child),
                "virtualInfrastructure" => infrastructure = Some(self.infrastructure(child)),
                _ => self.unknown(child, &["virtualInfrastructure"]),
            }
        }
        infrastructure.unwrap_or_else(|| {
            self.missing(root, "infrastructure", "add a <virtualInfrastructure>");
            VirtualInfrastructure::default()
        })
    }
}
