//! `bench netdev` and `bench memif`: the engine without virtual routers, beside other forwarders.
//!
//! **netdev**: from device to device. The figure is the highest rate that came through, over a series of offered rates
//! up to far too much. One rate for all would not do: a forwarder in user space shares its core with the kernel's
//! receive side, which goes first, so at some overload it is starved, and which that is differs between forwarders.
//!
//! **memif**: frames of 64 bytes circulate between two processes that share two memifs for every guest. testpmd is one
//! of them, always the same way; the other is the engine or testpmd in mode `mac`. The figure is what the first one
//! receives, all its ports together. All circulations exist from the beginning and take turns of a second, because a virtual
//! machine may move its cores closer together or further apart, which changes every figure several times over: two
//! windows that follow each other can be compared, two runs cannot.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use crate::cpu::Cores;
use crate::figures::{FrameSize, beside, median, spread};
use crate::peers::{self, Circulation, GuestKind, Path, Setup};
use crate::report::{self, PeerRow};
use crate::run::{self, Item, Options, Shortfalls, take_turns};
use crate::testbed::{Folder, Testbed};
use crate::traffic::{Load, Programs, Station};

/// A row in the making.
#[derive(Debug)]
struct Contender {
    title: &'static str,
    path: Path,
    guests: usize,
    pps: Vec<f64>,
}

impl Item for Contender {
    fn name(&self) -> String {
        format!("{}: {}, {} guests", self.title, self.path.label(), self.guests)
    }
}

/// The contenders of a benchmark, repeated in turns, then printed and written.
fn compete(
    title: &'static str,
    options: &Options,
    repeats: usize,
    contenders: &[(Path, usize)],
    mut measure: impl FnMut(Path, usize, Cores) -> Result<f64>,
) -> Result<()> {
    let (cores, machine) = run::begin(options)?;
    let mut shortfalls = Shortfalls::default();
    let mut field: Vec<Contender> = Vec::new();
    for &(path, guests) in contenders {
        if !peers::available(&[path], options, &mut shortfalls).is_empty() {
            field.push(Contender { title, path, guests, pps: Vec::new() });
        }
    }
    take_turns(repeats, &mut field, &mut shortfalls, |contender, _| {
        contender.pps.push(measure(contender.path, contender.guests, cores)?);
        Ok(())
    })?;
    field.retain(|c| !c.pps.is_empty());
    let rows: Vec<PeerRow> =
        field.iter().map(|c| PeerRow { path: c.path.label(), guests: c.guests, pps: median(&c.pps) }).collect();
    let spreads: Vec<Option<f64>> = field.iter().map(|c| spread(&c.pps)).collect();
    println!("{}", report::peers(title, &rows, &spreads));
    for line in ratios(&field) {
        println!("{line}");
    }
    if let Some(path) = &options.json {
        report::write(path, &machine, &rows)?;
    }
    shortfalls.conclude()
}

/// The engine beside each other forwarder, measured shortly before or after: one line for each.
fn ratios(field: &[Contender]) -> Vec<String> {
    let mut lines = Vec::new();
    for ours in field.iter().filter(|c| matches!(c.path, Path::Pointsman(_))) {
        for other in field.iter().filter(|c| c.path != ours.path && c.guests == ours.guests) {
            if let Some(ratio) = beside(&ours.pps, &other.pps) {
                let (path, other) = (ours.path.label(), other.path.label());
                lines.push(format!("{path} / {other}, {} guests: {ratio}", ours.guests));
            }
        }
    }
    lines
}

/// Device to device, 64 bytes.
///
/// # Errors
/// Not root, a program is missing, a signal came, or a measurement failed; then the others are still printed.
pub fn netdev(options: &Options) -> Result<()> {
    let paths = [Path::LinuxBridge, Path::XdpRedirect, Path::Testpmd, Path::Ovs, Path::Pointsman(GuestKind::Router)];
    let contenders = paths.map(|path| (path, 0));
    let (repeats, window) = if options.quick { (1, 150) } else { (5, 250) };
    let title = "Device to device, 64 bytes";
    compete(title, options, repeats, &contenders, |path, _, cores| {
        device_to_device(path, options, cores, Duration::from_millis(window))
    })
}

