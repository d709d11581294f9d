//! Why a frame ended here. Every frame that the engine loses has exactly one of these reasons and is counted under it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// The reason for which a frame was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum DropReason { $($(#[$doc])* $name,)* }

        impl DropReason {
            /// All reasons, in the order of their counters.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name under which `show drops` and the JSON list it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

reasons! {
    /// Shorter than an Ethernet header (or than its VLAN tags promise).
    Runt = "runt",
    /// Longer than the engine or the output port carries.
    Giant = "giant",
    /// More VLAN tags than the port may send, or a tag where none may be.
    VlanNotAllowed = "vlan-not-allowed",
    /// Source address is a group address or zero.
    SourceInvalid = "source-invalid",
    /// A guest sent from an address that is not its own.
    SourceSpoofed = "source-spoofed",
    /// 01:80:c2:00:00:0x, which no bridge forwards.
    LinkLocal = "link-local",
    /// The port is in no bridge domain.
    NoDomain = "no-domain",
    /// The destination lives on the port that the frame came from.
    SamePort = "same-port",
    /// Nobody in the bridge domain to send it to.
    NoOutput = "no-output",
    /// The output's ring (guest) or transmit queue (device) is full.
    OutputFull = "output-full",
    /// The output is not connected: no peer, link down.
    OutputDown = "output-down",
    /// The output's line rate is used up and its queue is full.
    LineRate = "line-rate",
    /// The rate of the guest that it was for is used up and its queue is full.
    GuestRate = "guest-rate",
    /// No free chunk in the worker's pool.
    PoolExhausted = "pool-exhausted",
    /// The ring to the worker that owns the output is full.
    HandoffFull = "handoff-full",
    /// A descriptor of the peer's points outside its memory or breaks the protocol.
    DescriptorInvalid = "descriptor-invalid",
    /// A page of the guest's could not be copied: it granted none, or took it back.
    GrantFailed = "grant-failed",
    /// The guest said which groups it wants, and this is none of them.
    MulticastFiltered = "multicast-filtered",
    /// The XDP program dropped it because its guest was marked full, or had its part of a ring that does not empty.
    GuestFullXdp = "guest-full-xdp",
    /// Kernel: receive ring full (`XDP_STATISTICS`, `rx_ring_full`).
    KernelRxFull = "kernel-rx-full",
    /// Kernel: dropped for other reasons before the receive ring (`rx_dropped`, less `rx_fill_ring_empty_descs`).
    KernelRxDropped = "kernel-rx-dropped",
    /// Kernel: no chunk in the fill ring (`rx_fill_ring_empty_descs`).
    KernelFillEmpty = "kernel-fill-empty",
    /// Kernel: a transmit descriptor it would not take (`tx_invalid_descs`).
    KernelTxInvalid = "kernel-tx-invalid",
    /// Router: not to its Ethernet address, not a protocol it speaks, or a broadcast or group it is no member of.
    NotForUs = "not-for-us",
    /// Router: version, lengths or checksum of the IP header are wrong, or its extension headers lead nowhere.
    IpHeaderInvalid = "ip-header-invalid",
    /// Router: the sender wants to choose the route, or set an option that must not be skipped.
    IpOption = "ip-option",
    /// Router: from or to an address that no packet on a network may have, or that must not leave its link.
    Martian = "martian",
    /// Router: time to live or hop limit used up.
    TtlExpired = "ttl-expired",
    /// Router: no route to the destination.
    NoRoute = "no-route",
    /// Router: the next hop does not answer, or too many frames wait for it.
    NeighbourUnresolved = "neighbour-unresolved",
    /// Router: an ARP or neighbour discovery message that breaks a rule of its protocol.
    NeighbourInvalid = "neighbour-invalid",
    /// Router: longer than the next link carries, and must not be fragmented.
    TooBig = "too-big",
    /// Router: addressed to the router itself, which has no such service.
    NoService = "no-service",
    /// Router: a route says that packets for there vanish.
    Blackhole = "blackhole",
    /// Router: a route says that the destination is unreachable.
    RouteUnreachable = "route-unreachable",
    /// Router: a route says that the destination is forbidden.
    RouteProhibit = "route-prohibit",
    /// Router: the source is not one that the interface leads to (RFC 3704).
    SourceRoute = "source-route",
    /// Router: the control plane is sent as many frames as it may be.
    PuntRate = "punt-rate",
    /// Router: the control plane's port is down.
    PuntDown = "punt-down",
    /// A checksum that is to be completed lies outside the frame, or where none can be.
    ChecksumRequest = "checksum-request",
    /// A frame that is to be cut into segments is not what it is said to be, or the segments would be absurd.
    SegmentRequest = "segment-request",
    /// The kernel refused to take the frame from a tap, or to give it.
    TapError = "tap-error",
}

/// One counter a reason. Written by one worker, read by anyone.
#[derive(Debug)]
pub struct DropCounters([AtomicU64; DropReason::ALL.len()]);

impl Default for DropCounters {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; DropReason::ALL.len()])
    }
}

impl DropCounters {
    /// Counts `frames` under `reason`. Only the thread that owns the port calls this, so no locked instruction is needed.
    #[inline]
    pub fn count(&self, reason: DropReason, frames: u64) {
        let counter = &self.0[reason as usize];
        counter.store(counter.load(Relaxed).wrapping_add(frames), Relaxed);
    }

    /// Sets what an outer source (the kernel) has counted so far.
    pub fn set(&self, reason: DropReason, frames: u64) {
        self.0[reason as usize].store(frames, Relaxed);
    }

    /// Frames lost for `reason` so far.
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0[reason as usize].load(Relaxed)
    }

    /// Every reason that has occurred, with its count.
    pub fn nonzero(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|&r| (r, self.get(r))).filter(|&(_, n)| n > 0)
    }

    /// Frames lost for any reason.
    pub fn total(&self) -> u64 {
        DropReason::ALL.iter().map(|&r| self.get(r)).sum()
    }
}
