//! A network device: whether it can be a netdev port, how fast, and which of its offloads would spoil frames.

use std::fs;
use std::path::Path;

use super::probe::{self, Offloads, Xdp};
use super::{Finding, Level};

// `NETDEV_XDP_ACT_*`, linux/netdev.h.
const BASIC: u64 = 1;
const REDIRECT: u64 = 2;
const ZERO_COPY: u64 = 8;
const RX_CHAINS: u64 = 32;

/// Drivers with AF_XDP zero-copy in some released kernel, for kernels before 6.3, which do not say themselves.
const ZERO_COPY_DRIVERS: [&str; 8] = ["i40e", "ice", "ixgbe", "igc", "mlx5_core", "nfp", "stmmac", "tsnep"];
/// And those with native XDP only.
const NATIVE_DRIVERS: [&str; 14] = [
    "veth",
    "virtio_net",
    "tun",
    "bnxt_en",
    "ena",
    "gve",
    "hv_netvsc",
    "igb",
    "mlx4_en",
    "mvneta",
    "mvpp2",
    "qede",
    "sfc",
    "thunder-nicvf",
];

/// What is known of a device.
#[derive(Clone, Debug, Default)]
struct Facts {
    name: String,
    driver: Option<String>,
    queues: usize,
    mtu: u32,
    /// `operstate`.
    state: String,
    xdp: Option<Xdp>,
    offloads: Offloads,
    peer: Peer,
}

/// The other end of a veth, whose offloads decide what arrives here.
#[derive(Clone, Debug, Default)]
enum Peer {
    /// Not a veth.
    #[default]
    None,
    /// In another network namespace, where we cannot look.
    Elsewhere,
    /// Here.
    Here(String, Offloads),
}

pub(super) fn examine(devices: &[String]) -> Vec<Finding> {
    let mut all = devices.to_vec();
    if all.is_empty() {
        let names = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
        all = names.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| name != "lo").collect();
        // A file such as bonding_masters is no device.
        all.retain(|name| Path::new("/sys/class/net").join(name).join("ifindex").exists());
        all.sort();
        if all.is_empty() {
            let remedy = "a netdev port needs one; memif, tap and pcap ports do not";
            return vec![Finding::note("devices", "none but loopback", remedy)];
        }
    }
    all.iter().flat_map(|name| look(name).map_or_else(|finding| vec![finding], |facts| judge(&facts))).collect()
}

fn look(name: &str) -> Result<Facts, Finding> {
    let plain = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
    let directory = Path::new("/sys/class/net").join(name);
    let read = |attribute: &str| fs::read_to_string(directory.join(attribute)).map(|text| text.trim().to_owned()).ok();
    let ifindex = plain.then(|| read("ifindex")).flatten().and_then(|text| text.parse::<u32>().ok());
    let Some(ifindex) = ifindex else {
        let missing = "there is no such interface here";
        return Err(Finding::problem(format!("device {name}"), missing, "`ip link` lists those there are"));
    };
    let queues = fs::read_dir(directory.join("queues")).into_iter().flatten().flatten();
    let driver = probe::driver(name);
    let peer = match driver.as_deref() {
        Some("veth") => peer(ifindex, read("iflink").and_then(|text| text.parse().ok())),
        _ => Peer::None,
    };
    Ok(Facts {
        name: name.to_owned(),
        driver,
        queues: queues.filter(|queue| queue.file_name().to_string_lossy().starts_with("rx-")).count(),
        mtu: read("mtu").and_then(|text| text.parse().ok()).unwrap_or_default(),
        state: read("operstate").unwrap_or_default(),
        xdp: probe::xdp(ifindex).ok(),
        offloads: probe::offloads(name),
        peer,
    })
}

