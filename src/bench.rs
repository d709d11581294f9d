//! `pointsman bench`: the paper's tables with today's figures, beside other forwarders in the same run.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand, ValueEnum};
use pointsman_bench::{
    BACKEND_NAMES, MOBILE_NAMES, Options, PATH_NAMES, Pin, ROUTE_NAMES, XenOptions, cpushare, evaluation, fig5, fig7,
    memif, netdev, route, table1, table2, xen, xen_cpushare,
};

/// Measure Pointsman beside other forwarders, in the same run.
#[derive(Debug, Args)]
pub struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The paper's Table I: loss and rate through 1, 2, 4 and 8 virtual routers
    Table1(Table1),
    /// The paper's whole evaluation, as one HTML page with the paper's figures beside today's (up to 30 minutes)
    Paper(Paper),
    /// The paper's Table II: latency through one router, the others idle or stressed by TCP
    Table2(Selected),
    /// The paper's Figure 5: what UDP and TCP reach through 1, 2, 4 and 8 virtual routers
    Fig5(Selected),
    /// The paper's Figure 7: what flows see of a router that moves to another host
    Fig7(Fig7),
    /// Throughput over the share of the CPU that the engine has beside its virtual routers: the paper's TCP(a) as a curve
    Cpushare(Cpushare),
    /// Frames that circulate between two processes over memif, beside DPDK's testpmd
    Memif(Common),
    /// Device to device, beside Linux bridge, in-kernel XDP redirect and testpmd
    Netdev(Common),
    /// Routing from device to device with 1, 1,000 and 1,000,000 routes: VRFs beside Linux and XDP
    Route(Route),
    /// Backends of real Xen on an emulated machine: kernel netback and bridge beside Pointsman (run tests/xen/build.sh first)
    Xen(Xen),
}

#[derive(Debug, Args)]
struct Xen {
    /// Only these backends, so that one can be tuned or profiled
    #[arg(long, value_name = "BACKEND", value_delimiter = ',', value_parser = PossibleValuesParser::new(BACKEND_NAMES))]
    only: Vec<String>,
    /// Turns of each backend: figures are medians over them
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=50))]
    turns: u8,
    /// Seconds that each rate is measured
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=60))]
    window: u8,
    /// Write the rows to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Common {
    /// End within 90 seconds, with fewer repeats and shorter windows
    #[arg(long)]
    quick: bool,
    /// Install the peers that are missing first (apt-get)
    #[arg(long)]
    install_peers: bool,
    /// Write the rows to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Route {
    #[command(flatten)]
    common: Common,
    /// Only these paths, so that one can be tuned or profiled
    #[arg(long, value_name = "PATH", value_delimiter = ',', value_parser = PossibleValuesParser::new(ROUTE_NAMES))]
    only: Vec<String>,
    /// Only these numbers of routes: 1, 1000, 1000000
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = PossibleValuesParser::new(["1", "1000", "1000000"]))]
    routes: Vec<String>,
}

#[derive(Debug, Args)]
struct Selected {
    #[command(flatten)]
    common: Common,
    /// Only these paths, so that one can be tuned or profiled
    #[arg(long, value_name = "PATH", value_delimiter = ',', value_parser = PossibleValuesParser::new(PATH_NAMES))]
    only: Vec<String>,
    /// Numbers of virtual routers, 1 to 8 (the paper's: 1,2,4,8)
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u8).range(1..=8))]
    routers: Vec<u8>,
}

#[derive(Debug, Args)]
struct Fig7 {
    #[command(flatten)]
    common: Common,
    /// Only these paths
    #[arg(long, value_name = "PATH", value_delimiter = ',', value_parser = PossibleValuesParser::new(MOBILE_NAMES))]
    only: Vec<String>,
    /// Write plots over time (SVG) to this folder
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Paper {
    /// End within 4 minutes, with one run of everything
    #[arg(long)]
    quick: bool,
    /// Install the peers that are missing first (apt-get)
    #[arg(long)]
    install_peers: bool,
    /// Write paper.html, paper.json and paper.csv to this folder
    #[arg(long, value_name = "FOLDER", default_value = "paper")]
    folder: PathBuf,
}

#[derive(Debug, Args)]
struct Cpushare {
    #[command(flatten)]
    common: Common,
    /// Where engine and virtual routers run; both ways if it is not said
    #[arg(long, value_enum)]
    pin: Option<Place>,
    /// On emulated Xen instead, by the scheduler's weights of dom0 and guests (run tests/xen/build.sh first; half an
    /// hour, with --quick 7 minutes)
    #[arg(long, conflicts_with_all = ["pin", "install_peers"])]
    xen: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Place {
    /// On one core, which they share by weight
    Same,
    /// Each on a core of its own, of which it may use a part
    Two,
}

#[derive(Debug, Args)]
struct Table1 {
    #[command(flatten)]
    selected: Selected,
    /// Write a plot of each table (SVG) to this folder
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    plots: PathBuf,
}

impl Bench {
    pub fn run(&self) -> anyhow::Result<()> {
        match &self.what {
            What::Table1(wanted) => table1(&wanted.selected.options(Some(wanted.plots.clone()))?),
            What::Paper(wanted) => {
                let options = Options {
                    command: this_command()?,
                    quick: wanted.quick,
                    install_peers: wanted.install_peers,
                    only: Vec::new(),
                    routers: Vec::new(),
                    json: None,
                    plots: None,
                };
                evaluation(&options, &wanted.folder)
            }
            What::Table2(wanted) => table2(&wanted.options(None)?),
            What::Fig5(wanted) => fig5(&wanted.options(None)?),
            What::Fig7(wanted) => {
                fig7(&Options { only: wanted.only.clone(), ..wanted.common.options(wanted.plots.clone())? })
            }
            What::Cpushare(wanted) if wanted.xen => xen_cpushare(&wanted.common.options(None)?),
            What::Cpushare(wanted) => {
                let pins: &[Pin] = match wanted.pin {
                    Some(Place::Same) => &[Pin::Same],
                    Some(Place::Two) => &[Pin::Two],
                    None => &[Pin::Same, Pin::Two],
                };
                cpushare(&wanted.common.options(None)?, pins)
            }
            What::Memif(common) => memif(&common.options(None)?),
            What::Netdev(common) => netdev(&common.options(None)?),
            What::Route(wanted) => {
                let sizes: Vec<usize> = wanted.routes.iter().filter_map(|n| n.parse().ok()).collect();
                route(&Options { only: wanted.only.clone(), ..wanted.common.options(None)? }, &sizes)
            }
            What::Xen(wanted) => xen(&XenOptions {
                command: this_command()?,
                only: wanted.only.clone(),
                turns: wanted.turns.into(),
                window: Duration::from_secs(wanted.window.into()),
                json: wanted.json.clone(),
            }),
        }
    }
}

impl Common {
    fn options(&self, plots: Option<PathBuf>) -> anyhow::Result<Options> {
        Ok(Options {
            command: this_command()?,
            quick: self.quick,
            install_peers: self.install_peers,
            only: Vec::new(),
            routers: Vec::new(),
            json: self.json.clone(),
            plots,
        })
    }
}

impl Selected {
    fn options(&self, plots: Option<PathBuf>) -> anyhow::Result<Options> {
        let options = self.common.options(plots)?;
        Ok(Options { only: self.only.clone(), routers: self.routers.iter().map(|&n| n.into()).collect(), ..options })
    }
}

/// The contender is what runs.
fn this_command() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("finding the pointsman command itself")
}
