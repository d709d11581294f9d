//! Opening the ports of a configuration, and spreading their queues over the workers.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;

use super::{EngineError, share_a_domain};
use crate::config::{Config, MemifRole, MemifSpec, NetdevSpec, PcapSpec, PortKind, PortSpec, TapSpec, VrfSpec};
use crate::memif::{Memif, MemifOptions, Role};
use crate::netdev::{Carries, Device, NetdevError, Options, Others, Registrations, RingSizes};
use crate::pcap::{Pace, PcapOptions, PcapPort, Repeat};
use crate::pool::Pool;
use crate::port::{Counters, Port};
use crate::shares::{Limit, PortLimits, Shaped, Shares};
use crate::tap::{Carrier, TapOptions, TapPort};
use crate::units::{GuestId, Mac, PortId};
use crate::wire::ethernet::VlanId;

/// What stays with the control side of a port.
#[derive(Debug)]
pub struct OpenPort {
    /// The worker that owns each queue.
    pub workers: Vec<usize>,
    /// What each queue counts.
    pub counters: Vec<Arc<Counters>>,
    /// How it is attached, where that does not change.
    pub mode: String,
    /// The kernel device.
    pub device: Option<Arc<Device>>,
    /// The memif's control side, which tells its state and keeps it alive.
    pub memif: Option<Memif>,
    /// The Ethernet address of its device or tap.
    pub mac: Option<Mac>,
    /// The number of its tap, in the namespace where that is.
    pub ifindex: Option<u32>,
    /// What the stack behind it is told of its link, if it is a tap.
    pub carrier: Option<Carrier>,
    /// What it may do at most, whatever its guest may.
    pub limits: PortLimits,
}

impl OpenPort {
    /// One that is neither a device, nor a memif, nor a tap.
    fn plain(workers: Vec<usize>, counters: Vec<Arc<Counters>>, mode: String, limits: PortLimits) -> Self {
        Self { workers, counters, mode, device: None, memif: None, mac: None, ifindex: None, carrier: None, limits }
    }
}

/// What binds a port: its own limits, and whose it is.
struct Bound {
    limits: PortLimits,
    guest: GuestId,
}

impl Bound {
    fn new(spec: &PortSpec, guest: GuestId) -> Self {
        let limits = PortLimits { line: Arc::new(Limit::line(spec.line_rate)), ..PortLimits::default() };
        Self { limits, guest }
    }
}

/// Whose a port is: its guest's, or that of the VRFs that have it to themselves. The guests of the configuration come
/// first in the table of shares, in their order.
pub fn guest_of(config: &Config, index: usize) -> GuestId {
    let spec = &config.ports[index];
    let guest = spec.guest.or_else(|| {
        let bridges = spec.membership.native.is_some() || !spec.membership.vlans.is_empty();
        let uses = |vrf: &&VrfSpec| vrf.interfaces.iter().any(|i| i.port() == Some(index) || i.punt == Some(index));
        let mut guests = config.vrfs.iter().filter(uses).map(|vrf| vrf.guest);
        let first = guests.next().flatten().filter(|_| !bridges);
        first.filter(|first| guests.all(|guest| guest == Some(*first)))
    });
    guest.map_or(GuestId::UPLINKS, |guest| GuestId(guest as u16 + 1))
}

/// Everything open.
pub struct Opened {
    /// In the order of the configuration.
    pub ports: Vec<OpenPort>,
    /// For each worker its queues.
    pub queues: Vec<Vec<(PortId, Box<dyn Port>)>>,
}

/// Deals queues out to workers, to each in turn, or where the configuration wants them.
struct Dealer {
    workers: usize,
    next: usize,
}

impl Dealer {
    fn deal(&mut self, wanted: Option<usize>) -> usize {
        wanted.unwrap_or_else(|| {
            let worker = self.next;
            self.next = (self.next + 1) % self.workers;
            worker
        })
    }
}

