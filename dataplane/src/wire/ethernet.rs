//! Ethernet II headers with at most one VLAN tag (IEEE 802.3-2022, 3.2; IEEE 802.1Q-2018, 9).
//!
//! [`Header::parse`] is the first thing that happens to a frame from anywhere, so it takes arbitrary bytes, reads three
//! words, and cannot fail other than by saying that there are too few of them. Addresses stay in registers as 48-bit
//! numbers: whoever forwards compares and hashes them, and hardly ever needs their bytes.
//!
//! One tag is understood: the customer tag, 0x8100. What follows it, or stands in its place, is an EtherType like any
//! other; [`Header::is_stacked`] tells when that EtherType is one more tag (802.1ad's 0x88a8, or a second 0x8100).

use std::fmt;

use crate::units::Mac;

/// Where the parts of the header lie, as 802.1Q draws them.
pub mod field {
    use std::ops::Range;

    /// Destination and source address.
    pub const ADDRESSES: Range<usize> = 0..12;
    /// EtherType or length; of a tagged frame, the tag's protocol identifier.
    pub const TYPE: Range<usize> = 12..14;
    /// Tag control information, when there is a tag.
    pub const TCI: Range<usize> = 14..16;
    /// EtherType behind the tag.
    pub const TAGGED_TYPE: Range<usize> = 16..18;
}

/// Bytes of a header without tag.
pub const HEADER: usize = field::TYPE.end;
/// Bytes that a tag adds.
pub const TAG: usize = 4;

/// Tag protocol identifier of the customer tag, the ordinary VLAN tag.
pub const TPID: u16 = 0x8100;
/// Tag protocol identifier of the service tag (802.1ad).
pub const TPID_SERVICE: u16 = 0x88a8;
/// What equipment from before 802.1ad puts in front of a second tag.
pub const TPID_OLD_STACK: u16 = 0x9100;

/// The group bit of an address that is held as a number.
const GROUP: u64 = 1 << 40;
/// The first of the sixteen addresses that no bridge forwards (802.1Q-2018, table 8-1), as a number.
const LINK_LOCAL: u64 = 0x0180_c200_0000;

/// A VLAN that a frame can be in: 1 to 4094. 0 marks a priority tag, 4095 is reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VlanId(u16);

impl VlanId {
    /// The VLAN of this number, if there is one.
    pub const fn new(id: u16) -> Option<Self> {
        match id {
            1..=4094 => Some(Self(id)),
            _ => None,
        }
    }

    /// Its number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Tag control information: three bits of priority, one that marks what may be dropped first, twelve of VLAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tci(pub u16);

impl Tci {
    const VID: u16 = 0x0fff;

    /// The VLAN identifier, 0 to 4095, as it stands in the tag.
    pub const fn vid(self) -> u16 {
        self.0 & Self::VID
    }

    /// Priority code point, 0 to 7.
    pub const fn priority(self) -> u8 {
        (self.0 >> 13) as u8
    }

    /// Drop eligible indicator.
    pub const fn drop_eligible(self) -> bool {
        self.0 & 0x1000 != 0
    }

    /// The same priority bits in another VLAN.
    pub const fn with_vid(self, vid: u16) -> Self {
        Self(self.0 & !Self::VID | vid & Self::VID)
    }
}

/// What a frame's first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    dst: u64,
    src: u64,
    tag: Option<Tci>,
    ethertype: u16,
}

/// The frame ends within its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the frame ends within its Ethernet header")]
pub struct Truncated;

impl Header {
    /// Reads the header of the frame that begins with `head`.
    ///
    /// # Errors
    /// Fewer than 14 bytes, or fewer than 18 where the first 14 promise a tag.
    #[inline]
    pub fn parse(head: &[u8]) -> Result<Self, Truncated> {
        let bytes = head.first_chunk::<HEADER>().ok_or(Truncated)?;
        // Two overlapping words hold it all. Copied whole first, or the compiler makes byte loads of them.
        let (Some(&first), Some(&second)) = (bytes.first_chunk(), bytes.last_chunk()) else { return Err(Truncated) };
        let (first, second) = (u64::from_be_bytes(first), u64::from_be_bytes(second));
        let untagged = Self { dst: first >> 16, src: second >> 16, tag: None, ethertype: second as u16 };
        if untagged.ethertype != TPID {
            return Ok(untagged);
        }
        let bytes = head.first_chunk::<{ HEADER + TAG }>().ok_or(Truncated)?;
        let Some(&tag) = bytes.last_chunk() else { return Err(Truncated) };
        let tag = u32::from_be_bytes(tag);
        Ok(Self { tag: Some(Tci((tag >> 16) as u16)), ethertype: tag as u16, ..untagged })
    }

