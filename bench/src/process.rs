//! Other programs: those that do something and end, and those that run until they are told to stop.
//!
//! A child that runs is in a process group of its own (so that Ctrl-C reaches it through us, in order), dies with the
//! thread that started it (so that `kill -9` of the benchmark leaves none behind), and is killed by its id alone.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cpu::{self, Core};
use crate::interrupt;

/// Runs a program to its end; its standard error becomes ours if it fails.
pub fn run(program: &str, arguments: &[&str]) -> Result<String> {
    run_with_input(program, arguments, "")
}

/// As [`run`], with something on its standard input.
pub fn run_with_input(program: &str, arguments: &[&str], input: &str) -> Result<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .with_context(|| format!("{program}: cannot be started; is it installed?"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input has its reasons; its exit status tells.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().with_context(|| program.to_owned())?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {}: {}\n{}{}", arguments.join(" "), output.status, cut(&said), cut(input));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The beginning of what may be a million lines.
fn cut(text: &str) -> String {
    const SHOWN: usize = 1_000;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{} ...\n", &text[..end]),
        None => text.to_owned(),
    }
}

/// Whether a program is on the path.
pub fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).any(|d| d.join(program).is_file())
}

/// A program that runs beside us, and ends with this value.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    log: PathBuf,
    /// Told first, and given time, before it is killed.
    polite: bool,
}

impl Running {
    /// Starts `command` on `core`, in a network namespace if one is named; what it says goes to a file below `folder`.
    pub fn start(name: &str, namespace: Option<&str>, core: Core, command: &[&str], folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| log.display().to_string())?;
        let prefix: &[&str] = match namespace {
            // Rather than setns alone: it also mounts the namespace's own /sys.
            Some(namespace) => &["ip", "netns", "exec", namespace],
            None => &[],
        };
        let words: Vec<&str> = prefix.iter().chain(command).copied().collect();
        let (program, arguments) = words.split_first().context("no command")?;
        let mut builder = Command::new(program);
        builder.args(arguments);
        builder.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
        // SAFETY: the closure runs between fork and exec and makes three system calls; it allocates nothing.
        unsafe {
            builder.pre_exec(move || {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                cpu::before_bystanders(0)?;
                cpu::pin(0, core)
            });
        }
        let child =
            builder.spawn().with_context(|| format!("{name}: {program} cannot be started; is it installed?"))?;
        Ok(Self { name: name.to_owned(), child, log, polite: false })
    }

    /// On drop: SIGINT first, so that the program can take its leave, and SIGKILL a second later.
    pub fn polite(mut self) -> Self {
        self.polite = true;
        self
    }

    /// Its process id.
    pub fn id(&self) -> i32 {
        self.child.id() as i32
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        fs::read(&self.log).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
    }

    /// An error with its last words if it has ended.
    pub fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let said = self.said();
            let lines: Vec<&str> = said.lines().collect();
            let last = lines[lines.len().saturating_sub(15)..].join("\n");
            bail!("{} ended early: {status}\n{last}", self.name);
        }
        Ok(())
    }

    /// Whether it has ended, well or not.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Waits for its end, and returns all that it said; an error if it fails or does not end.
    pub fn finish(mut self, patience: Duration) -> Result<String> {
        let mut ended = None;
        interrupt::wait_for(&format!("the end of {}", self.name), patience, || {
            ended = self.child.try_wait()?;
            Ok(ended.is_some())
        })?;
        let said = self.said();
        match ended {
            Some(status) if status.success() => Ok(said),
            status => bail!("{}: {}\n{said}", self.name, status.map_or_else(String::new, |s| s.to_string())),
        }
    }

    /// Stops it where it is, until [`Running::resume`]. What it shares with others stays as it is.
    pub fn pause(&self) {
        self.signal(libc::SIGSTOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(libc::SIGCONT);
    }

    fn signal(&self, signal: libc::c_int) {
        // SAFETY: the process is our child and has not been waited for, so its id cannot have been given to another.
        unsafe { libc::kill(self.child.id() as i32, signal) };
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) && self.polite {
            self.signal(libc::SIGINT);
            // One that is stopped hears nothing.
            self.resume();
            let start = Instant::now();
            while start.elapsed() < Duration::from_secs(1) && matches!(self.child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_the_program_said() {
        let error = run("sh", &["-c", "echo broken >&2; exit 3"]).unwrap_err().to_string();
        assert!(error.contains("broken") && error.contains("3"), "{error}");
        assert!(run("pmb-no-such-program", &[]).unwrap_err().to_string().contains("installed"));
    }

    #[test]
    fn input_reaches_the_program() {
        assert_eq!(run_with_input("cat", &[], "x\n").unwrap(), "x\n");
    }

    #[test]
    fn what_is_on_the_path_is_installed() {
        assert!(installed("sh"));
        assert!(!installed("pmb-no-such-program"));
    }
}
