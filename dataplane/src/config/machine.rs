//! What this machine lacks for a configuration that is sound in itself. Looks, and changes nothing.

use std::path::{Path, PathBuf};

use super::{Config, ConfigError, Place, PortKind};

impl Config {
    /// What would keep the engine from running here. The file may be meant for another machine, so these are no
    /// mistakes: `check` tells them, `run` meets them one by one.
    pub fn warnings(&self) -> Vec<ConfigError> {
        let mut found = Vec::new();
        let mut warn = |place: Place, thing: String, wrong: String, remedy: &str| {
            let (file, place, remedy) = (self.file.clone(), Some(place), remedy.to_owned());
            found.push(ConfigError { file, place, thing, wrong, remedy });
        };
        let cores = usable_cores();
        for (n, worker) in self.workers.iter().enumerate() {
            if let Some(core) = worker.core.filter(|core| !cores.contains(core)) {
                let wrong = format!("core {core} is not one that this process may use ({})", list(&cores));
                warn(worker.place, format!("worker {n}"), wrong, "choose another, or leave core out");
            }
        }
        if let Some(missing) = missing_directory(&self.control) {
            let wrong = format!("control = {}: there is no directory {}", self.control.display(), missing.display());
            warn(Place { line: 1, column: 1 }, "configuration".into(), wrong, "create it, or choose another path");
        }
        for port in &self.ports {
            let thing = format!("port {}", port.name);
            match &port.kind {
                PortKind::Netdev(spec) => {
                    if !Path::new("/sys/class/net").join(&spec.device).exists() {
                        let wrong = format!("there is no interface {} here", spec.device);
                        warn(port.place, thing, wrong, "`ip link` lists those there are");
                    }
                }
                PortKind::Memif(spec) => {
                    if let Some(missing) = missing_directory(&spec.socket) {
                        let wrong =
                            format!("socket {}: there is no directory {}", spec.socket.display(), missing.display());
                        warn(port.place, thing, wrong, "create it, or choose another path");
                    }
                }
                PortKind::Tap(spec) => {
                    let netns = spec.netns.as_ref().map(|name| Path::new("/run/netns").join(name));
                    if let Some(netns) = netns.filter(|path| !path.exists()) {
                        let wrong = format!("there is no network namespace {}", netns.display());
                        warn(port.place, thing, wrong, "create it: `ip netns add NAME`");
                    }
                }
                PortKind::Pcap(spec) => {
                    if let Some(file) = spec.replay.as_ref().filter(|file| !file.exists()) {
                        let wrong = format!("there is no file {} to replay", file.display());
                        warn(port.place, thing, wrong, "give one that exists");
                    } else if let Some((file, missing)) =
                        spec.record.as_ref().and_then(|file| Some((file, missing_directory(file)?)))
                    {
                        let wrong = format!("record {}: there is no directory {}", file.display(), missing.display());
                        warn(port.place, thing, wrong, "create it, or choose another path");
                    }
                }
            }
        }
        found
    }
}

/// The directory in which `path` would be made, if it is not there. `/run/pointsman` is the engine's own to make.
fn missing_directory(path: &Path) -> Option<PathBuf> {
    let directory = path.parent().filter(|d| !d.as_os_str().is_empty())?;
    let own = directory == Path::new("/run/pointsman");
    (!own && !directory.is_dir()).then(|| directory.to_owned())
}

/// The cores that the scheduler would let this process run on.
pub fn usable_cores() -> Vec<usize> {
    let mut cores: Vec<_> = core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect();
    cores.sort_unstable();
    cores
}

/// `0-3, 6`.
fn list(cores: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &core in cores {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == core => *last = core,
            _ => runs.push((core, core)),
        }
    }
    let text = |&(first, last): &(usize, usize)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    runs.iter().map(text).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_listed_as_runs() {
        assert_eq!(list(&[0, 1, 2, 3, 6]), "0-3, 6");
        assert_eq!(list(&[]), "");
    }

    #[test]
    fn what_the_machine_lacks_is_told_with_its_line() {
        let text = "[[worker]]\ncore = 1023\n[[domain]]\nname = \"d\"\n\
            [[port]]\nname = \"a\"\nkind = \"netdev\"\ndevice = \"no-such-device\"\ndomain = \"d\"\n\
            [[port]]\nname = \"b\"\nkind = \"netdev\"\ndevice = \"lo\"\ndomain = \"d\"\n\
            [[port]]\nname = \"c\"\nkind = \"pcap\"\nreplay = \"/nonexistent/x.pcap\"\ndomain = \"d\"\n\
            [[port]]\nname = \"e\"\nkind = \"tap\"\ndevice = \"t\"\nnetns = \"no-such-netns\"\ndomain = \"d\"\n\
            [[port]]\nname = \"f\"\nkind = \"memif\"\nsocket = \"/nonexistent/f.sock\"\ndomain = \"d\"\n\
            [[port]]\nname = \"g\"\nkind = \"memif\"\nsocket = \"/run/pointsman/g.sock\"\ndomain = \"d\"\n";
        let config = Config::parse(text, Path::new("x.toml")).expect("it is sound");
        let found: Vec<_> = config.warnings().iter().map(ToString::to_string).collect();
        let expected = [
            "x.toml:1:1: worker 0: core 1023 is not one that this process may use",
            "x.toml:5:1: port a: there is no interface no-such-device here;",
            "x.toml:15:1: port c: there is no file /nonexistent/x.pcap to replay;",
            "x.toml:20:1: port e: there is no network namespace /run/netns/no-such-netns;",
            "x.toml:26:1: port f: socket /nonexistent/f.sock: there is no directory /nonexistent;",
        ];
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found}");
        }
    }
}
