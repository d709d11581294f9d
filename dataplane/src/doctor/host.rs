//! The machine around the engine: memory, cores, taps.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::Finding;
use crate::config::usable_cores;

pub(super) fn examine() -> Vec<Finding> {
    let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).ok();
    let pages = "/sys/kernel/mm/hugepages/hugepages-2048kB";
    let number = |path: String| read(&path).and_then(|text| text.parse().ok());
    let free = number(format!("{pages}/free_hugepages"));
    let configured = number(format!("{pages}/nr_hugepages"));
    let mut findings = vec![
        judge_huge_pages(configured.zip(free)),
        judge_tun(fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun").map(drop).map_err(|e| e.kind())),
    ];
    let isolated = read("/sys/devices/system/cpu/isolated").unwrap_or_default();
    findings.push(judge_cores(usable_cores().len(), &isolated));
    findings.push(judge_governors(&governors(Path::new("/sys/devices/system/cpu"))));
    findings
}

fn judge_huge_pages(configured_and_free: Option<(u64, u64)>) -> Finding {
    let thing = "huge pages";
    let remedy = "`sysctl vm.nr_hugepages=64` (128 MiB, two workers' frame memory); the engine runs without, \
                  with more misses in the TLB";
    match configured_and_free {
        None => Finding::note(thing, "this kernel has none of 2 MiB", remedy),
        Some((_, free @ 32..)) => Finding::ok(thing, format!("{free} of 2 MiB free")),
        Some((0, _)) => Finding::note(thing, "none", remedy),
        Some((configured, free)) => {
            Finding::note(thing, format!("{free} free of {configured}; a worker takes 32 (64 MiB)"), remedy)
        }
    }
}

fn judge_tun(opened: Result<(), ErrorKind>) -> Finding {
    let thing = "taps";
    match opened {
        Ok(()) => Finding::ok(thing, "/dev/net/tun can be opened"),
        Err(ErrorKind::NotFound) => {
            Finding::note(thing, "there is no /dev/net/tun: tap ports cannot be made", "`modprobe tun`")
        }
        Err(e) => Finding::note(thing, format!("/dev/net/tun: {e}: tap ports cannot be made"), "run as root"),
    }
}

fn judge_cores(usable: usize, isolated: &str) -> Finding {
    if usable < 2 {
        let remedy = "leave `core` out of [[worker]]: a pinned worker and the rest of the machine would fight for it";
        return Finding::note("cores", format!("{usable} usable"), remedy);
    }
    if isolated.is_empty() {
        let remedy = "for even latency boot with isolcpus=N nohz_full=N, or give workers a cpuset of their own, and set \
                      `core` to those";
        return Finding::note("cores", format!("{usable} usable, none isolated from the scheduler"), remedy);
    }
    Finding::ok("cores", format!("{usable} usable; isolated: {isolated}"))
}

/// Each governor, with how many cores have it.
fn governors(cpus: &Path) -> Vec<(String, usize)> {
    let mut found: Vec<(String, usize)> = Vec::new();
    for cpu in fs::read_dir(cpus).into_iter().flatten().flatten() {
        let Ok(governor) = fs::read_to_string(cpu.path().join("cpufreq/scaling_governor")) else { continue };
        match found.iter_mut().find(|(name, _)| name == governor.trim()) {
            Some((_, cores)) => *cores += 1,
            None => found.push((governor.trim().to_owned(), 1)),
        }
    }
    found.sort();
    found
}

fn judge_governors(governors: &[(String, usize)]) -> Finding {
    let thing = "clock";
    match governors {
        [] => Finding::ok(thing, "the frequency is not ours to set (a virtual machine, or the firmware's)"),
        [(only, _)] if only == "performance" => Finding::ok(thing, "all cores at full frequency"),
        several => {
            let list: Vec<_> = several.iter().map(|(name, cores)| format!("{name} on {cores}")).collect();
            let remedy = "`cpupower frequency-set -g performance`: a core that has slept answers sooner";
            Finding::note(thing, format!("governor {}", list.join(", ")), remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn huge_pages_that_do_not_suffice_are_noted() {
        assert_eq!(judge_huge_pages(None).level, Level::Note);
        assert_eq!(judge_huge_pages(Some((0, 0))).level, Level::Note);
        assert_eq!(judge_huge_pages(Some((64, 31))).level, Level::Note);
        assert_eq!(judge_huge_pages(Some((64, 32))).level, Level::Ok);
    }

    #[test]
    fn no_tun_is_told_with_the_module_to_load() {
        assert_eq!(judge_tun(Ok(())).level, Level::Ok);
        assert_eq!(judge_tun(Err(ErrorKind::NotFound)).remedy.as_deref(), Some("`modprobe tun`"));
        assert_eq!(judge_tun(Err(ErrorKind::PermissionDenied)).level, Level::Note);
    }

    #[test]
    fn a_saving_governor_is_noted() {
        assert_eq!(judge_governors(&[("performance".into(), 8)]).level, Level::Ok);
        let mixed = judge_governors(&[("performance".into(), 4), ("powersave".into(), 4)]);
        assert!(mixed.level == Level::Note && mixed.found.contains("powersave on 4"), "{mixed:?}");
    }

    #[test]
    fn a_single_core_is_not_to_be_pinned_to() {
        assert!(judge_cores(1, "").remedy.is_some_and(|r| r.contains("leave `core` out")));
        assert_eq!(judge_cores(4, "2-3").level, Level::Ok);
    }
}
