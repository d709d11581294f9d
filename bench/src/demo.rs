//! Four virtual routers on this machine, traffic through them, and a live view of the engine at work.
//!
//! The demo is a testbed of the benchmark that a person looks at: the engine and its guests are real processes, the
//! traffic is real frames, the figures are the engine's own, asked for over its control socket as `pointsman show` does.

use std::io::IsTerminal;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use pointsman_dataplane::control::{GuestReport, PortReport, Reply, Request, Topic, WorkerReport, ask};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph, Row, Table};
use ratatui::{DefaultTerminal, Frame};

use crate::cpu::{self, Cores};
use crate::interrupt;
use crate::peers::{self, GuestKind, Path, Setup};
use crate::testbed::{self, Testbed};
use crate::traffic::{Load, Programs, Station, Trial};

/// Virtual routers of the demo.
const ROUTERS: usize = 4;
/// Each report is on the frames of one such span.
const WINDOW: Duration = Duration::from_millis(500);

/// What the user asks of the demo.
#[derive(Clone, Debug)]
pub struct Demo {
    /// The `pointsman` command: engine and guests are started from it.
    pub command: PathBuf,
    /// What the virtual routers are.
    pub guests: GuestKind,
    /// Frames a second to each router.
    pub rate: u32,
    /// Ends by itself after this; none: when the user has seen enough.
    pub duration: Option<Duration>,
}

/// What is on the screen.
struct Screen {
    guests: Vec<GuestReport>,
    workers: Vec<WorkerReport>,
    /// What one window's traffic met.
    trial: Trial,
    /// Since the report before this one.
    elapsed: Duration,
    guests_before: Vec<GuestReport>,
}

/// Builds everything, shows it until the user or a signal ends it, and leaves nothing behind.
///
/// # Errors
/// No root, no two cores, a device or a program that cannot be had.
pub fn demo(demo: &Demo) -> Result<()> {
    testbed::require_root()?;
    let cores = Cores::pick()?;
    interrupt::install();
    testbed::remove_stale()?;
    cpu::pin(0, cores.traffic).context("pinning the demo to its core")?;
    eprintln!(
        "four virtual routers ({}), {} frames of 64 bytes a second to each; Ctrl-C or q ends it",
        demo.guests.label(),
        demo.rate
    );
    let programs = Arc::new(Programs::load(peers::time_to_live(ROUTERS))?);
    let bed = Testbed::build(cores)?;
    let setup = Setup { routers: ROUTERS, link: None };
    let mut peer = peers::start(Path::Pointsman(demo.guests), setup, &bed, &programs, &demo.command)?;
    bed.announce()?;
    let from = (&bed.senders, bed.generator_device());
    let to = (&bed.receivers, bed.sink_device());
    let station = Station::new(Arc::clone(&programs), (from.0, &from.1), (to.0, &to.1), cores)?;
    let flows = peers::flows(ROUTERS);
    station.await_path(&flows, Duration::from_secs(10), || peer.check())?;

    let rate = f64::from(demo.rate) * ROUTERS as f64;
    let load = Load { flows, length: 60, rate, warm_up: Duration::ZERO, window: WINDOW };
    let control = bed.folder.path().join("control.sock");
    let end = demo.duration.map(|span| Instant::now() + span);
    let shown = if std::io::stdout().is_terminal() {
        let mut terminal = ratatui::try_init().context("taking over the terminal")?;
        let shown = watch(&station, &load, &control, end, |screen| draw(&mut terminal, screen));
        ratatui::try_restore().context("giving the terminal back")?;
        shown
    } else {
        watch(&station, &load, &control, end, |screen| {
            print(screen);
            Ok(true)
        })
    };
    peer.check()?;
    match shown {
        // Ctrl-C is how a demo ends.
        Err(_) if interrupt::check().is_err() => Ok(()),
        other => other,
    }
}

