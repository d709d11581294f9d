//! Refusals that explain themselves: what is in the way, and the least that would have to give for it to fit.
//!
//! "Does not fit" helps nobody. A refusal here is tried out: of each thing that was asked for (a link's bandwidth in a
//! period, a vertex's capacity, a latency, an anchor, the start) the least relaxation with which the *whole* request
//! fits is searched for, with everything else as it is. What is reported was found to fit, not guessed to.

mod relax;

use std::fmt;

use serde::Serialize;
use thiserror::Error;

use crate::embed::Refusal;
use crate::lease::Infeasible;
use crate::lease::moves::{Item, Situation};
use crate::lease::place::{NoPlace, suits};
use crate::lease::target::Admission;
use crate::model::{BitsPerSecond, Nanos, Timestamp};
use crate::substrate::{Amounts, Measure};

/// Why a request is refused, and what would help.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize)]
pub struct Refused {
    /// The request, or the lease that would have to move.
    pub lease: String,
    /// What is in the way.
    pub binding: Binding,
    /// Each of them alone makes it fit; the smallest first.
    pub relaxations: Vec<Relaxation>,
}

/// What is in the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Binding {
    /// A link has too little between the places that its ends could have.
    Bandwidth {
        /// The link as the file calls it.
        link: String,
        /// The parts that an array made of it, each asking for this much.
        parts: usize,
        /// Where its ends would be: sites, or hosts where those have none or both have the same.
        between: [String; 2],
        /// In words, such as `period II`.
        period: String,
        /// In bit/s.
        asked: u64,
        /// The most that one path between them has free, in bit/s.
        free: u64,
    },
    /// A vertex asks for more than any host has free that may carry it.
    Capacity {
        /// The vertex as the file calls it.
        node: String,
        /// Elements of its array that ask for this much each.
        count: usize,
        /// Which capacity.
        measure: Measure,
        /// In words, such as `period II`.
        period: String,
        /// In base units.
        asked: u64,
        /// What the host that comes nearest has free, in base units.
        free: u64,
        /// That host.
        host: String,
    },
    /// A link must be quicker than any path is.
    Latency {
        /// The link as the file calls it.
        link: String,
        /// In nanoseconds.
        bound: u64,
        /// The least that is possible, in nanoseconds.
        least: u64,
    },
    /// No host is what a vertex needs, whatever is free.
    NoSuchHost {
        /// The vertex.
        node: String,
        /// What its host must be, in words.
        needs: String,
        /// Which of that no host is or which excludes all, in words.
        because: String,
    },
    /// There are hosts for each vertex, and not enough for all.
    TooFewHosts {
        /// Vertices that cannot share.
        needed: usize,
        /// The most of them that can be placed at once.
        found: usize,
    },
    /// Something leaves, and what is on it has no other place.
    Displaced {
        /// What leaves or lacks, in words.
        cause: String,
        /// The vertex or link.
        part: String,
        /// Why it finds no other place, in words.
        because: String,
    },
    /// More than can be counted.
    TooLarge {
        /// In words.
        because: String,
    },
    /// No single thing that was asked for is to blame.
    Together {
        /// Whether it is certain that there is no way to place it.
        proved: bool,
    },
}

/// Something smaller that would fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "relax", rename_all = "kebab-case")]
pub enum Relaxation {
    /// Less bandwidth for a link in a period.
    Bandwidth {
        /// The link as the file calls it.
        link: String,
        /// The parts that an array made of it.
        parts: usize,
        /// In words.
        period: String,
        /// Of each part, in bit/s.
        asked: u64,
        /// Of each part, in bit/s.
        fits: u64,
    },
    /// Less of a vertex's capacity.
    Capacity {
        /// The vertex as the file calls it.
        node: String,
        /// Elements of its array.
        count: usize,
        /// Which capacity.
        measure: Measure,
        /// Of each, in base units.
        asked: u64,
        /// Of each, in base units.
        fits: u64,
    },
    /// A vertex smaller in several capacities at once.
    Size {
        /// The vertex as the file calls it.
        node: String,
        /// Elements of its array.
        count: usize,
        /// Of each, in base units.
        asked: Amounts<u64>,
        /// Of each, in base units.
        fits: Amounts<u64>,
    },
    /// A later bound.
    Latency {
        /// The link as the file calls it.
        link: String,
        /// In nanoseconds.
        asked: u64,
        /// In nanoseconds; none: only without a bound.
        fits: Option<u64>,
    },
    /// Not at its site, or not only there.
    Anchor {
        /// The vertex as the file calls it.
        node: String,
        /// Where it was to be.
        site: String,
        /// Where it would be.
        host: String,
    },
    /// Less of every bandwidth.
    AllBandwidth {
        /// Of what was asked for.
        percent: u8,
    },
    /// Later.
    Start {
        /// From when on it fits.
        #[serde(serialize_with = "as_text")]
        at: Timestamp,
    },
}

