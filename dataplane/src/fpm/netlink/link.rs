//! Devices and their addresses (`struct ifinfomsg`, `struct ifaddrmsg`): as much as tells which is which.

use std::net::IpAddr;

use crate::units::Mac;
use crate::wire::Malformed;

use super::attribute::Attributes;
use super::{IfIndex, Message};

const LINK: usize = 16;
const ADDRESS: usize = 8;

/// Types of attributes (`IFLA_*`, `IFA_*`).
mod attribute {
    pub const LINK_ADDRESS: u16 = 1;
    pub const LINK_NAME: u16 = 3;
    pub const LINK_MTU: u16 = 4;
    pub const LINK_MASTER: u16 = 10;
    pub const ADDRESS: u16 = 1;
    pub const LOCAL: u16 = 2;
}

/// A device of the namespace whose routes are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number there.
    pub device: IfIndex,
    /// Its name there.
    pub name: String,
    /// Its Ethernet address, if it has one.
    pub mac: Option<Mac>,
    /// Bytes of the longest packet.
    pub mtu: Option<u32>,
    /// The device that it is part of: a VRF, a bridge, a bond.
    pub master: Option<IfIndex>,
    /// Switched on (`IFF_UP`).
    pub up: bool,
    /// Able to send (`IFF_RUNNING`).
    pub running: bool,
}

impl Link {
    /// Reads one; none: it is about a bridge's port, not about a device.
    ///
    /// # Errors
    /// Lengths contradict each other, or a device without a number.
    pub fn parse(message: &Message<'_>) -> Result<Option<Self>, Malformed> {
        let (&[family, _, _, _, i0, i1, i2, i3, f0, f1, f2, f3, ..], attributes) = message.body::<LINK>()?;
        if i32::from(family) != libc::AF_UNSPEC {
            return Ok(None);
        }
        let device = u32::from_ne_bytes([i0, i1, i2, i3]);
        let flags = u32::from_ne_bytes([f0, f1, f2, f3]) as i32;
        if device == 0 {
            return Err(Malformed::Value);
        }
        let mut link = Self {
            device: IfIndex(device),
            name: String::new(),
            mac: None,
            mtu: None,
            master: None,
            up: flags & libc::IFF_UP != 0,
            running: flags & libc::IFF_RUNNING != 0,
        };
        for attribute in Attributes::new(attributes) {
            let attribute = attribute?;
            match attribute.kind {
                // Other kinds of devices have addresses of other lengths.
                attribute::LINK_ADDRESS => link.mac = attribute.value.try_into().ok().map(Mac),
                attribute::LINK_NAME => attribute.text()?.clone_into(&mut link.name),
                attribute::LINK_MTU => link.mtu = Some(attribute.u32()?),
                attribute::LINK_MASTER => link.master = Some(attribute.u32()?).filter(|&n| n != 0).map(IfIndex),
                _ => {}
            }
        }
        Ok(Some(link))
    }
}

/// An address of such a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The device.
    pub device: IfIndex,
    /// The address.
    pub address: IpAddr,
    /// Bits that the network's addresses share.
    pub length: u8,
}

impl Address {
    /// Reads one; none: of another family than IPv4 and IPv6.
    ///
    /// # Errors
    /// Lengths contradict each other, or no address.
    pub fn parse(message: &Message<'_>) -> Result<Option<Self>, Malformed> {
        let (&[family, length, _flags, _scope, i0, i1, i2, i3], attributes) = message.body::<ADDRESS>()?;
        let bits = match i32::from(family) {
            libc::AF_INET => 32,
            libc::AF_INET6 => 128,
            _ => return Ok(None),
        };
        let (mut address, mut local) = (None, None);
        for attribute in Attributes::new(attributes) {
            let attribute = attribute?;
            match attribute.kind {
                attribute::ADDRESS => address = Some(attribute.address()?),
                // On a link of two ends, the other attribute is the other end's.
                attribute::LOCAL => local = Some(attribute.address()?),
                _ => {}
            }
        }
        let address = local.or(address).ok_or(Malformed::Truncated)?;
        if length > bits || address.is_ipv4() != (bits == 32) {
            return Err(Malformed::Value);
        }
        Ok(Some(Self { device: IfIndex(u32::from_ne_bytes([i0, i1, i2, i3])), address, length }))
    }
}
