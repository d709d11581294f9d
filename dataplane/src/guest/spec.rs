//! A router's ports and routes as words of a command line.
//!
//! `--port SOCKET:ID[,role=client|server][,mac=MAC][,address=ADDRESS/LENGTH]...[,mtu=BYTES]` and
//! `--route PREFIX[,via=GATEWAY][,dev=N]`: each word is one value of a flag, read whole or refused with what to change.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use super::MemifAddress;
use crate::prefix::{Prefix, PrefixError};
use crate::router::{InterfaceAddress, InterfaceConfig, RouteConfig, RouterConfig};
use crate::units::Mac;

/// The MTU of a port that names none.
pub const DEFAULT_MTU: u16 = 1500;

/// What is wrong with a word of the command line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// No socket and number at its start.
    #[error(
        "\"{0}\" does not begin with a memif; write the socket's path and the interface's number, as in /run/r1.sock:0"
    )]
    Memif(String),
    /// Not `key=value`.
    #[error("\"{0}\" is not KEY=VALUE; the keys are {1}")]
    NotKeyValue(String, &'static str),
    /// A key that means nothing here.
    #[error("unknown key \"{0}\"; the keys are {1}")]
    UnknownKey(String, &'static str),
    /// A key that may be there once only.
    #[error("{0} is given twice; give it once")]
    Twice(&'static str),
    /// A value that its key does not take.
    #[error("{key}={value}: {wants}")]
    Value {
        /// The key.
        key: &'static str,
        /// What was given.
        value: String,
        /// What it wants.
        wants: String,
    },
    /// Not a prefix.
    #[error(transparent)]
    Prefix(#[from] PrefixError),
    /// A route to nowhere.
    #[error("route {0} leads nowhere; add via=GATEWAY or dev=N")]
    Nowhere(String),
}

/// One `--port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSpec {
    /// The memif behind the interface.
    pub memif: MemifAddress,
    /// The interface.
    pub interface: InterfaceConfig,
    /// Its address was given; else it is one that is as good as any.
    pub names_mac: bool,
}

const PORT_KEYS: &str = "role, mac, address and mtu";
const MEMIF_KEYS: &str = "role";
const ROUTE_KEYS: &str = "via and dev";

impl FromStr for PortSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let (memif, options) = text.split_once(',').unwrap_or((text, ""));
        let mut memif = endpoint(memif)?;
        let (mut server, mut mac, mut mtu) = (None, None, None);
        let mut addresses = Vec::new();
        for (key, value) in pairs(options, PORT_KEYS)? {
            match key {
                "role" => once("role", &mut server, role(value)?)?,
                "mac" => once("mac", &mut mac, station(value)?)?,
                "mtu" => once("mtu", &mut mtu, mtu_of(value)?)?,
                "address" => addresses.push(address(value)?),
                _ => return Err(SpecError::UnknownKey(key.into(), PORT_KEYS)),
            }
        }
        memif.server = server.unwrap_or(false);
        let names_mac = mac.is_some();
        let mac = mac.unwrap_or_else(|| default_mac(&memif));
        let interface = InterfaceConfig { mac, mtu: mtu.unwrap_or(DEFAULT_MTU), addresses };
        Ok(Self { memif, interface, names_mac })
    }
}

impl FromStr for MemifAddress {
    type Err = SpecError;

    /// Reads `SOCKET:ID[,role=client|server]`; the side that connects unless it says otherwise.
    fn from_str(text: &str) -> Result<Self, SpecError> {
        let (memif, options) = text.split_once(',').unwrap_or((text, ""));
        let mut memif = endpoint(memif)?;
        let mut server = None;
        for (key, value) in pairs(options, MEMIF_KEYS)? {
            match key {
                "role" => once("role", &mut server, role(value)?)?,
                _ => return Err(SpecError::UnknownKey(key.into(), MEMIF_KEYS)),
            }
        }
        memif.server = server.unwrap_or(false);
        Ok(memif)
    }
}

/// Reads `SOCKET:ID`.
fn endpoint(text: &str) -> Result<MemifAddress, SpecError> {
    let parts = text.rsplit_once(':').filter(|(socket, _)| !socket.is_empty());
    let id = parts.and_then(|(socket, id)| Some((socket, id.parse().ok()?)));
    let (socket, id) = id.ok_or_else(|| SpecError::Memif(text.into()))?;
    Ok(MemifAddress { socket: PathBuf::from(socket), id, server: false })
}

