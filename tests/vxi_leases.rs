//! `pointsman vxi embed`, `plan`, `apply`, `release` and `status` as a person or a script meets them: output, exit
//! status, and what is left of a state when they are killed. Needs no privilege.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use pointsman_vxi::lease::{State, Store};
use serde_json::Value;

const NOW: &str = "2026-02-28T12:00:00Z";

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/leases");
    command.arg("vxi").args(arguments).current_dir(data);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output is UTF-8")
}

/// A directory of this test's own with a state in it, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pointsman-leases-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }

    fn state(&self) -> String {
        self.0.join("state").to_str().expect("a path in UTF-8").to_owned()
    }

    fn read(&self) -> State {
        Store::at(Path::new(&self.state())).read().expect("a whole state").expect("a state")
    }

    /// Runs a subcommand on the state, at the instant that the tests agree on.
    fn run(&self, subcommand: &str, arguments: &[&str]) -> Output {
        let state = self.state();
        let all = [&[subcommand, "--state", &state, "--at", NOW], arguments].concat();
        command(&all).output().expect("the command starts")
    }

    fn ok(&self, subcommand: &str, arguments: &[&str], status: i32) -> String {
        let done = self.run(subcommand, arguments);
        assert_eq!(done.status.code(), Some(status), "{}{}", text(&done.stdout), text(&done.stderr));
        text(&done.stdout)
    }

    fn fails(&self, subcommand: &str, arguments: &[&str]) -> String {
        let before = fs::read(self.state()).ok();
        let done = self.run(subcommand, arguments);
        assert_eq!(done.status.code(), Some(1), "{}{}", text(&done.stdout), text(&done.stderr));
        assert_eq!(fs::read(self.state()).ok(), before, "the state is untouched");
        text(&done.stderr)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_plan_has_status_2_until_it_is_applied_and_0_afterwards() {
    let scratch = Scratch::new("plan");
    let wish = ["--substrate", "lab.toml", "video.toml"];
    let shown = scratch.ok("plan", &wish, 2);
    assert!(!Path::new(&scratch.state()).exists(), "a plan writes nothing");
    assert_eq!(scratch.ok("apply", &wish, 0), shown, "what is done is what was shown");
    assert_eq!(scratch.ok("plan", &wish, 0), "no changes\n");
    let before = fs::read(scratch.state()).expect("a state");
    assert_eq!(scratch.ok("apply", &wish, 0), "no changes\n");
    assert_eq!(fs::read(scratch.state()).expect("a state"), before);
    assert_eq!(scratch.ok("apply", &["video.toml"], 0), "no changes\n", "the state knows its substrate");
}

#[test]
fn a_refusal_names_what_is_short_and_what_would_fit_and_that_fits() {
    let scratch = Scratch::new("refused");
    scratch.ok("apply", &["--substrate", "lab.toml", "video.toml"], 0);
    let said = scratch.fails("apply", &["sensor.toml"]);
    assert_eq!(
        said.lines().next(),
        Some(
            "refused: sensor: link G needs 300 Mbps between lyon and sophia in period II; 220 Mbps are free; with 220 \
             Mbps for link G in period II it fits"
        )
    );
    assert_eq!(scratch.fails("plan", &["sensor.toml"]), said);
    let object = json(&text(&scratch.run("plan", &["sensor.toml", "--json"]).stdout));
    assert_eq!(object["refused"]["binding"]["free"], 220_000_000, "{object:#}");
    assert_eq!(object["refused"]["relaxations"][0]["fits"], 220_000_000, "{object:#}");
    scratch.ok("apply", &["sensor-less.toml"], 0);
}

#[test]
fn a_lease_grows_into_what_is_held_back_and_shrinks_out_of_it() {
    let scratch = Scratch::new("grow");
    scratch.ok("apply", &["--substrate", "lab.toml", "video.toml"], 0);
    let grown = scratch.ok("apply", &["video-grown.toml"], 0);
    assert!(grown.contains("+ open node sophia-2 for video"), "{grown}");
    assert!(grown.contains("source: 4 cores, 4 GB of memory -> 6 cores, 4 GB of memory"), "{grown}");
    let shrunk = scratch.ok("apply", &["video.toml"], 0);
    assert!(shrunk.contains("- close node sophia-2"), "{shrunk}");
    assert!(scratch.fails("apply", &["video-grown.toml", "--no-open"]).starts_with("refused: video: "));
}

#[test]
fn another_makes_room_and_only_as_many_as_may() {
    let scratch = Scratch::new("moves");
    scratch.ok("apply", &["--substrate", "lab.toml", "video.toml"], 0);
    scratch.ok("apply", &["sensor-less.toml"], 0);
    // What is left of a machine is used first: sensor's field stands beside video's source.
    let state = scratch.read();
    let (here, field) = (state.leases[0].hosts[0].clone(), state.leases[1].hosts[0].clone());
    assert_eq!(field, here);
    let there = if here == "lyon-1" { "lyon-2" } else { "lyon-1" };
    assert!(scratch.fails("apply", &["cluster.toml", "--moves", "0"]).starts_with("refused: cluster: "));
    let moved = scratch.ok("apply", &["cluster.toml", "--moves", "1"], 0);
    assert!(moved.contains(&format!("~ move sensor/field from {here} to {there}")), "{moved}");
}

#[test]
fn a_link_is_split_where_no_path_has_room_and_that_is_allowed() {
    let scratch = Scratch::new("split");
    let write = |name: &str, content: &str| {
        let path = scratch.0.join(name);
        fs::write(&path, content).expect("written");
        path.to_str().expect("a path in UTF-8").to_owned()
    };
    let node = |id: &str| format!("[[node]]\nid = \"{id}\"\ncpu = {{ cores = 4 }}\n");
    let link = |from: &str, to: &str, mbps: u32| {
        format!("[[link]]\nid = \"{from}-{to}\"\nfrom = \"{from}\"\nto = \"{to}\"\nbandwidth = \"{mbps} Mbps\"\n")
    };
    let router = |id: &str| format!("[[router]]\nid = \"{id}\"\n");
    let square = [
        "id = \"square\"\n".to_owned(),
        [node("a"), node("b"), router("x"), router("y")].concat(),
        [link("a", "x", 100), link("x", "b", 100), link("a", "y", 100), link("y", "b", 100)].concat(),
    ];
    let square = write("square.toml", &square.concat());
    let wide = write("wide.toml", &["id = \"wide\"\n", &node("u"), &node("v"), &link("u", "v", 150)].concat());
    assert!(scratch.fails("apply", &["--substrate", &square, &wide]).starts_with("refused: wide: link u-v needs 150"));
    let split = scratch.ok("apply", &["--substrate", &square, &wide, "--split"], 0);
    assert!(split.contains("a > x > b") && split.contains("a > y > b"), "{split}");
    assert_eq!(scratch.read().leases[0].routes[0].len(), 2);
    assert_eq!(scratch.ok("apply", &[&wide], 0), "no changes\n");
}

#[test]
fn a_machine_whose_reservation_ends_is_emptied_before() {
    let scratch = Scratch::new("ends");
    scratch.ok("apply", &["--substrate", "lab.toml", "video.toml"], 0);
    let on_it = scratch.read().leases[0].hosts[0] == "lyon-1";
    let moved = scratch.ok("apply", &["--substrate", "lab-ends.toml"], 0);
    assert_eq!(moved.contains("~ move video/source from lyon-1 to lyon-2"), on_it, "{moved}");
    assert!(moved.contains("~ node lyon-1: not there any more from 2026-03-02T12:00:00Z"), "{moved}");
    assert_eq!(scratch.read().leases[0].hosts[0], "lyon-2");
}

#[test]
fn released_is_gone_and_status_tells() {
    let scratch = Scratch::new("release");
    scratch.ok("apply", &["--substrate", "lab.toml", "video.toml"], 0);
    let status = |at: &str| {
        let done = command(&["status", "--state", &scratch.state(), "--at", at, "--json"]).output();
        json(&text(&done.expect("the command starts").stdout))
    };
    let backbone = |at: &str| {
        let status = status(at);
        let all = status["capacities"].as_array().expect("capacities").clone();
        let found = all.into_iter().find(|capacity| capacity["component"] == "backbone").expect("backbone");
        (found["calendar"][0]["free"].as_u64(), found["calendar"][0]["allocated"].as_u64())
    };
    assert_eq!(backbone("2026-03-01T07:59:59Z"), (Some(1_000_000_000), Some(0)));
    assert_eq!(backbone("2026-03-01T08:00:00Z"), (Some(990_000_000), Some(10_000_000)));
    assert_eq!(backbone("2026-03-01T14:00:00Z"), (Some(220_000_000), Some(780_000_000)));
    assert_eq!(backbone("2026-03-03T08:00:00Z"), (Some(1_000_000_000), Some(0)));
    assert_eq!(status("2026-03-01T14:00:00Z")["leases"][0]["phase"], "running");
    assert_eq!(status("2026-03-01T14:00:00Z")["leases"][0]["period"], "II");
    let shown = scratch.ok("status", &[], 0);
    assert!(shown.starts_with("substrate lab at 2026-02-28T12:00:00Z\n"), "{shown}");
    assert!(scratch.fails("release", &["audio"]).contains("there is no lease audio; there are: video"));
    scratch.ok("release", &["video"], 0);
    assert!(scratch.read().leases.is_empty());
    assert!(scratch.fails("release", &["video"]).contains("there is no lease video; there are none"));
}

#[test]
fn several_requests_are_placed_and_the_one_that_does_not_fit_is_told() {
    let all = ["embed", "--substrate", "lab.toml", "--at", NOW, "video.toml", "sensor.toml", "cluster.toml"];
    let done = command(&all).output().expect("the command starts");
    assert_eq!(done.status.code(), Some(1), "{}", text(&done.stderr));
    assert!(text(&done.stdout).contains("grant lease video from 2026-03-01T08:00:00Z until 2026-03-03T08:00:00Z"));
    assert!(text(&done.stderr).starts_with("refused: sensor: link G needs 300 Mbps"), "{}", text(&done.stderr));
    let done = command(&[&all[..], &["--json"]].concat()).output().expect("the command starts");
    let object = json(&text(&done.stdout));
    let placed: Vec<_> = object.as_array().expect("an array").iter().map(|one| one["placed"].as_bool()).collect();
    assert_eq!(placed, [Some(true), Some(false), Some(true)], "{object:#}");
    assert_eq!(object[0]["links"][0]["link"], "G", "{object:#}");
    let done = command(&all[..6]).output().expect("the command starts");
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
}

#[test]
fn bad_input_is_told_and_changes_nothing() {
    let scratch = Scratch::new("bad");
    assert!(scratch.fails("plan", &["video.toml"]).contains("there is no substrate yet"));
    assert!(scratch.fails("status", &[]).contains("there is no state yet"));
    assert!(scratch.fails("release", &["video"]).contains("there is no state yet"));
    scratch.ok("apply", &["--substrate", "lab.toml", "video.toml"], 0);
    let write = |name: &str, content: &str| {
        let path = scratch.0.join(name);
        fs::write(&path, content).expect("written");
        path.to_str().expect("a path in UTF-8").to_owned()
    };
    let huge = write("huge.toml", "id = \"huge\"\n[[node]]\nid = \"n\"\ncpu = { cores = 18446744073709551615 }\n");
    assert!(scratch.fails("apply", &[&huge]).contains("more than can be counted"));
    let negative = write("negative.toml", "id = \"neg\"\n[[node]]\nid = \"n\"\nmemory = \"-4 GB\"\n");
    assert!(scratch.fails("apply", &[&negative]).contains("negative.toml:4:"));
    let unit = write("unit.toml", "id = \"unit\"\n[[node]]\nid = \"n\"\nmemory = \"4 Mbps\"\n");
    assert!(scratch.fails("apply", &[&unit]).contains("unit.toml:4:"));
    let nobody =
        write("nobody.toml", "id = \"n\"\n[[node]]\nid = \"n\"\n[[link]]\nid = \"l\"\nfrom = \"n\"\nto = \"m\"\n");
    assert!(scratch.fails("apply", &[&nobody]).contains("nobody.toml:7:"));
    assert!(scratch.fails("apply", &["absent.toml"]).contains("absent.toml"));
    assert!(scratch.fails("apply", &["video.toml", "video.toml"]).contains("video is asked for twice"));
    let over =
        write("over.toml", "id = \"over\"\nstart = 2025-01-01T00:00:00Z\ntotal = \"1 h\"\n[[node]]\nid = \"n\"\n");
    assert!(scratch.fails("apply", &[&over]).contains("its time is over"));
    // What is no command line at all has the status of a mistake here, because 2 says that there are changes.
    assert!(scratch.fails("plan", &["--substract", "lab.toml"]).contains("--substract"));
    let whole = fs::read(scratch.state()).expect("a state");
    fs::write(scratch.state(), &whole[..whole.len() / 2]).expect("written");
    assert!(scratch.fails("apply", &["video.toml"]).contains("torn: "));
    let other = text(&whole).replacen("pointsman-vxi-state 1 ", "pointsman-vxi-state 9 ", 1);
    fs::write(scratch.state(), other).expect("written");
    assert!(scratch.fails("apply", &["video.toml"]).contains("a state of version 9"));
    let flipped = text(&whole).replacen("\"lab\"", "\"lob\"", 1);
    fs::write(scratch.state(), flipped).expect("written");
    assert!(scratch.fails("apply", &["video.toml"]).contains("its checksum does not match"));
}

#[test]
fn the_second_of_two_waits_or_is_told() {
    let scratch = Scratch::new("two");
    scratch.ok("apply", &["--substrate", "lab.toml"], 0);
    let store = Store::at(Path::new(&scratch.state()));
    let locked = store.lock(|| ()).expect("nobody else");
    let said = scratch.fails("apply", &["video.toml", "--no-wait"]);
    assert!(said.contains("another pointsman is changing this state"), "{said}");
    let state = scratch.state();
    let waiting = command(&["apply", "--state", &state, "--at", NOW, "video.toml"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    std::thread::sleep(Duration::from_millis(300));
    assert!(scratch.read().leases.is_empty(), "it waits");
    drop(locked);
    let done = waiting.wait_with_output().expect("it ends");
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    assert!(text(&done.stderr).contains("waiting for another pointsman"), "{}", text(&done.stderr));
    assert_eq!(scratch.read().leases.len(), 1);
}

#[test]
fn many_at_once_lose_nothing() {
    let scratch = Scratch::new("many");
    scratch.ok("apply", &["--substrate", "lab.toml"], 0);
    let state = scratch.state();
    let files: Vec<String> = (0..8)
        .map(|n| {
            let path = scratch.0.join(format!("{n}.toml"));
            let content =
                format!("id = \"lease-{n}\"\n[[node]]\nid = \"x\"\nlocation = \"lyon\"\ncpu = {{ cores = 2 }}\n");
            fs::write(&path, content).expect("written");
            path.to_str().expect("a path in UTF-8").to_owned()
        })
        .collect();
    let start = |file: &String| {
        let mut command = command(&["apply", "--state", &state, "--at", NOW, file]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the command starts")
    };
    let children: Vec<_> = files.iter().map(start).collect();
    for mut child in children {
        assert_eq!(child.wait().expect("it ends").code(), Some(0));
    }
    let mut ids: Vec<String> = scratch.read().leases.iter().map(|lease| lease.id().to_owned()).collect();
    ids.sort();
    assert_eq!(ids, (0..8).map(|n| format!("lease-{n}")).collect::<Vec<_>>());
}

#[test]
fn killed_at_any_moment_the_state_is_the_old_one_or_the_new_one() {
    const KILLS: u32 = 120;
    let scratch = Scratch::new("kill");
    // Many leases make a state that takes a while to write.
    let crowd: String =
        (0..400).map(|n| format!("[[node]]\nid = \"spare-{n}\"\nmemory = \"4 GB\"\nprovisioned = true\n")).collect();
    let lab = scratch.0.join("lab.toml");
    let text_of_lab = include_str!("cli/leases/lab.toml");
    fs::write(&lab, format!("{text_of_lab}\n{crowd}")).expect("written");
    scratch.ok("apply", &["--substrate", lab.to_str().expect("a path in UTF-8")], 0);
    let without = scratch.read();
    let state = scratch.state();
    let began = Instant::now();
    scratch.ok("apply", &["video.toml"], 0);
    let whole = began.elapsed();
    let with = scratch.read();
    assert_ne!(with, without);
    let (mut old, mut new, mut dead) = (0, 0, 0);
    for kill in 0..KILLS {
        let before = scratch.read();
        let wish: &[&str] = if before == with { &["--release", "video"] } else { &["video.toml"] };
        let after = if before == with { &without } else { &with };
        let mut child = command(&[&["apply", "--state", &state, "--at", NOW], wish].concat())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the command starts");
        // Spread over the whole run and a little beyond, most of them where it writes: towards its end.
        let part = f64::from(kill % 40) / 40.0;
        std::thread::sleep(whole.mul_f64(0.3 + part.sqrt() * 0.9));
        child.kill().expect("it is killed, or over");
        let ended = child.wait().expect("it ends");
        dead += u32::from(ended.code().is_none());
        let found = scratch.read();
        assert!(found == before || found == *after, "kill {kill} left neither");
        assert!(ended.code() != Some(0) || found == *after, "kill {kill}: what was said to be done is done");
        if found == before { old += 1 } else { new += 1 }
    }
    println!("{KILLS} kills over {whole:?}: {dead} in time, {old} left the old state, {new} the new one");
    assert!(dead > 0 && old > 0 && new > 0, "{dead} killed, {old} old, {new} new: the kills miss what they are for");
    // And whatever was left lying about is in nobody's way.
    let (wish, after): (&[&str], _) =
        if scratch.read() == with { (&["--release", "video"], without) } else { (&["video.toml"], with) };
    scratch.ok("apply", wish, 0);
    assert_eq!(scratch.read(), after);
}
