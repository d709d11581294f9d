//! The simulated xenstored: requests in, answers and events out, by the real protocol.

use std::collections::{BTreeMap, BTreeSet};

use super::tree::{Errno, Permission, Tree, is_path, is_within};
use crate::DomId;
use crate::xenstore::wire::{Header, Kind, MAX_PAYLOAD, message, strings};

/// Watches that a guest may have: xenstored's default quota.
const WATCHES: usize = 128;
/// Transactions that a guest may have open.
const TRANSACTIONS: usize = 10;

/// A connection's number.
pub(super) type ConnId = u64;

/// What a connection's requests have led to so far.
#[derive(Debug, Default)]
struct Session {
    domain: DomId,
    watches: Vec<Watch>,
    transactions: BTreeMap<u32, Transaction>,
}

#[derive(Debug)]
struct Watch {
    /// Full path, or a special one.
    path: String,
    token: String,
    /// What to take off the front of a path before it is told, for watches on relative paths.
    home: Option<String>,
}

#[derive(Debug)]
struct Transaction {
    /// As all was at the start.
    base: Tree,
    /// As it is within.
    tree: Tree,
    /// Paths that were looked at or changed.
    seen: BTreeSet<String>,
    changes: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(String, Option<Vec<u8>>),
    Remove(String),
    SetPermissions(String, Vec<Permission>),
}

/// The store and everyone who is connected to it.
#[derive(Debug)]
pub(super) struct Store {
    tree: Tree,
    sessions: BTreeMap<ConnId, Session>,
    last_transaction: u32,
    /// Messages to be sent, in order.
    out: Vec<(ConnId, Vec<u8>)>,
}

impl Store {
    pub(super) fn new() -> Self {
        Self { tree: Tree::new(), sessions: BTreeMap::new(), last_transaction: 0, out: Vec::new() }
    }

    pub(super) fn connect(&mut self, conn: ConnId, domain: DomId) {
        self.sessions.insert(conn, Session { domain, ..Session::default() });
    }

    pub(super) fn disconnect(&mut self, conn: ConnId) {
        self.sessions.remove(&conn);
    }

    /// What is to be sent, and to whom.
    pub(super) fn take_output(&mut self) -> Vec<(ConnId, Vec<u8>)> {
        std::mem::take(&mut self.out)
    }

    /// A domain came (`@introduceDomain`) or went (`@releaseDomain`).
    pub(super) fn announce(&mut self, special: &str) {
        self.fire(&BTreeSet::from([special.to_owned()]), &[]);
    }

    /// Answers one request.
    pub(super) fn request(&mut self, conn: ConnId, header: Header, payload: &[u8]) {
        let (kind, answer) = match Kind::from_u32(header.kind) {
            Some(kind) => match self.serve(conn, kind, header.transaction, payload) {
                Ok(answer) if answer.len() <= MAX_PAYLOAD => (header.kind, answer),
                Ok(_) => (Kind::Error as u32, b"E2BIG\0".to_vec()),
                Err(errno) => (Kind::Error as u32, [errno.as_bytes(), b"\0"].concat()),
            },
            None => (Kind::Error as u32, b"ENOSYS\0".to_vec()),
        };
        let answer = message(kind, header.request, header.transaction, &answer);
        // The answer goes before the events that the request caused.
        let at = self.out.iter().position(|(to, _)| *to == conn).unwrap_or(self.out.len());
        self.out.insert(at, (conn, answer));
    }

