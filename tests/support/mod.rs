//! What the end-to-end tests share: namespaces as hosts, cables between them, and programs that end with the test.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod frr;
pub mod lans;

use std::ffi::CString;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The command under test.
pub const POINTSMAN: &str = env!("CARGO_BIN_EXE_pointsman");

/// Leaves the test with a reason when this machine cannot run it. Never silent, never "passed" without a word.
#[macro_export]
macro_rules! need {
    ($($program:literal),* $(,)?) => {
        if let Some(reason) = $crate::support::missing(&[$($program),*]) {
            println!("skipped: {reason}");
            return;
        }
    };
}

/// What is missing here to run a test that makes namespaces and starts `programs`.
pub fn missing(programs: &[&str]) -> Option<String> {
    // SAFETY: no arguments, cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        return Some("needs root, for network namespaces and XDP".into());
    }
    let found = |program: &&str| {
        let path = std::env::var("PATH").unwrap_or_default();
        // Routing daemons are in no path.
        path.split(':')
            .chain(["/usr/sbin", "/sbin", "/usr/lib/frr"])
            .any(|folder| Path::new(folder).join(program).is_file())
    };
    let mut wanted = vec!["ip", "ethtool"];
    wanted.extend(programs);
    wanted.iter().find(|p| !found(p)).map(|p| format!("{p} is not installed"))
}

/// Runs a line of shell; its output, or a panic with what it said.
pub fn sh(line: &str) -> String {
    let (ok, said) = try_sh(line);
    assert!(ok, "{line}\n{said}");
    said
}

/// Runs a line of shell; whether it succeeded, and what it said.
pub fn try_sh(line: &str) -> (bool, String) {
    let output = Command::new("sh").args(["-c", line]).output().expect("sh runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// Sends frames, as they are, out of a device of a namespace.
pub fn inject(host: &str, device: &str, frames: &[Vec<u8>]) {
    let namespace = fs::File::open(format!("/run/netns/{host}")).unwrap();
    let device = CString::new(device).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // SAFETY: open descriptors, and addresses and lengths of values that outlive each call; setns concerns this
            // thread alone, which ends here.
            unsafe {
                assert_eq!(libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET), 0);
                let socket = libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0);
                assert!(socket >= 0);
                let mut to: libc::sockaddr_ll = std::mem::zeroed();
                to.sll_family = libc::AF_PACKET as u16;
                to.sll_ifindex = libc::if_nametoindex(device.as_ptr()) as i32;
                for frame in frames {
                    let len = size_of_val(&to) as u32;
                    let sent = libc::sendto(socket, frame.as_ptr().cast(), frame.len(), 0, (&raw const to).cast(), len);
                    assert!(sent >= 0 || frame.len() < 14, "{:?}", std::io::Error::last_os_error());
                }
                libc::close(socket);
            }
        });
    });
}

/// An ARP request: who has `target`, tell `sender`; with a VLAN tag if there is one.
pub fn arp_request(vlan: Option<u16>, mac: [u8; 6], sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(mac);
    if let Some(vlan) = vlan {
        frame.extend([0x81, 0x00]);
        frame.extend(vlan.to_be_bytes());
    }
    frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(mac);
    frame.extend(sender);
    frame.extend([0; 6]);
    frame.extend(target);
    frame.resize(64, 0);
    frame
}

