//! `pointsman vxi embed`: where requests would be on a substrate that nobody uses yet.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use pointsman_vxi::lease::{Asked, Demand, PlanError, Step, plan};
use serde_json::{Value, json};

use super::ask::{Searching, Told, demand, substrate, tell, tell_refusal};
use crate::output::print;

/// Place requests on a substrate, one after the other, and show where they are.
///
/// Exit status 1 if one of them is refused; the others are placed all the same.
#[derive(Debug, Args)]
pub struct Embed {
    /// The substrate: a description whose capacities are what is free
    #[arg(long, value_name = "FILE")]
    substrate: PathBuf,
    /// The requests, in any syntax that `validate` reads
    #[arg(value_name = "REQUEST", required = true)]
    requests: Vec<PathBuf>,
    #[command(flatten)]
    searching: Searching,
    /// Print the placements as JSON: an array with one object a request
    #[arg(long)]
    json: bool,
}

impl Embed {
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let mut mistakes = Vec::new();
        let substrate = substrate(&self.substrate, &mut mistakes);
        let requests: Vec<Demand> = self.requests.iter().filter_map(|file| demand(file, &mut mistakes)).collect();
        if !mistakes.is_empty() {
            let Told = tell(&mistakes, self.json)?;
            return Ok(ExitCode::FAILURE);
        }
        let mut asked = Asked {
            substrate,
            requests: Vec::new(),
            release: Vec::new(),
            moves: 0,
            open: !self.searching.no_open,
            search: self.searching.search(),
            now: self.searching.now(),
        };
        let mut state = match plan(None, &asked) {
            Ok(planned) => planned.state,
            Err(error) => return tell_refusal(&error, self.json),
        };
        let mut status = ExitCode::SUCCESS;
        let mut objects = Vec::new();
        for request in requests {
            let id = request.id.clone();
            if state.leases.iter().any(|lease| lease.id() == id) {
                tell(&[format!("pointsman: {}", PlanError::Twice { id })], false)?;
                return Ok(ExitCode::FAILURE);
            }
            asked.substrate = None;
            asked.requests = vec![request];
            match plan(Some(&state), &asked) {
                Ok(planned) => {
                    if self.json {
                        objects.push(placed(&id, &planned.plan.steps)?);
                    } else {
                        print(&planned.plan.to_string())?;
                    }
                    state = planned.state;
                }
                Err(error) => {
                    status = ExitCode::FAILURE;
                    if self.json {
                        objects.push(refused(&id, &error));
                    } else {
                        tell_refusal(&error, false)?;
                    }
                }
            }
        }
        if self.json {
            print(&format!("{:#}\n", Value::Array(objects)))?;
        }
        Ok(status)
    }
}

fn placed(id: &str, steps: &[Step]) -> anyhow::Result<Value> {
    let opened = steps.iter().filter_map(|step| match step {
        Step::Open { component, .. } => Some(component.as_str()),
        _ => None,
    });
    let opened: Vec<&str> = opened.collect();
    let Some(Step::Grant { window, placed, routed, proof, .. }) =
        steps.iter().find(|step| matches!(step, Step::Grant { .. }))
    else {
        anyhow::bail!("{id}: the plan does not grant it");
    };
    let links: Vec<Value> =
        routed.iter().map(|link| json!({ "link": link.link, "paths": link.to, "asks": link.asks })).collect();
    Ok(json!({
        "request": id, "placed": true, "window": window.to_string(), "opened": opened, "nodes": placed, "links": links,
        "proof": proof,
    }))
}

fn refused(id: &str, error: &PlanError) -> Value {
    let refused = match error {
        PlanError::Refused(refused) => json!(refused),
        _ => Value::Null,
    };
    json!({ "request": id, "placed": false, "error": error.to_string(), "refused": refused })
}
