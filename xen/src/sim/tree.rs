//! The simulated store's nodes: values, owners, and who may what. No connections, no watches.

use std::collections::BTreeMap;

use crate::DomId;
use crate::xenstore::wire::{MAX_PATH, MAX_PAYLOAD};

/// Nodes that a guest may own: xenstored's default quota.
const QUOTA: usize = 1000;
/// Most bytes of a value.
const MAX_VALUE: usize = 2048;

/// An errno's name, as the protocol wants it.
pub(super) type Errno = &'static str;

/// What one domain may do with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Permission {
    pub(super) domain: DomId,
    pub(super) read: bool,
    pub(super) write: bool,
}

impl Permission {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (read, write) = match text.chars().next()? {
            'n' => (false, false),
            'r' => (true, false),
            'w' => (false, true),
            'b' => (true, true),
            _ => return None,
        };
        Some(Self { domain: DomId(text[1..].parse().ok()?), read, write })
    }

    pub(super) fn letter(&self) -> char {
        match (self.read, self.write) {
            (false, false) => 'n',
            (true, false) => 'r',
            (false, true) => 'w',
            (true, true) => 'b',
        }
    }
}

#[derive(Clone, Debug)]
struct Node {
    value: Vec<u8>,
    /// First the owner, with what all others may.
    permissions: Vec<Permission>,
    /// When it last changed.
    generation: u64,
}

impl Node {
    fn allows(&self, who: DomId, read: bool, write: bool) -> bool {
        let owner = self.permissions[0];
        if who == DomId::ZERO || who == owner.domain {
            return true;
        }
        let permission = self.permissions[1..].iter().find(|p| p.domain == who).unwrap_or(&owner);
        (!read || permission.read) && (!write || permission.write)
    }
}

/// All nodes, by path.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    nodes: BTreeMap<String, Node>,
    generation: u64,
}

/// The path of the node above.
pub(super) fn parent(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(at) => &path[..at],
    }
}

