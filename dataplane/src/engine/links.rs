//! Watches the links of VRFs' interfaces: routes by one that carries nothing give way to others.
//!
//! A thread of the control side looks a few times a second; a worker is not asked. A change costs one store for each set of
//! next hops that leads by the interface, however many routes those serve. The stack behind a punt tap is told too: its
//! routing daemons then know at once what their protocols would find out by silence.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use super::report::Report;
use crate::config::{InterfaceLink, PortKind};
use crate::rib::InterfaceId;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// The thread. Dropping it ends it.
#[derive(Debug)]
pub struct LinkWatch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl LinkWatch {
    /// Watches the links of the engine that `report` is of; none where there are no VRFs.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start(report: &Arc<Report>) -> std::io::Result<Option<Self>> {
        if report.vrfs.is_empty() {
            return Ok(None);
        }
        let (stop, report) = (Arc::new(AtomicBool::new(false)), Arc::clone(report));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("vrf-links".into()).spawn(move || {
            while !stopped.load(Relaxed) {
                look(&report);
                std::thread::park_timeout(LOOK);
            }
        })?;
        Ok(Some(Self { stop, thread: Some(thread) }))
    }
}

impl Drop for LinkWatch {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

fn look(report: &Report) {
    // A worker that has not begun has not looked at its ports either.
    for vrf in report.vrfs.iter().filter(|vrf| report.has_begun(vrf.worker)) {
        for (id, (spec, was)) in (0..).map(InterfaceId).zip(vrf.spec.interfaces.iter().zip(&vrf.up)) {
            let up = match spec.link {
                InterfaceLink::Port(port, _) => is_up(report, port),
                InterfaceLink::Domain(domain) => is_domain_up(report, domain),
            };
            if was.swap(up, Relaxed) != up {
                vrf.rib().interface_state(id, up);
                // What its device cannot be told, the stack finds out by its protocols.
                let _ = spec.punt.and_then(|punt| report.ports[punt].carrier.as_ref()).map(|carrier| carrier.set(up));
            }
        }
    }
}

/// Whether somebody can be reached in a bridge domain: by a port of it, or because several VRFs have interfaces there.
fn is_domain_up(report: &Report, domain: usize) -> bool {
    let ports = report.config.ports.iter().enumerate();
    report.inner.iter().filter(|inner| inner.domain == domain).count() > 1
        || ports.filter(|(_, spec)| spec.membership.contains(domain)).any(|(port, _)| is_up(report, port))
        || report.seats.look(|sitters| {
            let counters = sitters.iter().filter(|sitter| sitter.domain == domain).flat_map(|sitter| &sitter.counters);
            counters.into_iter().any(|counters| counters.up.load(Relaxed))
        })
}

/// Whether the link of a port carries frames, as far as that can be told.
fn is_up(report: &Report, port: usize) -> bool {
    let up = report.ports[port].counters.iter().any(|counters| counters.up.load(Relaxed));
    match &report.config.ports[port].kind {
        PortKind::Netdev(spec) => {
            let carrier = std::fs::read_to_string(Path::new("/sys/class/net").join(&spec.device).join("carrier"));
            // A device that was taken down says nothing (EINVAL); of one in a place without sysfs nothing is known.
            up && carrier.map_or_else(|e| e.kind() == std::io::ErrorKind::NotFound, |carrier| carrier.trim() == "1")
        }
        _ => up,
    }
}
