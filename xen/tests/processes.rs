//! Backend and guests as processes, with a real worker that sleeps and is woken, and `kill -9` for both.
//!
//! The machine is a thread of the test; this program, called again with a role, is everyone else. What a guest sends comes
//! back to it, so that it can tell by itself what was lost, came twice, or was changed.

#![allow(missing_docs, reason = "a test")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use pointsman_dataplane::forward::{Forward, Outputs};
use pointsman_dataplane::frame::Burst;
use pointsman_dataplane::pool::Pool;
use pointsman_dataplane::port::Port;
use pointsman_dataplane::units::{Nanos, PortId};
use pointsman_dataplane::worker::{Worker, WorkerConfig};
use pointsman_xen::DomId;
use pointsman_xen::frontend::{Frontend, FrontendOptions};
use pointsman_xen::netif::keys::VifConfig;
use pointsman_xen::sim::{Machine, SimDomain, Toolstack};
use pointsman_xen::vif::{Guests, Refusal, VifBackend, VifOptions, VifPort};

/// Frames that a guest has under way.
const WINDOW: u64 = 100;
/// Bytes of a frame: header, number, pattern.
const FRAME: usize = 300;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["backend", dir, guests] => backend(Path::new(dir), guests.parse().unwrap()),
        ["guest", dir, id, millis] => guest(Path::new(dir), DomId(id.parse().unwrap()), millis.parse().unwrap()),
        // What the test runner may pass.
        _ => {
            the_backend_dies_and_guests_go_on();
            a_guest_dies_and_nothing_stays();
        }
    }
}

/// Sends back what comes.
struct Echo;

impl Forward for Echo {
    fn forward(&mut self, _: &mut Pool, input: PortId, burst: &mut Burst, out: &mut Outputs, _: Nanos) {
        burst.drain(..).for_each(|frame| out.send(input, frame));
    }
}

struct Reporter(mpsc::Sender<Vec<VifPort>>);

impl Guests for Reporter {
    fn arrived(&mut self, _: &VifConfig, ports: Vec<VifPort>) -> Result<(), Refusal> {
        let _ = self.0.send(ports);
        Ok(())
    }

    fn left(&mut self, _: DomId, _: u32) {}
}

fn backend(dir: &Path, guests: usize) {
    let (sender, arrived) = mpsc::channel();
    let control = Arc::new(SimDomain::control(dir));
    let _backend = VifBackend::start(control, VifOptions::default(), Box::new(Reporter(sender))).unwrap();
    let ports: Vec<Box<dyn Port>> =
        arrived.iter().take(guests).flatten().map(|port| Box::new(port) as Box<dyn Port>).collect();
    say("ready");
    let config = WorkerConfig { name: "worker".into(), core: None, chunks: 4096, spin: Nanos::from_micros(20) };
    Worker::simple(config, ports, Box::new(Echo)).unwrap().run();
}

/// Sends numbered frames for a while, and tells what became of them.
fn guest(dir: &Path, id: DomId, millis: u64) {
    let domain = SimDomain::guest(dir, id, 4096).unwrap();
    say("born");
    let mut frontend = loop {
        match Frontend::new(&domain, 0, FrontendOptions::default()) {
            Ok(frontend) => break frontend,
            Err(e) if e.is_store("ENOENT") || e.is_store("EACCES") => std::thread::sleep(Duration::from_millis(2)),
            Err(e) => panic!("{e}"),
        }
    };
    frontend.connect().unwrap();
    say("connected");
    let (mut sent, mut came, mut twice, mut failed, mut highest) = (0u64, 0u64, 0u64, 0u64, 0u64);
    let until = Instant::now() + Duration::from_millis(millis);
    let mut last = Instant::now();
    let mut longest = Duration::ZERO;
    loop {
        let over = Instant::now() >= until;
        while !over && sent - highest < WINDOW && frontend.send(0, &numbered(sent + 1), 0, &[]) {
            sent += 1;
        }
        frontend.show_tx(0).unwrap();
        assert!(frontend.take_sent(0).iter().all(|answer| answer.status == 0));
        let received = frontend.receive(0).unwrap();
        if received.is_empty() {
            if over && last.elapsed() > Duration::from_millis(300) || last.elapsed() > Duration::from_secs(5) {
                break;
            }
            if sent - highest >= WINDOW && last.elapsed() > Duration::from_millis(300) {
                // What is under way was lost with the backend.
                highest = sent;
            }
            frontend.wait(Duration::from_millis(20)).unwrap();
            continue;
        }
        longest = longest.max(last.elapsed());
        last = Instant::now();
        for frame in received {
            if frame.failed {
                failed += 1;
                continue;
            }
            let number = u64::from_be_bytes(frame.data[14..22].try_into().unwrap());
            assert!(number >= 1 && number <= sent && frame.data == numbered(number), "frame {number} was changed");
            came += 1;
            twice += u64::from(number <= highest);
            highest = highest.max(number);
        }
    }
    say(&format!("{sent} {came} {twice} {failed} {}", longest.as_millis()));
}