impl Opened {
    /// Opens every port of `config`; `pools` are the workers' frame memories, `shares` what the guests are entitled to.
    ///
    /// # Errors
    /// The first port that cannot be had; those before it are closed again.
    pub fn open(config: &Config, pools: &mut [Pool], shares: &Arc<Shares>) -> Result<Self, EngineError> {
        let mut opening = Opening {
            config,
            pools,
            shares,
            registrations: config.workers.iter().map(|_| Registrations::default()).collect(),
            dealer: Dealer { workers: config.workers.len(), next: 0 },
            queues: config.workers.iter().map(|_| Vec::new()).collect(),
        };
        let mut ports = Vec::new();
        for (index, spec) in config.ports.iter().enumerate() {
            let id = PortId(index as u16);
            let port = match &spec.kind {
                PortKind::Netdev(netdev) => opening.netdev(id, spec, netdev, carries(config, index)),
                PortKind::Memif(memif) => opening.memif(id, spec, memif),
                PortKind::Tap(tap) => opening.tap(id, spec, tap),
                PortKind::Pcap(pcap) => opening.pcap(id, spec, pcap),
            }?;
            ports.push(port);
        }
        let queues = opening.queues;
        tell_stations(config, &ports)?;
        Ok(Self { ports, queues })
    }
}

/// Tells every device which stations are the guests' that share a bridge domain with it.
fn tell_stations(config: &Config, ports: &[OpenPort]) -> Result<(), EngineError> {
    for (spec, port) in config.ports.iter().zip(ports) {
        let Some(device) = &port.device else { continue };
        for (index, guest) in config.ports.iter().enumerate() {
            if guest.guest.is_none() || !share_a_domain(spec, guest) {
                continue;
            }
            for &mac in &guest.macs {
                let failed = |source| EngineError::Netdev { port: spec.name.clone(), source };
                device.add_station(mac, PortId(index as u16)).map_err(failed)?;
            }
        }
    }
    Ok(())
}

/// Which frames of a device are the engine's: its VLANs, and what is beyond other uplinks of their bridge domains.
fn carries(config: &Config, index: usize) -> Carries {
    let spec = &config.ports[index];
    let learns = |other: &PortSpec| other.macs.is_empty() && share_a_domain(spec, other);
    let transit = config.ports.iter().enumerate().any(|(i, other)| i != index && learns(other));
    let mut carries = Carries::nothing(if transit { Others::ToEngine } else { Others::ToHost });
    if spec.membership.native.is_some() {
        carries.add_vlan(0);
    }
    for (vlan, _) in &spec.membership.vlans {
        carries.add_vlan(vlan.get());
    }
    for interface in config.vrfs.iter().flat_map(|vrf| &vrf.interfaces).filter(|i| i.port() == Some(index)) {
        carries.add_routed(interface.vlan().map_or(0, VlanId::get));
    }
    carries
}

struct Opening<'a> {
    config: &'a Config,
    pools: &'a mut [Pool],
    shares: &'a Arc<Shares>,
    registrations: Vec<Registrations>,
    dealer: Dealer,
    queues: Vec<Vec<(PortId, Box<dyn Port>)>>,
}