    fn serve(&mut self, conn: ConnId, kind: Kind, transaction: u32, payload: &[u8]) -> Result<Vec<u8>, Errno> {
        let who = self.sessions.get(&conn).ok_or("EINVAL")?.domain;
        let first = payload.split(|byte| *byte == 0).next().unwrap_or_default();
        let first = std::str::from_utf8(first).map_err(|_| "EINVAL")?;
        let mut rest = strings(payload).skip(1).map(|s| std::str::from_utf8(s).unwrap_or(""));
        let done = Ok(b"OK\0".to_vec());
        match kind {
            Kind::GetDomainPath => return Ok(format!("{}\0", home(DomId(first.parse().map_err(|_| "EINVAL")?))).into()),
            Kind::IsDomainIntroduced => return Ok(b"T\0".to_vec()),
            Kind::TransactionStart => return self.begin(conn, who),
            Kind::TransactionEnd => return self.end(conn, transaction, first == "T").and(done),
            Kind::Watch => return self.watch(conn, who, first, rest.next().unwrap_or("")).and(done),
            Kind::Unwatch => return self.unwatch(conn, first, rest.next().unwrap_or("")).and(done),
            Kind::ResetWatches => {
                let session = self.sessions.get_mut(&conn).ok_or("EINVAL")?;
                session.watches.clear();
                session.transactions.clear();
                return done;
            }
            _ => {}
        }
        let path = absolute(first, who)?;
        let change = match kind {
            Kind::Write => {
                let value = payload.get(first.len() + 1..).ok_or("EINVAL")?;
                Change::Write(path, Some(value.to_vec()))
            }
            Kind::Mkdir => Change::Write(path, None),
            Kind::Rm => Change::Remove(path),
            Kind::SetPerms => {
                let permissions: Option<Vec<_>> = rest.map(Permission::parse).collect();
                Change::SetPermissions(path, permissions.ok_or("EINVAL")?)
            }
            _ => {
                let tree = match transaction {
                    0 => &self.tree,
                    id => {
                        let session = self.sessions.get_mut(&conn).ok_or("EINVAL")?;
                        let open = session.transactions.get_mut(&id).ok_or("ENOENT")?;
                        open.seen.insert(path.clone());
                        &open.tree
                    }
                };
                return answer(tree, kind, who, &path, rest.next());
            }
        };
        if transaction == 0 {
            self.apply(who, &change).and(done)
        } else {
            let session = self.sessions.get_mut(&conn).ok_or("EINVAL")?;
            let open = session.transactions.get_mut(&transaction).ok_or("ENOENT")?;
            open.seen.insert(change.path().to_owned());
            apply(&mut open.tree, who, &change)?;
            open.changes.push(change);
            done
        }
    }

    fn begin(&mut self, conn: ConnId, who: DomId) -> Result<Vec<u8>, Errno> {
        self.last_transaction = self.last_transaction.wrapping_add(1).max(1);
        let id = self.last_transaction;
        let (base, tree) = (self.tree.clone(), self.tree.clone());
        let session = self.sessions.get_mut(&conn).ok_or("EINVAL")?;
        if who != DomId::ZERO && session.transactions.len() >= TRANSACTIONS {
            return Err("ENOSPC");
        }
        session.transactions.insert(id, Transaction { base, tree, seen: BTreeSet::new(), changes: Vec::new() });
        Ok(format!("{id}\0").into())
    }

    fn end(&mut self, conn: ConnId, id: u32, commit: bool) -> Result<(), Errno> {
        let session = self.sessions.get_mut(&conn).ok_or("EINVAL")?;
        let who = session.domain;
        let transaction = session.transactions.remove(&id).ok_or("ENOENT")?;
        if !commit {
            return Ok(());
        }
        let base = &transaction.base;
        if transaction.seen.iter().any(|path| self.tree.generation(path) != base.generation(path)) {
            return Err("EAGAIN");
        }
        for change in &transaction.changes {
            self.apply(who, change)?;
        }
        Ok(())
    }

    fn apply(&mut self, who: DomId, change: &Change) -> Result<(), Errno> {
        let readers_before: Vec<ConnId> = self.readers(change.path());
        let changed = apply(&mut self.tree, who, change)?;
        self.fire(&changed, &readers_before);
        Ok(())
    }

    /// Connections that may read a path now.
    fn readers(&self, path: &str) -> Vec<ConnId> {
        let may = |(conn, session): (&ConnId, &Session)| self.tree.may_read(session.domain, path).then_some(*conn);
        self.sessions.iter().filter_map(may).collect()
    }

    /// Tells the watches. `readers`: those who could read what is not there any more.
    fn fire(&mut self, changed: &BTreeSet<String>, readers: &[ConnId]) {
        let Some(top) = changed.first() else { return };
        for (conn, session) in &self.sessions {
            if !top.starts_with('@') && !readers.contains(conn) && !self.tree.may_read(session.domain, top) {
                continue;
            }
            for watch in &session.watches {
                // Of a removed tree everyone above is told the top, and everyone within what it watched.
                let path = if is_within(top, &watch.path) {
                    top
                } else if changed.iter().any(|path| is_within(path, &watch.path)) {
                    &watch.path
                } else {
                    continue;
                };
                self.out.push((*conn, event(watch, path)));
            }
        }
    }

