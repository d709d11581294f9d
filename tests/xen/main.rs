//! The backend on real Xen: `make xen-test`.
//!
//! Boots Xen, a Debian dom0 and its guests under QEMU (see [`pointsman_bench::xenlab`]), and does to them what people do
//! to guests. It has no test harness of libtest's: a boot is dear, so there is one, and the checks share it, in order.
//!
//!   cargo test --test xen -- [--backend pointsman|netback] [--only WORD] [--engine PROGRAM]
//!                            [--until booted|populated] [--machine PID]
//!
//! With `--backend netback`, the kernel's own backend is checked: what fails there too is the lab's fault, not ours.
//! For work on the checks themselves: `--until` boots, tells its process id and waits for Ctrl-C; `--machine` with this id
//! runs checks on that machine, as often as one likes.

mod checks;
mod lab;
mod tagged;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use checks::{CHECKS, Outcome};
use lab::Lab;
use pointsman_bench::interrupt;
use pointsman_bench::xenlab::{Backend, Image};

/// When no further check is begun: the last one, and its failure, still fit into a quarter of an hour.
const DEADLINE: Duration = Duration::from_secs(12 * 60);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xen: {why:#}");
            ExitCode::FAILURE
        }
    }
}

/// What was asked for on the command line.
struct Wanted {
    backend: Backend,
    /// Only checks whose names have this word.
    only: String,
    /// Stop there, and keep the machine.
    until: Option<Until>,
    /// Another process's machine.
    keeper: Option<u32>,
}

/// Where `--until` stops.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    Booted,
    Populated,
}

fn wanted() -> Result<Wanted> {
    let mut engine = PathBuf::from(env!("CARGO_BIN_EXE_pointsman"));
    let (mut netback, mut only, mut until, mut keeper) = (false, String::new(), None, None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let Some(value) = words.next() else { bail!("{word}: a value is missing after it") };
        match (word.as_str(), value.as_str()) {
            ("--backend", "netback") => netback = true,
            ("--backend", "pointsman") => netback = false,
            ("--only", _) => only = value,
            ("--until", "booted") => until = Some(Until::Booted),
            ("--until", "populated") => until = Some(Until::Populated),
            ("--machine", _) => keeper = Some(value.parse().context("--machine PID")?),
            ("--engine", _) => engine = value.into(),
            _ => bail!("{word} {value}: not understood; the first lines of tests/xen/main.rs tell what is"),
        }
    }
    let backend = if netback { Backend::Netback } else { Backend::Pointsman(engine) };
    Ok(Wanted { backend, only, until, keeper })
}

fn run() -> Result<()> {
    let wanted = wanted()?;
    // SAFETY: no arguments, cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        println!("skipped: needs root, for a network namespace and its taps");
        return Ok(());
    }
    let image = match Image::find() {
        Ok(image) => image,
        Err(why) => {
            println!("skipped: {why:#}");
            return Ok(());
        }
    };
    interrupt::install();
    let begin = Instant::now();
    let mut lab = timed("Xen and dom0 boot", || Lab::boot(&image, &wanted.backend, wanted.keeper))?;
    if wanted.until == Some(Until::Booted) {
        return keep();
    }
    let ready = prepare(&mut lab);
    if ready.is_err() {
        eprintln!("{}", lab.machine.evidence());
    }
    ready?;
    if wanted.until == Some(Until::Populated) {
        return keep();
    }
    let result = check(&mut lab, &wanted.only, begin);
    println!("{:.1} minutes", begin.elapsed().as_secs_f64() / 60.0);
    result
}

/// Waits for Ctrl-C, so that others can use the machine.
fn keep() -> Result<()> {
    println!("--machine {} uses this one; Ctrl-C ends it", std::process::id());
    loop {
        interrupt::sleep(Duration::from_secs(1))?;
    }
}

/// The backend and the guests, unless another process has left them there.
fn prepare(lab: &mut Lab) -> Result<()> {
    if lab.xl("domid u1").is_ok() {
        return Ok(());
    }
    timed("the backend starts", || lab.start_backend())?;
    timed("three guests boot", || lab.populate())
}

/// All checks whose names have the word `only`.
fn check(lab: &mut Lab, only: &str, begin: Instant) -> Result<()> {
    let mut failed = Vec::new();
    for check in CHECKS.iter().filter(|check| check.name.contains(only)) {
        interrupt::check()?;
        if begin.elapsed() > DEADLINE {
            println!("{:<44} not begun after {DEADLINE:?}", check.name);
            failed.push(check.name);
            continue;
        }
        print!("{:<44} ", check.name);
        let _ = std::io::stdout().flush();
        let start = Instant::now();
        let outcome = (check.check)(lab);
        let seconds = start.elapsed().as_secs_f64();
        match outcome {
            Ok(Outcome::Passed(note)) => println!("{seconds:6.1} s  ok  {note}"),
            Ok(Outcome::NotOf(why)) => println!("{seconds:6.1} s  does not apply: {why}"),
            Err(why) => {
                println!("{seconds:6.1} s  FAILED");
                interrupt::check()?;
                eprintln!("{why:#}\n{}\n", lab.machine.evidence());
                failed.push(check.name);
                // The next one finds what it expects, or there is no next one. Who borrows the machine wants to look at it.
                if lab.machine.is_borrowed() {
                    break;
                }
                timed("guests are made anew", || lab.start_over())?;
            }
        }
    }
    println!("{} on real Xen: {} checks failed", lab.backend.label(), failed.len());
    if !failed.is_empty() {
        bail!("failed: {}", failed.join("; "));
    }
    Ok(())
}

/// Does something, and tells how long it took.
fn timed<T>(what: &str, act: impl FnOnce() -> Result<T>) -> Result<T> {
    print!("{what:<44} ");
    let _ = std::io::stdout().flush();
    let start = Instant::now();
    let result = act();
    println!("{:6.1} s  {}", start.elapsed().as_secs_f64(), if result.is_ok() { "ok" } else { "FAILED" });
    result
}
