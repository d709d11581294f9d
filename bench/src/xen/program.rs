//! What a program on a guest's ring does, in place of the guest's Linux: `guest router` takes and routes, `guest source` sends.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::load::{arriving_here, offered};
use super::{Figure, ROUTING, routed};
use crate::figures::FrameSize;
use crate::interrupt;
use crate::process::run;
use crate::xenlab::{Domain, Machine, Network, PATIENCE, received};

/// How much longer a source sends than is counted: counting begins late, as it waits for what arrives.
const SPARE: Duration = Duration::from_secs(6);

fn figure(what: &str, frame: FrameSize, value: f64) -> Figure {
    let what = format!("{what}, {} B", frame.label());
    Figure { backend: "pointsman xen-ring", what, unit: "frames/s", value }
}

/// Everything, once. All guests are routers afterwards, and have no shell.
pub(super) fn measure(machine: &Machine, guests: &[Domain], window: Duration) -> Result<Vec<Figure>> {
    let (first, sender) = (&guests[0], &guests[2]);
    become_router(first)?;
    let mut figures = Vec::new();
    for frame in FrameSize::BOTH {
        let to = offered(&[first.address()], frame, || {
            interrupt::sleep(Duration::from_millis(700))?;
            handed(machine, first, window)
        })?;
        figures.push(figure("to a guest", frame, to));
        let gateway = Network::Lan.address(1);
        let from = sending(
            sender,
            &gateway,
            frame,
            window,
            || received(Network::Lan.name()),
            || arriving_here(Network::Lan, window),
        );
        figures.push(figure("from a guest", frame, from?));
        let so_far = || Ok(look(machine, first)?.0);
        let between = sending(sender, &first.address(), frame, window, so_far, || handed(machine, first, window));
        figures.push(figure("guest to guest", frame, between?));
    }
    guests[1..].iter().try_for_each(become_router)?;
    for frame in FrameSize::BOTH {
        for routing in ROUTING {
            figures.push(figure(&format!("routed, each of {routing}"), frame, routed(routing, frame, window)?));
        }
    }
    Ok(figures)
}

/// What dom0 runs to tell a guest's frames: ports, a line, and its clock.
const LOOK: &str = "pointsman show ports --json | tr -d '\\n'; echo; cut -d' ' -f1 /proc/uptime";

/// Frames that the engine handed to a guest's first vif so far, and when that was, seconds. Nothing in a guest's router counts
/// frames that are for nobody, but it is never handed more than it has taken.
fn look(machine: &Machine, guest: &Domain) -> Result<(u64, f64)> {
    let said = machine.dom0().run(LOOK, PATIENCE)?;
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let [ports, at] = lines[..] else { bail!("a look at the ports: {said}") };
    Ok((handed_to(ports, &guest.name)?, at.trim().parse()?))
}

/// Frames a second that the engine hands to a guest's first vif, from now on.
fn handed(machine: &Machine, guest: &Domain, window: Duration) -> Result<f64> {
    let (before, from) = look(machine, guest)?;
    interrupt::sleep(window)?;
    let (after, to) = look(machine, guest)?;
    Ok((after - before) as f64 / (to - from))
}

/// Frames that left by a guest's first vif, of what `show ports --json` said.
fn handed_to(ports: &str, guest: &str) -> Result<u64> {
    let ports: Vec<serde_json::Value> = serde_json::from_str(ports).context("what the engine says of its ports")?;
    let first = |port: &&serde_json::Value| {
        port["guest"] == guest && port["name"].as_str().is_some_and(|name| name.ends_with(".0"))
    };
    let port = ports.iter().find(first).with_context(|| format!("the engine has no vif of {guest}"))?;
    port["tx_frames"].as_u64().context("the engine counts no frames")
}

/// In a guest, `program` takes the agent's place once this connection is gone: there is no shell without the agent.
fn in_place_of_the_agent(guest: &Domain, program: &str) -> Result<()> {
    let wait = "while [ -e /proc/$(cat /run/agent.pid) ]; do usleep 100000; done";
    let script = format!("sleep 1; kill $(cat /run/agent.pid); {wait}; {program}");
    guest.run(&format!("setsid sh -c '{script}' > /tmp/program.log 2>&1 < /dev/null &")).map(drop)
}

/// Our router takes a guest's vifs. It has no shell.
fn become_router(guest: &Domain) -> Result<()> {
    let [left, right] = [Network::Lan, Network::Out].map(|network| network.address(guest.vifs[0].host));
    let via = Network::Out.address(1);
    in_place_of_the_agent(
        guest,
        &format!(
            "exec pointsman guest router --xen --port vif:0,address={left}/24 --port vif:1,address={right}/24 \
             --route 10.7.0.0/16,via={via}"
        ),
    )?;
    interrupt::sleep(Duration::from_secs(2))?;
    interrupt::wait_for(&format!("an answer from {}'s router", guest.name), PATIENCE, || {
        Ok(run("ping", &["-q", "-c", "1", "-w", "2", &left]).is_ok())
    })
}

/// Our source sends from a guest's first vif, and is counted as soon as more than a stray frame arrives. The guest's Linux is
/// back afterwards.
fn sending(
    guest: &Domain,
    to: &str,
    frame: FrameSize,
    window: Duration,
    arrived: impl Fn() -> Result<u64>,
    count: impl FnOnce() -> Result<f64>,
) -> Result<f64> {
    let (address, seconds) = (guest.address(), (window + SPARE).as_secs());
    // Sizes are those on a cable, with the checksum of frames.
    let size = frame.in_memory() + 4;
    let source = format!(
        "pointsman guest source --xen --port vif:0,address={address}/24 --to {to} --size {size} --seconds {seconds}"
    );
    in_place_of_the_agent(guest, &format!("{source}; sh /run/agent & echo $! > /run/agent.pid"))?;
    let before = arrived()?;
    interrupt::wait_for(&format!("frames from {}'s source", guest.name), PATIENCE, || Ok(arrived()? > before + 1000))?;
    let counted = count()?;
    guest.await_shell()?;
    Ok(counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_the_guests_first_vif_are_found() {
        let ports = r#"[{"name":"eth0","guest":null,"tx_frames":9},{"name":"vif3.1","guest":"r1","tx_frames":8},
            {"name":"vif3.0","guest":"r1","tx_frames":7},{"name":"vif4.0","guest":"r2","tx_frames":6}]"#;
        assert_eq!(handed_to(ports, "r1").unwrap(), 7);
        assert!(handed_to(ports, "r3").unwrap_err().to_string().contains("r3"));
    }
}