/// Asks until the answer is yes; a panic that names `what` when `patience` is over.
pub fn wait_for(what: &str, patience: Duration, mut answer: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !answer() {
        assert!(begin.elapsed() < patience, "{what}: not within {patience:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Namespaces that end with the test, and a folder for its files.
pub struct Bed {
    id: String,
    namespaces: Vec<String>,
    /// For sockets and configurations.
    pub folder: PathBuf,
}

impl Bed {
    /// An empty one. What an earlier, killed run of the tests left is removed.
    pub fn new() -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        remove_stale();
        let id = format!("pmt{}.{}", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(&id);
        fs::create_dir_all(&folder).unwrap();
        Self { id, namespaces: Vec::new(), folder }
    }

    /// Makes a namespace; its full name.
    pub fn host(&mut self, name: &str) -> String {
        let full = format!("{}-{name}", self.id);
        sh(&format!("ip netns add {full} && ip -n {full} link set lo up"));
        // Addresses are usable at once: no test waits for duplicate address detection.
        sh(&format!(
            "ip netns exec {full} sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0"
        ));
        self.namespaces.push(full.clone());
        full
    }

    /// Lays a cable: device `a_device` in `a`, `b_device` in `b`. Frames leave `a` with finished checksums, because
    /// whoever reads them at `b` through XDP sees them as they are.
    pub fn cable(&self, (a, a_device): (&str, &str), (b, b_device): (&str, &str), mtu: u32) {
        sh(&format!(
            "ip -n {a} link add {a_device} mtu {mtu} type veth peer name {b_device} mtu {mtu} netns {b} && \
             ip -n {a} link set {a_device} up && ip -n {b} link set {b_device} up && \
             ip netns exec {a} ethtool -K {a_device} tx off tso off gso off > /dev/null"
        ));
    }

    /// Writes a file of the test; its path.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Path for a file or socket of the test.
    pub fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Starts the engine in `host` and waits until it answers. `config` is the file's text without `control`.
    pub fn engine(&self, host: &str, config: &str) -> Program {
        let control = self.path("control.sock");
        let file = self.file("engine.toml", &format!("control = \"{control}\"\n{config}"));
        let engine =
            Program::start(host, &[POINTSMAN, "run", "--config", file.to_str().unwrap()], &self.folder, "engine");
        engine.wait_until("running", || Path::new(&control).exists() && self.show("ports").0);
        engine
    }

    /// `pointsman show TOPIC --json`: whether it worked, and what it said.
    pub fn show(&self, topic: &str) -> (bool, String) {
        try_sh(&format!("{POINTSMAN} show {topic} --json --control {}", self.path("control.sock")))
    }

    /// The report on one port.
    pub fn port(&self, name: &str) -> serde_json::Value {
        let (ok, text) = self.show("ports");
        assert!(ok, "{text}");
        let ports: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        ports.into_iter().find(|p| p["name"] == name).unwrap_or_else(|| panic!("no port {name}"))
    }

    /// Waits until a port's peer is there (or gone).
    pub fn await_port(&self, name: &str, up: bool) {
        wait_for(&format!("port {name} up={up}"), Duration::from_secs(10), || self.port(name)["up"] == up);
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        for namespace in &self.namespaces {
            let _ = try_sh(&format!("ip netns del {namespace}"));
        }
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

fn remove_stale() {
    let Ok(entries) = fs::read_dir("/run/netns") else { return };
    for name in entries.flatten().filter_map(|e| e.file_name().into_string().ok()) {
        let pid = name.strip_prefix("pmt").and_then(|rest| rest.split('.').next()).and_then(|p| p.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = try_sh(&format!("ip netns del {name}"));
        }
    }
}

/// A program in a namespace, killed when this is dropped.
pub struct Program {
    child: Child,
    log: PathBuf,
    name: String,
}

impl Program {
    /// Starts it; what it says goes to a file in `folder`.
    pub fn start(host: &str, command: &[&str], folder: &Path, name: &str) -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let log = folder.join(format!("{name}.{}.log", SERIAL.fetch_add(1, Ordering::Relaxed)));
        let file = fs::File::create(&log).unwrap();
        let mut builder = Command::new("ip");
        builder.args(["netns", "exec", host]).args(command);
        builder.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        // SAFETY: one system call between fork and exec; nothing is allocated.
        unsafe {
            builder.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        Self { child: builder.spawn().expect("ip starts"), log, name: name.into() }
    }

    /// Its process: `ip netns exec` becomes the program.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for something, and shows what the program said when it does not come.
    pub fn wait_until(&self, what: &str, mut answer: impl FnMut() -> bool) {
        let begin = Instant::now();
        while !answer() {
            assert!(begin.elapsed() < Duration::from_secs(10), "{}: not {what}:\n{}", self.name, self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it with a signal and waits for its end; its exit status.
    pub fn end(mut self, signal: i32) -> std::process::ExitStatus {
        // SAFETY: our child, not yet waited for.
        unsafe { libc::kill(self.child.id() as i32, signal) };
        self.child.wait().unwrap()
    }

    /// Ends it as Ctrl-C does; all that it said.
    pub fn interrupt(self) -> String {
        let log = self.log.clone();
        self.end(libc::SIGINT);
        fs::read_to_string(log).unwrap_or_default()
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end; its exit status.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.name, self.said());
        }
    }
}