fn numbered(number: u64) -> Vec<u8> {
    let mut data = vec![number as u8; FRAME];
    data[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5]);
    data[14..22].copy_from_slice(&number.to_be_bytes());
    data
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

/// A process of this program, which is ended with the test.
struct Process {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Process {
    fn start(args: &[&str]) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut child = Command::new(program).args(args).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn expect(&mut self, line: &str) {
        assert_eq!(self.line(), line);
    }

    /// SIGKILL.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Stage {
    machine: Machine,
    toolstack: Toolstack,
}

impl Stage {
    fn new() -> Self {
        let machine = Machine::temporary().unwrap();
        let toolstack = machine.toolstack().unwrap();
        Self { machine, toolstack }
    }

    fn dir(&self) -> &str {
        self.machine.dir().to_str().unwrap()
    }

    fn guest(&mut self, id: u16, millis: u32) -> Process {
        let mut guest = Process::start(&["guest", self.dir(), &id.to_string(), &millis.to_string()]);
        guest.expect("born");
        self.toolstack.add_vif(DomId(id), 0, &[]).unwrap();
        guest
    }

    /// Waits until nothing is held of any guest.
    fn clean(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let held = [
                self.toolstack.mapped_by(DomId::ZERO).unwrap(),
                self.toolstack.channels_of(DomId::ZERO).unwrap(),
                self.toolstack.zombies().unwrap(),
            ];
            if held == [0; 3] {
                return;
            }
            assert!(Instant::now() < deadline, "grants, channels, zombies: {held:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn take_away(&mut self, id: u16) {
        self.toolstack.destroy(DomId(id), 0).unwrap();
        let state = Toolstack::backend_path(DomId(id), 0) + "/state";
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.toolstack.store.read(&state).unwrap() != b"6" {
            assert!(Instant::now() < deadline, "the backend does not close");
            std::thread::sleep(Duration::from_millis(2));
        }
        self.toolstack.finish_detach(DomId(id), 0).unwrap();
    }
}

fn the_backend_dies_and_guests_go_on() {
    const KILLS: u64 = 4;
    let mut stage = Stage::new();
    let mut backend = Process::start(&["backend", stage.dir(), "2"]);
    let mut guests = [stage.guest(3, 2500), stage.guest(4, 2500)];
    backend.expect("ready");
    guests.iter_mut().for_each(|guest| guest.expect("connected"));
    for _ in 0..KILLS {
        std::thread::sleep(Duration::from_millis(400));
        backend.kill();
        backend = Process::start(&["backend", stage.dir(), "2"]);
        backend.expect("ready");
    }
    for guest in &mut guests {
        let result = guest.line();
        let numbers: Vec<u64> = result.split(' ').map(|n| n.parse().unwrap()).collect();
        let [sent, came, twice, failed, longest] = numbers[..] else { panic!("{result}") };
        let lost = (sent + twice).saturating_sub(came);
        println!(
            "over {KILLS} kills: {sent} sent, {lost} lost, {failed} failed, {twice} twice, silent for {longest} ms at most"
        );
        assert!(sent > 1000, "{result}");
        // Requests are answered when their frames have left, so that none is lost; but for the instant in which responses
        // are written and not shown yet: the next backend takes them for requests, and answers that it could not.
        assert!(lost <= failed, "{lost} lost, {failed} failed");
        assert!(failed <= KILLS * WINDOW && twice <= KILLS * WINDOW, "{failed} failed, {twice} twice");
        assert!(guest.child.wait().unwrap().success());
    }
    stage.take_away(3);
    stage.take_away(4);
    stage.clean();
    println!("the_backend_dies_and_guests_go_on ... ok");
}

fn a_guest_dies_and_nothing_stays() {
    let mut stage = Stage::new();
    let mut backend = Process::start(&["backend", stage.dir(), "2"]);
    let mut stays = stage.guest(3, 1500);
    let mut dies = stage.guest(4, 60_000);
    backend.expect("ready");
    stays.expect("connected");
    dies.expect("connected");
    std::thread::sleep(Duration::from_millis(300));
    dies.kill();
    std::thread::sleep(Duration::from_millis(50));
    stage.take_away(4);
    assert_eq!(stage.toolstack.zombies().unwrap(), 0, "its grants stay mapped");
    assert_eq!(stage.toolstack.mapped_by(DomId::ZERO).unwrap(), 2, "only the other's rings");
    let result = stays.line();
    let numbers: Vec<u64> = result.split(' ').map(|n| n.parse().unwrap()).collect();
    assert!(
        numbers[0] > 1000 && numbers[0] == numbers[1] && numbers[2..4] == [0, 0],
        "the other lost frames: {result}"
    );
    stage.take_away(3);
    stage.clean();
    println!("a_guest_dies_and_nothing_stays ... ok");
}
