//! Two LANs joined by virtual routers.
//!
//! ```text
//!   [left 10.1.0.2] --veth-- up0 (engine) up1 --veth-- [right 10.2.0.2]
//!                             |            |
//!                            r1.0 [guest] r1.1
//! ```

use super::{Bed, POINTSMAN, Program, sh, try_sh};

const IPERF: &str = "iperf3 -J --connect-timeout 3000";

/// The two LANs, with the engine's side of the cables in `host`.
pub struct Lans {
    pub bed: Bed,
    pub left: String,
    pub right: String,
    pub host: String,
}

impl Lans {
    /// LANs and cables; no engine yet.
    pub fn new(mtu: u32) -> Self {
        let mut bed = Bed::new();
        let [left, host, right] = ["left", "host", "right"].map(|name| bed.host(name));
        bed.cable((&left, "eth0"), (&host, "up0"), mtu);
        bed.cable((&right, "eth0"), (&host, "up1"), mtu);
        for (lan, n, other) in [(&left, 1, 2), (&right, 2, 1)] {
            sh(&format!(
                "ip -n {lan} addr add 10.{n}.0.2/16 dev eth0 && ip -n {lan} addr add fd0{n}::2/64 dev eth0 && \
                 ip -n {lan} route add 10.{other}.0.0/16 via 10.{n}.0.1 && \
                 ip -n {lan} -6 route add fd0{other}::/64 via fd0{n}::1"
            ));
        }
        Self { bed, left, right, host }
    }

    /// The configuration of both bridge domains, and an uplink in each.
    pub fn uplinks() -> String {
        "[[domain]]\nname = \"left\"\n[[domain]]\nname = \"right\"\n\
         [[port]]\nname = \"up0\"\nkind = \"netdev\"\ndevice = \"up0\"\ndomain = \"left\"\n\
         [[port]]\nname = \"up1\"\nkind = \"netdev\"\ndevice = \"up1\"\ndomain = \"right\"\n"
            .into()
    }

    /// The configuration of guest `r<n>`, by memif.
    pub fn guest(&self, n: usize) -> String {
        let socket = self.bed.path(&format!("r{n}.sock"));
        let port = |id: u32, domain: &str| {
            format!(
                "[[guest.port]]\nkind = \"memif\"\nsocket = \"{socket}\"\nid = {id}\nmac = \"02:00:00:00:0{id}:{n:02x}\"\n\
                 domain = \"{domain}\"\n"
            )
        };
        format!("[[guest]]\nname = \"r{n}\"\n{}{}", port(0, "left"), port(1, "right"))
    }

    /// Starts guest `r<n>` as a router with address 10.1.0.n and 10.2.0.n.
    pub fn router(&self, n: usize, mtu: u32) -> Program {
        let socket = self.bed.path(&format!("r{n}.sock"));
        let port = |id: u32| {
            let lan = id + 1;
            format!(
                "{socket}:{id},role=client,mac=02:00:00:00:0{id}:{n:02x},address=10.{lan}.0.{n}/16,\
                 address=fd0{lan}::{n:x}/64,mtu={mtu}"
            )
        };
        let (a, b) = (port(0), port(1));
        let command = [POINTSMAN, "guest", "router", "--port", &a, "--port", &b];
        Program::start(&self.host, &command, &self.bed.folder, &format!("r{n}"))
    }

    /// Waits until both ports of guest `r<n>` are connected.
    pub fn await_guest(&self, n: usize) {
        for port in 0..2 {
            self.bed.await_port(&format!("r{n}.{port}"), true);
        }
    }

    /// Pings from the left LAN, and loses nothing. (For its last answer ping waits two round trips and no longer; on a busy
    /// machine that is nothing. The others say enough.)
    pub fn ping(&self, options: &str, address: &str) {
        let (_, said) = try_sh(&format!("ip netns exec {} ping -W 2 {options} {address}", self.left));
        let count = |what: &str| -> Option<u32> {
            said.lines().find(|line| line.contains(what))?.split(what).next()?.split_whitespace().last()?.parse().ok()
        };
        let (sent, received) = (count(" packets transmitted"), count(" received"));
        let last = format!("icmp_seq={} ", sent.unwrap_or(0));
        let late = sent > Some(2) && sent == received.map(|n| n + 1) && !said.contains(&last);
        assert!(sent.is_some() && (sent == received || late), "{said}");
    }

    /// Runs iperf3 from left to right; its report.
    pub fn iperf(&self, options: &str) -> serde_json::Value {
        let mut server = Program::start(&self.right, &["iperf3", "-s", "-1"], &self.bed.folder, "iperf3-server");
        server.wait_until("listening", || {
            sh(&format!("ip netns exec {} ss -Hltn sport = :5201", self.right)).contains("5201")
        });
        let said = sh(&format!("ip netns exec {} {IPERF} -c 10.2.0.2 {options}", self.left));
        server.wait();
        serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"))
    }
}
