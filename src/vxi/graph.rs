//! `pointsman vxi graph`: a description as a picture.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use pointsman_vxi::draw::{self, Picture};

use crate::output::print;

/// Draw a description, on standard output.
#[derive(Debug, Args)]
pub struct Graph {
    /// The description, in VXDL 2.0, Aurora's dialect or TOML
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The language of the picture
    #[arg(long, value_name = "LANGUAGE", default_value = "svg")]
    to: Language,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Language {
    /// Graphviz
    Dot,
    /// Mermaid's flow chart
    Mermaid,
    /// A picture by itself
    Svg,
}

impl Graph {
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let infrastructure = pointsman_vxi::load(&self.file)?;
        let picture = match self.to {
            Language::Dot => Picture::Dot,
            Language::Mermaid => Picture::Mermaid,
            Language::Svg => Picture::Svg,
        };
        let drawn = draw::draw(&infrastructure, picture).with_context(|| self.file.display().to_string())?;
        print(&drawn)?;
        Ok(ExitCode::SUCCESS)
    }
}