impl FromStr for RouteConfig {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let (prefix, options) = text.split_once(',').unwrap_or((text, ""));
        let prefix = Prefix::from_str(prefix)?;
        let (mut gateway, mut interface) = (None, None);
        for (key, value) in pairs(options, ROUTE_KEYS)? {
            match key {
                "via" => {
                    let wants = "a neighbour's address, as in 10.0.0.254";
                    once("via", &mut gateway, parse::<IpAddr>("via", value, wants)?)?;
                }
                "dev" => {
                    let wants = "the number of a --port, counted from 0";
                    once("dev", &mut interface, parse("dev", value, wants)?)?;
                }
                _ => return Err(SpecError::UnknownKey(key.into(), ROUTE_KEYS)),
            }
        }
        if gateway.is_none() && interface.is_none() {
            return Err(SpecError::Nowhere(prefix.to_string()));
        }
        Ok(Self { prefix, gateway, interface })
    }
}

/// A router of these ports, in their order, and routes.
pub fn router_config(ports: &[PortSpec], routes: &[RouteConfig]) -> RouterConfig {
    RouterConfig { interfaces: ports.iter().map(|port| port.interface.clone()).collect(), routes: routes.to_vec() }
}

/// An Ethernet address for a port that names none: locally administered, and the same at every start, so that peers
/// need not learn anew.
pub fn default_mac(memif: &MemifAddress) -> Mac {
    // FNV-1a, 32 bits: any function that keeps a few names apart will do, if it never changes.
    let name = memif.to_string();
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let [a, b, c, d] = hash.to_be_bytes();
    Mac([0x02, 0x50, a, b, c, d])
}

fn pairs<'a>(options: &'a str, keys: &'static str) -> Result<Vec<(&'a str, &'a str)>, SpecError> {
    let pair = |option: &'a str| option.split_once('=').ok_or_else(|| SpecError::NotKeyValue(option.into(), keys));
    options.split(',').filter(|option| !option.is_empty()).map(pair).collect()
}

fn once<T>(key: &'static str, slot: &mut Option<T>, value: T) -> Result<(), SpecError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(SpecError::Twice(key)),
    }
}

fn wrong(key: &'static str, value: &str, wants: &str) -> SpecError {
    SpecError::Value { key, value: value.into(), wants: format!("give {wants}") }
}

fn parse<T: FromStr>(key: &'static str, value: &str, wants: &str) -> Result<T, SpecError> {
    value.parse().map_err(|_| wrong(key, value, wants))
}

fn role(value: &str) -> Result<bool, SpecError> {
    match value {
        "server" => Ok(true),
        "client" => Ok(false),
        _ => Err(wrong("role", value, "client (connects) or server (listens)")),
    }
}

fn station(value: &str) -> Result<Mac, SpecError> {
    let mac = Mac::parse(value).filter(|mac| mac.is_station());
    mac.ok_or_else(|| wrong("mac", value, "a station's address, as in 02:00:00:00:00:01 (its first byte even)"))
}

fn mtu_of(value: &str) -> Result<u16, SpecError> {
    parse("mtu", value, "a number of bytes from 68 to 65535; IPv6 needs 1280")
}