/// Looks for the veth whose link is ours: an index alone may mean another device in another namespace.
fn peer(ifindex: u32, link: Option<u32>) -> Peer {
    let number = |path: &Path, attribute: &str| {
        fs::read_to_string(path.join(attribute)).ok().and_then(|text| text.trim().parse::<u32>().ok())
    };
    let here = fs::read_dir("/sys/class/net").into_iter().flatten().flatten().find(|entry| {
        let path = entry.path();
        number(&path, "ifindex") == link && number(&path, "iflink") == Some(ifindex)
    });
    match here.and_then(|entry| entry.file_name().into_string().ok()) {
        Some(name) => {
            let offloads = probe::offloads(&name);
            Peer::Here(name, offloads)
        }
        None => Peer::Elsewhere,
    }
}

/// How frames will come in, best guess: nothing is attached to find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Likely {
    ZeroCopy,
    Native,
    Generic,
}

fn likely(facts: &Facts) -> Likely {
    let driver = facts.driver.as_deref().unwrap_or_default();
    match facts.xdp.map_or(0, |xdp| xdp.features) {
        // Zero also means: a kernel that does not say.
        0 if ZERO_COPY_DRIVERS.contains(&driver) => Likely::ZeroCopy,
        0 if NATIVE_DRIVERS.contains(&driver) => Likely::Native,
        features if features & ZERO_COPY != 0 => Likely::ZeroCopy,
        features if features & (BASIC | REDIRECT) == BASIC | REDIRECT => Likely::Native,
        _ => Likely::Generic,
    }
}

