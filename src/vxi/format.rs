//! `pointsman vxi format`: descriptions in their canonical form.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use pointsman_vxi::language::{self, Source};

use crate::output::print;

/// Write descriptions in their canonical form: one order, one indentation, the largest unit that is whole.
#[derive(Debug, Args)]
pub struct Format {
    /// The descriptions, in VXDL 2.0 or TOML; each stays in its syntax
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Rewrite the files instead of printing to standard output
    #[arg(long, conflicts_with = "check")]
    write: bool,
    /// Print nothing but the files that are not canonical; exit status 1 if there is any
    #[arg(long)]
    check: bool,
    /// With --write: rewrite files that have comments as well; the canonical form does not keep them
    #[arg(long, requires = "write")]
    drop_comments: bool,
}

impl Format {
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        if self.files.len() > 1 && !self.write && !self.check {
            bail!("several files would run together on standard output; give --write, --check, or one file");
        }
        let mut status = ExitCode::SUCCESS;
        for file in &self.files {
            let source = Source::load(file)?;
            let canonical = source.canonical()?;
            if self.check {
                if canonical != source.text {
                    print(&format!("{}: not canonical\n", file.display()))?;
                    status = ExitCode::FAILURE;
                }
            } else if self.write {
                self.rewrite(file, &source, &canonical)?;
            } else {
                print(&canonical)?;
            }
        }
        Ok(status)
    }

    fn rewrite(&self, file: &Path, source: &Source, canonical: &str) -> anyhow::Result<()> {
        if canonical == source.text {
            return Ok(());
        }
        let comments = source.comments();
        if comments > 0 && !self.drop_comments {
            bail!(
                "{}: it has {comments} comment{}, which the canonical form does not keep; print it and merge by hand, \
                 or give --drop-comments",
                file.display(),
                if comments == 1 { "" } else { "s" }
            );
        }
        language::replace(file, canonical).with_context(|| format!("{}: cannot be written", file.display()))
    }
}