/// Whether `path` is `top` or lies below it.
pub(super) fn is_within(path: &str, top: &str) -> bool {
    top == "/" || path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether this is a node's full path.
pub(super) fn is_path(path: &str) -> bool {
    path == "/"
        || path.starts_with('/')
            && path.len() <= MAX_PATH
            && !path.ends_with('/')
            && !path.contains("//")
            && path.bytes().all(|b| b.is_ascii_alphanumeric() || b"-/_@".contains(&b))
}

impl Tree {
    pub(super) fn new() -> Self {
        let owner = Permission { domain: DomId::ZERO, read: false, write: false };
        let root = Node { value: Vec::new(), permissions: vec![owner], generation: 1 };
        Self { nodes: BTreeMap::from([("/".to_owned(), root)]), generation: 1 }
    }

    /// When the node last changed; 0 where there is none.
    pub(super) fn generation(&self, path: &str) -> u64 {
        self.nodes.get(path).map_or(0, |node| node.generation)
    }

    pub(super) fn may_read(&self, who: DomId, path: &str) -> bool {
        self.visible(who, path).is_some_and(|node| node.allows(who, true, false))
    }

    /// The node, or the one above it that is there.
    fn visible(&self, _who: DomId, mut path: &str) -> Option<&Node> {
        loop {
            if let Some(node) = self.nodes.get(path) {
                return Some(node);
            }
            if path == "/" {
                return None;
            }
            path = parent(path);
        }
    }

    fn node(&self, who: DomId, path: &str) -> Result<&Node, Errno> {
        // What may not be read is not even said to be missing.
        if !self.may_read(who, path) {
            return Err("EACCES");
        }
        self.nodes.get(path).ok_or("ENOENT")
    }

    pub(super) fn read(&self, who: DomId, path: &str) -> Result<Vec<u8>, Errno> {
        self.node(who, path).map(|node| node.value.clone())
    }

    pub(super) fn permissions(&self, who: DomId, path: &str) -> Result<Vec<Permission>, Errno> {
        self.node(who, path).map(|node| node.permissions.clone())
    }

    /// Names of the children, each with its NUL, and the node's generation.
    pub(super) fn list(&self, who: DomId, path: &str) -> Result<(Vec<u8>, u64), Errno> {
        let generation = self.node(who, path)?.generation;
        let prefix = if path == "/" { "/".to_owned() } else { format!("{path}/") };
        let mut names = Vec::new();
        for (child, _) in self.nodes.range(prefix.clone()..) {
            let Some(name) = child.strip_prefix(&prefix) else { break };
            if !name.is_empty() && !name.contains('/') {
                names.extend_from_slice(name.as_bytes());
                names.push(0);
            }
        }
        Ok((names, generation))
    }

    /// Writes a value (or only makes the node), making what is missing above.
    pub(super) fn write(&mut self, who: DomId, path: &str, value: Option<&[u8]>) -> Result<(), Errno> {
        if value.is_some_and(|v| v.len() > MAX_VALUE.min(MAX_PAYLOAD)) {
            return Err("E2BIG");
        }
        if !self.visible(who, path).is_some_and(|node| node.allows(who, false, true)) {
            return Err("EACCES");
        }
        if let Some(node) = self.nodes.get_mut(path) {
            if let Some(value) = value {
                self.generation += 1;
                node.value = value.to_vec();
                node.generation = self.generation;
            }
            return Ok(());
        }
        if who != DomId::ZERO && self.nodes.values().filter(|node| node.permissions[0].domain == who).count() >= QUOTA {
            return Err("ENOSPC");
        }
        let above = parent(path).to_owned();
        if !self.nodes.contains_key(&above) {
            self.write(who, &above, None)?;
        }
        let mut permissions = self.nodes[&above].permissions.clone();
        if who != DomId::ZERO {
            permissions[0].domain = who;
        }
        self.generation += 1;
        let generation = self.generation;
        self.touch(&above);
        self.nodes.insert(path.to_owned(), Node { value: value.unwrap_or_default().to_vec(), permissions, generation });
        Ok(())
    }

    /// Removes a node and all below; the paths that went, its own first.
    pub(super) fn remove(&mut self, who: DomId, path: &str) -> Result<Vec<String>, Errno> {
        if path == "/" {
            return Err("EINVAL");
        }
        let Some(node) = self.nodes.get(path) else {
            return Err(if self.may_read(who, path) { "ENOENT" } else { "EACCES" });
        };
        if !node.allows(who, false, true) {
            return Err("EACCES");
        }
        let gone: Vec<String> =
            self.nodes.range(path.to_owned()..).map(|(p, _)| p).filter(|p| is_within(p, path)).cloned().collect();
        for path in &gone {
            self.nodes.remove(path);
        }
        let above = parent(path).to_owned();
        self.touch(&above);
        Ok(gone)
    }

    pub(super) fn set_permissions(&mut self, who: DomId, path: &str, to: Vec<Permission>) -> Result<(), Errno> {
        let node = self.nodes.get_mut(path).ok_or("ENOENT")?;
        let owner = node.permissions[0].domain;
        if to.is_empty() || who != DomId::ZERO && (who != owner || to[0].domain != owner) {
            return Err(if to.is_empty() { "EINVAL" } else { "EACCES" });
        }
        node.permissions = to;
        self.generation += 1;
        node.generation = self.generation;
        Ok(())
    }

    /// A node's list of children changed.
    fn touch(&mut self, path: &str) {
        self.generation += 1;
        let generation = self.generation;
        if let Some(node) = self.nodes.get_mut(path) {
            node.generation = generation;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUEST: DomId = DomId(5);

    fn tree() -> Tree {
        let mut tree = Tree::new();
        tree.write(DomId::ZERO, "/local/domain/5/device", Some(b"")).unwrap();
        let perms = ["n5", "r0"].map(|p| Permission::parse(p).unwrap()).to_vec();
        tree.set_permissions(DomId::ZERO, "/local/domain/5/device", perms).unwrap();
        tree
    }

    #[test]
    fn a_guest_writes_where_it_may_and_nowhere_else() {
        let mut tree = tree();
        tree.write(GUEST, "/local/domain/5/device/vif/0/state", Some(b"4")).unwrap();
        assert_eq!(tree.read(DomId::ZERO, "/local/domain/5/device/vif/0/state").unwrap(), b"4");
        assert_eq!(tree.write(GUEST, "/local/domain/5/name", Some(b"x")), Err("EACCES"));
        assert_eq!(tree.read(GUEST, "/local/domain/5"), Err("EACCES"));
        assert_eq!(tree.read(DomId(6), "/local/domain/5/device/vif"), Err("EACCES"));
        assert_eq!(tree.read(GUEST, "/local/domain/5/device/none"), Err("ENOENT"));
        assert_eq!(tree.remove(DomId(6), "/local/domain/5/device"), Err("EACCES"));
    }

    #[test]
    fn removing_takes_all_below_and_no_neighbour() {
        let mut tree = Tree::new();
        for path in ["/a/b/c", "/a/b-1", "/a/bc"] {
            tree.write(DomId::ZERO, path, Some(b"")).unwrap();
        }
        assert_eq!(tree.remove(DomId::ZERO, "/a/b").unwrap(), ["/a/b", "/a/b/c"]);
        assert_eq!(tree.list(DomId::ZERO, "/a").unwrap().0, b"b-1\0bc\0");
    }

    #[test]
    fn a_guest_runs_into_its_quota() {
        let mut tree = tree();
        let last = (0..2000).map(|i| tree.write(GUEST, &format!("/local/domain/5/device/{i}"), Some(b""))).last();
        assert_eq!(last, Some(Err("ENOSPC")));
        tree.write(DomId::ZERO, "/still", Some(b"works")).unwrap();
    }
}
