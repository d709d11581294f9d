//! `bench cpushare --xen`: the paper's series "TCP(a)" where it was measured. dom0 with the backend and four guests that route
//! are domains, and Xen's scheduler, credit2, divides the processors among them by weight.
//!
//! dom0's share is its part of all weights; the guests have equal parts of the rest. A weight only counts where there is not
//! enough for all, and here there is not: frames are offered faster than they can come through.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::load::Blast;
use super::{Contender, GUESTS, behind, boot, with_guests};
use crate::cpushare::{Curves, Sample, tell};
use crate::figures::FrameSize;
use crate::interrupt;
use crate::process::run;
use crate::report::{self, Figure};
use crate::run::{Item, Options, Shortfalls, take_turns};
use crate::tcp::{self, Received};
use crate::xenlab::{Backend, Domain, Machine, Network, received};

/// All weights together. Xen takes 1 to 65535 a domain.
const WHOLE: u32 = 5_120;

/// What the lab gives dom0 as it boots (tests/xen/dom0/init).
const DOM0: u32 = 2_048;

/// Until a flood has filled what can be filled.
const RAMP: Duration = Duration::from_millis(700);

#[derive(Debug)]
struct Arrangement {
    contender: Contender,
    curves: Curves,
}

impl Item for Arrangement {
    fn name(&self) -> String {
        format!("CPU shares on Xen: {}", self.contender.label())
    }

    fn failed(&mut self, why: &str) {
        self.curves.note = Some(why.to_owned());
    }
}

/// Runs it, prints it, writes it.
///
/// # Errors
/// Not root, no image, a signal came, or a measurement failed; then the others are still printed.
pub fn xen_cpushare(options: &Options) -> Result<()> {
    let (machine, host, ours) = boot(&options.command)?;
    let mut shortfalls = Shortfalls::default();
    let mut items = [Backend::Netback, ours].map(|backend| Arrangement {
        curves: Curves::new(backend.label(), "domU", GUESTS.into(), "credit2"),
        contender: Contender { backend, agent: false },
    });
    let turns = if options.quick { 1 } else { 5 };
    take_turns(turns, &mut items, &mut shortfalls, |item, _| item.measure(&machine, options.quick))?;
    let figures: Vec<Figure> = items.iter().flat_map(|item| item.curves.figures(options.quick)).collect();
    tell(&figures);
    println!("Emulated, one instruction after the other: these figures compare with each other and with nothing else.");
    if let Some(path) = &options.json {
        report::write(path, &host, &figures)?;
    }
    shortfalls.conclude()
}

impl Arrangement {
    /// Brings all up and goes through all shares.
    fn measure(&mut self, machine: &Machine, quick: bool) -> Result<()> {
        let order = self.curves.next_turn(quick);
        let seconds = if quick { 2 } else { 3 };
        let samples = with_guests(machine, &self.contender, |guests| {
            let samples = go_through(machine, guests, order, seconds);
            // As it was, for whoever boots next, also when that failed.
            machine.run(&format!("xl sched-credit2 -d Domain-0 -w {DOM0}"))?;
            samples
        })?;
        self.curves.samples.extend(samples);
        Ok(())
    }
}

/// UDP and TCP at each share.
fn go_through(machine: &Machine, guests: &[Domain], shares: Vec<u32>, seconds: u64) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for share in shares {
        weigh(machine, guests, share)?;
        let (total, loss) = udp(Duration::from_secs(seconds))?;
        samples.push(Sample { tcp: false, share, total, loss });
        let (total, loss) = tcp(guests, seconds)?;
        samples.push(Sample { tcp: true, share, total, loss });
    }
    Ok(samples)
}

/// Gives dom0 so many percent of all weights, and the guests equal parts of the rest.
fn weigh(machine: &Machine, guests: &[Domain], share: u32) -> Result<()> {
    let (dom0, guest) = weights(share, guests.len() as u32);
    let mut script = format!("xl sched-credit2 -d Domain-0 -w {dom0}");
    for Domain { name, .. } in guests {
        script += &format!(" && xl sched-credit2 -d {name} -w {guest}");
    }
    machine.run(&script).with_context(|| format!("weights for a share of {share} %"))?;
    Ok(())
}

/// dom0's weight, and that of each guest.
const fn weights(share: u32, guests: u32) -> (u32, u32) {
    (WHOLE * share / 100, WHOLE * (100 - share) / 100 / guests)
}

/// Frames of 64 bytes through all four: a second, and which part is lost.
fn udp(window: Duration) -> Result<(f64, f64)> {
    let blast = Blast::start(&behind(GUESTS.into()), FrameSize::B64)?;
    let counted = interrupt::sleep(RAMP).and_then(|()| {
        let (begin, before, offered) = (Instant::now(), received(Network::Out.name())?, blast.sent());
        interrupt::sleep(window)?;
        let arrived = (received(Network::Out.name())? - before) as f64;
        let offered = (blast.sent() - offered) as f64;
        Ok((arrived / begin.elapsed().as_secs_f64(), (1.0 - arrived / offered).max(0.0)))
    });
    blast.stop();
    counted
}

/// A connection to each guest at once: Mbit/s of all, and the part that was sent again.
fn tcp(guests: &[Domain], seconds: u64) -> Result<(f64, f64)> {
    let servers: Vec<(String, u16)> =
        guests.iter().map(|guest| Ok((guest.address(), guest.serve_iperf3()?))).collect::<Result<_>>()?;
    let client = |(address, port): &(String, u16)| -> Result<Received> {
        let (port, seconds) = (port.to_string(), seconds.to_string());
        tcp::received(&run("iperf3", &["-J", "-c", address, "-p", &port, "-t", &seconds])?)
    };
    let all: Vec<Received> = std::thread::scope(|scope| {
        let clients: Vec<_> = servers.iter().map(|server| scope.spawn(move || client(server))).collect();
        clients.into_iter().map(|c| c.join().map_err(|_| anyhow!("a client's thread died"))?).collect::<Result<_>>()
    })?;
    let repeated = all.iter().map(|r| r.repeated).sum::<f64>() / all.len() as f64;
    Ok((all.iter().map(|r| r.megabits).sum(), repeated))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_parts_of_one_whole_and_xen_takes_them() {
        for share in [10, 20, 35, 50, 65, 80, 90] {
            let (dom0, guest) = weights(share, 4);
            assert!(
                guest >= 1 && dom0 + 4 * guest <= WHOLE && WHOLE - (dom0 + 4 * guest) < 4,
                "{share}: {dom0} {guest}"
            );
            assert_eq!(dom0 * 100 / WHOLE, share);
        }
    }
}
