//! The feeds of a configuration: routing daemons' routes on their way into VRFs.

use std::sync::Arc;
use std::time::Duration;

use super::EngineError;
use super::ports::OpenPort;
use super::vrfs::RunningVrf;
use crate::config::Config;
use crate::fpm::{Address, Devices, Feed, FeedConfig, IfIndex, KnownInterface, Link, Refusal, Sink, TableId};
use crate::rib::{Change, InterfaceId, Origin, RibError};
use crate::units::Nanos;

/// Starts the feeds of `config`, which tell their routes to `vrfs`.
///
/// # Errors
/// Nobody can listen where one is to.
pub fn start(config: &Config, ports: &[OpenPort], vrfs: &[Arc<RunningVrf>]) -> Result<Vec<Feed>, EngineError> {
    let duration = |nanos: Nanos| Duration::from_nanos(nanos.0);
    let start = |(number, spec): (u16, &crate::config::FeedSpec)| {
        let tables: Vec<_> = spec.tables.iter().map(|&(table, vrf)| (table, Arc::clone(&vrfs[vrf]))).collect();
        let known = tables.iter().flat_map(|(table, vrf)| interfaces(*table, vrf, ports)).collect();
        let sink = VrfSink { origin: Origin::Feed(number), tables, devices: Devices::new(known) };
        let feed = FeedConfig {
            name: spec.name.clone(),
            listen: spec.listen.clone(),
            netns: spec.netns.clone(),
            tables: spec.tables.iter().map(|&(table, _)| table).collect(),
            stale: duration(spec.stale),
            keep: spec.keep.map(duration),
        };
        Feed::start(feed, Box::new(sink)).map_err(|source| EngineError::Feed { feed: spec.name.clone(), source })
    };
    (0..).zip(&config.feeds).map(start).collect()
}

/// A VRF's interfaces, by all that a daemon may call them.
fn interfaces(table: TableId, vrf: &RunningVrf, ports: &[OpenPort]) -> Vec<KnownInterface> {
    let all = (0..).map(InterfaceId).zip(vrf.spec.interfaces.iter().zip(&vrf.macs));
    all.map(|(interface, (spec, &mac))| KnownInterface {
        table,
        interface,
        name: spec.name.clone(),
        // One that several interfaces have tells none of them.
        mac: Some(mac).filter(|mac| vrf.macs.iter().filter(|other| *other == mac).count() == 1),
        device: spec.punt.and_then(|punt| ports[punt].ifindex).map(IfIndex),
    })
    .collect()
}

/// Tells the routes of a feed to the VRFs that its tables lead to.
struct VrfSink {
    origin: Origin,
    tables: Vec<(TableId, Arc<RunningVrf>)>,
    devices: Devices,
}

impl Sink for VrfSink {
    fn interface(&self, table: TableId, device: IfIndex) -> Option<InterfaceId> {
        self.devices.interface(table, device)
    }

    fn change(&mut self, table: TableId, change: Change) -> Result<(), Refusal> {
        let Some((_, vrf)) = self.tables.iter().find(|(known, _)| *known == table) else {
            return Err(Refusal::Invalid);
        };
        let taking_back = matches!(change, Change::Delete(..) | Change::DeleteGroup(_));
        match vrf.rib().apply(self.origin, change) {
            // What was refused when it came is not there when it is taken back.
            Err(RibError::NoSuchRoute { .. } | RibError::NoSuchGroup { .. }) if taking_back => Ok(()),
            other => other.map_err(|error| refusal(&error)),
        }
    }

    fn begin_sync(&mut self) {
        for (_, vrf) in &self.tables {
            vrf.rib().begin_sync(self.origin);
        }
    }

    fn end_sync(&mut self) {
        for (_, vrf) in &self.tables {
            vrf.rib().end_sync(self.origin);
        }
    }

    fn link(&mut self, link: &Link, present: bool) {
        self.devices.learn(link, present);
    }

    fn address(&mut self, _address: &Address, _present: bool) {
        // Addresses of interfaces are the configuration's: frames to others go to the stack as they come, by its routes.
    }
}

fn refusal(error: &RibError) -> Refusal {
    match error {
        RibError::TooManyRoutes { .. } | RibError::Fib(_) => Refusal::TooManyRoutes,
        RibError::NestedGroup { .. } => Refusal::GroupOfGroups,
        RibError::NoHops | RibError::HopToNowhere => Refusal::NoHop,
        RibError::TooManyHops { .. } => Refusal::TooManyHops,
        RibError::NoSuchInterface { .. } => Refusal::NoInterface,
        RibError::NoWeight | RibError::NoSuchRoute { .. } | RibError::NoSuchGroup { .. } => Refusal::Invalid,
    }
}
