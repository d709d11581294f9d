//! Groups of processes with a share of the CPU: cgroup v2's `cpu.weight` and `cpu.max`, or v1's `cpu.shares` and
//! `cpu.cfs_quota_us` on a machine that has these.
//!
//! A group carries the name `pmb-<pid>-<name>` and goes when the value is dropped; what is still in it returns to where it
//! came from. What a killed run left goes when the next one begins.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::testbed::{PREFIX_OF_NAMES, is_stale, names_in};

/// Time over which a limit holds, in microseconds: short, so that a group that used up its part is not away for long.
const PERIOD: u64 = 10_000;

/// Where the groups of the CPU controller are.
#[derive(Clone, Debug, PartialEq)]
pub struct Hierarchy {
    root: PathBuf,
    version: u8,
}

impl Hierarchy {
    /// The machine's.
    ///
    /// # Errors
    /// There is none, or none that has CPU shares.
    pub fn find() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/mounts").context("/proc/mounts")?;
        let found = Self::among(&mounts, |root| {
            let controllers = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
            controllers.split_whitespace().any(|controller| controller == "cpu")
        });
        found.context("no cgroup hierarchy with the cpu controller is mounted (see cgroups(7))")
    }

    fn among(mounts: &str, has_cpu: impl Fn(&Path) -> bool) -> Option<Self> {
        mounts.lines().find_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let (root, kind, options) = (PathBuf::from(fields.next()?), fields.next()?, fields.next()?);
            let version = match kind {
                "cgroup" if options.split(',').any(|option| option == "cpu") => 1,
                "cgroup2" if has_cpu(&root) => 2,
                _ => return None,
            };
            Some(Self { root, version })
        })
    }

    /// How it divides, for people.
    pub const fn name(&self) -> &'static str {
        if self.version == 1 { "cgroup v1, cpu.shares" } else { "cgroup v2, cpu.weight" }
    }

    /// A new, empty group.
    ///
    /// # Errors
    /// It cannot be made: no permission, or the hierarchy is read-only.
    pub fn group(&self, name: &str) -> Result<Group> {
        if self.version == 2 {
            // Without it the group's files do not exist. It changes nothing for groups that have no other weight.
            write(&self.root.join("cgroup.subtree_control"), "+cpu")?;
        }
        let folder = self.root.join(format!("{PREFIX_OF_NAMES}{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("{}: a group cannot be made", folder.display()))?;
        Ok(Group { folder, root: self.root.clone(), version: self.version })
    }
}

/// A group of processes.
#[derive(Debug)]
pub struct Group {
    folder: PathBuf,
    root: PathBuf,
    version: u8,
}

impl Group {
    /// Moves a process, or a kernel thread, into it.
    pub fn take(&self, process: i32) -> Result<()> {
        write(&self.folder.join("cgroup.procs"), &process.to_string())
    }

    /// Its weight beside others that want the same core: these parts are of what all of them have.
    pub fn weigh(&self, part: f64) -> Result<()> {
        match self.version {
            1 => write(&self.folder.join("cpu.shares"), &weight(part, 2048.0, 2).to_string()),
            _ => write(&self.folder.join("cpu.weight"), &weight(part, 200.0, 1).to_string()),
        }
    }

    /// What it may use at most, as a part of one core, also while nobody else wants it. None: no limit.
    pub fn limit(&self, part: Option<f64>) -> Result<()> {
        let quota = part.map(|part| (part * PERIOD as f64).round().max(1_000.0) as u64);
        match self.version {
            1 => {
                write(&self.folder.join("cpu.cfs_period_us"), &PERIOD.to_string())?;
                let quota = quota.map_or_else(|| "-1".into(), |q| q.to_string());
                write(&self.folder.join("cpu.cfs_quota_us"), &quota)
            }
            _ => {
                let quota = quota.map_or_else(|| "max".into(), |q| q.to_string());
                write(&self.folder.join("cpu.max"), &format!("{quota} {PERIOD}"))
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        remove(&self.folder, &self.root);
    }
}

/// Removes the groups of runs whose process is gone. Returns their names.
pub fn remove_stale() -> Vec<String> {
    let Ok(hierarchy) = Hierarchy::find() else { return Vec::new() };
    let stale = names_in(&hierarchy.root).into_iter().filter(|name| is_stale(name));
    stale.filter(|name| remove(&hierarchy.root.join(name), &hierarchy.root)).collect()
}

fn remove(folder: &Path, root: &Path) -> bool {
    for process in fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default().lines() {
        // One that has ended meanwhile is in no group.
        let _ = fs::write(root.join("cgroup.procs"), process);
    }
    // A process that was just killed is in its group until it has been waited for.
    (0..50).any(|_| {
        fs::remove_dir(folder).is_ok() || {
            std::thread::sleep(std::time::Duration::from_millis(10));
            false
        }
    })
}

fn weight(part: f64, whole: f64, least: u64) -> u64 {
    ((part * whole).round() as u64).max(least)
}

fn write(file: &Path, value: &str) -> Result<()> {
    if !file.exists() {
        bail!("{}: no such file; is the cpu controller there?", file.display());
    }
    fs::write(file, value).with_context(|| format!("{}: writing {value}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchy_with_the_controller_is_found() {
        let both = "cgroup /sys/fs/cgroup/cpuset cgroup rw,cpuset 0 0\n\
                    cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0\n\
                    cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let found = Hierarchy::among(both, |_| false).unwrap();
        assert_eq!(found, Hierarchy { root: "/sys/fs/cgroup/cpu,cpuacct".into(), version: 1 });
        let new = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";
        assert_eq!(Hierarchy::among(new, |_| true).unwrap().version, 2);
        assert_eq!(Hierarchy::among(new, |_| false), None);
        assert_eq!(Hierarchy::among("tmpfs /tmp tmpfs rw 0 0\n", |_| true), None);
    }

    #[test]
    fn weights_keep_within_what_the_kernel_takes() {
        assert_eq!((weight(0.25, 2048.0, 2), weight(0.0, 2048.0, 2)), (512, 2));
        assert_eq!((weight(0.5, 200.0, 1), weight(0.0, 200.0, 1)), (100, 1));
    }

    /// A group takes a process in, has its weight, and leaves nothing behind.
    #[test]
    fn a_group_comes_and_goes() {
        if crate::testbed::require_root().is_err() {
            println!("skipped: needs root");
            return;
        }
        let hierarchy = match Hierarchy::find() {
            Ok(hierarchy) => hierarchy,
            Err(why) => return println!("skipped: {why:#}"),
        };
        let group = match hierarchy.group("test") {
            Ok(group) => group,
            Err(why) => return println!("skipped: {why:#}"),
        };
        let mut sleeper = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        group.take(sleeper.id() as i32).unwrap();
        group.weigh(0.25).unwrap();
        group.limit(Some(0.5)).unwrap();
        group.limit(None).unwrap();
        let folder = group.folder.clone();
        assert_eq!(fs::read_to_string(folder.join("cgroup.procs")).unwrap().trim(), sleeper.id().to_string());
        drop(group);
        assert!(!folder.exists());
        assert!(sleeper.try_wait().unwrap().is_none(), "what was in it goes on");
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
    }
}
