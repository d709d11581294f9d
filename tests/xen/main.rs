//! The backend on real Xen: `make xen-test`.
//!
//! Boots Xen, a Debian dom0 and its guests under QEMU (see [`pointsman_bench::xenlab`]), and does to them what people do
//! to guests. It has no test harness of libtest's: a boot is dear, so there is one, and the checks share it, in order.
//!
//!   cargo test --test xen -- [--backend pointsman|netback] [--only WORD] [--engine PROGRAM]
//!
//! With `--backend netback`, the kernel's own backend is checked: what fails there too is the lab's fault, not ours.

mod checks;
mod lab;
mod tagged;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
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
}

fn wanted() -> Result<Wanted> {
    let mut engine = PathBuf::from(env!("CARGO_BIN_EXE_pointsman"));
    let (mut netback, mut only) = (false, String::new());
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let Some(value) = words.next() else { bail!("{word}: a value is missing after it") };
        match (word.as_str(), value.as_str()) {
            ("--backend", "netback") => netback = true,
            ("--backend", "pointsman") => netback = false,
            ("--only", _) => only = value,
            ("--engine", _) => engine = value.into(),
            _ => bail!("{word} {value}: not understood; --backend pointsman|netback, --only WORD, --engine PROGRAM"),
        }
    }
    Ok(Wanted { backend: if netback { Backend::Netback } else { Backend::Pointsman(engine) }, only })
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
    let mut lab = timed("Xen and dom0 boot", || Lab::boot(&image, &wanted.backend))?;
    if let Err(why) = timed("three guests boot", || lab.populate()) {
        eprintln!("{}", lab.machine.evidence());
        return Err(why);
    }
    let mut failed = Vec::new();
    for check in CHECKS.iter().filter(|check| check.name.contains(&wanted.only)) {
        interrupt::check()?;
        if begin.elapsed() > DEADLINE {
            println!("{:<44} not begun after {DEADLINE:?}", check.name);
            failed.push(check.name);
            continue;
        }
        print!("{:<44} ", check.name);
        let _ = std::io::stdout().flush();
        let start = Instant::now();
        let outcome = (check.check)(&mut lab);
        let seconds = start.elapsed().as_secs_f64();
        match outcome {
            Ok(Outcome::Passed(note)) => println!("{seconds:6.1} s  ok  {note}"),
            Ok(Outcome::NotOf(why)) => println!("{seconds:6.1} s  does not apply: {why}"),
            Err(why) => {
                println!("{seconds:6.1} s  FAILED");
                interrupt::check()?;
                eprintln!("{why:#}\n{}\n", lab.machine.evidence());
                failed.push(check.name);
                // The next one finds what it expects, or there is no next one.
                timed("guests are made anew", || lab.start_over())?;
            }
        }
    }
    let minutes = begin.elapsed().as_secs_f64() / 60.0;
    println!("{} on real Xen: {} checks failed, {minutes:.1} minutes", lab.backend.label(), failed.len());
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
