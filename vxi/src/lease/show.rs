//! A plan for people.

use std::fmt;

use super::plan::{Plan, Rerouted, Step};
use crate::model::Bytes;

impl fmt::Display for Plan {
    /// Steps in order, details below each, and a line that sums them up.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return writeln!(f, "no changes");
        }
        let digits = self.steps.len().to_string().len();
        for (n, step) in self.steps.iter().enumerate() {
            writeln!(f, "{:>digits$}. {} {}", n + 1, step.symbol(), line(step))?;
            for detail in details(step) {
                writeln!(f, "{:digits$}      {detail}", "")?;
            }
        }
        let [added, altered, removed] = self.counts();
        let plural = if self.steps.len() == 1 { "" } else { "s" };
        writeln!(f, "{} step{plural}: {added} to add, {altered} to change, {removed} to remove", self.steps.len())
    }
}

/// A step in one line, without its symbol.
pub(crate) fn line(step: &Step) -> String {
    match step {
        Step::End { lease, at } => format!("lease {lease} ended at {at}"),
        Step::Release { lease } => format!("release lease {lease}"),
        Step::Found { substrate, hosts, links } => format!("substrate {substrate}: {hosts} hosts, {links} links"),
        Step::Add { kind, component } => format!("{kind} {component} joins the substrate"),
        Step::Alter { kind, component, changes } => format!("{kind} {component}: {}", changes.join("; ")),
        Step::Withdraw { kind, component } => format!("{kind} {component} leaves the substrate"),
        Step::Open { kind, component, lease } => format!("open {kind} {component} for {lease}"),
        Step::Close { kind, component } => format!("close {kind} {component}"),
        Step::Move { lease, moved, reason, .. } => {
            let bytes = if moved.bytes == 0 { String::new() } else { format!(", {}", Bytes(moved.bytes)) };
            format!("move {lease}/{} from {} to {}{bytes} ({reason})", moved.node, moved.from, moved.to)
        }
        Step::Reroute { lease, rerouted, reason } => format!("reroute {lease}/{} ({reason})", rerouted.link),
        Step::Change { lease, .. } => format!("change lease {lease}"),
        Step::Grant { lease, window, .. } => format!("grant lease {lease} {window}"),
    }
}

fn details(step: &Step) -> Vec<String> {
    match step {
        Step::Move { rerouted, .. } => rerouted.iter().map(path).collect(),
        Step::Reroute { rerouted, .. } => vec![path(rerouted)],
        Step::Change { changes, moved, rerouted, placed, .. } => {
            let mut said = changes.clone();
            said.extend(placed.iter().map(|at| format!("{} on {}", at.node, at.host)));
            said.extend(moved.iter().map(|moved| format!("{} moves from {} to {}", moved.node, moved.from, moved.to)));
            said.extend(rerouted.iter().map(path));
            said
        }
        Step::Grant { placed, routed, proof, .. } => {
            let host = |at: &super::plan::Placed| match &at.site {
                Some(site) => format!("{} on {} at {site}: {}", at.node, at.host, at.asks),
                None => format!("{} on {}: {}", at.node, at.host, at.asks),
            };
            let proof = proof.map(|proof| match proof.proved {
                true => "no placement is cheaper (proved)".to_owned(),
                false => format!("costs {}; none costs less than {}", proof.cost, proof.bound),
            });
            placed.iter().map(host).chain(routed.iter().map(path)).chain(proof).collect()
        }
        _ => Vec::new(),
    }
}

/// A link and the hosts along its paths.
fn path(link: &Rerouted) -> String {
    let along = |paths: &[Vec<String>]| paths.iter().map(|path| path.join(" > ")).collect::<Vec<_>>().join(" and ");
    let asks = if link.asks.is_empty() { String::new() } else { format!(": {}", link.asks) };
    match link.to.as_slice() {
        [only] if only.len() == 1 => format!("link {} within {}{asks}", link.link, only[0]),
        to if link.from.is_empty() => format!("link {} via {}{asks}", link.link, along(to)),
        to => format!("link {} via {}, was {}{asks}", link.link, along(to), along(&link.from)),
    }
}