fn as_text<T: fmt::Display, S: serde::Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

fn each(count: usize, things: &str) -> String {
    if count > 1 { format!(" (each of {count} {things})") } else { String::new() }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.lease, self.binding)?;
        let mut others = self.relaxations.iter();
        if let Some(first) = others.next() {
            write!(f, "; {first}")?;
        }
        for other in others {
            write!(f, "\n  or: {other}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bandwidth { link, parts, between: [a, b], period, asked, free } => {
                let (asked, free) = (BitsPerSecond(*asked), BitsPerSecond(*free));
                let each = each(*parts, "parts");
                write!(f, "link {link}{each} needs {asked} between {a} and {b} in {period}; {free} are free")
            }
            Self::Capacity { node, count, measure, period, asked, free, host } => {
                let (asked, each) = (measure.show(*asked), each(*count, "elements"));
                let free = if *free == 0 { "nothing".to_owned() } else { measure.show(*free) };
                write!(
                    f,
                    "{node}{each} needs {asked} in {period}; of the hosts that may carry it {host} comes nearest, "
                )?;
                write!(f, "with {free} free")
            }
            Self::Latency { link, bound, least } => {
                write!(f, "link {link} may take {}; the quickest path takes {}", Nanos(*bound), Nanos(*least))
            }
            Self::NoSuchHost { node, needs, because } => write!(f, "{node} needs {needs}: {because}"),
            Self::TooFewHosts { needed, found } => {
                write!(f, "{needed} vertices need hosts of their own, and only {found} can have one at once")
            }
            Self::Displaced { cause, part, because } => {
                write!(f, "{part} must move and has nowhere to go ({because}), because {cause}")
            }
            Self::TooLarge { because } => f.write_str(because),
            Self::Together { proved: true } => f.write_str("there is no way to place all of it at once"),
            Self::Together { proved: false } => f.write_str("no way was found to place all of it at once"),
        }
    }
}

impl fmt::Display for Relaxation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bandwidth { link, period, fits: 0, .. } => {
                write!(f, "without link {link} in {period} it fits")
            }
            Self::Bandwidth { link, parts, period, asked: _, fits } => {
                let each = each(*parts, "parts");
                write!(f, "with {} for link {link}{each} in {period} it fits", BitsPerSecond(*fits))
            }
            Self::Capacity { node, measure, fits: 0, .. } => {
                write!(f, "without any {} for {node} it fits", measure.word())
            }
            Self::Capacity { node, count, measure, asked: _, fits } => {
                let each = each(*count, "elements");
                write!(f, "with {} for {node}{each} it fits", measure.show(*fits))
            }
            Self::Size { node, count, asked: _, fits } => {
                write!(f, "with {} for {node}{} it fits", fits.show(), each(*count, "elements"))
            }
            Self::Latency { link, fits: Some(fits), .. } => {
                write!(f, "with {} for the latency of link {link} it fits", Nanos(*fits))
            }
            Self::Latency { link, fits: None, .. } => write!(f, "without a latency bound for link {link} it fits"),
            Self::Anchor { node, site, host } => {
                write!(f, "if {node} need not be at {site} it fits, on {host}")
            }
            Self::AllBandwidth { percent: 0 } => f.write_str("without any bandwidth it fits"),
            Self::AllBandwidth { percent } => write!(f, "with {percent} % of all its bandwidths it fits"),
            Self::Start { at } => write!(f, "if it starts at {at} it fits"),
        }
    }
}

