//! What stands in the store about an interface: the toolstack's wishes, the guest's rings and abilities.
//!
//! The backend's part is the toolstack's word. The frontend's part is the guest's: it may write, delete and change there
//! what it likes, whenever. Numbers are read strictly and within limits, each key once; whoever lies is not connected.

use super::state::State;
use crate::xenstore::Xenstore;
use crate::{DomId, EventPort, GrantRef, XenError};

/// Why an interface cannot be connected.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The store or the hypervisor.
    #[error(transparent)]
    Xen(#[from] XenError),
    /// A key that must be there is not.
    #[error("{path} is missing")]
    Missing {
        /// Which.
        path: String,
    },
    /// A value that makes no sense.
    #[error("{path} is {value:?}; want {want}")]
    Value {
        /// Which.
        path: String,
        /// What it is.
        value: String,
        /// What it may be.
        want: &'static str,
    },
}

/// What the toolstack says of an interface (`xl.cfg`, `vif = [...]`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VifConfig {
    /// The guest.
    pub domain: DomId,
    /// Which of its interfaces.
    pub handle: u32,
    /// The guest's name.
    pub guest: Option<String>,
    /// Its address, the only one it may send from.
    pub mac: Option<[u8; 6]>,
    /// The bridge domain that it belongs to.
    pub bridge: Option<String>,
    /// The VLAN that it is in there.
    pub vlan: Option<u16>,
    /// What it may send.
    pub rate: Option<Rate>,
    /// The longest frame's payload.
    pub mtu: Option<u16>,
    /// What it is to be called.
    pub name: Option<String>,
}

/// `rate=`: so many bytes every so many microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Bytes that may be sent in one go.
    pub bytes: u64,
    /// After which they may be sent again.
    pub micros: u64,
}

impl Rate {
    /// In bits a second.
    pub fn bits_per_second(&self) -> u64 {
        (u128::from(self.bytes) * 8_000_000 / u128::from(self.micros.max(1))).min(u64::MAX.into()) as u64
    }
}

/// Where an interface is in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The backend's part.
    pub back: String,
    /// The frontend's part.
    pub front: String,
}

impl Paths {
    /// Of interface `handle` of `domain`, served by `backend`. The guest's own idea of this is never looked at.
    pub fn new(backend: DomId, domain: DomId, handle: u32) -> Self {
        Self {
            back: format!("/local/domain/{backend}/backend/vif/{domain}/{handle}"),
            front: format!("/local/domain/{domain}/device/vif/{handle}"),
        }
    }
}

/// Reads what the toolstack wrote. Values that make no sense are told and passed over: they are its word, not the guest's.
///
/// # Errors
/// The store cannot be read, or the nodes are not this interface's.
pub fn read_config(store: &mut Xenstore, paths: &Paths, domain: DomId, handle: u32) -> Result<VifConfig, KeyError> {
    let frontend = format!("{}/frontend", paths.back);
    let told = require(store, &frontend)?;
    if told != paths.front.as_bytes() {
        return Err(wrong(frontend, &told, "the path of the same guest's device/vif"));
    }
    let mut read_at = |path: String| -> Result<Option<String>, KeyError> {
        let value = store.get(&path)?;
        Ok(value.and_then(|value| String::from_utf8(value).ok()).filter(|value| !value.is_empty()))
    };
    let guest = read_at(format!("/local/domain/{domain}/name"))?;
    let mut read = |key: &str| read_at(format!("{}/{key}", paths.back));
    let mac = read("mac")?.and_then(|text| parse_mac(&text));
    let rate = read("rate")?.and_then(|text| {
        let (bytes, micros) = text.split_once(',')?;
        let rate = Rate { bytes: decimal(bytes.as_bytes(), u64::MAX)?, micros: decimal(micros.as_bytes(), u64::MAX)? };
        (rate.bytes > 0 && rate.micros > 0).then_some(rate)
    });
    Ok(VifConfig {
        domain,
        handle,
        guest,
        mac,
        bridge: read("bridge")?,
        vlan: read("vlan")?.and_then(|text| decimal(text.as_bytes(), 4094)).filter(|id| *id > 0).map(|id| id as u16),
        rate,
        mtu: read("mtu")?.and_then(|text| decimal(text.as_bytes(), 65_535)).map(|mtu| mtu as u16),
        name: read("vifname")?,
    })
}

