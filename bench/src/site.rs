//! Where Figure 7 takes place: two hosts with a link each, between senders and receivers, and a switch that learns.
//!
//! ```text
//!   senders          switch                host a                switch           receivers
//!   [generator] ── bridge-in ─┬── in [engine, routers] out ──┬─ bridge-out ── [sink]
//!                             └── in [engine, routers] out ──┘
//!   core A                                 host b: core B                           core A
//! ```
//!
//! The switch is one namespace with a Linux bridge for each side, and nobody tells it where an address is: it learns, as the
//! paper's did, so a router that has moved must say so. A host's frames leave by its own link, whose rate is limited.

use anyhow::Result;

use crate::addresses::{GENERATOR_IP, GENERATOR_MAC, PREFIX, SINK_MAC, receiver_ip};
use crate::cpu::{self, Cores};
use crate::tcp;
use crate::testbed::{Folder, Names, Namespace, await_napi_threads, pin_receiver, receive_in_thread};

/// Hosts.
pub(crate) const HOSTS: usize = 2;

/// Virtual routers, each with a flow: router 0 moves, router 1 stays.
pub(crate) const ROUTERS: usize = 2;

/// Senders, hosts, receivers, and the switch between them.
#[derive(Debug)]
pub(crate) struct Site {
    /// Where the flows come from.
    pub(crate) senders: Namespace,
    /// What carries the routers.
    pub(crate) hosts: [Namespace; HOSTS],
    /// Where the flows go to.
    pub(crate) receivers: Namespace,
    _switch: Namespace,
    /// For sockets, configuration files and logs.
    pub(crate) folder: Folder,
    /// Who runs where: both hosts are on one core, which their links do not fill.
    pub(crate) cores: Cores,
    id: String,
    short: String,
}

impl Site {
    /// Builds it: cables up, addresses and ways set, nothing between the hosts' devices.
    pub(crate) fn build(cores: Cores) -> Result<Self> {
        let Names { serial, id, short } = Names::next();
        let folder = Folder::create(&serial)?;
        let namespace = |name: &str| Namespace::create(&format!("{id}-{name}"));
        let switch = namespace("switch")?;
        let site = Self {
            senders: namespace("send")?,
            hosts: [namespace("a")?, namespace("b")?],
            receivers: namespace("recv")?,
            _switch: switch,
            folder,
            cores,
            id,
            short,
        };
        let (generator, sink) = (format!("{}g", site.short), format!("{}s", site.short));
        let mut cables = vec![
            ("in", "generator".to_owned(), generator.clone(), Some(GENERATOR_MAC), &site.senders),
            ("out", "sink".to_owned(), sink.clone(), Some(SINK_MAC), &site.receivers),
        ];
        for (i, host) in site.hosts.iter().enumerate() {
            let (input, output) = site.devices(i);
            cables.push(("in", format!("in{i}"), input, None, host));
            cables.push(("out", format!("out{i}"), output, None, host));
        }
        let queues = "numtxqueues 1 numrxqueues 1";
        let mut lines = "link add bridge-in type bridge\nlink add bridge-out type bridge\n\
                         link set bridge-in up\nlink set bridge-out up\n"
            .to_owned();
        for (side, port, device, mac, namespace) in &cables {
            let mac = mac.map_or_else(String::new, |mac| format!("address {mac} "));
            lines += &format!(
                "link add {port} {queues} type veth peer name {device} {mac}{queues} netns {}\n\
                 link set {port} master bridge-{side} up\n",
                namespace.name()
            );
        }
        site._switch.ip(&lines)?;
        for (_, _, device, _, namespace) in &cables {
            namespace.ip(&format!("link set {device} up\n"))?;
            if *device != generator {
                receive_in_thread(namespace, device)?;
            }
        }
        for host in 0..HOSTS {
            let (input, output) = site.devices(host);
            pin_receiver(&input, cores.dut)?;
            pin_receiver(&output, cores.dut)?;
        }
        pin_receiver(&sink, cores.traffic)?;
        for thread in await_napi_threads(&sink)? {
            cpu::before_all_others(thread)?;
        }
        site.address((&site.senders, &generator), (&site.receivers, &sink))?;
        Ok(site)
    }

    fn address(&self, senders: (&Namespace, &str), receivers: (&Namespace, &str)) -> Result<()> {
        senders.0.ip(&format!("address add {GENERATOR_IP}/{PREFIX} dev {}\n", senders.1))?;
        let lines: String =
            (0..ROUTERS).map(|i| format!("address add {}/{PREFIX} dev {}\n", receiver_ip(i), receivers.1)).collect();
        receivers.0.ip(&lines)?;
        tcp::prepare_ends(senders, receivers, ROUTERS)?;
        // What a connection learned of the way is not for the next one, and the paper's kernel took loss for a full queue.
        senders.0.shell(
            "echo 1 > /proc/sys/net/ipv4/tcp_no_metrics_save\n\
             control=/proc/sys/net/ipv4/tcp_congestion_control\n\
             echo cubic 2> /dev/null > $control || echo reno > $control\n",
        )?;
        Ok(())
    }

    /// A further namespace.
    pub(crate) fn namespace(&self, name: &str) -> Result<Namespace> {
        Namespace::create(&format!("{}-{name}", self.id))
    }

    /// Where a host receives, and where it sends.
    pub(crate) fn devices(&self, host: usize) -> (String, String) {
        let (input, output) = if host == 0 { ('i', 'o') } else { ('j', 'p') };
        (format!("{}{input}", self.short), format!("{}{output}", self.short))
    }
}
