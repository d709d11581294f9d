//! Real TCP through a testbed: iperf3 between the senders' and the receivers' namespace, one connection a router.
//!
//! Both ends segment and add checksums themselves, as a wire would have it: no frame on a cable is longer than an Ethernet
//! frame, whatever the device under test could make of longer ones. Senders and receivers share the traffic's core.

use std::ops::Range;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::addresses::{PREFIX, receiver_ip, router_in_ip, router_out_ip, sender_ip};
use crate::interrupt;
use crate::process::{Running, installed};
use crate::testbed::{Namespace, Testbed};

/// The port of router 0's server; the others follow.
const PORT: u16 = 5201;

/// Beyond its time a connection may take this long to come up and go down.
const PATIENCE: Duration = Duration::from_secs(12);

/// Gives senders and receivers the addresses and ways of `routers` flows, one by each router.
pub fn prepare(bed: &Testbed, routers: usize) -> Result<()> {
    let (generator, sink) = (bed.generator_device(), bed.sink_device());
    prepare_ends((&bed.senders, &generator), (&bed.receivers, &sink), routers)
}

/// As [`prepare`], with the namespace and the device of each end.
pub(crate) fn prepare_ends(
    (senders, generator): (&Namespace, &str),
    (receivers, sink): (&Namespace, &str),
    routers: usize,
) -> Result<()> {
    for (namespace, device) in [(senders, generator), (receivers, sink)] {
        namespace.shell(&format!("ethtool -K {device} tx off > /dev/null\n"))?;
    }
    let (mut there, mut back) = (String::new(), String::new());
    for i in 0..routers {
        there += &format!("address add {}/{PREFIX} dev {generator}\n", sender_ip(i));
        there += &format!("route add {}/32 via {} src {}\n", receiver_ip(i), router_in_ip(i), sender_ip(i));
        back += &format!("route add {}/32 via {} src {}\n", sender_ip(i), router_out_ip(i), receiver_ip(i));
    }
    senders.ip(&there)?;
    receivers.ip(&back)
}

/// What a connection did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Received {
    /// Mbit/s that the receiver got, without headers.
    pub megabits: f64,
    /// The part of the segments that were sent more than once.
    pub repeated: f64,
}

/// Connections at work. They end when this is dropped.
#[derive(Debug)]
pub struct Streams {
    clients: Vec<Running>,
    _servers: Vec<Running>,
    seconds: u32,
}

impl Streams {
    /// Starts one by each of `routers`, for so many seconds.
    pub fn start(bed: &Testbed, routers: Range<usize>, seconds: u32) -> Result<Self> {
        ensure!(installed("iperf3"), "iperf3 is not installed: apt install iperf3");
        let core = bed.cores.traffic;
        let mut servers = Vec::new();
        for i in routers.clone() {
            let (port, to) = (port(i), receiver_ip(i).to_string());
            let words = ["iperf3", "-s", "-1", "--forceflush", "-p", &port, "-B", &to];
            let name = format!("tcp-server{i}");
            servers.push(Running::start(&name, Some(bed.receivers.name()), core, &words, bed.folder.path())?);
        }
        interrupt::wait_for("iperf3's servers", Duration::from_secs(5), || {
            servers.iter_mut().try_for_each(Running::check)?;
            Ok(servers.iter().all(|s| s.said().contains("listening")))
        })?;
        let mut clients = Vec::new();
        let time = seconds.to_string();
        for i in routers {
            let (port, to, from) = (port(i), receiver_ip(i).to_string(), sender_ip(i).to_string());
            let words = ["iperf3", "-J", "-c", &to, "-B", &from, "-p", &port, "-t", &time];
            let name = format!("tcp-client{i}");
            clients.push(Running::start(&name, Some(bed.senders.name()), core, &words, bed.folder.path())?);
        }
        Ok(Self { clients, _servers: servers, seconds })
    }

    /// An error if one has ended.
    pub fn check(&mut self) -> Result<()> {
        self.clients.iter_mut().try_for_each(Running::check)
    }

    /// Waits for the end of all, for as long as what carries them is `alive`.
    pub fn finish(mut self, mut alive: impl FnMut() -> Result<()>) -> Result<Vec<Received>> {
        let patience = PATIENCE + Duration::from_secs(self.seconds.into());
        interrupt::wait_for("the end of TCP", patience, || {
            alive()?;
            self.clients.iter_mut().try_fold(true, |all, client| Ok(client.has_ended()? && all))
        })?;
        self.clients.into_iter().map(|client| received(&client.finish(patience)?)).collect()
    }
}

fn port(i: usize) -> String {
    (PORT + i as u16).to_string()
}

/// Of iperf3's report.
pub(crate) fn received(report: &str) -> Result<Received> {
    let report: Value = serde_json::from_str(report).with_context(|| format!("iperf3 said {report}"))?;
    let end = &report["end"];
    let bits = end["sum_received"]["bits_per_second"].as_f64();
    let bits = bits.with_context(|| format!("iperf3: {}", report["error"]))?;
    let segment = report["start"]["tcp_mss_default"].as_f64().unwrap_or(1448.0);
    let sent = end["sum_sent"]["bytes"].as_f64().unwrap_or(0.0) / segment;
    let again = end["sum_sent"]["retransmits"].as_f64().unwrap_or(0.0);
    Ok(Received { megabits: bits / 1e6, repeated: if sent > 0.0 { again / sent } else { 0.0 } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read() {
        let said = r#"{"start": {"tcp_mss_default": 1000}, "end": {
            "sum_sent": {"bytes": 1000000, "retransmits": 20}, "sum_received": {"bits_per_second": 2.5e8}}}"#;
        assert_eq!(received(said).unwrap(), Received { megabits: 250.0, repeated: 0.02 });
    }

    #[test]
    fn a_failure_is_told_in_iperf3s_words() {
        let said = r#"{"start": {}, "end": {}, "error": "unable to connect to server"}"#;
        assert!(received(said).unwrap_err().to_string().contains("unable to connect"));
        assert!(received("").is_err());
    }
}
