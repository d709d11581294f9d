//! `pointsman vxi validate`: whether descriptions are sound.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use pointsman_vxi::diagnostic::{Diagnostic, Diagnostics};
use pointsman_vxi::model::VirtualInfrastructure;
use serde_json::{Value, json};

use crate::output::print;

/// Check descriptions, in VXDL 2.0, Aurora's dialect or TOML.
///
/// Every mistake of every file is reported with its line and what to do. Exit status 1 if there is any.
#[derive(Debug, Args)]
pub struct Validate {
    /// The descriptions; which syntax each is in is told by its content
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Print the result as JSON: an array with one object a file
    #[arg(long)]
    json: bool,
}

impl Validate {
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let mut status = ExitCode::SUCCESS;
        let mut objects = Vec::new();
        for file in &self.files {
            let read = pointsman_vxi::load(file);
            if read.is_err() {
                status = ExitCode::FAILURE;
            }
            match read {
                read if self.json => objects.push(object(file, &read)),
                Ok(infrastructure) => {
                    print(&format!("{}: sound: {}\n", file.display(), sum_up(&infrastructure)))?;
                }
                Err(mistakes) => eprintln!("{mistakes}"),
            }
        }
        if self.json {
            print(&format!("{:#}\n", Value::Array(objects)))?;
        }
        Ok(status)
    }
}

fn object(file: &std::path::Path, read: &Result<VirtualInfrastructure, Diagnostics>) -> Value {
    match read {
        Ok(infrastructure) => json!({
            "file": file.to_string_lossy(), "sound": true, "id": infrastructure.id, "mistakes": [], "left_out": 0,
        }),
        Err(all) => json!({
            "file": file.to_string_lossy(), "sound": false, "id": null,
            "mistakes": all.list.iter().map(mistake).collect::<Vec<_>>(), "left_out": all.left_out,
        }),
    }
}

fn mistake(Diagnostic { file, place, excerpt, thing, wrong, remedy }: &Diagnostic) -> Value {
    json!({
        "file": file.to_string_lossy(),
        "line": place.map(|place| place.line),
        "column": place.map(|place| place.column),
        "excerpt": excerpt.as_ref().map(|excerpt| &excerpt.text),
        "thing": thing,
        "wrong": wrong,
        "remedy": remedy,
    })
}

fn sum_up(infrastructure: &VirtualInfrastructure) -> String {
    let components = &infrastructure.components;
    let counts = [
        (components.nodes.len(), "node"),
        (components.storages.len(), "storage"),
        (components.routers.len(), "router"),
        (components.access_points.len(), "access point"),
        (infrastructure.arrays.len(), "array"),
        (components.links.len(), "link"),
        (infrastructure.timeline.events.len(), "event"),
    ];
    let some = counts.iter().filter(|(n, _)| *n > 0);
    some.map(|(n, what)| format!("{n} {what}{}", if *n == 1 { "" } else { "s" })).collect::<Vec<_>>().join(", ")
}
