//! Linux: a bridge for each side and, between them, a router in a namespace for every virtual router. It is the paper's
//! path 1 with namespaces instead of Xen guests, which favours Linux: no hypervisor lies between router and bridge.
//!
//! The bridges know the routers' addresses from the beginning, do not consult iptables (see `Namespace::create`), and run
//! no spanning tree.

use std::fmt::Write as _;

use anyhow::{Result, bail};

use super::{Peer, Routed, Setup};
use crate::addresses::{PREFIX, SINK_MAC, router_in_ip, router_in_mac, router_out_ip, router_out_mac};
use crate::routes::RouteTo;
use crate::testbed::{Namespace, Testbed};

/// Bridges and routers.
#[derive(Debug)]
pub(super) struct Bridges {
    _routers: Vec<Namespace>,
}

impl Bridges {
    pub(super) fn start(setup: Setup, bed: &Testbed) -> Result<Self> {
        receive_first(bed)?;
        let (input, output) = (bed.in_device(), bed.out_device());
        let mut routers = Vec::new();
        if setup.routers == 0 {
            bed.host.ip(&format!(
                "link add bridge type bridge\nlink set {input} master bridge\nlink set {output} master bridge\n\
                 link set bridge up\n"
            ))?;
            bed.host.shell(&format!("bridge fdb replace {SINK_MAC} dev {output} master static\n"))?;
        } else {
            bridges(&bed.host, (&input, &output))?;
            for i in 0..setup.routers {
                let namespace = bed.namespace(&format!("r{i}"))?;
                router(i, &namespace, &bed.host)?;
                routers.push(namespace);
            }
        }
        if let Some(bits) = setup.link {
            bed.host.shell(&line_rate(&output, bits))?;
        }
        Ok(Self { _routers: routers })
    }
}

impl Peer for Bridges {
    fn check(&mut self) -> Result<()> {
        Ok(())
    }
}

/// The host itself as router 0, with its two devices: the paper's "Linux", without any virtual router.
#[derive(Debug)]
pub(super) struct Routing;

impl Routing {
    pub(super) fn start(setup: Setup, bed: &Testbed) -> Result<Self> {
        if setup.routers > 1 {
            bail!("the host is one router, and not {}", setup.routers);
        }
        receive_first(bed)?;
        configure_router(&bed.host, (&bed.in_device(), &bed.out_device()), 0)?;
        if let Some(bits) = setup.link {
            bed.host.shell(&line_rate(&bed.out_device(), bits))?;
        }
        Ok(Self)
    }

    /// With further routes, by one `ip -batch`.
    pub(super) fn with(routed: &Routed<'_>, bed: &Testbed) -> Result<Self> {
        if routed.vlans > 0 {
            bail!("Linux routers in VLANs are not made here");
        }
        let this = Self::start(Setup { routers: 1, link: routed.link }, bed)?;
        add_routes(routed.routes, bed)?;
        Ok(this)
    }
}

impl Peer for Routing {
    fn check(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Adds routes to the host under test.
pub(super) fn add_routes(routes: &[RouteTo], bed: &Testbed) -> Result<()> {
    let mut lines = String::with_capacity(routes.len() * 48);
    for route in routes {
        let _ = writeln!(lines, "route add {} via {}", route.prefix, route.via);
    }
    bed.host.ip(&lines)
}

/// Where it does good.
fn receive_first(bed: &Testbed) -> Result<()> {
    if may_receive_first()? { bed.receive_first() } else { Ok(()) }
}

/// Whether receive threads may go before ordinary ones.
pub(super) fn may_receive_first() -> Result<bool> {
    // Up to Linux 6.3 a core's softirq waits for ksoftirqd once that has been woken; an ordinary thread, which would
    // get no time beside receive threads that go first.
    Ok(kernel_is_at_least(&std::fs::read_to_string("/proc/sys/kernel/osrelease")?, (6, 4)))
}

/// A bridge of a host for each of its two devices.
pub(super) fn bridges(host: &Namespace, (input, output): (&str, &str)) -> Result<()> {
    host.ip(&format!(
        "link add bridge-in type bridge\nlink add bridge-out type bridge\n\
         link set {input} master bridge-in\nlink set {output} master bridge-out\n\
         link set bridge-in up\nlink set bridge-out up\n"
    ))
}

/// Makes a namespace the router `i`, with an interface on each bridge of `host`.
pub(super) fn router(i: usize, namespace: &Namespace, host: &Namespace) -> Result<()> {
    let name = namespace.name();
    host.ip(&format!(
        "link add in{i} type veth peer name in netns {name}\n\
         link add out{i} type veth peer name out netns {name}\n\
         link set in{i} master bridge-in up\n\
         link set out{i} master bridge-out up\n"
    ))?;
    configure_router(namespace, ("in", "out"), i)?;
    host.shell(&format!(
        "bridge fdb replace {} dev in{i} master static\nbridge fdb replace {} dev out{i} master static\n",
        router_in_mac(i),
        router_out_mac(i)
    ))?;
    Ok(())
}

/// Makes a namespace with a device on each side the virtual router `i`.
pub(super) fn configure_router(namespace: &Namespace, (input, output): (&str, &str), i: usize) -> Result<()> {
    namespace.ip(&format!(
        "link set {input} address {}\nlink set {output} address {}\n\
         address add {}/{PREFIX} dev {input}\naddress add {}/{PREFIX} dev {output}\n\
         link set {input} up\nlink set {output} up\n",
        router_in_mac(i),
        router_out_mac(i),
        router_in_ip(i),
        router_out_ip(i)
    ))?;
    // The names of devices have dots, so paths and not names of sysctl.
    namespace.shell(&format!(
        "echo 1 > /proc/sys/net/ipv4/ip_forward\n\
         for name in all {input} {output}; do echo 0 > /proc/sys/net/ipv4/conf/$name/rp_filter; done\n"
    ))?;
    Ok(())
}

/// A token bucket in place of an Ethernet link: it counts what a frame occupies on the wire (24 bytes more than the
/// kernel sees, 84 at least), and holds the thousand frames that a device's queue holds by default.
pub(super) fn line_rate(device: &str, bits: u64) -> String {
    format!(
        "tc qdisc add dev {device} root handle 1: stab overhead 24 mpu 84 linklayer ethernet \
         tbf rate {bits}bit burst 16k limit 10m\n\
         tc qdisc add dev {device} parent 1:1 handle 10: pfifo limit 1000\n"
    )
}

/// Whether a release such as `6.1.0-13-amd64` is this version or a later one.
fn kernel_is_at_least(release: &str, version: (u32, u32)) -> bool {
    let mut numbers = release.split(['.', '-']).map(|n| n.trim().parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= version
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_compare_by_number() {
        for (release, later) in
            [("6.1.0-13-amd64\n", false), ("6.4.0\n", true), ("6.18.44-fc\n", true), ("5.19", false)]
        {
            assert_eq!(kernel_is_at_least(release, (6, 4)), later, "{release}");
        }
    }
}