fn address(value: &str) -> Result<InterfaceAddress, SpecError> {
    let wants = "ADDRESS/LENGTH, as in 10.0.0.1/24 or 2001:db8::1/64";
    let (address, length) = value.split_once('/').ok_or_else(|| wrong("address", value, wants))?;
    Ok(InterfaceAddress { address: parse("address", address, wants)?, length: parse("address", length, wants)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_with_everything() {
        let spec: PortSpec =
            "/run/a:b.sock:7,role=server,mac=02:00:00:00:00:01,address=10.0.0.1/24,address=2001:db8::1/64,mtu=9000"
                .parse()
                .unwrap();
        assert_eq!(spec.memif, MemifAddress { socket: "/run/a:b.sock".into(), id: 7, server: true });
        assert_eq!(spec.interface.mac, Mac([2, 0, 0, 0, 0, 1]));
        assert_eq!(spec.interface.mtu, 9000);
        let addresses = [("10.0.0.1", 24), ("2001:db8::1", 64)];
        let addresses = addresses.map(|(a, length)| InterfaceAddress { address: a.parse().unwrap(), length });
        assert_eq!(spec.interface.addresses, addresses);
    }

    #[test]
    fn a_port_with_nothing_connects_and_has_an_address_of_its_own() {
        let spec: PortSpec = "r1.sock:0".parse().unwrap();
        let other: PortSpec = "r1.sock:1".parse().unwrap();
        assert!(!spec.memif.server);
        assert_eq!(spec.interface.mtu, 1500);
        assert!(spec.interface.mac.is_station());
        assert_ne!(spec.interface.mac, other.interface.mac);
        assert_eq!(spec, "r1.sock:0".parse().unwrap());
    }

    #[test]
    fn a_memif_alone_has_a_role_and_nothing_else() {
        let memif: MemifAddress = "/run/r1.sock:3,role=server".parse().unwrap();
        assert_eq!(memif, MemifAddress { socket: "/run/r1.sock".into(), id: 3, server: true });
        let error = "/run/r1.sock:3,mac=02:00:00:00:00:01".parse::<MemifAddress>().unwrap_err();
        assert_eq!(error.to_string(), "unknown key \"mac\"; the keys are role");
    }

    #[test]
    fn a_wrong_port_says_what_to_change() {
        for (text, message) in [
            (
                "",
                "\"\" does not begin with a memif; write the socket's path and the interface's number, as in /run/r1.sock:0",
            ),
            (
                "/run/r1.sock",
                "\"/run/r1.sock\" does not begin with a memif; write the socket's path and the interface's number, as in /run/r1.sock:0",
            ),
            ("s:0,server", "\"server\" is not KEY=VALUE; the keys are role, mac, address and mtu"),
            ("s:0,ip=1", "unknown key \"ip\"; the keys are role, mac, address and mtu"),
            ("s:0,role=master", "role=master: give client (connects) or server (listens)"),
            ("s:0,mtu=1,mtu=2", "mtu is given twice; give it once"),
            ("s:0,mtu=70000", "mtu=70000: give a number of bytes from 68 to 65535; IPv6 needs 1280"),
            (
                "s:0,mac=03:00:00:00:00:01",
                "mac=03:00:00:00:00:01: give a station's address, as in 02:00:00:00:00:01 (its first byte even)",
            ),
            ("s:0,address=10.0.0.1", "address=10.0.0.1: give ADDRESS/LENGTH, as in 10.0.0.1/24 or 2001:db8::1/64"),
        ] {
            assert_eq!(text.parse::<PortSpec>().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn routes_lead_through_a_gateway_or_a_port() {
        let route: RouteConfig = "0.0.0.0/0,via=10.0.0.254".parse().unwrap();
        assert_eq!(route.gateway, Some("10.0.0.254".parse().unwrap()));
        assert_eq!(route.interface, None);
        let route: RouteConfig = "2001:db8::/32,via=fe80::1,dev=1".parse().unwrap();
        assert_eq!((route.prefix.to_string().as_str(), route.interface), ("2001:db8::/32", Some(1)));
        for (text, message) in [
            ("10.0.0.0", "\"10.0.0.0\" is not a prefix; write NETWORK/LENGTH, as in 10.1.0.0/16 or 2001:db8::/32"),
            ("10.0.0.1/24,dev=0", "\"10.0.0.1/24\" is not a prefix; it has bits beyond its length: write 10.0.0.0/24"),
            ("10.0.0.0/33,dev=0", "\"10.0.0.0/33\" is not a prefix; the length is beyond the address"),
            ("10.0.0.0/24", "route 10.0.0.0/24 leads nowhere; add via=GATEWAY or dev=N"),
            ("10.0.0.0/24,via=x", "via=x: give a neighbour's address, as in 10.0.0.254"),
            ("10.0.0.0/24,metric=1", "unknown key \"metric\"; the keys are via and dev"),
        ] {
            assert_eq!(text.parse::<RouteConfig>().unwrap_err().to_string(), message);
        }
    }
}