/// Two memifs a guest, one guest and eight, 64 bytes.
///
/// # Errors
/// As [`netdev`].
pub fn memif(options: &Options) -> Result<()> {
    let paths = [Path::Testpmd, Path::Pointsman(GuestKind::Router)];
    let contenders: Vec<(Path, usize)> = [1, 8].iter().flat_map(|&guests| paths.map(|path| (path, guests))).collect();
    let windows = if options.quick { 5 } else { 15 };
    let title = "Circulating through memifs, 64 bytes";
    if let Some(why) = peers::unavailable(Path::Testpmd, &options.command) {
        anyhow::bail!("bench memif needs testpmd as the process on the other side: {why}");
    }
    let mut circulations = Circulations::default();
    compete(title, options, windows, &contenders, |path, guests, cores| {
        circulations.window(path, guests, options, cores)
    })
}

/// The most that comes through from `in` to `out`.
fn device_to_device(path: Path, options: &Options, cores: Cores, window: Duration) -> Result<f64> {
    let bed = Testbed::build(cores)?;
    let programs = Arc::new(Programs::load(peers::time_to_live(0))?);
    let setup = Setup { routers: 0, link: None };
    let mut peer = peers::start(path, setup, &bed, &programs, &options.command)?;
    let station =
        Station::new(programs, (&bed.senders, &bed.generator_device()), (&bed.receivers, &bed.sink_device()), cores)?;
    let flows = peers::flows(0);
    bed.announce()?;
    station.await_path(&flows, Duration::from_secs(15), || peer.check())?;
    let delivered = |rate: f64| -> Result<f64> {
        let load = Load {
            flows: flows.clone(),
            length: FrameSize::B64.in_memory(),
            rate,
            warm_up: Duration::from_millis(30),
            window,
        };
        station.run(&load).map(|trial| trial.delivered_pps())
    };
    // From 0.3 to 6 million in steps of a third, then once more on both sides of the best.
    let rates = (0..12).map(|i| 300_000.0 * 1.3125_f64.powi(i));
    let mut best = (0.0, 0.0);
    for rate in rates {
        best = better(best, (rate, delivered(rate)?));
    }
    for factor in [0.87, 1.15] {
        best = better(best, (best.0 * factor, delivered(best.0 * factor)?));
    }
    peer.check()?;
    Ok(best.1)
}

/// Of two pairs of an offered and a delivered rate, the one that delivered more.
fn better(a: (f64, f64), b: (f64, f64)) -> (f64, f64) {
    if b.1 > a.1 { b } else { a }
}

/// Everything that circulates, each in a folder of its own; at rest but for one at a time.
#[derive(Debug, Default)]
struct Circulations(Vec<(Path, usize, Circulation, Folder)>);

impl Circulations {
    /// Frames a second that circulate through a forwarder on the core of the device under test, while testpmd as its
    /// client has the other core.
    fn window(&mut self, path: Path, guests: usize, options: &Options, cores: Cores) -> Result<f64> {
        let at = match self.0.iter().position(|c| (c.0, c.1) == (path, guests)) {
            Some(at) => at,
            None => {
                let folder = Folder::create(&format!("memif-{}-{guests}", path.label()))?;
                let server = peers::serve_pairs(path, guests, cores.dut, folder.path(), &options.command)?;
                let circulation = Circulation::start(guests, cores.traffic, folder.path(), server)?;
                self.0.push((path, guests, circulation, folder));
                self.0.len() - 1
            }
        };
        let counted = self.0[at].2.window();
        if counted.is_err() {
            // The next window gets a new one.
            self.0.remove(at);
        }
        counted
    }
}
