//! The VRFs of a configuration: their routes, what their workers get, and what is told of them.

use std::net::IpAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::EngineError;
use super::inner::{InnerPort, station_of};
use super::ports::OpenPort;
use crate::bridge::Bridge;
use crate::config::{Config, InterfaceLink, VrfInterfaceSpec, VrfSpec};
use crate::fib::{Arena, ArenaConfig, FibConfig};
use crate::forward::Forward;
use crate::prefix::Prefix;
use crate::rib::{Action, Change, Hop, InterfaceId, Origin, Rib, RibConfig, Route};
use crate::router::{InterfaceConfig, vrrp};
use crate::units::{Mac, PortId};
use crate::vrf::{Board, InterfaceCounters, Neighbour, Place, Switch, Target, Vrf, VrfInterface};

/// How long `show` waits for a worker to tell its neighbours.
const PATIENCE: Duration = Duration::from_secs(2);

/// A VRF that runs.
pub struct RunningVrf {
    /// What it was made of.
    pub spec: VrfSpec,
    /// Its interfaces' Ethernet addresses, in order.
    pub macs: Vec<Mac>,
    /// What its interfaces count, in order.
    pub counters: Vec<InterfaceCounters>,
    /// Whether its interfaces' links carry frames, in order.
    pub up: Vec<AtomicBool>,
    /// Its worker.
    pub worker: usize,
    rib: Mutex<Rib>,
    board: Arc<Board>,
}

impl std::fmt::Debug for RunningVrf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RunningVrf({})", self.spec.name)
    }
}

impl RunningVrf {
    /// Its routes, to be changed or looked at.
    pub fn rib(&self) -> MutexGuard<'_, Rib> {
        // Whoever panicked with the lock held left a table that is whole: each change is made by single stores.
        self.rib.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its neighbours; `wake` wakes its worker. None: the worker did not answer.
    pub fn neighbours(&self, wake: impl Fn()) -> Option<Vec<Neighbour>> {
        self.board.ask(wake, PATIENCE)
    }

    /// The interface of this number.
    pub fn interface(&self, id: InterfaceId) -> Option<&VrfInterfaceSpec> {
        self.spec.interfaces.get(usize::from(id.0))
    }
}

/// The VRFs of an engine.
#[derive(Debug, Default)]
pub struct Vrfs {
    /// In the order of the configuration.
    pub running: Vec<Arc<RunningVrf>>,
    /// Each worker's, with what its ports are; empty where it has none.
    workers: Vec<Vec<Vrf>>,
    places: Vec<Vec<Place>>,
    arena: Option<Arc<Arena>>,
}

impl Vrfs {
    /// Builds the VRFs of `config` over its open ports, and those within the engine; `ids` is the number of port ids there
    /// are.
    ///
    /// # Errors
    /// An interface has no Ethernet address, a device takes no more, there is no memory, or a route cannot be.
    pub fn build(config: &Config, ports: &[OpenPort], inner: &[InnerPort], ids: usize) -> Result<Self, EngineError> {
        let workers = config.workers.len();
        let mut vrfs = Self {
            running: Vec::new(),
            workers: (0..workers).map(|_| Vec::new()).collect(),
            places: vec![Vec::new(); workers],
            arena: None,
        };
        if config.vrfs.is_empty() {
            return Ok(vrfs);
        }
        let failed = |source| EngineError::Tables { source };
        let arena = Arena::new(ArenaConfig::default()).map_err(failed)?;
        for (number, spec) in config.vrfs.iter().enumerate() {
            let inner: Vec<_> = inner.iter().filter(|inner| inner.vrf == number).collect();
            vrfs.add(config, spec, (ports, &inner), &arena, ids)?;
        }
        vrfs.arena = Some(arena);
        Ok(vrfs)
    }