/// Writes a key of the backend's part, unless the toolstack has removed that: what it removed must not come back.
///
/// # Errors
/// As xenstore says.
pub fn write_if_there(store: &mut Xenstore, paths: &Paths, path: &str, value: &str) -> Result<(), XenError> {
    store.transaction(|t| match t.get(&format!("{}/state", paths.back))? {
        Some(_) => t.write(path, value),
        None => Ok(()),
    })
}

/// What a backend offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Most queues.
    pub queues: u16,
    /// It takes TCP packets of up to 64 KiB and cuts them.
    pub gso: bool,
}

/// Writes what we offer, and that the guest may come: all at once, unless the toolstack has removed the interface meanwhile.
///
/// # Errors
/// As xenstore says.
pub fn write_offer(store: &mut Xenstore, paths: &Paths, offer: Offer) -> Result<(), XenError> {
    let queues = offer.queues.to_string();
    let gso = if offer.gso { "1" } else { "0" };
    let keys = [
        ("feature-rx-copy", "1"),
        ("feature-rx-flip", "0"),
        ("feature-sg", "1"),
        ("feature-gso-tcpv4", gso),
        ("feature-gso-tcpv6", gso),
        ("feature-ipv6-csum-offload", "1"),
        ("feature-split-event-channels", "1"),
        ("feature-multicast-control", "1"),
        ("multi-queue-max-queues", &queues),
        ("state", State::InitWait.as_str()),
    ];
    store.transaction(|t| match t.get(&format!("{}/state", paths.back))? {
        Some(_) => keys.iter().try_for_each(|(key, value)| t.write(&format!("{}/{key}", paths.back), value)),
        None => Ok(()),
    })
}

/// What a guest wants to receive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// Packets in several pages.
    pub sg: bool,
    /// Uncut TCP over IPv4.
    pub gso_tcp4: bool,
    /// Uncut TCP over IPv6.
    pub gso_tcp6: bool,
    /// Blank checksums over IPv4.
    pub csum_ip4: bool,
    /// Blank checksums over IPv6.
    pub csum_ip6: bool,
    /// It tells when it posted buffers.
    pub rx_notify: bool,
    /// It will say which groups it wants.
    pub multicast_control: bool,
}

/// A queue's rings and channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueKeys {
    /// The ring of what it sends.
    pub tx_ring: GrantRef,
    /// The ring of what it receives.
    pub rx_ring: GrantRef,
    /// The channel of the first.
    pub tx_event: EventPort,
    /// The channel of the second; the same where they are not split.
    pub rx_event: EventPort,
}

/// What a guest wrote before it became connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontendKeys {
    /// One for each queue.
    pub queues: Vec<QueueKeys>,
    /// What it can receive.
    pub abilities: Abilities,
}

/// Reads what the guest wrote; each key once.
///
/// # Errors
/// A key is missing, is no number, or is out of range; the store cannot be read.
pub fn read_frontend(store: &mut Xenstore, front: &str, max_queues: u16) -> Result<FrontendKeys, KeyError> {
    let copy = format!("{front}/request-rx-copy");
    if require(store, &copy)? != b"1" {
        return Err(KeyError::Value { path: copy, value: "not 1".into(), want: "1: pages are copied, never flipped" });
    }
    let count = format!("{front}/multi-queue-num-queues");
    let queues = match store.get(&count)? {
        None => 1,
        Some(value) => match decimal(&value, max_queues.into()) {
            Some(n @ 1..) => n as u16,
            _ => return Err(wrong(count, &value, "1 to multi-queue-max-queues of the backend")),
        },
    };
    let mut read = Vec::new();
    for queue in 0..queues {
        let dir = if queues == 1 { front.to_owned() } else { format!("{front}/queue-{queue}") };
        read.push(read_queue(store, &dir)?);
    }
    Ok(FrontendKeys { queues: read, abilities: read_abilities(store, front)? })
}