    fn watch(&mut self, conn: ConnId, who: DomId, path: &str, token: &str) -> Result<(), Errno> {
        let full = if path.starts_with('@') { path.to_owned() } else { absolute(path, who)? };
        let session = self.sessions.get_mut(&conn).ok_or("EINVAL")?;
        if session.watches.iter().any(|watch| watch.path == full && watch.token == token) {
            return Err("EEXIST");
        }
        if who != DomId::ZERO && session.watches.len() >= WATCHES {
            return Err("E2BIG");
        }
        let home = (!path.starts_with(['/', '@'])).then(|| format!("{}/", home(who)));
        let watch = Watch { path: full.clone(), token: token.to_owned(), home };
        self.out.push((conn, event(&watch, &full)));
        session.watches.push(watch);
        Ok(())
    }

    fn unwatch(&mut self, conn: ConnId, path: &str, token: &str) -> Result<(), Errno> {
        let session = self.sessions.get_mut(&conn).ok_or("EINVAL")?;
        let full = if path.starts_with('@') { path.to_owned() } else { absolute(path, session.domain)? };
        let before = session.watches.len();
        session.watches.retain(|watch| watch.path != full || watch.token != token);
        if session.watches.len() < before { Ok(()) } else { Err("ENOENT") }
    }
}

impl Change {
    fn path(&self) -> &str {
        match self {
            Self::Write(path, _) | Self::Remove(path) | Self::SetPermissions(path, _) => path,
        }
    }
}

/// Makes one change; the paths whose watchers are to be told, the topmost first.
fn apply(tree: &mut Tree, who: DomId, change: &Change) -> Result<BTreeSet<String>, Errno> {
    match change {
        Change::Write(path, value) => tree.write(who, path, value.as_deref()).map(|()| [path.clone()].into()),
        Change::Remove(path) => tree.remove(who, path).map(BTreeSet::from_iter),
        Change::SetPermissions(path, to) => tree.set_permissions(who, path, to.clone()).map(|()| [path.clone()].into()),
    }
}

fn answer(tree: &Tree, kind: Kind, who: DomId, path: &str, offset: Option<&str>) -> Result<Vec<u8>, Errno> {
    match kind {
        Kind::Read => tree.read(who, path),
        Kind::Directory => tree.list(who, path).map(|(names, _)| names),
        Kind::DirectoryPart => {
            let (names, generation) = tree.list(who, path)?;
            let from = offset.and_then(|offset| offset.parse::<usize>().ok()).ok_or("EINVAL")?;
            let rest = names.get(from..).ok_or("EINVAL")?;
            let mut part = format!("{generation}\0").into_bytes();
            let room = MAX_PAYLOAD - part.len() - 1;
            if rest.len() <= room {
                part.extend_from_slice(rest);
                part.push(0);
            } else {
                let end = rest[..room].iter().rposition(|byte| *byte == 0).map_or(0, |at| at + 1);
                part.extend_from_slice(&rest[..end]);
            }
            Ok(part)
        }
        Kind::GetPerms => {
            let permissions = tree.permissions(who, path)?;
            Ok(permissions.iter().map(|p| format!("{}{}\0", p.letter(), p.domain)).collect::<String>().into())
        }
        _ => Err("ENOSYS"),
    }
}

fn event(watch: &Watch, path: &str) -> Vec<u8> {
    let told = watch.home.as_deref().and_then(|home| path.strip_prefix(home)).unwrap_or(path);
    message(Kind::WatchEvent as u32, 0, 0, format!("{told}\0{}\0", watch.token).as_bytes())
}

fn home(domain: DomId) -> String {
    format!("/local/domain/{domain}")
}

fn absolute(path: &str, who: DomId) -> Result<String, Errno> {
    let full = if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", home(who)) };
    if is_path(&full) { Ok(full) } else { Err("EINVAL") }
}
