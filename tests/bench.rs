//! The benchmark takes down what it has made, also when it is interrupted in the middle.

mod support;

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{POINTSMAN, sh, wait_for};

/// Names of what a benchmark with this process id has made: namespaces, folders, groups of processes.
fn made_by(pid: u32) -> Vec<String> {
    let mine = format!("pmb-{pid}-");
    let temporary = std::env::temp_dir().display().to_string();
    let mut places = vec!["/run/netns".to_owned(), temporary];
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let groups = mounts.lines().filter(|line| line.split(' ').nth(2).is_some_and(|kind| kind.starts_with("cgroup")));
    places.extend(groups.filter_map(|line| Some(line.split(' ').nth(1)?.to_owned())));
    let names = places.iter().flat_map(|place| fs::read_dir(place).into_iter().flatten().flatten());
    names.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| name.starts_with(&mine)).collect()
}

#[test]
fn an_interrupted_benchmark_leaves_nothing_behind() {
    need!("iperf3", "tc", "bridge");
    interrupt(&["bench", "cpushare", "--quick", "--pin", "same"], 4);
}

#[test]
fn a_move_that_is_interrupted_leaves_nothing_behind() {
    need!("tc", "bridge", "ping");
    // Senders, switch, two hosts, receivers, and a folder.
    interrupt(&["bench", "fig7", "--quick", "--only", "pointsman/router"], 6);
}

/// Starts a benchmark, waits until it has made so many things, and interrupts it.
fn interrupt(arguments: &[&str], things: usize) {
    if std::thread::available_parallelism().is_ok_and(|cores| cores.get() < 2) {
        println!("skipped: the benchmark needs two cores");
        return;
    }
    let mut bench =
        Command::new(POINTSMAN).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let pid = bench.id();
    let begin = Instant::now();
    while made_by(pid).len() < things {
        assert_eq!(bench.try_wait().unwrap(), None, "it ended before it began");
        assert!(begin.elapsed() < Duration::from_secs(30), "namespaces and a folder: {:?}", made_by(pid));
        std::thread::sleep(Duration::from_millis(20));
    }
    // Into the middle of what it does with them.
    std::thread::sleep(Duration::from_secs(2));
    sh(&format!("kill -INT {pid}"));
    wait_for("the end of the benchmark", Duration::from_secs(20), || bench.try_wait().unwrap().is_some());
    assert_eq!(bench.wait().unwrap().code(), Some(1), "an interruption is no success");
    assert_eq!(made_by(pid), [""; 0]);
}
