//! What people do to guests, one function each.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use pointsman_bench::interrupt;
use pointsman_bench::xenlab::{Backend, Domain, Kind, Network, Vif};

use crate::lab::{Flow, Lab, ping, silent};
use crate::tagged;

/// One of the list.
pub struct Check {
    /// What is checked.
    pub name: &'static str,
    /// Does it.
    pub check: fn(&mut Lab) -> Result<Outcome>,
}

/// What a check that did not fail says.
pub enum Outcome {
    /// It passed; what else is worth telling.
    Passed(String),
    /// This backend has nothing that could be checked.
    NotOf(&'static str),
}

/// In this order. Each leaves the three guests as it found them.
pub const CHECKS: &[Check] = &[
    Check { name: "guests and the world reach each other", check: reach },
    Check { name: "TCP", check: tcp },
    Check { name: "UDP", check: udp },
    Check { name: "jumbo frames", check: jumbo },
    Check { name: "VLAN tags", check: vlan },
    Check { name: "xl network-detach, network-attach", check: detach_and_attach },
    Check { name: "xl destroy", check: destroy },
    Check { name: "kill -9 and take-over under traffic", check: take_over },
    Check { name: "the engine is dead: xl destroy", check: destroy_while_dead },
    Check { name: "rings of a guest's agent", check: rings },
    Check { name: "xl save, xl restore", check: save_and_restore },
    Check { name: "live migration to localhost", check: migrate },
    Check { name: "back to netback", check: back_to_netback },
];

fn passed() -> Result<Outcome> {
    Ok(Outcome::Passed(String::new()))
}

/// Every guest from here and from every other one.
fn reach(lab: &mut Lab) -> Result<Outcome> {
    for guest in lab.guests() {
        ping(&guest.address(), 5, "")?;
        for other in lab.guests() {
            guest.run(&format!("ping -q -c 3 -W 5 {}", other.address()))?;
        }
    }
    passed()
}

/// To a guest, from one, and between two.
fn tcp(lab: &mut Lab) -> Result<Outcome> {
    let ways = [("to", None, "-t 3"), ("from", None, "-t 3 --reverse"), ("between", Some(&lab.u2), "-t 3")];
    let mut notes = Vec::new();
    for guest in [&lab.u1, &lab.p1] {
        for (way, from, arguments) in ways {
            let report = Flow::start(from, guest, arguments)?.finish()?;
            let bits = report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap_or(0.0);
            ensure!(bits > 0.0, "{way} {}: nothing arrived: {}", guest.name, report["end"]);
            notes.push(format!("{way} {} {:.0}", guest.name, bits / 1e6));
        }
    }
    Ok(Outcome::Passed(format!("Mbit/s: {}", notes.join(", "))))
}

/// At a rate that emulation can do, so that what is lost is somebody's fault.
fn udp(lab: &mut Lab) -> Result<Outcome> {
    let mut notes = Vec::new();
    for (way, from, arguments) in [("to", None, ""), ("from", None, "--reverse"), ("between", Some(&lab.u2), "")] {
        let arguments = format!("-u -b 1M -l 1400 -t 3 {arguments}");
        let report = Flow::start(from, &lab.u1, &arguments)?.finish()?;
        let end = &report["end"]["sum"];
        let (sent, lost) = (end["packets"].as_f64().unwrap_or(0.0), end["lost_packets"].as_f64().unwrap_or(f64::MAX));
        ensure!(sent > 100.0, "{way}: {sent} datagrams only: {end}");
        ensure!(lost <= 0.02 * sent, "{way}: {lost} of {sent} datagrams were lost");
        notes.push(format!("{way}: {lost} of {sent} lost"));
    }
    Ok(Outcome::Passed(notes.join(", ")))
}

/// Frames of 9000 bytes of IP; in one piece, which the receiver's counter shows.
fn jumbo(lab: &mut Lab) -> Result<Outcome> {
    const COUNT: u64 = 20;
    let frames = |guest: &Domain| -> Result<u64> {
        Ok(guest.run("cat /sys/class/net/eth0/statistics/rx_packets")?.trim().parse()?)
    };
    for guest in [&lab.u1, &lab.p1] {
        guest.run("ip link set eth0 mtu 9000")?;
    }
    let before = frames(&lab.p1)?;
    lab.u1.run(&format!("ping -q -c {COUNT} -i 0.1 -W 5 -s 8900 {} | grep ' 0% packet loss'", lab.p1.address()))?;
    let received = frames(&lab.p1)? - before;
    // Those of our shell are among them; in pieces of 1500 it would be six times as many.
    ensure!((COUNT..4 * COUNT).contains(&received), "{COUNT} echo requests came in {received} frames");
    // To the world: AF_XDP takes frames of several chunks from kernel 6.6 on, and dom0's is 6.1.
    let note = match lab.backend {
        Backend::Netback => {
            ping(&lab.u1.address(), 5, "-s 8900 -M do")?;
            "also beyond the NIC"
        }
        Backend::Pointsman(_) => "between guests; beyond the NIC, dom0's kernel is too old for them",
    };
    for guest in [&lab.u1, &lab.p1] {
        guest.run("ip link set eth0 mtu 1500")?;
    }
    Ok(Outcome::Passed(note.into()))
}

/// Guests in a VLAN reach each other and the world, which sees the tag. Behind the kernel's bridge the guest tags its
/// frames; Pointsman puts a second vif into the VLAN's bridge domain.
fn vlan(lab: &mut Lab) -> Result<Outcome> {
    let guests = [(&lab.u1, 21), (&lab.p1, 23)];
    for (guest, host) in guests {
        let device = match lab.backend {
            Backend::Netback => {
                guest.run("ip link add link eth0 name v10 type vlan id 10")?;
                "v10"
            }
            Backend::Pointsman(_) => {
                let vif = Vif { vlan: Some(10), ..Vif::lan(host) };
                let specification = vif.specification(&lab.backend).replace(',', " ");
                lab.xl(&format!("network-attach {} {specification}", guest.name))?;
                guest.run(
                    "n=0; until [ -e /sys/class/net/eth1 ] || [ $n -gt 100 ]; do n=$((n+1)); usleep 100000; done",
                )?;
                "eth1"
            }
        };
        guest.run(&format!("ip addr add 10.7.0.{host}/24 dev {device} && ip link set {device} up"))?;
    }
    lab.u1.run("n=0; until ping -q -c 1 -W 1 10.7.0.23; do n=$((n+1)); [ $n -lt 20 ] || exit 1; done")?;
    lab.u1.run("ping -q -c 5 -W 5 10.7.0.23")?;
    tagged::ask(Network::Lan.name(), 10, [10, 7, 0, 1], [10, 7, 0, 21])?;
    for (guest, _) in guests {
        match lab.backend {
            Backend::Netback => drop(guest.run("ip link del v10")?),
            Backend::Pointsman(_) => drop(lab.xl(&format!("network-detach {} 1", guest.name))?),
        }
    }
    passed()
}

/// Twice: the second time shows what the first left behind.
fn detach_and_attach(lab: &mut Lab) -> Result<Outcome> {
    let mut longest = Duration::ZERO;
    for _ in 0..2 {
        let start = Instant::now();
        lab.xl("network-detach u2 0")?;
        longest = longest.max(start.elapsed());
        let left = lab.machine.run("xenstore-list /local/domain/0/backend/vif/$(xl domid u2) 2>/dev/null | wc -l")?;
        ensure!(left.trim() == "0", "the backend's part of the store is still there");
        ensure!(silent(&lab.u2.address()), "u2 answers without a network");
        lab.u1.run(&format!("ping -q -c 2 -W 5 {}", lab.p1.address())).context("its neighbours")?;
        lab.xl(&format!("network-attach u2 {}", lab.u2.vifs[0].specification(&lab.backend).replace(',', " ")))?;
        lab.u2.await_shell()?;
    }
    Ok(Outcome::Passed(format!("detached in {:.1} s", longest.as_secs_f64())))
}

/// A fourth guest comes and is destroyed; nothing of it stays.
fn destroy(lab: &mut Lab) -> Result<Outcome> {
    let p2 = Domain::new("p2", Kind::Pvh, 14);
    p2.create(&lab.machine, &lab.backend)?;
    let number = lab.number("p2")?;
    let start = Instant::now();
    lab.xl("destroy p2")?;
    let took = start.elapsed();
    lab.assert_gone("p2", number)?;
    ping(&lab.u1.address(), 3, "")?;
    Ok(Outcome::Passed(format!("in {:.1} s", took.as_secs_f64())))
}

/// Connections to two guests carry data while the engine is killed and comes back, twice; afterwards all reach each other.
fn take_over(lab: &mut Lab) -> Result<Outcome> {
    if !lab.backend.is_process() {
        return Ok(Outcome::NotOf("the kernel's backend is no process"));
    }
    let held = [(&lab.u1, lab.hold(&lab.u1)?), (&lab.u2, lab.hold(&lab.u2)?)];
    for _ in 0..2 {
        interrupt::sleep(Duration::from_secs(2))?;
        lab.backend.kill(&lab.machine)?;
        interrupt::sleep(Duration::from_millis(500))?;
        lab.backend.revive(&lab.machine)?;
    }
    let mut lines = 0;
    for (guest, held) in held {
        guest.await_shell()?;
        lines += lab.released(guest, held).with_context(|| guest.name.clone())?;
    }
    reach(lab)?;
    Ok(Outcome::Passed(format!("two connections carried {lines} lines")))
}

/// The toolstack gives up waiting after ten seconds; the guest must be gone then, and the others be served again.
fn destroy_while_dead(lab: &mut Lab) -> Result<Outcome> {
    if !lab.backend.is_process() {
        return Ok(Outcome::NotOf("the kernel's backend is no process"));
    }
    let p2 = Domain::new("p2", Kind::Pvh, 14);
    p2.create(&lab.machine, &lab.backend)?;
    let number = lab.number("p2")?;
    lab.backend.kill(&lab.machine)?;
    let start = Instant::now();
    // It complains that no backend answered, and that is right.
    let said = lab.xl("destroy p2; true")?;
    let took = start.elapsed();
    ensure!(took < Duration::from_secs(45), "destroying took {took:?}: {said}");
    lab.assert_gone("p2", number)?;
    lab.backend.revive(&lab.machine)?;
    reach(lab)?;
    Ok(Outcome::Passed(format!("in {:.1} s", took.as_secs_f64())))
}

/// A guest whose vif is a ring: it reaches and is reached, its connection outlives the engine, and the engine its agent.
fn rings(lab: &mut Lab) -> Result<Outcome> {
    if !lab.backend.is_process() {
        return Ok(Outcome::NotOf("the kernel's backend knows no rings"));
    }
    let guest = Domain { agent: true, ..Domain::new("a1", Kind::Pv, 15) };
    guest.create(&lab.machine, &lab.backend)?;
    let number = lab.number("a1")?;
    let shown = lab.machine.run("pointsman show ports")?;
    let rings = shown.lines().find(|line| line.contains("rings of")).with_context(|| format!("no ring in\n{shown}"))?;
    let size = rings.split("rings of ").nth(1).and_then(|rest| rest.split(';').next()).unwrap_or_default().to_owned();
    ping(&guest.address(), 5, "")?;
    guest.run(&format!("ping -q -c 3 -W 5 {}", lab.u1.address()))?;
    let mut notes = vec![size];
    for (way, arguments) in [("to", "-t 3"), ("from", "-t 3 --reverse")] {
        let report = Flow::start(None, &guest, arguments)?.finish()?;
        let bits = report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap_or(0.0);
        ensure!(bits > 0.0, "{way} it: nothing arrived: {}", report["end"]);
        notes.push(format!("{way} it {:.0} Mbit/s", bits / 1e6));
    }
    let held = lab.hold(&guest)?;
    interrupt::sleep(Duration::from_secs(2))?;
    lab.backend.kill(&lab.machine)?;
    lab.backend.revive(&lab.machine)?;
    guest.await_shell()?;
    notes.push(format!("{} lines over the engine's death", lab.released(&guest, held)?));
    drop(guest.shell()?.start("sleep 1; kill -9 $(cat /run/agent.pid)")?);
    lab.machine.run(
        "n=0; while pointsman show ports | grep -q 'rings of'; do n=$((n+1)); [ $n -lt 100 ] || exit 1; usleep 100000; done",
    )
    .context("the agent's death is not noticed")?;
    lab.xl("destroy a1")?;
    lab.assert_gone("a1", number)?;
    Ok(Outcome::Passed(notes.join(", ")))
}

/// A connection from here to the guest outlives its time on disk.
fn save_and_restore(lab: &mut Lab) -> Result<Outcome> {
    let held = lab.hold(&lab.u1)?;
    let number = lab.number("u1")?;
    lab.xl("save u1 /tmp/u1.save")?;
    lab.assert_gone("u1", number)?;
    let start = Instant::now();
    lab.xl("restore /tmp/u1.save && rm /tmp/u1.save")?;
    lab.u1.await_shell()?;
    let took = start.elapsed();
    lab.released(&lab.u1, held)?;
    Ok(Outcome::Passed(format!("back in {:.1} s", took.as_secs_f64())))
}

/// A connection from here to the guest outlives its move. The new domain's vif is there before the old one's is gone.
///
/// QEMU 7.2's emulation of AMD's virtualisation now and then enters a guest with an address of the hypervisor's, which ends
/// as a triple fault of the guest, mostly on a busy machine and while its memory is tracked. Xen's log tells; such a guest is
/// started again and the move is tried again, and the note says so. Any other failure is ours.
fn migrate(lab: &mut Lab) -> Result<Outcome> {
    for broken in 0..3 {
        let before = triple_faults(lab)?;
        match migrate_once(lab) {
            Ok(took) if broken == 0 => return Ok(Outcome::Passed(format!("in {:.1} s", took.as_secs_f64()))),
            Ok(took) => {
                let note = format!("in {:.1} s; before, QEMU broke the guest {broken} times", took.as_secs_f64());
                return Ok(Outcome::Passed(note));
            }
            Err(why) if triple_faults(lab)? == before => return Err(why),
            Err(_) => {
                lab.xl("destroy p1; true")?;
                lab.p1.create(&lab.machine, &lab.backend)?;
            }
        }
    }
    bail!("QEMU broke the guest three times; a less busy machine may do better")
}

/// Guests that ended so, as Xen tells.
fn triple_faults(lab: &Lab) -> Result<u32> {
    let said = lab.xl("dmesg | grep -c 'Triple fault'; true")?;
    said.trim().parse().with_context(|| format!("xl dmesg: {said}"))
}

fn migrate_once(lab: &Lab) -> Result<Duration> {
    let held = lab.hold(&lab.p1)?;
    let number = lab.number("p1")?;
    let start = Instant::now();
    lab.xl("migrate -s /usr/bin/receive-here p1 localhost")?;
    let took = start.elapsed();
    lab.p1.await_shell()?;
    lab.released(&lab.p1, held)?;
    let now = lab.number("p1")?;
    ensure!(now != number, "p1 is still domain {number}: it did not move");
    lab.assert_gone("p1--incoming", number)?;
    Ok(took)
}

/// The last one: a host that goes back to the kernel's backend, as docs/xen-dom0.md tells. Also, our hotplug script
/// refuses a vif that the kernel has taken.
fn back_to_netback(lab: &mut Lab) -> Result<Outcome> {
    for guest in lab.guests() {
        lab.xl(&format!("destroy {}", guest.name))?;
    }
    lab.backend.stop(&lab.machine)?;
    let ours = std::mem::replace(&mut lab.backend, Backend::Netback);
    lab.backend.start(&lab.machine)?;
    let start = Instant::now();
    match lab.u1.create_only(&lab.machine, &Backend::Pointsman("pointsman".into())) {
        Ok(()) => bail!("xl created a guest with vif-pointsman while xen-netback served its vif"),
        Err(why) => ensure!(start.elapsed() < Duration::from_secs(60), "refusing took too long: {why:#}"),
    }
    let log = lab.machine.run("cat /var/log/xen/xen-hotplug.log /tmp/u1.create.log 2> /dev/null || true")?;
    ensure!(log.contains("xen-netback serves"), "the reason is not told: {log}");
    lab.u1.create(&lab.machine, &lab.backend)?;
    ping(&lab.u1.address(), 3, "")?;
    lab.xl("destroy u1")?;
    lab.backend.stop(&lab.machine)?;
    lab.backend = ours;
    passed()
}
