//! `pointsman vxi`: virtual infrastructures, from their description to their place on a substrate.
//!
//! One file a subcommand, and no logic: that is in `pointsman-vxi`. A subcommand answers with its exit status, since
//! some of them tell by it what there is to do.

mod apply;
mod ask;
mod convert;
mod embed;
mod format;
mod generate;
mod graph;
mod plan;
mod release;
mod report;
mod simulate;
mod status;
mod validate;

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// Virtual infrastructures: check, format, convert and draw their descriptions; lease them on a substrate.
#[derive(Debug, Args)]
pub struct Vxi {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Validate(validate::Validate),
    Format(format::Format),
    Embed(embed::Embed),
    Plan(plan::Plan),
    Apply(apply::Apply),
    Release(release::Release),
    Status(status::Status),
    Convert(convert::Convert),
    Graph(graph::Graph),
    Simulate(simulate::Simulate),
    Report(report::Report),
    Generate(generate::Generate),
}

impl Vxi {
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        match &self.what {
            What::Validate(validate) => validate.run(),
            What::Format(format) => format.run(),
            What::Embed(embed) => embed.run(),
            What::Plan(plan) => plan.run(),
            What::Apply(apply) => apply.run(),
            What::Release(release) => release.run(),
            What::Status(status) => status.run(),
            What::Convert(convert) => convert.run(),
            What::Graph(graph) => graph.run(),
            What::Simulate(simulate) => simulate.run(),
            What::Report(report) => report.run(),
            What::Generate(generate) => generate.run(),
        }
    }
}
