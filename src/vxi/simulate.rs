//! `pointsman vxi simulate`: serves a benchmark's requests in order, and says how well.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use pointsman_vxi::embed::Effort;
use pointsman_vxi::simulate::instance::Instance;
use pointsman_vxi::simulate::proof::{Proofs, Sampling};
use pointsman_vxi::simulate::{Algorithm, Settings, run};

use crate::output::print;

/// Serve the requests of an instance (vne-instance/1) in order of arrival, and measure acceptance, cost and time
#[derive(Debug, Args)]
pub struct Simulate {
    /// The instance
    file: PathBuf,
    /// Who embeds
    #[arg(long, value_enum, default_value_t = By::Joint)]
    algorithm: By,
    /// Move at most this many of those placed for a request that finds no room (joint only)
    #[arg(long, value_name = "M", default_value_t = 0)]
    moves: usize,
    /// Embed whatever fits: refuse nothing for being too dear
    #[arg(long)]
    all: bool,
    /// Work for one request, as a multiple of the standard
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    effort: u64,
    /// Put this many requests, spread evenly, to the exact mode as well, and tell how far from the optimum they were
    #[arg(long, value_name = "N", default_value_t = 0)]
    prove: usize,
    /// How long a proof may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    time: f64,
    /// Write the outcome and every embedding to this file
    #[arg(long, value_name = "OUT")]
    json: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum By {
    /// Nodes and links together
    Joint,
    /// Global resource capacity, a published baseline
    Grc,
    /// Node resource metric, a published baseline
    Nrm,
    /// At least cost, proved where the time suffices
    Exact,
}

impl Simulate {
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        anyhow::ensure!(
            self.moves == 0 || self.algorithm == By::Joint,
            "--moves goes with --algorithm joint: the others never move what is placed"
        );
        anyhow::ensure!(
            self.prove == 0 || self.algorithm == By::Joint,
            "--prove goes with --algorithm joint: it measures how far from the optimum that is"
        );
        let time = Duration::try_from_secs_f64(self.time).context("--time: give seconds, as in 10 or 0.5")?;
        let instance = read(&self.file)?;
        let settings = Settings {
            algorithm: match self.algorithm {
                By::Joint => Algorithm::Joint,
                By::Grc => Algorithm::Grc,
                By::Nrm => Algorithm::Nrm,
                By::Exact => Algorithm::Exact(time),
            },
            // The baselines are what was published.
            admission: !self.all && matches!(self.algorithm, By::Joint),
            moves: self.moves,
            effort: Effort::default().times(self.effort),
            prove: (self.prove > 0).then_some(Sampling { requests: self.prove, time }),
        };
        // Before the work: a file that cannot be written is told at once.
        let out =
            self.json.as_deref().map(|out| File::create(out).with_context(|| out.display().to_string())).transpose()?;
        let bar = progress(instance.requests.len() as u64);
        let outcome = run(&instance, settings, || bar.inc(1)).with_context(|| self.file.display().to_string())?;
        bar.finish_and_clear();
        if let (Some(mut file), Some(out)) = (out, &self.json) {
            let text = serde_json::to_string(&outcome).context("writing the outcome")?;
            file.write_all((text + "\n").as_bytes()).with_context(|| out.display().to_string())?;
        }
        let moves: usize = outcome.requests.iter().map(|answer| answer.moves.len()).sum();
        let mut text = format!(
            "RAC {:.2} %  LRC {:.4}  LAR {:.1}  mean {:.3} ms  p99 {:.3} ms",
            outcome.rac, outcome.lrc, outcome.lar, outcome.mean_ms, outcome.p99_ms
        );
        if self.moves > 0 {
            text += &format!("  moves {moves}");
        }
        if let Some(proved) = outcome.proved {
            text += &format!("  proved {proved} of {}", outcome.requests.len());
        }
        print(&(text + "\n"))?;
        if let Some(proofs) = &outcome.proofs {
            print(&told(proofs))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn told(proofs: &Proofs) -> String {
    let Proofs { sampled, proved, compared, missed, gap_mean, gap_most, longest_ms } = proofs;
    format!(
        "proved {proved} of {sampled} (the longest took {longest_ms:.0} ms); of {compared} embedded the cost is {gap_mean:.2} % \
         above the optimum on average, {gap_most:.2} % at most; {missed} found no place although there is one\n"
    )
}

/// Reads an instance and checks that it can be served.
pub fn read(file: &Path) -> anyhow::Result<Instance> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let instance: Instance = serde_json::from_str(&text).with_context(|| {
        format!(
            "{}: an instance is JSON in the format vne-instance/1, as `pointsman vxi generate` writes it",
            file.display()
        )
    })?;
    instance.check().with_context(|| file.display().to_string())?;
    Ok(instance)
}

/// A bar on standard error, where somebody looks at it.
fn progress(requests: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(requests);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} requests, {eta} to go") {
        bar.set_style(style);
    }
    bar
}
