//! Installs the peers that are missing, on systems with apt-get. Says what it is going to do first.

use anyhow::{Result, bail};

use super::TESTPMD;
use super::ovs::OVS;
use crate::process::{installed, run};

/// Programs, and the packages that they need. A name that ends in `*` is the newest of its kind: DPDK's drivers carry the
/// version of its interface.
const PEERS: [(&str, &[&str]); 3] = [
    ("iperf3", &["iperf3"]),
    (TESTPMD, &["dpdk", "dpdk-dev", "librte-net-af-xdp*", "librte-net-memif*"]),
    (OVS, &["openvswitch-switch"]),
];

/// Installs what is not there. Nothing is changed when nothing is missing.
///
/// # Errors
/// There is no apt-get, or it failed: what was installed before stays.
pub(crate) fn install() -> Result<()> {
    let missing: Vec<&str> =
        PEERS.iter().filter(|(program, _)| !installed(program)).flat_map(|(_, packages)| *packages).copied().collect();
    if missing.is_empty() {
        eprintln!("no peer is missing");
        return Ok(());
    }
    if !installed("apt-get") {
        bail!("this system has no apt-get: install these yourself: {}", missing.join(" "));
    }
    run("apt-get", &["update", "-qq"])?;
    let mut packages = Vec::new();
    for package in missing {
        packages.push(match package.strip_suffix('*') {
            Some(family) => newest(family, &run("apt-cache", &["pkgnames", family])?).unwrap_or_else(|| family.into()),
            None => package.to_owned(),
        });
    }
    eprintln!("installing with apt-get: {}", packages.join(" "));
    let words = ["DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq", "--no-install-recommends"];
    let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
    run("env", &[&words[..], &packages].concat()).map(drop)
}

/// Of names such as `librte-net-memif23` the one with the highest number.
fn newest(family: &str, names: &str) -> Option<String> {
    let number = |name: &str| name.strip_prefix(family)?.parse::<u32>().ok();
    names.lines().filter(|name| number(name).is_some()).max_by_key(|name| number(name)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_driver_is_taken_and_no_other_package() {
        let names = "librte-net-memif9\nlibrte-net-memif23\nlibrte-net-memif-doc\nlibrte-net-memif22\n";
        assert_eq!(newest("librte-net-memif", names).as_deref(), Some("librte-net-memif23"));
        assert_eq!(newest("librte-net-memif", "librte-net-ring23\n"), None);
    }
}
