//! FRR in a namespace: its daemons, each with a configuration, and files of their own, so that several may run beside each
//! other.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Bed, Program, sh, try_sh};

/// Where Debian has the daemons.
const DAEMONS: &str = "/usr/lib/frr";

/// Daemons that run in a namespace, and end with this.
pub struct Frr {
    host: String,
    folder: PathBuf,
    /// What zebra is asked for besides.
    zebra: Vec<String>,
    daemons: Vec<String>,
    running: Vec<Program>,
}

impl Frr {
    /// Starts zebra and the other daemons of `configs`, each with its configuration; `zebra` are options for it.
    pub fn start(bed: &Bed, host: &str, zebra: &[&str], configs: &[(&str, &str)]) -> Self {
        let folder = bed.folder.join(format!("frr-{host}"));
        fs::create_dir_all(&folder).unwrap();
        for folder in [&bed.folder, &folder] {
            // The daemons give up root.
            fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
        }
        for (daemon, text) in configs {
            fs::write(folder.join(format!("{daemon}.conf")), text).unwrap();
        }
        let daemons = configs.iter().map(|(daemon, _)| (*daemon).to_owned()).collect();
        let zebra = zebra.iter().map(|&option| option.to_owned()).collect();
        let mut frr = Self { host: host.into(), folder, zebra, daemons, running: Vec::new() };
        frr.run();
        frr
    }

    /// Starts the daemons (again), zebra first.
    pub fn run(&mut self) {
        let socket = self.folder.join("zserv.api");
        let _ = fs::remove_file(&socket);
        self.daemon("zebra");
        self.running[0].wait_until("listening", || Path::new(&socket).exists());
        for daemon in self.daemons.clone().iter().filter(|daemon| *daemon != "zebra") {
            self.daemon(daemon);
        }
    }

    fn daemon(&mut self, name: &str) {
        let at = |file: &str| self.folder.join(file).display().to_string();
        let (program, pid, config) =
            (format!("{DAEMONS}/{name}"), at(&format!("{name}.pid")), at(&format!("{name}.conf")));
        let (folder, socket) = (self.folder.display().to_string(), at("zserv.api"));
        let mut command =
            vec![&*program, "--vty_socket", &folder, "-z", &socket, "-i", &pid, "--log", "stdout", "-f", &config];
        if name == "zebra" {
            command.extend(self.zebra.iter().map(|option| &**option));
        }
        if name == "bgpd" {
            command.extend(["-p", "179"]);
        }
        self.running.push(Program::start(&self.host, &command, &self.folder, name));
    }

    /// Kills all daemons, none of which can say goodbye to anybody.
    pub fn kill(&mut self) {
        for daemon in self.running.drain(..) {
            daemon.end(libc::SIGKILL);
        }
    }

    /// What a command of `vtysh` says.
    pub fn show(&self, command: &str) -> String {
        try_sh(&format!("vtysh --vty_socket {} -c '{command}' 2>&1", self.folder.display())).1
    }

    /// Changes the configuration.
    pub fn configure(&self, lines: &[&str]) {
        let lines: Vec<_> = ["conf t"].iter().chain(lines).map(|line| format!("-c '{line}'")).collect();
        sh(&format!("vtysh --vty_socket {} {}", self.folder.display(), lines.join(" ")));
    }
}
