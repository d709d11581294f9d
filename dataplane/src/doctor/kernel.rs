//! The kernel: what it has, and what it lets this process do.

use std::fs;
use std::io;

use super::{Finding, probe};

/// What came when, and what the engine does without it. Checked against the release only where the kernel cannot be
/// asked without a trace.
const FEATURES: [(Release, &str); 3] = [
    (Release(5, 11), "preferred busy polling: `busy_poll = true` will be refused"),
    (Release(5, 18), "XDP live frames: the benchmark's generator cannot run"),
    (Release(6, 6), "multi-buffer AF_XDP: frames longer than a chunk (MTU above about 1700) cannot pass a netdev port"),
];
/// The oldest kernel that is tested: Debian 12's.
const OLDEST: Release = Release(6, 1);

/// Capabilities (linux/capability.h) and what they are for.
const NET_ADMIN: u32 = 12;
const NET_RAW: u32 = 13;
const IPC_LOCK: u32 = 14;
const SYS_ADMIN: u32 = 21;
const BPF: u32 = 39;

/// Memory of one worker at the default of 32768 chunks.
const WORKER_MEMORY: u64 = 64 << 20;

/// Major and minor number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Release(u32, u32);

impl Release {
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.trim().split(|c: char| !c.is_ascii_digit());
        Some(Self(numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }
}

/// Effective capabilities.
#[derive(Clone, Copy)]
struct Capabilities(u64);

impl Capabilities {
    fn parse(status: &str) -> Option<Self> {
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
        u64::from_str_radix(line.trim(), 16).ok().map(Self)
    }

    fn has(self, capability: u32) -> bool {
        self.0 & (1 << capability) != 0
    }
}

pub(super) fn examine() -> Vec<Finding> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let capabilities = Capabilities::parse(&status).unwrap_or(Capabilities(0));
    let mut findings = judge_release(release.trim(), probe::has_epoll_pwait2());
    findings.push(judge_capabilities(capabilities));
    findings.push(judge_memlock(probe::memlock_limit(), capabilities));
    findings.push(judge_socket(probe::xdp_socket()));
    findings.push(judge_bpf(probe::bpf()));
    findings.push(judge_jit(fs::read_to_string("/proc/sys/net/core/bpf_jit_enable").ok().as_deref()));
    let btf = fs::exists("/sys/kernel/btf/vmlinux").unwrap_or(false);
    findings.push(Finding::ok("BTF", if btf { "present (not needed)" } else { "absent, and not needed" }));
    findings
}

fn judge_release(text: &str, epoll_pwait2: bool) -> Vec<Finding> {
    let newer = "boot a newer kernel (Debian: `apt-get install -t bookworm-backports linux-image-amd64`)";
    let mut findings = Vec::new();
    if !epoll_pwait2 {
        let found = format!("Linux {text} has no epoll_pwait2 (5.11), on which workers sleep");
        findings.push(Finding::problem("kernel", found, newer));
    }
    let Some(release) = Release::parse(text) else {
        findings.push(Finding::note("kernel", format!("release {text:?} is not understood"), newer));
        return findings;
    };
    if release < OLDEST {
        let found = format!("Linux {text} is older than {}.{}, the oldest that is tested", OLDEST.0, OLDEST.1);
        findings.push(Finding::note("kernel", found, newer));
    }
    for (since, without) in FEATURES.into_iter().filter(|(since, _)| release < *since) {
        findings.push(Finding::note(
            "kernel",
            format!("Linux {text} has no {without} ({}.{})", since.0, since.1),
            newer,
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("kernel", format!("Linux {text} has all that the engine uses")));
    }
    findings
}

fn judge_capabilities(capabilities: Capabilities) -> Finding {
    let needed = [
        (NET_ADMIN, "CAP_NET_ADMIN (attach programs, make taps)"),
        (NET_RAW, "CAP_NET_RAW (AF_XDP sockets)"),
        (BPF, "CAP_BPF (load programs)"),
    ];
    // CAP_SYS_ADMIN includes CAP_BPF (capabilities(7)).
    let has = |capability| capabilities.has(capability) || (capability == BPF && capabilities.has(SYS_ADMIN));
    let missing: Vec<_> = needed.into_iter().filter(|(c, _)| !has(*c)).map(|(_, text)| text).collect();
    if missing.is_empty() {
        let netns = if capabilities.has(SYS_ADMIN) { "" } else { "; not CAP_SYS_ADMIN, which `netns` and `demo` need" };
        return Finding::ok("privileges", format!("CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF{netns}"));
    }
    let remedy = "run as root, or `setcap cap_net_admin,cap_net_raw,cap_bpf+ep` on the binary";
    Finding::problem("privileges", format!("missing: {}", missing.join(", ")), remedy)
}

fn judge_memlock(limit: Option<u64>, capabilities: Capabilities) -> Finding {
    let thing = "memory lock limit";
    match limit {
        None => Finding::ok(thing, "none"),
        Some(bytes) if capabilities.has(IPC_LOCK) => {
            Finding::ok(thing, format!("{} MiB, which CAP_IPC_LOCK lifts", bytes >> 20))
        }
        Some(bytes) if bytes >= WORKER_MEMORY => Finding::ok(thing, format!("{} MiB", bytes >> 20)),
        Some(bytes) => {
            let need = WORKER_MEMORY >> 20;
            let found =
                format!("{} KiB; a worker's frame memory of {need} MiB (chunks = 32768) is locked", bytes >> 10);
            Finding::problem(
                thing,
                found,
                "`ulimit -l unlimited` (systemd: LimitMEMLOCK=infinity), or grant CAP_IPC_LOCK",
            )
        }
    }
}

fn judge_socket(made: io::Result<()>) -> Finding {
    match made {
        Ok(()) => Finding::ok("AF_XDP", "sockets can be made"),
        Err(e) if e.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
            let remedy = "boot a kernel with CONFIG_XDP_SOCKETS=y, or use memif and tap ports only";
            Finding::problem("AF_XDP", "the kernel was built without it", remedy)
        }
        Err(e) => {
            Finding::problem("AF_XDP", format!("no socket can be made: {e}"), "see privileges; or use other ports")
        }
    }
}