/// Sends window after window and hands what came of it to `show`, until that says enough.
fn watch(
    station: &Station<'_>,
    load: &Load,
    control: &FilePath,
    end: Option<Instant>,
    mut show: impl FnMut(&Screen) -> Result<bool>,
) -> Result<()> {
    let (mut guests_before, _) = report(control)?;
    let mut before = Instant::now();
    while end.is_none_or(|end| Instant::now() < end) {
        let trial = station.run(load)?;
        let (guests, workers) = report(control)?;
        let elapsed = before.elapsed();
        before = Instant::now();
        let screen = Screen { guests: guests.clone(), workers, trial, elapsed, guests_before };
        if !show(&screen)? {
            return Ok(());
        }
        guests_before = guests;
    }
    Ok(())
}

fn report(control: &FilePath) -> Result<(Vec<GuestReport>, Vec<WorkerReport>)> {
    match (ask(control, Request::Show(Topic::Guests))?, ask(control, Request::Show(Topic::Workers))?) {
        (Reply::Guests(guests), Reply::Workers(workers)) => Ok((guests, workers)),
        (other, _) => bail!("the engine answered {other:?}"),
    }
}

/// Frames a second to and from a guest's port, and what it lost so far.
fn rates(screen: &Screen) -> Vec<[String; 6]> {
    let before =
        |name: &str| screen.guests_before.iter().flat_map(|g| &g.ports).map(|p| &p.port).find(|p| p.name == name);
    let rate = |now: u64, then: u64| format!("{:.0}", (now - then.min(now)) as f64 / screen.elapsed.as_secs_f64());
    let row = |guest: &GuestReport, port: &PortReport| {
        let zero = PortReport::default();
        let then = before(&port.name).unwrap_or(&zero);
        [
            guest.name.clone(),
            port.name.clone(),
            if port.up { "up" } else { "down" }.into(),
            rate(port.tx_frames, then.tx_frames),
            rate(port.rx_frames, then.rx_frames),
            port.drops.values().sum::<u64>().to_string(),
        ]
    };
    screen.guests.iter().flat_map(|g| g.ports.iter().map(move |p| (g, &p.port))).map(|(g, p)| row(g, p)).collect()
}

fn summary(screen: &Screen) -> String {
    let Screen { trial, workers, .. } = screen;
    let frames: u64 = workers.iter().map(|w| w.frames).sum();
    let breaths: u64 = workers.iter().map(|w| w.busy_breaths).sum();
    format!(
        "offered {:.0} frames/s, arrived {:.0}, lost {:.3} %; host under test {:.0} % of a core; {:.1} frames a breath",
        trial.offered_pps(),
        trial.delivered_pps(),
        trial.loss() * 100.0,
        trial.cpu * 100.0,
        frames as f64 / breaths.max(1) as f64,
    )
}

/// Draws one screen; whether the user wants another.
fn draw(terminal: &mut DefaultTerminal, screen: &Screen) -> Result<bool> {
    terminal.draw(|frame| render(frame, screen)).context("drawing")?;
    while event::poll(Duration::ZERO)? {
        if let Event::Key(key) = event::read()? {
            let interrupted = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
            if interrupted || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn render(frame: &mut Frame<'_>, screen: &Screen) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(3), Constraint::Min(0), Constraint::Length(1)]).areas(frame.area());
    let title =
        Block::bordered().title(" pointsman demo: senders > engine > four virtual routers > engine > receivers ");
    frame.render_widget(Paragraph::new(summary(screen)).block(title), head);
    let widths = [8, 10, 6, 16, 16, 10].map(Constraint::Length);
    let names = ["guest", "port", "state", "to it, frames/s", "from it", "lost"];
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let table = Table::new(rates(screen).into_iter().map(Row::new), widths).header(Row::new(names).style(bold));
    frame.render_widget(table, body);
    frame.render_widget(Line::from("q or Ctrl-C ends the demo and removes everything"), foot);
}

fn print(screen: &Screen) {
    println!("{}", summary(screen));
    for [guest, port, state, to, from, lost] in rates(screen) {
        println!("  {guest} {port} {state}: {to} frames/s to it, {from} from it, {lost} lost");
    }
}
