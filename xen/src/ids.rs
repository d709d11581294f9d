//! Names of things across domains: three numbers that must not be confused with each other.

use std::fmt;

/// A domain. 0 is the one that is there first and owns the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DomId(pub u16);

/// An entry of a domain's grant table: a page that it lets another domain use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct GrantRef(pub u32);

/// An event channel's end in the domain that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EventPort(pub u32);

impl DomId {
    /// The control domain.
    pub const ZERO: Self = Self(0);
    /// Names above are not domains but meanings (`DOMID_FIRST_RESERVED`, `public/xen.h`).
    pub const FIRST_RESERVED: u16 = 0x7ff0;
}

impl fmt::Display for DomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for GrantRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for EventPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
