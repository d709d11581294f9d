//! What `xl` does to the store and the hypervisor when it gives a guest a network interface, and when it takes it away.

use std::path::Path;

use super::protocol::{Connection, op};
use crate::xenstore::Xenstore;
use crate::{DomId, XenError};

/// A toolstack's connections.
#[derive(Debug)]
pub struct Toolstack {
    conn: Connection,
    /// Its connection to the store, as the control domain.
    pub store: Xenstore,
}

impl Toolstack {
    pub(super) fn new(conn: Connection, dir: &Path) -> Result<Self, XenError> {
        Ok(Self { conn, store: Xenstore::connect(&dir.join(super::protocol::STORE))? })
    }

    /// Where the backend's part of an interface is.
    pub fn backend_path(domain: DomId, handle: u32) -> String {
        format!("/local/domain/0/backend/vif/{domain}/{handle}")
    }

    /// Where the frontend's is.
    pub fn frontend_path(domain: DomId, handle: u32) -> String {
        format!("/local/domain/{domain}/device/vif/{handle}")
    }

    /// Gives `domain` an interface, as libxl 4.17 writes it; `more`: further keys of the backend's part.
    ///
    /// # Errors
    /// As xenstore says.
    pub fn add_vif(&mut self, domain: DomId, handle: u32, more: &[(&str, &str)]) -> Result<(), XenError> {
        let (back, front) = (Self::backend_path(domain, handle), Self::frontend_path(domain, handle));
        let (id, number) = (domain.to_string(), handle.to_string());
        let mac = format!("00:16:3e:00:{:02x}:{:02x}", domain.0 & 0xff, handle & 0xff);
        let home = format!("/local/domain/{domain}");
        self.store.transaction(|t| {
            if t.get(&home)?.is_none() {
                t.write(&home, "")?;
                t.set_permissions(&home, &["n0", &format!("r{domain}")])?;
            }
            t.write(&back, "")?;
            t.set_permissions(&back, &["n0", &format!("r{domain}")])?;
            t.write(&front, "")?;
            t.set_permissions(&front, &[&format!("n{domain}"), "r0"])?;
            let keys = [
                ("frontend", front.as_str()),
                ("frontend-id", &id),
                ("online", "1"),
                ("state", "1"),
                ("script", "/etc/xen/scripts/vif-bridge"),
                ("mac", &mac),
                ("bridge", "xenbr0"),
                ("handle", &number),
                ("type", "vif"),
                ("hotplug-status", ""),
            ];
            for (key, value) in keys.iter().chain(more) {
                t.write(&format!("{back}/{key}"), value)?;
            }
            let keys = [
                ("backend", back.as_str()),
                ("backend-id", "0"),
                ("state", "1"),
                ("handle", &number),
                ("mac", &mac),
                ("trusted", "1"),
            ];
            for (key, value) in keys {
                t.write(&format!("{front}/{key}"), value)?;
            }
            Ok(())
        })
    }

    /// Asks for an interface back: what `xl network-detach` begins with.
    ///
    /// # Errors
    /// As xenstore says.
    pub fn begin_detach(&mut self, domain: DomId, handle: u32) -> Result<(), XenError> {
        let back = Self::backend_path(domain, handle);
        self.store.transaction(|t| {
            t.write(&format!("{back}/online"), "0")?;
            t.write(&format!("{back}/state"), "5")
        })
    }

    /// Removes both parts: what it ends with.
    ///
    /// # Errors
    /// As xenstore says.
    pub fn finish_detach(&mut self, domain: DomId, handle: u32) -> Result<(), XenError> {
        let (back, front) = (Self::backend_path(domain, handle), Self::frontend_path(domain, handle));
        self.store.transaction(|t| {
            t.remove(&back)?;
            t.remove(&front)
        })
    }

    /// Ends a domain and begins to take its interface, as `xl destroy` does: the frontend's part goes at once.
    ///
    /// # Errors
    /// As xenstore or the hypervisor says.
    pub fn destroy(&mut self, domain: DomId, handle: u32) -> Result<(), XenError> {
        self.conn.ask_value(op::DESTROY, &[domain.0.into()]).map_err(XenError::io("destroying a domain"))?;
        let (back, front) = (Self::backend_path(domain, handle), Self::frontend_path(domain, handle));
        self.store.transaction(|t| {
            t.remove(&front)?;
            t.write(&format!("{back}/online"), "0")?;
            t.write(&format!("{back}/state"), "5")
        })
    }

    /// Pages that a domain has mapped of others.
    ///
    /// # Errors
    /// The hypervisor is gone.
    pub fn mapped_by(&mut self, domain: DomId) -> Result<u32, XenError> {
        self.count(op::COUNT_MAPPED, domain)
    }

    /// Event channels that a domain holds.
    ///
    /// # Errors
    /// The hypervisor is gone.
    pub fn channels_of(&mut self, domain: DomId) -> Result<u32, XenError> {
        self.count(op::COUNT_PORTS, domain)
    }

    /// Domains that ended and are mapped still.
    ///
    /// # Errors
    /// The hypervisor is gone.
    pub fn zombies(&mut self) -> Result<u32, XenError> {
        self.count(op::COUNT_ZOMBIES, DomId::ZERO)
    }

    /// What the store was asked so far, by anybody.
    ///
    /// # Errors
    /// The hypervisor is gone.
    pub fn asked(&mut self) -> Result<u32, XenError> {
        self.count(op::COUNT_ASKED, DomId::ZERO)
    }

    fn count(&self, what: u32, domain: DomId) -> Result<u32, XenError> {
        self.conn.ask_value(what, &[domain.0.into()]).map(|(n, _)| n).map_err(XenError::io("counting"))
    }
}