fn judge_bpf(usable: Result<(), String>) -> Finding {
    match usable {
        Ok(()) => Finding::ok("BPF", "XDP programs and maps of AF_XDP sockets can be loaded"),
        Err(why) => {
            let remedy = "see privileges; in a container, its seccomp profile must allow bpf(2); \
                          /sys/kernel/security/lockdown must not say confidentiality";
            Finding::problem("BPF", why, remedy)
        }
    }
}

fn judge_jit(enabled: Option<&str>) -> Finding {
    match enabled.map(str::trim) {
        Some("0") => {
            let remedy = "`sysctl net.core.bpf_jit_enable=1`";
            Finding::note("BPF compiler", "off: programs are interpreted, which costs every frame", remedy)
        }
        Some(_) => Finding::ok("BPF compiler", "on"),
        None => Finding::ok("BPF compiler", "not told here"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn releases_are_compared_as_numbers() {
        assert_eq!(Release::parse("6.1.0-26-amd64\n"), Some(Release(6, 1)));
        assert_eq!(Release::parse("6.18.44-x"), Some(Release(6, 18)));
        assert!(Release(6, 18) > Release(6, 6));
        assert_eq!(Release::parse("mainline"), None);
    }

    #[test]
    fn an_older_kernel_is_told_what_it_lacks() {
        let lacks = |text| judge_release(text, true).iter().filter(|f| f.level == Level::Note).count();
        assert_eq!(lacks("6.6.1"), 0);
        assert_eq!(lacks("6.1.0-26-amd64"), 1, "multi-buffer");
        assert_eq!(lacks("5.15.0"), 3, "too old, live frames, multi-buffer");
        assert_eq!(lacks("5.10.0"), 4, "too old, busy polling, live frames, multi-buffer");
        assert!(judge_release("5.10.0", false).iter().any(|f| f.level == Level::Problem));
    }

    #[test]
    fn capabilities_are_named_when_they_are_missing() {
        let status = "Name:\tx\nCapPrm:\t0\nCapEff:\t000001ffffffffff\n";
        let all = Capabilities::parse(status).expect("a mask");
        assert_eq!(judge_capabilities(all).level, Level::Ok);
        let none = judge_capabilities(Capabilities(0));
        assert_eq!(none.level, Level::Problem);
        for name in ["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_BPF"] {
            assert!(none.found.contains(name), "{none:?}");
        }
        let old_style = Capabilities(1 << NET_ADMIN | 1 << NET_RAW | 1 << SYS_ADMIN);
        assert_eq!(judge_capabilities(old_style).level, Level::Ok, "CAP_SYS_ADMIN includes CAP_BPF");
    }

    #[test]
    fn too_little_lockable_memory_is_a_problem() {
        assert_eq!(judge_memlock(Some(8 << 20), Capabilities(0)).level, Level::Problem);
        assert_eq!(judge_memlock(Some(8 << 20), Capabilities(1 << IPC_LOCK)).level, Level::Ok);
        assert_eq!(judge_memlock(None, Capabilities(0)).level, Level::Ok);
    }
}
