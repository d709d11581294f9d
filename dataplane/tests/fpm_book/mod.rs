//! A sink that writes down what it is told, and keeps the rules that a RIB keeps.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pointsman_dataplane::fpm::{Address, IfIndex, Link, Refusal, Sink, TableId};
use pointsman_dataplane::prefix::Prefix;
use pointsman_dataplane::rib::{Action, Change, GroupId, Hop, InterfaceId};

/// What was told, for a test to read while a feed writes.
#[derive(Clone, Default)]
pub struct Book(Arc<Mutex<Pages>>);

#[derive(Default)]
pub struct Pages {
    /// Devices that stand for interfaces; told by the test, or as `links` says.
    pub devices: HashMap<IfIndex, InterfaceId>,
    /// Names that stand for interfaces when an agent tells of them.
    pub names: HashMap<String, InterfaceId>,
    pub routes: BTreeMap<(TableId, Prefix, u32), (Action, bool)>,
    pub groups: HashMap<GroupId, (TableId, Action, bool)>,
    pub links: BTreeMap<IfIndex, Link>,
    pub addresses: Vec<Address>,
    /// Every change, in order.
    pub log: Vec<(TableId, Change)>,
    /// Changes are not logged: for a million of them.
    pub silent: bool,
    pub begun: usize,
    pub ended: usize,
    /// Routes beyond are refused.
    pub most: Option<usize>,
    /// Times that nothing more had come.
    pub settled: usize,
}

/// `10.0.0.0/8`.
pub fn prefix(text: &str) -> Prefix {
    let (network, length) = text.split_once('/').unwrap_or((text, if text.contains(':') { "128" } else { "32" }));
    Prefix::new(network.parse().unwrap(), length.parse().unwrap()).unwrap()
}

/// A way: a gateway or "-", an interface, a weight.
pub fn hop(gateway: &str, interface: u16, weight: u16) -> Hop {
    Hop { gateway: gateway.parse().ok(), interface: Some(InterfaceId(interface)), weight }
}

impl Book {
    /// An empty one, in which device N stands for interface N, for these.
    pub fn new(devices: impl IntoIterator<Item = u16>) -> Self {
        let book = Self::default();
        book.pages().devices = devices.into_iter().map(|n| (IfIndex(n.into()), InterfaceId(n))).collect();
        book
    }

    pub fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is done with packets for a prefix, through a group if need be; none: no route, or one that waits.
    pub fn action(&self, table: TableId, wanted: &str) -> Option<Action> {
        self.pages().action(table, prefix(wanted))
    }

    /// The ways of a prefix of the main table, in an order of their own.
    pub fn ways(&self, wanted: &str) -> Vec<Hop> {
        let mut hops = match self.action(TableId::MAIN, wanted) {
            Some(Action::Via(hops)) => hops,
            _ => Vec::new(),
        };
        hops.sort_by_key(|hop| (hop.interface, hop.gateway));
        hops
    }

    /// How many routes there are.
    pub fn len(&self) -> usize {
        self.pages().routes.len()
    }

    /// What has been logged since it was asked last.
    pub fn take_log(&self) -> Vec<(TableId, Change)> {
        std::mem::take(&mut self.pages().log)
    }
}

impl Pages {
    fn action(&self, table: TableId, wanted: Prefix) -> Option<Action> {
        let least = self.routes.range((table, wanted, 0)..=(table, wanted, u32::MAX)).next();
        match &least?.1.0 {
            Action::Group(id) => self.groups.get(id).map(|(_, action, _)| action.clone()),
            action => Some(action.clone()),
        }
    }

    fn delete_group(&mut self, id: GroupId) {
        self.groups.remove(&id);
        self.routes.retain(|_, (action, _)| *action != Action::Group(id));
    }
}

impl Sink for Book {
    fn interface(&self, _: TableId, device: IfIndex) -> Option<InterfaceId> {
        self.pages().devices.get(&device).copied()
    }

    fn change(&mut self, table: TableId, change: Change) -> Result<(), Refusal> {
        let mut pages = self.pages();
        if !pages.silent {
            pages.log.push((table, change.clone()));
        }
        match change {
            Change::Replace(route) => {
                let key = (table, route.prefix, route.metric);
                if pages.most.is_some_and(|most| pages.routes.len() >= most && !pages.routes.contains_key(&key)) {
                    return Err(Refusal::TooManyRoutes);
                }
                assert!(!matches!(&route.action, Action::Via(hops) if hops.is_empty()), "{route:?}");
                pages.routes.insert(key, (route.action, false));
            }
            Change::Delete(prefix, Some(metric)) => {
                pages.routes.remove(&(table, prefix, metric));
            }
            Change::Delete(prefix, None) => {
                pages.routes.retain(|&(t, p, _), _| (t, p) != (table, prefix));
            }
            Change::ReplaceGroup(id, action) => {
                assert!(
                    !matches!(&action, Action::Via(hops) if hops.is_empty()) && !matches!(action, Action::Group(_))
                );
                if let Some((owner, _, stale)) = pages.groups.get(&id) {
                    assert_eq!(*owner, table, "{id:?} is another table's");
                    assert!(!stale, "{id:?} is used again while old routes may lead by it");
                }
                pages.groups.insert(id, (table, action, false));
            }
            Change::DeleteGroup(id) => pages.delete_group(id),
        }
        Ok(())
    }

    fn begin_sync(&mut self) {
        let mut pages = self.pages();
        pages.begun += 1;
        pages.routes.values_mut().for_each(|(_, stale)| *stale = true);
        pages.groups.values_mut().for_each(|(.., stale)| *stale = true);
    }

    fn end_sync(&mut self) {
        let mut pages = self.pages();
        pages.ended += 1;
        pages.routes.retain(|_, (_, stale)| !*stale);
    }

    fn settle(&mut self) {
        self.pages().settled += 1;
    }

    fn link(&mut self, link: &Link, present: bool) {
        let mut pages = self.pages();
        match (present, pages.names.get(&link.name).copied()) {
            (true, Some(interface)) => pages.devices.insert(link.device, interface),
            (true, None) => None,
            (false, _) => pages.devices.remove(&link.device),
        };
        match present {
            true => pages.links.insert(link.device, link.clone()),
            false => pages.links.remove(&link.device),
        };
    }

    fn address(&mut self, address: &Address, present: bool) {
        let mut pages = self.pages();
        pages.addresses.retain(|known| known != address);
        if present {
            pages.addresses.push(*address);
        }
    }
}
