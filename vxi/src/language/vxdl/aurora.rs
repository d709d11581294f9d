//! The dialect of the Aurora cloud manager: no `description`, no namespace, ids as attributes, interfaces and
//! controllers. It is read, so that what ran there can run here, and not written.
//!
//! What VXDL 2.0 has no element for becomes a tag: an interface of a node (`interface`: name, type, MAC address) and a
//! controller of a router (`controller`: type, connection, address, port).

use std::fmt::Write;

use super::tree::{Attribute, Element};

use super::element::{Dialect, Reader};
use crate::diagnostic::{one_line, quoted};
use crate::model::{ControlPlane, Name, Tag, VirtualInfrastructure};

impl<'t> Reader<'t> {
    /// Reads the root.
    pub(super) fn aurora(&mut self, root: Element<'_, 't>) -> VirtualInfrastructure {
        let mut siblings = Some(root);
        if self.next(&mut siblings).is_none() {
            return VirtualInfrastructure::default();
        }
        let mut made = self.infrastructure(root);
        if let Some(owner) = root.attribute("owner").map(Attribute::value).filter(|owner| !owner.is_empty()) {
            made.owner = made.owner.or_else(|| Some(owner.to_owned()));
        }
        made
    }

    /// The id that a component has as an attribute, in this dialect.
    pub(super) fn attribute_id(&mut self, element: Element<'_, '_>) -> Option<Name> {
        let id = (self.dialect == Dialect::Aurora).then(|| element.attribute("id")).flatten()?;
        let text = id.value();
        (!text.is_empty()).then(|| Name::new(text, self.positions.at(id.value_start())))
    }

    /// `interface` of a node.
    pub(super) fn interface(&mut self, element: Element<'_, 't>) -> Option<Tag> {
        let (mut alias, mut kind, mut address) = (None, None, None);
        let mut next = element.first_child();
        while let Some(child) = self.next(&mut next) {
            match child.name() {
                "alias" => self.set_text(&mut alias, child),
                "type" => self.set_text(&mut kind, child),
                "macaddress" => self.set_text(&mut address, child),
                _ => self.unknown(child, &["alias", "type", "macaddress"]),
            }
        }
        for (what, slot) in [("alias", &alias), ("type", &kind)] {
            if slot.is_none() {
                self.missing(element, what, format!("add a <{what}>"));
            }
        }
        if let Some(kind) = kind.as_deref().filter(|kind| !matches!(*kind, "bridge" | "NAT")) {
            let wrong = format!("the interface has the unknown type {}", quoted(kind));
            self.wrong(element, element.start(), wrong, "write bridge or NAT");
        }
        let mut value = format!("{} {}", alias?, kind?);
        if let Some(address) = address {
            let _ = write!(value, " {address}");
        }
        Some(Tag { key: Some("interface".into()), value: Some(value) })
    }

    /// An end of a link: `vNode` and `interface`, or `vRouter`.
    pub(super) fn aurora_end(&mut self, element: Element<'_, 't>, interface: &mut Option<String>) -> Option<Name> {
        let (mut node, mut router) = (None, None);
        let mut next = element.first_child();
        while let Some(child) = self.next(&mut next) {
            match child.name() {
                "vNode" => self.set_name(&mut node, child),
                "vRouter" => self.set_name(&mut router, child),
                "interface" => self.set_text(interface, child),
                _ => self.unknown(child, &["vNode", "interface", "vRouter"]),
            }
        }
        match (node, router) {
            (Some(node), Some(_)) => {
                let remedy = "keep the one that the link ends at";
                let start = element.start();
                self.wrong(element, start, "an end is both a <vNode> and a <vRouter>", remedy);
                Some(node)
            }
            (None, None) => {
                self.missing(element, "component", "add a <vNode> with its <interface>, or a <vRouter>");
                // It is there, and what is wrong was told.
                Some(Name::default())
            }
            (node, router) => node.or(router),
        }
    }

    /// `controlPlane`, whose text names a list of controllers.
    pub(super) fn aurora_control_plane(&mut self, element: Element<'_, 't>, tags: &mut Vec<Tag>) -> ControlPlane {
        let attribute =
            |name: &str| element.attribute(name).map(Attribute::value).filter(|v| !v.is_empty()).map(str::to_owned);
        if let Some(kind) = attribute("type").filter(|kind| !matches!(kind.as_str(), "static" | "dynamic")) {
            let wrong = format!("the control plane has the unknown type {}", quoted(&kind));
            self.wrong(element, element.start(), wrong, "write static or dynamic");
        }
        let list = self.text(element);
        if !list.text.is_empty() {
            let lists = element.root().children().filter(|child| child.name() == "controllerList");
            let found = lists.filter(|known| known.attribute("id").map(Attribute::value) == Some(&*list.text)).last();
            match found {
                Some(found) => self.controllers(found, tags),
                None => {
                    let wrong = format!("there is no <controllerList> {}", one_line(&list.text));
                    self.wrong(element, list.offset, wrong, "add one with this id, or name another");
                }
            }
        }
        ControlPlane { layer: None, kind: attribute("type"), protocol: attribute("routingProtocol"), table: None }
    }

    fn controllers(&mut self, list: Element<'_, 't>, tags: &mut Vec<Tag>) {
        let mut next = list.first_child();
        while let Some(controller) = self.next(&mut next) {
            if controller.name() != "controller" {
                self.unknown(controller, &["controller"]);
                continue;
            }
            let (mut connection, mut address, mut port) = (None, None, None);
            let mut next = controller.first_child();
            while let Some(child) = self.next(&mut next) {
                match child.name() {
                    "connectionType" => self.set_text(&mut connection, child),
                    "ipAddress" => self.set_text(&mut address, child),
                    "port" => {
                        let n = self.integer(child, (1, u64::from(u16::MAX))).map(|n| n.to_string());
                        self.once(&mut port, child, n);
                    }
                    _ => self.unknown(child, &["connectionType", "ipAddress", "port"]),
                }
            }
            let kind = controller.attribute("type").map(|kind| kind.value().to_owned());
            let parts: Vec<String> = [kind, connection, address, port].into_iter().flatten().collect();
            tags.push(Tag { key: Some("controller".into()), value: Some(parts.join(" ")) });
        }
    }
}