/// Why a target has no place, and what would help it.
pub(crate) fn explain(situation: &Situation, target: &Admission, reason: &NoPlace) -> Refused {
    let mut trial = relax::Trial::new(situation, target);
    let found = trial.relaxations(reason);
    let shown = found.first().and_then(|(_, binding)| binding.clone());
    let binding = shown.or_else(|| trial.too_large_alone()).unwrap_or_else(|| binding_of(situation, target, reason));
    Refused {
        lease: target.demand.id.clone(),
        binding,
        relaxations: found.into_iter().map(|(relaxation, _)| relaxation).collect(),
    }
}

/// What leaves, and what on it has no other place.
pub(crate) fn of_displaced(situation: &Situation, last: Option<(Item, NoPlace)>, cause: &Infeasible) -> Refused {
    let (lease, part, because) = match last {
        Some((item, reason)) => {
            let demand = &situation.leases[item.lease].demand;
            let because = match &reason {
                NoPlace::Nowhere(node) => nobody(situation, &demand.nodes[*node]).1,
                NoPlace::Search(Refusal::NoHost { .. }) => "no other host has what it asks for free".to_owned(),
                NoPlace::Search(Refusal::NoPath { .. }) => "no path with its bandwidth is free".to_owned(),
                NoPlace::Search(Refusal::TooSlow { .. }) => "no path that is free is quick enough".to_owned(),
                NoPlace::TooLarge(because) => because.clone(),
                _ => "no other place for it and its links is free".to_owned(),
            };
            (demand.id.clone(), item.what.name(demand).to_owned(), because)
        }
        None => (String::new(), "what is there".to_owned(), "nothing on it can move".to_owned()),
    };
    let binding = Binding::Displaced { cause: cause.to_string(), part, because };
    Refused { lease, binding, relaxations: Vec::new() }
}

/// From what the search says to the names of the file.
fn binding_of(situation: &Situation, target: &Admission, reason: &NoPlace) -> Binding {
    let demand = target.demand;
    match reason {
        NoPlace::Nowhere(node) => {
            let (needs, because) = nobody(situation, &demand.nodes[*node]);
            Binding::NoSuchHost { node: demand.nodes[*node].name.clone(), needs, because }
        }
        NoPlace::TooLarge(because) => Binding::TooLarge { because: because.clone() },
        NoPlace::Search(Refusal::TooFewHosts { needed, found }) => {
            Binding::TooFewHosts { needed: *needed, found: *found }
        }
        NoPlace::Search(Refusal::Nowhere { proved: true }) => Binding::Together { proved: true },
        NoPlace::Search(_) | NoPlace::Over => Binding::Together { proved: false },
    }
}

/// What a vertex needs of its host in words, and why there is none.
fn nobody(situation: &Situation, node: &crate::lease::demand::Node) -> (String, String) {
    let mut needs = vec![format!("a host for a {}", node.kind.word())];
    needs.extend(node.site.as_ref().map(|site| format!("at {site}")));
    needs.extend(node.region.as_ref().map(|region| format!("in region {region}")));
    needs.extend(node.architecture.as_ref().map(|architecture| format!("of architecture {architecture}")));
    if node.frequency > 0 {
        needs.push(format!("with cores of {} or more", crate::model::Hertz(node.frequency)));
    }
    needs.extend(node.devices.iter().map(|device| format!("with a {device}")));
    if node.exclusive {
        needs.push("that nobody else is on".to_owned());
    }
    let hosts = &situation.ground.after.hosts;
    let fitting: Vec<&str> = hosts.iter().filter(|host| suits(host, node)).map(|host| host.name.as_str()).collect();
    let because = if let (true, Some(site)) = (fitting.is_empty(), &node.site) {
        let there =
            hosts.iter().any(|host| host.site.as_deref().is_some_and(|at| crate::substrate::is_in_site(at, site)));
        let sites = situation.ground.after.sites();
        match (there, sites.is_empty()) {
            (true, _) => format!("none of the hosts at {site} is that"),
            (false, true) => "no host of the substrate has a location".to_owned(),
            (false, false) => format!("the substrate has no such site; it has {}", sites.join(", ")),
        }
    } else if fitting.is_empty() {
        "no host of the substrate is that".to_owned()
    } else {
        let named = fitting.iter().take(4).copied().collect::<Vec<_>>().join(", ");
        let more = if fitting.len() > 4 { format!(" and {} more", fitting.len() - 4) } else { String::new() };
        format!("{named}{more} would do, and none of them can be had then")
    };
    (needs.join(" "), because)
}