fn read_queue(store: &mut Xenstore, dir: &str) -> Result<QueueKeys, KeyError> {
    let tx_ring = GrantRef(require_u32(store, format!("{dir}/tx-ring-ref"))?);
    let rx_ring = GrantRef(require_u32(store, format!("{dir}/rx-ring-ref"))?);
    let split = format!("{dir}/event-channel-tx");
    let (tx_event, rx_event) = match store.get(&split)? {
        Some(value) => {
            let tx = parse_u32(split, &value)?;
            (tx, require_u32(store, format!("{dir}/event-channel-rx"))?)
        }
        None => {
            let both = require_u32(store, format!("{dir}/event-channel"))?;
            (both, both)
        }
    };
    Ok(QueueKeys { tx_ring, rx_ring, tx_event: EventPort(tx_event), rx_event: EventPort(rx_event) })
}

fn read_abilities(store: &mut Xenstore, front: &str) -> Result<Abilities, XenError> {
    // Any value but a plain 1 is a no.
    let mut is = |key: &str| store.get(&format!("{front}/{key}")).map(|value| value.as_deref() == Some(b"1"));
    Ok(Abilities {
        sg: is("feature-sg")?,
        gso_tcp4: is("feature-gso-tcpv4")?,
        gso_tcp6: is("feature-gso-tcpv6")?,
        csum_ip4: !is("feature-no-csum-offload")?,
        csum_ip6: is("feature-ipv6-csum-offload")?,
        rx_notify: is("feature-rx-notify")?,
        multicast_control: is("request-multicast-control")?,
    })
}

pub(crate) fn require(store: &mut Xenstore, path: &str) -> Result<Vec<u8>, KeyError> {
    store.get(path)?.ok_or_else(|| KeyError::Missing { path: path.into() })
}

pub(crate) fn require_u32(store: &mut Xenstore, path: String) -> Result<u32, KeyError> {
    let value = require(store, &path)?;
    parse_u32(path, &value)
}

fn parse_u32(path: String, value: &[u8]) -> Result<u32, KeyError> {
    decimal(value, u32::MAX.into()).map(|n| n as u32).ok_or_else(|| wrong(path, value, "a decimal number of 32 bits"))
}

pub(crate) fn wrong(path: String, value: &[u8], want: &'static str) -> KeyError {
    let mut value = String::from_utf8_lossy(value).into_owned();
    value.truncate(value.char_indices().nth(40).map_or(value.len(), |(at, _)| at));
    KeyError::Value { path, value, want }
}

/// Digits and nothing else, up to `max`.
pub fn decimal(text: &[u8], max: u64) -> Option<u64> {
    if text.is_empty() || text.len() > 20 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok().filter(|n| *n <= max)
}

pub(crate) fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        let part = parts.next().filter(|p| p.len() == 2 && p.bytes().all(|c| c.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_digits_within_their_limit() {
        assert_eq!(decimal(b"0", 5), Some(0));
        assert_eq!(decimal(b"4294967295", u32::MAX.into()), Some(u32::MAX.into()));
        for bad in [&b""[..], b"-1", b"+1", b"1x", b" 1", b"0x10", b"4294967296", b"99999999999999999999", b"\xff"] {
            assert_eq!(decimal(bad, u32::MAX.into()), None, "{bad:?}");
        }
    }

    #[test]
    fn a_rate_is_bytes_in_microseconds() {
        let rate = Rate { bytes: 62_500, micros: 50_000 };
        assert_eq!(rate.bits_per_second(), 10_000_000);
        assert_eq!(Rate { bytes: u64::MAX, micros: 1 }.bits_per_second(), u64::MAX);
    }
}
