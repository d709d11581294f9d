//! What is free in each period of a request: the calendar, cut down to one question.
//!
//! Of each capacity the least that is free during the period counts. A component that is not there, or held back and
//! not to be opened, is closed. Two rooms can be laid over each other, to ask for what fits both now and later.

use super::ground::{Ground, Placement};
use super::ledger::{Ledger, Where};
use crate::calendar::Window;
use crate::embed::problem::MOST;
use crate::embed::{HostId, LinkId, Residual};
use crate::substrate::{LINK_GRAIN, Measure, Substrate};

/// Which of the components that are held back may be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    pub hosts: Vec<bool>,
    pub links: Vec<bool>,
}

impl Opening {
    /// None of them.
    pub fn none(ground: &Ground) -> Self {
        Self { hosts: vec![false; ground.during.hosts.len()], links: vec![false; ground.during.links.len()] }
    }

    /// These, and whatever a placement is on already.
    #[must_use]
    pub fn with(&self, placement: &Placement) -> Self {
        let mut opening = self.clone();
        let paths = || placement.routes.iter().flatten();
        placement.hosts.iter().for_each(|&host| opening.hosts[host] = true);
        paths().flat_map(|path| &path.hosts).for_each(|&host| opening.hosts[host] = true);
        paths().flat_map(|path| &path.links).for_each(|&link| opening.links[link] = true);
        opening
    }

    /// Opens or closes one.
    pub fn set(&mut self, component: Where, open: bool) {
        match component {
            Where::Host(host) => self.hosts[host] = open,
            Where::Link(link) => self.links[link] = open,
        }
    }

    /// Those that both open.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let and = |a: &[bool], b: &[bool]| a.iter().zip(b).map(|(&a, &b)| a && b).collect();
        Self { hosts: and(&self.hosts, &other.hosts), links: and(&self.links, &other.links) }
    }

    /// All of them.
    pub fn all(ground: &Ground) -> Self {
        Self { hosts: vec![true; ground.during.hosts.len()], links: vec![true; ground.during.links.len()] }
    }
}

/// See the module. Amounts are in base units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// The periods asked about.
    pub windows: Vec<Window>,
    /// By host, period and measure.
    hosts: Vec<u64>,
    /// By link and period.
    links: Vec<u64>,
    pub host_open: Vec<bool>,
    pub link_open: Vec<bool>,
    /// Nobody is on it during the periods: it can be had alone.
    pub empty: Vec<bool>,
    /// Somebody has it alone during one of the periods.
    pub closed_to_others: Vec<bool>,
}

const MEASURES: usize = Measure::ALL.len();

impl Room {
    /// What of `substrate` a ledger leaves in these windows.
    pub fn of(ground: &Ground, substrate: &Substrate, ledger: &Ledger, windows: &[Window], opening: &Opening) -> Self {
        let mut room = Self {
            windows: windows.to_vec(),
            hosts: Vec::with_capacity(substrate.hosts.len() * windows.len() * MEASURES),
            links: Vec::with_capacity(substrate.links.len() * windows.len()),
            host_open: Vec::with_capacity(substrate.hosts.len()),
            link_open: Vec::with_capacity(substrate.links.len()),
            empty: Vec::with_capacity(substrate.hosts.len()),
            closed_to_others: Vec::with_capacity(substrate.hosts.len()),
        };
        let throughout = |steps: &crate::calendar::Steps| windows.iter().all(|&window| steps.least(window) > 0);
        for ((host, book), &may_open) in substrate.hosts.iter().zip(&ledger.hosts).zip(&opening.hosts) {
            let free = Measure::ALL.map(|m| host.capacity.of(m).combine(book.allocated.of(m), u64::saturating_sub));
            room.hosts.extend(windows.iter().flat_map(|&window| free.each_ref().map(|free| free.least(window))));
            let opened = !host.provisioned || may_open || throughout(&book.users());
            room.host_open.push(opened && throughout(&host.there));
            room.empty.push(windows.iter().all(|&window| book.nodes.most(window) == 0));
            room.closed_to_others.push(windows.iter().any(|&window| book.exclusive.most(window) > 0));
        }
        for (n, (link, book)) in substrate.links.iter().zip(&ledger.links).enumerate() {
            let free = link.bandwidth.combine(&book.allocated, u64::saturating_sub);
            room.links.extend(windows.iter().map(|&window| free.least(window)));
            let opened = !link.provisioned || opening.links[n] || throughout(&book.ways);
            let ends_open = ground.ends[n].iter().all(|&end| room.host_open[end]);
            room.link_open.push(opened && ends_open && throughout(&link.there));
        }
        room
    }

    /// What both have.
    #[must_use]
    pub fn both(&self, other: &Self) -> Self {
        let least = |a: &[u64], b: &[u64]| a.iter().zip(b).map(|(&a, &b)| a.min(b)).collect();
        let and = |a: &[bool], b: &[bool]| a.iter().zip(b).map(|(&a, &b)| a && b).collect();
        let or = |a: &[bool], b: &[bool]| a.iter().zip(b).map(|(&a, &b)| a || b).collect();
        Self {
            windows: self.windows.clone(),
            hosts: least(&self.hosts, &other.hosts),
            links: least(&self.links, &other.links),
            host_open: and(&self.host_open, &other.host_open),
            link_open: and(&self.link_open, &other.link_open),
            empty: and(&self.empty, &other.empty),
            closed_to_others: or(&self.closed_to_others, &other.closed_to_others),
        }
    }

    /// The same with the links of another: for what leaves a host now whose links stay for a while.
    #[must_use]
    pub fn with_links_of(mut self, other: &Self) -> Self {
        self.links.clone_from(&other.links);
        self.link_open.clone_from(&other.link_open);
        self
    }

    /// What is free of a host in a period.
    pub fn host(&self, host: usize, period: usize, measure: Measure) -> u64 {
        if self.host_open[host] {
            self.hosts[(host * self.windows.len() + period) * MEASURES + measure as usize]
        } else {
            0
        }
    }

    /// What is free of a link in a period.
    pub fn link(&self, link: usize, period: usize) -> u64 {
        if self.link_open[link] { self.links[link * self.windows.len() + period] } else { 0 }
    }

    /// As the search wants it. Hosts in `lit` may carry what asks for nothing even if they are closed: the fixed ends
    /// of links.
    pub fn residual(&self, ground: &Ground, lit: &[usize]) -> Residual {
        let periods = self.windows.len();
        let mut residual = Residual::whole(&ground.graph, periods);
        for host in 0..self.host_open.len() {
            let id = HostId(host as u32);
            for period in 0..periods {
                for (resource, measure) in Measure::ALL.into_iter().enumerate() {
                    let free = self.host(host, period, measure) / measure.grain();
                    residual.set_host_free(id, period, resource, free.min(MOST));
                }
            }
            if !self.host_open[host] && !lit.contains(&host) {
                residual.close_host(id);
            }
        }
        for link in 0..self.link_open.len() {
            let id = LinkId(link as u32);
            for period in 0..periods {
                residual.set_link_free(id, period, (self.link(link, period) / LINK_GRAIN).min(MOST));
            }
            if !self.link_open[link] {
                residual.close_link(id);
            }
        }
        residual
    }
}