    /// Destination address.
    pub const fn dst(&self) -> Mac {
        Mac::from_u64(self.dst)
    }

    /// Source address.
    pub const fn src(&self) -> Mac {
        Mac::from_u64(self.src)
    }

    /// Destination address as the low 48 bits of a word, see [`Mac::as_u64`].
    #[inline]
    pub const fn dst_word(&self) -> u64 {
        self.dst
    }

    /// Source address as the low 48 bits of a word, see [`Mac::as_u64`].
    #[inline]
    pub const fn src_word(&self) -> u64 {
        self.src
    }

    /// The tag, if there is one.
    #[inline]
    pub const fn tag(&self) -> Option<Tci> {
        self.tag
    }

    /// EtherType behind the tag, if any; below 0x600 it is a length (802.3).
    #[inline]
    pub const fn ethertype(&self) -> u16 {
        self.ethertype
    }

    /// Bytes up to the payload.
    #[inline]
    pub const fn len(&self) -> usize {
        match self.tag {
            None => HEADER,
            Some(_) => HEADER + TAG,
        }
    }

    /// A header is never empty.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Whether what follows is a tag that [`parse`](Self::parse) did not take: a second one, or one of 802.1ad.
    #[inline]
    pub const fn is_stacked(&self) -> bool {
        matches!(self.ethertype, TPID | TPID_SERVICE | TPID_OLD_STACK)
    }

    /// Whether the destination is a group: broadcast or multicast.
    #[inline]
    pub const fn to_group(&self) -> bool {
        self.dst & GROUP != 0
    }

    /// Whether the destination is 01:80:c2:00:00:00 to :0f, see [`Mac::is_link_local`].
    #[inline]
    pub const fn to_link_local(&self) -> bool {
        self.dst & !0xf == LINK_LOCAL
    }

    /// Whether the source may be a station's own, see [`Mac::is_station`].
    #[inline]
    pub const fn from_station(&self) -> bool {
        self.src & GROUP == 0 && self.src != 0
    }
}

/// Puts a tag into a frame whose header begins `TAG` bytes behind the start of `head`. False when `head` is too short.
#[inline]
pub fn push_tag(head: &mut [u8], tci: Tci) -> bool {
    let Some(b) = head.first_chunk_mut::<{ HEADER + TAG }>() else { return false };
    b.copy_within(TAG..TAG + field::ADDRESSES.end, 0);
    b[field::TYPE].copy_from_slice(&TPID.to_be_bytes());
    b[field::TCI].copy_from_slice(&tci.0.to_be_bytes());
    true
}

/// Moves the addresses over the tag, so that the frame without it begins `TAG` bytes behind the start of `head`.
/// False when `head` is too short.
#[inline]
pub fn pop_tag(head: &mut [u8]) -> bool {
    let Some(b) = head.first_chunk_mut::<{ HEADER + TAG }>() else { return false };
    b.copy_within(field::ADDRESSES, TAG);
    true
}