fn judge(facts: &Facts) -> Vec<Finding> {
    let thing = format!("device {}", facts.name);
    let name = &facts.name;
    let mode = likely(facts);
    let how = match mode {
        Likely::ZeroCopy => "zero-copy likely",
        Likely::Native => "native XDP with copy likely",
        Likely::Generic => "generic XDP only",
    };
    let driver = facts.driver.as_deref().unwrap_or("unknown");
    let plural = if facts.queues == 1 { "queue" } else { "queues" };
    let found = format!("driver {driver}, {} {plural}, MTU {}, {}; {how}", facts.queues, facts.mtu, facts.state);
    let mut findings = vec![match mode {
        Likely::Generic => Finding::note(&thing, found, "works, slower: a device with native XDP would be faster"),
        _ => Finding::ok(&thing, found),
    }];
    let mut note = |level: Level, found: String, remedy: String| {
        findings.push(Finding { thing: thing.clone(), level, found, remedy: Some(remedy) });
    };
    if facts.xdp.is_some_and(|xdp| xdp.attached) {
        let remedy = format!(
            "`ip -details link show {name}` tells which; `ip link set {name} xdp off` removes one that nobody needs"
        );
        note(Level::Problem, "an XDP program is attached already, and would be left in place".into(), remedy);
    }
    if facts.state == "down" {
        note(Level::Note, "it is down, or has no link".into(), format!("`ip link set {name} up`; check the cable"));
    }
    let chains = facts.xdp.is_none_or(|xdp| xdp.features == 0 || xdp.features & RX_CHAINS != 0);
    if facts.mtu > 3_498 && mode != Likely::Generic && !chains {
        let remedy = format!("`ip link set {name} mtu 1500`, or let it fall back to mode = \"generic\"");
        note(Level::Note, format!("MTU {} takes frames of several pages, which the driver cannot", facts.mtu), remedy);
    }
    let on = |offload: Option<bool>| offload == Some(true);
    if on(facts.offloads.lro) {
        let found = "large receive offload merges frames before XDP sees them, and many drivers refuse XDP with it";
        note(Level::Note, found.into(), format!("`ethtool -K {name} lro off`"));
    }
    if on(facts.offloads.gro) && mode == Likely::Generic {
        let found = "receive offload (GRO) merges frames, and generic XDP runs only after it";
        note(Level::Note, found.into(), format!("`ethtool -K {name} gro off`"));
    }
    if on(facts.offloads.rx_vlan) {
        let found = "VLAN tags are taken off before XDP sees the frame (rxvlan): a port with vlans would get none";
        note(Level::Note, found.into(), format!("`ethtool -K {name} rxvlan off`, if the port has vlans"));
    }
    match &facts.peer {
        Peer::None => {}
        Peer::Elsewhere => {
            let found = "its veth peer is in another namespace; with transmit offloads there, frames arrive with \
                         unfinished checksums and hidden VLAN tags";
            let remedy = "`ip netns exec NAME ethtool -K PEER tx off txvlan off`, unless that is done";
            note(Level::Note, found.into(), remedy.into());
        }
        Peer::Here(peer, offloads) => {
            let checksum = on(offloads.tx_checksum).then_some("unfinished checksums (tx)");
            let vlan = on(offloads.tx_vlan).then_some("hidden VLAN tags (txvlan)");
            let harm: Vec<_> = checksum.into_iter().chain(vlan).collect();
            if !harm.is_empty() {
                let found = format!("frames from its veth peer {peer} arrive with {}", harm.join(" and "));
                note(Level::Note, found, format!("`ethtool -K {peer} tx off txvlan off`"));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(driver: &str, features: u64) -> Facts {
        Facts {
            name: "eth1".into(),
            driver: Some(driver.into()),
            queues: 4,
            mtu: 1500,
            state: "up".into(),
            xdp: Some(Xdp { attached: false, features }),
            ..Facts::default()
        }
    }

    fn remedies(facts: &Facts) -> String {
        judge(facts).into_iter().filter_map(|finding| finding.remedy).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_kernels_word_on_modes_beats_the_list() {
        assert_eq!(likely(&facts("ixgbe", 0)), Likely::ZeroCopy);
        assert_eq!(likely(&facts("veth", 0)), Likely::Native);
        assert_eq!(likely(&facts("e1000", 0)), Likely::Generic);
        assert_eq!(likely(&facts("new_driver", BASIC | REDIRECT | ZERO_COPY)), Likely::ZeroCopy);
        assert_eq!(likely(&facts("ixgbe", BASIC | REDIRECT)), Likely::Native);
        assert_eq!(likely(&facts("ixgbe", BASIC)), Likely::Generic);
    }

    #[test]
    fn a_plain_device_is_one_ok() {
        let found = judge(&facts("ixgbe", 0));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].level, Level::Ok);
    }

    #[test]
    fn a_foreign_program_is_a_problem() {
        let mut facts = facts("ixgbe", 0);
        facts.xdp = Some(Xdp { attached: true, features: 0 });
        assert!(judge(&facts).iter().any(|f| f.level == Level::Problem && f.found.contains("XDP program")));
    }

    #[test]
    fn offloads_that_harm_are_told_with_the_command() {
        let mut facts = facts("ixgbe", 0);
        facts.offloads = Offloads { lro: Some(true), gro: Some(true), rx_vlan: Some(true), ..Offloads::default() };
        let all = remedies(&facts);
        assert!(all.contains("`ethtool -K eth1 lro off`") && all.contains("`ethtool -K eth1 rxvlan off`"), "{all}");
        assert!(!all.contains("gro off"), "GRO comes after native XDP: {all}");
        facts.driver = Some("e1000".into());
        assert!(remedies(&facts).contains("`ethtool -K eth1 gro off`"));
    }

    #[test]
    fn a_veth_is_judged_by_its_peer() {
        let mut facts = facts("veth", 0);
        facts.peer = Peer::Here("peer1".into(), Offloads { tx_checksum: Some(true), ..Offloads::default() });
        let all = remedies(&facts);
        assert!(all.contains("`ethtool -K peer1 tx off txvlan off`"), "{all}");
        facts.peer = Peer::Here("peer1".into(), Offloads { tx_checksum: Some(false), ..Offloads::default() });
        assert_eq!(remedies(&facts), "");
        facts.peer = Peer::Elsewhere;
        assert!(remedies(&facts).contains("netns exec"));
    }
}
