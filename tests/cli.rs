//! The command as a person or a script meets it: output, messages, exit status. Needs no privilege.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn pointsman(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    command.args(arguments).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli"));
    command.output().expect("the command starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output is UTF-8")
}

/// A directory of this test's own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pointsman-cli-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_sound_configuration_is_summed_up_in_one_line() {
    let done = pointsman(&["check", "sound.toml"]);
    assert_eq!(text(&done.stdout), "sound.toml: sound: 1 worker, 2 domains, 2 guests, 6 ports\n");
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
}

#[test]
fn what_this_machine_lacks_is_a_note_and_no_mistake() {
    let done = pointsman(&["check", "sound.toml"]);
    let notes = text(&done.stderr);
    assert!(notes.contains("note: sound.toml:12:1: port up0: there is no interface absent0 here; "), "{notes}");
    assert!(notes.lines().all(|line| line.starts_with("note: ")), "{notes}");
}

#[test]
fn every_mistake_is_told_with_file_and_line_and_the_status_is_1() {
    let done = pointsman(&["check", "mistakes.toml"]);
    assert_eq!(text(&done.stderr), include_str!("cli/mistakes.stderr"));
    assert_eq!(text(&done.stdout), "");
    assert_eq!(done.status.code(), Some(1));
}

#[test]
fn a_missing_file_is_one_line() {
    let done = pointsman(&["check", "absent.toml"]);
    let said = text(&done.stderr);
    assert!(said.starts_with("absent.toml: configuration: cannot be read: No such file"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(done.status.code(), Some(1));
}

#[test]
fn what_is_not_understood_has_status_2() {
    for arguments in
        [&[][..], &["chekc"], &["check"], &["check", "a", "b"], &["completions", "cmd.exe"], &["doctor", "-x"]]
    {
        let done = pointsman(arguments);
        assert_eq!(done.status.code(), Some(2), "{arguments:?}");
        assert!(!done.stderr.is_empty(), "{arguments:?}");
    }
    assert!(text(&pointsman(&["chekc"]).stderr).contains("'check'"), "a slip is understood");
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    let mut child = command
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    drop(child.stdout.take());
    let done = child.wait_with_output().expect("it ends");
    assert_eq!(text(&done.stderr), "");
    assert_eq!(done.status.code(), Some(0));
}

#[test]
fn every_shell_has_completions_that_know_the_subcommands() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let done = pointsman(&["completions", shell]);
        assert_eq!(done.status.code(), Some(0), "{shell}");
        for subcommand in ["check", "doctor"] {
            assert!(text(&done.stdout).contains(subcommand), "{shell} does not know {subcommand}");
        }
    }
}

#[test]
fn the_manual_has_a_page_for_each_subcommand() {
    let scratch = Scratch::new("man");
    let done = pointsman(&["man", scratch.0.join("man1").to_str().expect("a path in UTF-8")]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    let help = text(&pointsman(&["--help"]).stdout);
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // Continued descriptions are indented further.
    let names: Vec<_> =
        listed.filter(|line| !line.starts_with("   ")).filter_map(|l| l.split_whitespace().next()).collect();
    assert!(names.contains(&"check") && names.contains(&"doctor"), "{help}");
    for name in names.into_iter().filter(|name| *name != "help") {
        let page = scratch.0.join(format!("man1/pointsman-{name}.1"));
        let page = std::fs::read_to_string(&page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
        assert!(page.contains(".SH NAME"), "{name}");
    }
}

#[test]
fn a_manual_that_cannot_be_written_says_where() {
    let done = pointsman(&["man", "/dev/null/man1"]);
    assert_eq!(text(&done.stderr), "pointsman: creating /dev/null/man1: Not a directory (os error 20)\n");
    assert_eq!(done.status.code(), Some(1));
}

#[test]
fn the_doctor_speaks_json_and_its_status_is_its_verdict() {
    let done = pointsman(&["doctor", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&done.stdout).expect("JSON");
    let ready = report["ready"].as_bool().expect("a verdict");
    assert_eq!(done.status.code(), Some(if ready { 0 } else { 1 }));
    let findings = report["findings"].as_array().expect("a list");
    for thing in ["kernel", "privileges", "AF_XDP", "BPF", "huge pages", "cores"] {
        assert!(findings.iter().any(|finding| finding["thing"] == thing), "nothing of {thing}");
    }
}

#[test]
fn the_doctor_names_a_device_that_is_not_there() {
    let done = pointsman(&["doctor", "absent0"]);
    assert_eq!(done.status.code(), Some(1));
    assert!(text(&done.stdout).contains("problem  device absent0     there is no such interface here\n"));
    assert!(text(&done.stderr).starts_with("pointsman: "), "{}", text(&done.stderr));
}
