//! What the router needs of Ethernet: fourteen bytes before every packet, without tags.

use crate::frame::ETHERNET_HEADER;
use crate::units::Mac;
use crate::wire::field::{get, get16};

/// EtherType of IPv4.
pub(crate) const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub(crate) const ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub(crate) const IPV6: u16 = 0x86dd;

/// The shortest frame a link carries, without FCS. Own frames are padded to it.
pub(crate) const MIN_FRAME: usize = 60;

/// The fields of the header that a router reads: nobody asks where a frame is from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub destination: Mac,
    pub ethertype: u16,
}

/// Reads the header of a frame.
pub(crate) fn parse(head: &[u8]) -> Option<Header> {
    let header = head.first_chunk::<ETHERNET_HEADER>()?;
    Some(Header { destination: Mac(get::<0, 6, _>(header)), ethertype: get16::<12, _>(header) })
}

/// The twelve bytes of addresses as they lie in a frame.
pub(crate) fn addresses(destination: Mac, source: Mac) -> [u8; 12] {
    let mut bytes = [0; 12];
    let (to, from) = bytes.split_at_mut(6);
    to.copy_from_slice(&destination.0);
    from.copy_from_slice(&source.0);
    bytes
}

/// Writes the addresses of a frame that has room for them.
pub(crate) fn set_addresses(head: &mut [u8], addresses: [u8; 12]) {
    if let Some(bytes) = head.first_chunk_mut() {
        *bytes = addresses;
    }
}

/// The packet behind the header.
pub(crate) fn packet(head: &[u8]) -> &[u8] {
    head.get(ETHERNET_HEADER..).unwrap_or(&[])
}

/// The packet behind the header, for writing.
pub(crate) fn packet_mut(head: &mut [u8]) -> &mut [u8] {
    head.get_mut(ETHERNET_HEADER..).unwrap_or(&mut [])
}
