//! `bench paper`: the paper's whole evaluation in one run, and one page that shows it beside the paper's own figures.
//!
//! A part that fails leaves its rows without figures, and the page says why. The page is written whatever failed; only a
//! signal ends the run before.

use std::fs;
use std::path::Path as File;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::cpushare::Pin;
use crate::figures::FrameSize;
use crate::machine::Machine;
use crate::peers::{GuestKind, Path};
use crate::report::{self, Figure, Section, charts};
use crate::run::{self, Options, Shortfalls};
use crate::{cpushare, fig5, fig7, paper, table1, table2};

/// What is measured from device to device, beside the virtual routers.
const DEVICES: [Path; 5] =
    [Path::LinuxBridge, Path::XdpRedirect, Path::Testpmd, Path::Ovs, Path::Pointsman(GuestKind::Router)];

/// Table I has so much of the run; the other parts have a fixed length.
const fn table1_time(quick: bool) -> Duration {
    Duration::from_secs(if quick { 65 } else { 8 * 60 + 20 })
}

#[derive(Serialize)]
struct Document<'a> {
    machine: &'a Machine,
    figures: &'a [Figure],
    missing: &'a [String],
}

/// Runs all of it and writes `paper.html`, `paper.json` and `paper.csv` to a folder.
///
/// # Errors
/// Not root, a program is missing, a signal came, or a measurement failed; then the page has the others.
pub fn evaluation(options: &Options, folder: &File) -> Result<()> {
    let (cores, mut machine) = run::begin(options)?;
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let begin = Instant::now();
    let mut shortfalls = Shortfalls::default();
    let first = table1::run(options, cores, &DEVICES, Some(table1_time(options.quick)), &mut shortfalls)?;
    machine.nic_mode = first.mode.clone();
    let mut figures = first.figures.clone();
    figures.extend(table2::run(options, cores, &mut shortfalls)?);
    figures.extend(fig5::run(options, cores, &mut shortfalls)?);
    figures.extend(fig7::run(options, cores, &mut shortfalls)?);
    figures.extend(cpushare::run(options, cores, &[Pin::Same], &mut shortfalls)?);

    let missing = shortfalls.lines();
    let write = |name: &str, text: String| {
        let file = folder.join(name);
        fs::write(&file, text).with_context(|| format!("{}: cannot be written", file.display()))
    };
    write("paper.csv", report::csv(&figures))?;
    write(
        "paper.json",
        serde_json::to_string_pretty(&Document { machine: &machine, figures: &figures, missing: &missing })?,
    )?;
    let mut manifest = machine.manifest();
    manifest.push(("run".into(), format!("{}, {} s", kind(options), begin.elapsed().as_secs())));
    let page = report::page(TITLE, &lead(options, &machine), &manifest, &sections(&first, &figures), &missing);
    write("paper.html", page)?;
    println!("{}", folder.join("paper.html").display());
    shortfalls.conclude()
}

const TITLE: &str = "Virtual routers on one host: 2009 and today";

const fn kind(options: &Options) -> &'static str {
    if options.quick { "quick (every figure from a single run, no spread)" } else { "full" }
}

fn lead(options: &Options, machine: &Machine) -> String {
    let runs = if options.quick {
        "This is a quick run: every figure comes from a single measurement and says little."
    } else {
        "Every figure is the median of five interleaved runs; bars, and figures in parentheses, say how far these lie apart."
    };
    let busy = if machine.is_busy() {
        " The machine was busy with other things when the run began: figures are low and lie far apart."
    } else {
        ""
    };
    format!(
        "The evaluation of Anhalt, Koslovski, Pasin, Gelas, Vicat-Blanc Primet, \"Les Infrastructures Virtuelles a la demande \
         pour un usage flexible de l'Internet\" (2009), measured again. {runs} Hosts are network namespaces, cables are veth \
         pairs, and everything under test shares one core. Compare today's figures with each other; those of 2009 are from \
         another machine. Raw data: paper.json, paper.csv.{busy}"
    )
}

fn sections(first: &table1::Outcome, figures: &[Figure]) -> Vec<Section> {
    let grid = |frame| report::table1(frame, &first.rows, &first.spreads);
    vec![
        Section {
            title: "Table I: UDP, rate and loss",
            text: "One flow of UDP a router. Left: the paper's load, 357,000 frames/s a flow at 64 bytes and 81,274 at 1500, \
                   over an output link of 1 Gb/s, which alone forces the loss in parentheses. Right: no link; the highest \
                   rate with at most 0.001 % loss. A search goes up in steps until three trials in a row lose more, then \
                   halves the distance; the figure is the highest rate that passed. Forwarders without virtual routers \
                   stand at 0."
                .into(),
            charts: FrameSize::BOTH.map(|frame| charts::table1(frame, figures)).into(),
            grids: FrameSize::BOTH.map(grid).into(),
        },
        Section {
            title: "Figure 5: throughput with 1500 bytes",
            text: "UDP at the paper's load, then one connection of TCP (iperf3) a router, over a link of 1 Gb/s. What the \
                   receivers get, without headers. Senders and receivers of TCP share one core."
                .into(),
            charts: vec![charts::fig5(figures)],
            grids: vec![report::fig5(figures)],
        },
        Section {
            title: "Table II: latency through one router",
            text: "Probes through router 0, one way, while the others are idle or each carry a connection of TCP at maximal \
                   rate. The cable alone is what the measurement takes itself; it is in all other rows. Over a link of 1 Gb/s \
                   latency is the queue in front of the link; without one it is how the core is shared. 2009 says milliseconds \
                   and no more than the mean."
                .into(),
            charts: charts::table2(figures).chunks(2).map(<[_]>::to_vec).collect(),
            grids: vec![report::table2(figures)],
        },
        Section {
            title: "Figure 7: a router moves to another host",
            text: format!(
                "Two routers share a host and its link of 200 Mb/s; one moves to a host with a link of its own. Here, what moves \
                 is a router whose state is its configuration: it is started anew on the other host, after it was stopped, or \
                 before. Linux's router is a namespace that goes on while its devices are moved. It is not what the paper moved, \
                 a Xen guest with its memory. The router tells its addresses, from which the switch learns its new place. UDP \
                 offers 98 % of a link a flow; latency beside TCP is that of probes. Bands are the range of the runs. {}",
                paper::MIGRATION
            ),
            charts: charts::fig7(figures),
            grids: vec![report::fig7(figures)],
        },
        Section {
            title: "TCP(a): the engine's share of the CPU",
            text: format!(
                "The paper gave dom0 a larger share, and TCP rose again. Here the engine is one group and four virtual \
                 routers are the other, on one core, by weight. {}.",
                cpushare::knees(figures).join("; ")
            ),
            charts: charts::cpushare(figures),
            grids: vec![report::cpushare(figures)],
        },
    ]
}
