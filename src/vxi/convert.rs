//! `pointsman vxi convert`: a description in another syntax.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use pointsman_vxi::language::Syntax;

use crate::output::print;

/// Write a description in another syntax, on standard output.
///
/// Everything that one syntax says can be said in the other; comments are not kept.
#[derive(Debug, Args)]
pub struct Convert {
    /// The description, in VXDL 2.0, Aurora's dialect or TOML
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The syntax to write
    #[arg(long, value_name = "SYNTAX")]
    to: Target,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Target {
    /// VXDL 2.0, as XML
    Vxdl,
    /// The short syntax
    Toml,
}

impl Convert {
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let infrastructure = pointsman_vxi::load(&self.file)?;
        let syntax = match self.to {
            Target::Vxdl => Syntax::Vxdl,
            Target::Toml => Syntax::Toml,
        };
        print(&syntax.write(&infrastructure).context("this syntax is only read")?)?;
        Ok(ExitCode::SUCCESS)
    }
}