/// Overwrites the tag that is there. False when `head` is too short.
#[inline]
pub fn set_tag(head: &mut [u8], tci: Tci) -> bool {
    let Some(b) = head.first_chunk_mut::<{ HEADER + TAG }>() else { return false };
    b[field::TCI].copy_from_slice(&tci.0.to_be_bytes());
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UNTAGGED: [u8; 16] = [2, 0, 0, 0, 0, 1, 6, 0, 0, 0, 0, 2, 0x08, 0x00, 0x45, 0x00];
    const TAGGED: [u8; 20] = [2, 0, 0, 0, 0, 1, 6, 0, 0, 0, 0, 2, 0x81, 0x00, 0xb0, 0x0a, 0x86, 0xdd, 0x60, 0x00];

    #[test]
    fn an_untagged_header_reads_as_it_lies() {
        let header = Header::parse(&UNTAGGED).unwrap();
        assert_eq!(header.dst(), Mac([2, 0, 0, 0, 0, 1]));
        assert_eq!(header.src(), Mac([6, 0, 0, 0, 0, 2]));
        assert_eq!((header.tag(), header.ethertype(), header.len()), (None, 0x0800, 14));
        assert!(!header.is_stacked() && !header.to_group() && !header.to_link_local() && header.from_station());
    }

    #[test]
    fn a_tag_gives_priority_and_vlan() {
        let header = Header::parse(&TAGGED).unwrap();
        let tag = header.tag().unwrap();
        assert_eq!((tag.vid(), tag.priority(), tag.drop_eligible()), (10, 5, true));
        assert_eq!((header.ethertype(), header.len()), (0x86dd, 18));
        assert_eq!(tag.with_vid(4094), Tci(0xbffe));
        assert_eq!(tag.with_vid(0xffff).priority(), 5);
    }

    #[test]
    fn a_header_that_ends_early_is_told_at_every_length() {
        for len in 0..UNTAGGED.len() {
            assert_eq!(Header::parse(&UNTAGGED[..len]).is_ok(), len >= 14, "untagged, {len} bytes");
        }
        for len in 0..TAGGED.len() {
            assert_eq!(Header::parse(&TAGGED[..len]).is_ok(), len >= 18, "tagged, {len} bytes");
        }
    }

    #[test]
    fn stacks_and_service_tags_are_told() {
        for tpid in [TPID, TPID_SERVICE, TPID_OLD_STACK] {
            let mut stacked = TAGGED;
            stacked[field::TAGGED_TYPE].copy_from_slice(&tpid.to_be_bytes());
            assert!(Header::parse(&stacked).unwrap().is_stacked(), "{tpid:#x} behind a tag");
        }
        let mut service = TAGGED;
        service[field::TYPE].copy_from_slice(&TPID_SERVICE.to_be_bytes());
        let header = Header::parse(&service).unwrap();
        assert!(header.is_stacked() && header.tag().is_none());
    }

    #[test]
    fn a_tag_goes_in_and_comes_out_again() {
        let mut head = [[0xee; 4].as_slice(), &UNTAGGED].concat();
        assert!(push_tag(&mut head, Tci(0xb00a)));
        assert_eq!(head[..16], TAGGED[..16]);
        assert_eq!(head[16..], UNTAGGED[12..]);
        assert!(set_tag(&mut head, Tci(0x6014)));
        assert_eq!(Header::parse(&head).unwrap().tag(), Some(Tci(0x6014)));
        assert!(pop_tag(&mut head));
        assert_eq!(head[4..], UNTAGGED);
        for len in 0..18 {
            let head = &mut head[..len];
            assert!(!push_tag(head, Tci(1)) && !pop_tag(head) && !set_tag(head, Tci(1)));
        }
    }

    #[test]
    fn vlans_are_1_to_4094() {
        assert_eq!([0, 4095, 4096, u16::MAX].map(VlanId::new), [None; 4]);
        assert_eq!([1, 10, 4094].map(|id| VlanId::new(id).unwrap().get()), [1, 10, 4094]);
    }

    proptest! {
        #[test]
        fn agrees_with_etherparse_and_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..40),
                                                   kind in 0..4_usize) {
            if bytes.len() >= 14 && kind > 0 {
                let kinds = [TPID, TPID, TPID_SERVICE, 0x0800];
                bytes[field::TYPE].copy_from_slice(&kinds[kind].to_be_bytes());
            }
            let ours = Header::parse(&bytes);
            let Ok((outer, rest)) = etherparse::Ethernet2Header::from_slice(&bytes) else {
                prop_assert_eq!(ours, Err(Truncated));
                return Ok(());
            };
            if outer.ether_type.0 != TPID {
                let ours = ours.unwrap();
                prop_assert_eq!((ours.dst().0, ours.src().0), (outer.destination, outer.source));
                prop_assert_eq!((ours.ethertype(), ours.tag()), (outer.ether_type.0, None));
                return Ok(());
            }
            match etherparse::SingleVlanHeader::from_slice(rest) {
                Err(_) => prop_assert_eq!(ours, Err(Truncated)),
                Ok((tag, _)) => {
                    let ours = ours.unwrap();
                    let tci = ours.tag().unwrap();
                    prop_assert_eq!((ours.dst().0, ours.src().0), (outer.destination, outer.source));
                    prop_assert_eq!(tci.vid(), tag.vlan_id.value());
                    prop_assert_eq!(tci.priority(), tag.pcp.value());
                    prop_assert_eq!(tci.drop_eligible(), tag.drop_eligible_indicator);
                    prop_assert_eq!(ours.ethertype(), tag.ether_type.0);
                }
            }
        }

        #[test]
        fn address_classes_are_those_of_mac(dst in any::<[u8; 6]>(), last in any::<u8>(), local in any::<bool>()) {
            let dst = if local { [1, 0x80, 0xc2, 0, 0, last] } else { dst };
            let bytes = [dst.as_slice(), &dst, &[8, 0]].concat();
            let header = Header::parse(&bytes).unwrap();
            prop_assert_eq!(header.dst(), Mac(dst));
            prop_assert_eq!(header.to_group(), Mac(dst).is_group());
            prop_assert_eq!(header.to_link_local(), Mac(dst).is_link_local());
            prop_assert_eq!(header.from_station(), Mac(dst).is_station());
        }
    }
}