    fn add(
        &mut self,
        config: &Config,
        spec: &VrfSpec,
        (ports, inner): (&[OpenPort], &[&InnerPort]),
        arena: &Arc<Arena>,
        ids: usize,
    ) -> Result<(), EngineError> {
        let mut interfaces = Vec::new();
        for (id, wanted) in (0..).map(InterfaceId).zip(&spec.interfaces) {
            let own = || match wanted.link {
                InterfaceLink::Port(port, _) => ports[port].mac,
                InterfaceLink::Domain(_) => Some(station_of(spec, &wanted.name)),
            };
            let mac = wanted.mac.or_else(|| wanted.punt.and_then(|punt| ports[punt].mac)).or_else(own);
            let (vrf, interface) = (spec.name.clone(), wanted.name.clone());
            let Some(mac) = mac else { return Err(EngineError::InterfaceMac { vrf, interface }) };
            tell_devices(config, ports, wanted, mac)?;
            let way_back = inner.iter().find(|inner| inner.interface == id).map(|inner| inner.way_back);
            let Some(port) = wanted.port().map(|port| PortId(port as u16)).or(way_back) else {
                unreachable!("what is no port has one within the engine");
            };
            interfaces.push(VrfInterface {
                config: InterfaceConfig { mac, mtu: wanted.mtu, addresses: wanted.addresses.clone() },
                port,
                vlan: wanted.vlan(),
                punt: wanted.punt.map(|punt| PortId(punt as u16)),
                check: wanted.check,
                vrrp: wanted.vrrp.clone(),
            });
        }
        let rib = routes(spec, &interfaces, arena)?;
        let board = Arc::new(Board::default());
        let (vrf, counters) = Vrf::new(&interfaces, Arc::clone(rib.fib()), spec.punt, Arc::clone(&board));
        // The configuration gave all its ports that worker.
        let worker = spec.worker;
        let (vrfs, places) = (&mut self.workers[worker], &mut self.places[worker]);
        places.resize(ids, Place::default());
        let number = vrfs.len() as u16;
        for (id, interface) in (0..).map(InterfaceId).zip(&interfaces) {
            let target = Target { vrf: number, interface: id, mac: interface.config.mac };
            if let Some(inner) = inner.iter().find(|inner| inner.interface == id) {
                places[inner.station.index()] = Place::Station(target);
                places[inner.way_back.index()] = Place::Domain(inner.station);
            } else {
                let place = &mut places[interface.port.index()];
                place.add(interface.vlan, target);
                let membership = &config.ports[interface.port.index()].membership;
                if membership.native.is_some() || !membership.vlans.is_empty() {
                    place.bridge_too();
                }
            }
            if let Some(punt) = interface.punt {
                places[punt.index()] = Place::Punt(number, id);
            }
        }
        vrfs.push(vrf);
        let macs = interfaces.iter().map(|interface| interface.config.mac).collect();
        let up = interfaces.iter().map(|_| AtomicBool::new(true)).collect();
        let rib = Mutex::new(rib);
        self.running.push(Arc::new(RunningVrf { spec: spec.clone(), macs, counters, up, worker, rib, board }));
        Ok(())
    }

    /// What `worker` runs: `bridge` alone if it has no VRF.
    pub fn forwarder(&mut self, worker: usize, bridge: Bridge) -> Box<dyn Forward> {
        let vrfs = std::mem::take(&mut self.workers[worker]);
        match &self.arena {
            Some(arena) if !vrfs.is_empty() => {
                let places = std::mem::take(&mut self.places[worker]);
                Box::new(Switch::new(bridge, vrfs, places, arena.reader()))
            }
            _ => Box::new(bridge),
        }
    }
}

/// Tells devices which frames are for an interface.
fn tell_devices(config: &Config, ports: &[OpenPort], wanted: &VrfInterfaceSpec, mac: Mac) -> Result<(), EngineError> {
    let failed = |port: usize| {
        let port = config.ports[port].name.clone();
        |source| EngineError::Netdev { port, source }
    };
    match wanted.link {
        InterfaceLink::Port(port, vlan) => {
            let Some(device) = &ports[port].device else { return Ok(()) };
            let shared = wanted.vrrp.iter().flat_map(|&id| vrrp::addresses(id));
            for mac in std::iter::once(mac).chain(shared) {
                device.add_routed(mac, vlan).map_err(failed(port))?;
            }
        }
        InterfaceLink::Domain(domain) => {
            for (number, (spec, port)) in config.ports.iter().zip(ports).enumerate() {
                if let Some(device) = port.device.as_ref().filter(|_| spec.membership.contains(domain)) {
                    device.add_bridged(mac).map_err(failed(number))?;
                }
            }
        }
    }
    Ok(())
}

/// The routes that a VRF begins with: those of its interfaces, and the configured ones.
fn routes(spec: &VrfSpec, interfaces: &[VrfInterface], arena: &Arc<Arena>) -> Result<Rib, EngineError> {
    let config =
        RibConfig { max_routes: spec.max_routes, interfaces: interfaces.len() as u16, fib: FibConfig::default() };
    let failed = |source| EngineError::Routes { vrf: spec.name.clone(), source };
    let mut rib = Rib::new(arena, config).map_err(failed)?;
    for (id, interface) in (0..).map(InterfaceId).zip(interfaces) {
        for route in connected(id, interface) {
            rib.apply(Origin::Connected, Change::Replace(route)).map_err(failed)?;
        }
    }
    for route in spec.static_routes() {
        rib.apply(Origin::Static, Change::Replace(route)).map_err(failed)?;
    }
    Ok(rib)
}

/// What an interface's addresses mean: the addresses themselves, their networks, the addresses of a whole network.
fn connected(id: InterfaceId, interface: &VrfInterface) -> Vec<Route> {
    let mut routes = Vec::new();
    let mut add = |network: IpAddr, length: u8, action: Action| {
        routes.extend(Prefix::of(network, length).map(|prefix| Route { prefix, metric: 0, action }));
    };
    for address in &interface.config.addresses {
        let (own, length) = (address.address, address.length);
        let (all, pair) = if own.is_ipv4() { (32, 31) } else { (128, 127) };
        add(own, length, Action::Via(vec![Hop { gateway: None, interface: Some(id), weight: 1 }]));
        if length < pair {
            // The network's own address: all hosts once (RFC 1122, 3.3.6), or the routers' anycast (RFC 4291, 2.6.1).
            if let Some(network) = Prefix::of(own, length) {
                add(network.network(), all, Action::Broadcast);
            }
            if let IpAddr::V4(v4) = own {
                let host = u32::MAX.checked_shr(u32::from(length)).unwrap_or(0);
                add(std::net::Ipv4Addr::from_bits(v4.to_bits() | host).into(), all, Action::Broadcast);
            }
        }
        add(own, all, Action::Local);
    }
    routes
}