impl Opening<'_> {
    /// Gives a queue to `worker`, behind the port's limits and its guest's.
    fn give(&mut self, worker: usize, id: PortId, queue: Box<dyn Port>, bound: &Bound) -> Arc<Counters> {
        let counters = Arc::clone(queue.counters());
        let queue = Shaped::new(queue, &bound.limits, self.shares, bound.guest);
        self.queues[worker].push((id, Box::new(queue)));
        counters
    }

    fn netdev(
        &mut self,
        id: PortId,
        spec: &PortSpec,
        netdev: &NetdevSpec,
        carries: Carries,
    ) -> Result<OpenPort, EngineError> {
        let failed = |source| EngineError::Netdev { port: spec.name.clone(), source };
        let rings = RingSizes { rx: netdev.ring, tx: netdev.ring };
        let NetdevSpec { mode, busy_poll, tso, .. } = *netdev;
        let options = Options { mode, carries, busy_poll, tso, rings };
        let device = Device::open(&netdev.device, options).map_err(failed)?;
        let queues = netdev.queues.unwrap_or(device.queues());
        if queues > device.queues() {
            let (device, has) = (netdev.device.clone(), device.queues());
            return Err(failed(NetdevError::Queues { device, has, wants: queues }));
        }
        if queues < device.queues() {
            tracing::warn!(
                "port {}: {} has {} receive queues and {queues} are used; frames for guests that arrive on the others \
                 are lost: `ethtool -L {} combined {queues}` leaves only these",
                spec.name,
                netdev.device,
                device.queues(),
                netdev.device,
            );
        }
        let (mut workers, mut counters, mut mode) = (Vec::new(), Vec::new(), String::new());
        let bound = Bound::new(spec, guest_of(self.config, id.index()));
        for queue in 0..queues {
            let worker = self.dealer.deal(spec.worker);
            let port = device.queue(queue, &mut self.pools[worker], &mut self.registrations[worker]).map_err(failed)?;
            mode = port.mode();
            counters.push(self.give(worker, id, Box::new(port), &bound));
            workers.push(worker);
        }
        let limits = bound.limits;
        let mac = Some(device.mac());
        let device = Some(Arc::new(device));
        Ok(OpenPort { device, mac, ..OpenPort::plain(workers, counters, mode, limits) })
    }

    fn memif(&mut self, id: PortId, spec: &PortSpec, memif: &MemifSpec) -> Result<OpenPort, EngineError> {
        let role = match memif.role {
            MemifRole::Server => Role::Server,
            MemifRole::Client => Role::Client,
        };
        let options = MemifOptions {
            socket: memif.socket.clone(),
            id: memif.id,
            role,
            rings: memif.rings,
            ring_size: memif.ring_size,
            buffer_size: memif.buffer_size,
            secret: memif.secret.clone(),
            name: spec.name.clone(),
        };
        let started = Memif::start(&options).map_err(|source| EngineError::Memif { port: spec.name.clone(), source });
        let (control, rings) = started?;
        let (mut workers, mut counters) = (Vec::new(), Vec::new());
        let bound = Bound::new(spec, guest_of(self.config, id.index()));
        for ring in rings {
            let worker = self.dealer.deal(spec.worker);
            counters.push(self.give(worker, id, Box::new(ring), &bound));
            workers.push(worker);
        }
        let (mode, limits) = (String::new(), bound.limits);
        Ok(OpenPort { memif: Some(control), ..OpenPort::plain(workers, counters, mode, limits) })
    }

    fn tap(&mut self, id: PortId, spec: &PortSpec, tap: &TapSpec) -> Result<OpenPort, EngineError> {
        let netns = tap.netns.as_ref().map(PathBuf::from);
        // The device of a router's stack is as the interface that it is the stack of.
        let mut interfaces = self.config.vrfs.iter().flat_map(|vrf| &vrf.interfaces);
        let interface = interfaces.find(|interface| interface.punt == Some(id.index()));
        let (mtu, mac) = (interface.map(|i| u32::from(i.mtu)), interface.and_then(|i| i.mac));
        let options = TapOptions { device: tap.device.clone(), netns, mtu, mac };
        let port = TapPort::open(&options).map_err(|source| EngineError::Tap { port: spec.name.clone(), source })?;
        let (mac, ifindex, carrier) = (port.mac(), port.index(), port.carrier());
        Ok(OpenPort { mac, ifindex, carrier, ..self.single(id, spec, Box::new(port)) })
    }

    fn pcap(&mut self, id: PortId, spec: &PortSpec, pcap: &PcapSpec) -> Result<OpenPort, EngineError> {
        let options = PcapOptions {
            replay: pcap.replay.clone(),
            record: pcap.record.clone(),
            pace: pcap.rate.and_then(NonZeroU64::new).map_or(Pace::Unpaced, Pace::FramesPerSecond),
            repeat: if pcap.repeat { Repeat::Forever } else { Repeat::default() },
        };
        let port = PcapPort::open(&options).map_err(|source| EngineError::Pcap { port: spec.name.clone(), source })?;
        Ok(self.single(id, spec, Box::new(port)))
    }

    /// A port of one queue.
    fn single(&mut self, id: PortId, spec: &PortSpec, port: Box<dyn Port>) -> OpenPort {
        let worker = self.dealer.deal(spec.worker);
        let mode = port.mode();
        let bound = Bound::new(spec, guest_of(self.config, id.index()));
        let counters = vec![self.give(worker, id, port, &bound)];
        let limits = bound.limits;
        OpenPort::plain(vec![worker], counters, mode, limits)
    }
}
