//! What all benchmarks share: their options, their start and end, and the progress they show.

use std::io::{IsTerminal, stderr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::cpu::{self, Cores};
use crate::machine::Machine;
use crate::process::installed;
use crate::{interrupt, paper, peers, testbed};

/// What the user asks of a benchmark.
#[derive(Clone, Debug)]
pub struct Options {
    /// The `pointsman` command: engine and guests are started from it.
    pub command: PathBuf,
    /// Done within 90 s, with fewer repeats and shorter windows.
    pub quick: bool,
    /// Peers that are missing are installed first.
    pub install_peers: bool,
    /// Only these [paths](crate::PATH_NAMES). Empty: all.
    pub only: Vec<String>,
    /// Numbers of virtual routers, 1 to 8. Empty: the paper's.
    pub routers: Vec<usize>,
    /// Where to write the rows as JSON.
    pub json: Option<PathBuf>,
    /// Folder for the plots, one SVG a table. None: no plots.
    pub plots: Option<PathBuf>,
}

impl Options {
    /// How many virtual routers there are in turn.
    pub(crate) fn routers(&self) -> &[usize] {
        if self.routers.is_empty() { &paper::ROUTERS } else { &self.routers }
    }
}

/// `--quick` promises to end within this; the rest is for the last teardown.
pub(crate) const QUICK: Duration = Duration::from_secs(82);

/// Checks what every benchmark needs, removes what killed runs left, and takes its place on the traffic's core.
pub(crate) fn begin(options: &Options) -> Result<(Cores, Machine)> {
    testbed::require_root()?;
    for (program, package) in [("ip", "iproute2"), ("tc", "iproute2"), ("bridge", "iproute2"), ("ethtool", "ethtool")] {
        if !installed(program) {
            bail!("{program} is not installed: apt install {package}");
        }
    }
    if options.install_peers {
        peers::install()?;
    }
    if !options.command.is_file() {
        bail!("{}: no such program; the engine is started from it", options.command.display());
    }
    let cores = Cores::pick()?;
    let machine = Machine::read(cores);
    interrupt::install();
    for name in testbed::remove_stale()? {
        eprintln!("removed what an earlier run left behind: {name}");
    }
    cpu::pin(0, cores.traffic).context("pinning the benchmark to its core")?;
    // As the generator, which is on the same core and never rests: else every wait would end late.
    cpu::before_bystanders(0).context("raising the benchmark")?;
    eprintln!("{}", machine.line());
    eprintln!("{}", machine.versions());
    if machine.is_busy() {
        eprintln!("the machine is busy with other things: figures will be low and lie far apart");
    }
    Ok((cores, machine))
}

/// What is being done, and how much is left: a bar on a terminal, else a line for each step.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    steps: usize,
    done: usize,
    start: Instant,
}

impl Progress {
    pub(crate) fn new(steps: usize) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(steps as u64);
            if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} {bar:30} {pos}/{len} {wide_msg}") {
                bar.set_style(style);
            }
            // The elapsed time moves on while a step lasts.
            bar.enable_steady_tick(Duration::from_secs(1));
            bar
        });
        Self { bar, steps, done: 0, start: Instant::now() }
    }

    /// A step begins.
    pub(crate) fn doing(&self, what: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(what.to_owned()),
            None => {
                let seconds = self.start.elapsed().as_secs();
                eprintln!("{seconds:4} s  {}/{}  {what}", self.done + 1, self.steps);
            }
        }
    }

    /// A step has ended.
    pub(crate) fn done(&mut self) {
        self.done += 1;
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    /// Something the user should read.
    pub(crate) fn say(&self, what: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{what}")),
            None => eprintln!("{what}"),
        }
    }

    /// Steps that remain, this one included.
    pub(crate) fn left(&self) -> usize {
        (self.steps - self.done).max(1)
    }

    /// Since the first step began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Something that is measured several times.
pub(crate) trait Item {
    /// For people.
    fn name(&self) -> String;

    /// A run failed, and this is why. Others may succeed.
    fn failed(&mut self, _why: &str) {}
}

/// Measures all items once, then all of them again, and so on: whatever else the machine does meanwhile hits all alike.
/// What fails is told, and the others go on.
///
/// # Errors
/// A signal came, or there is nothing to measure.
pub(crate) fn take_turns<T: Item>(
    turns: usize,
    items: &mut [T],
    shortfalls: &mut Shortfalls,
    mut measure: impl FnMut(&mut T, &Progress) -> Result<()>,
) -> Result<()> {
    if items.is_empty() {
        bail!("none of the paths that were asked for can be measured with these numbers of routers");
    }
    let mut progress = Progress::new(turns * items.len());
    for turn in 0..turns {
        for item in items.iter_mut() {
            let name = item.name();
            progress.doing(&name);
            if let Err(why) = measure(item, &progress) {
                item.failed(&format!("run {}: {why:#}", turn + 1));
                shortfalls.fail(&format!("{name}, run {}", turn + 1), why, &progress)?;
            }
            interrupt::check()?;
            progress.done();
        }
    }
    Ok(())
}

/// What could not be measured, for the end of the report.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shortfalls {
    skipped: Vec<String>,
    failed: Vec<String>,
}

impl Shortfalls {
    /// A peer that is not there: told, no error.
    pub(crate) fn skip(&mut self, what: &str, why: &str) {
        let line = format!("skipped: {what}: {why}");
        if !self.skipped.contains(&line) {
            self.skipped.push(line);
        }
    }

    /// A measurement that failed: told, and an error in the end. An interruption ends the run at once.
    pub(crate) fn fail(&mut self, what: &str, why: anyhow::Error, progress: &Progress) -> Result<()> {
        interrupt::check()?;
        let line = format!("failed: {what}: {why:#}");
        progress.say(&line);
        self.failed.push(line);
        Ok(())
    }

    /// All of them.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.skipped.iter().chain(&self.failed).cloned().collect()
    }

    /// Prints the skipped ones; an error if any failed.
    pub(crate) fn conclude(self) -> Result<()> {
        for line in &self.skipped {
            println!("{line}");
        }
        if !self.failed.is_empty() {
            bail!("{} measurements are missing from the table:\n{}", self.failed.len(), self.failed.join("\n"));
        }
        Ok(())
    }
}
