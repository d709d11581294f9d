//! A veth pair between us and a network stack: its end is an ordinary device, ours is for AF_XDP.
//!
//! A tap moves one frame a system call. Over a pair, AF_XDP moves a burst with one, for frames that are all of ordinary
//! length with their checksums complete: the stack's end is told to leave nothing to a card that is not there.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use crate::ifreq::{ioctl, is_device_name, owned, request, set_mac, set_up};
use crate::netns::enter;
use crate::units::Mac;

/// What our end's name has behind that of the stack's.
const OURS: &str = "-pm";

/// The stack's end of a pair.
#[derive(Clone, Debug, Default)]
pub struct VethOptions {
    /// Its name, of at most 12 characters.
    pub device: String,
    /// Its namespace: a name as `ip netns` has them, or a path. None: ours.
    pub netns: Option<PathBuf>,
    /// Its Ethernet address; none: the kernel chooses.
    pub mac: Option<Mac>,
}

/// Why there is no pair.
#[derive(Debug, thiserror::Error)]
pub enum VethError {
    /// Not a name the kernel takes, with ours besides.
    #[error("veth {device:?}: not a device name; write 1 to 12 characters without space, '/', ':' or '%'")]
    Name {
        /// The device.
        device: String,
    },
    /// Something else has the name.
    #[error("veth {device}: a device of that name exists and is no veth of ours; choose another name")]
    Exists {
        /// The device.
        device: String,
    },
    /// The namespace is not there, or may not be entered.
    #[error("veth {device}: cannot enter network namespace {netns}: {reason}; `ip netns list` shows those there are")]
    Netns {
        /// The device.
        device: String,
        /// The namespace.
        netns: String,
        /// What the kernel said.
        reason: io::Error,
    },
    /// A step was refused.
    #[error("veth {device}: cannot {what}: {reason}; it takes root or CAP_NET_ADMIN, and the kernel's module veth")]
    Step {
        /// The device.
        device: String,
        /// Which.
        what: &'static str,
        /// What the kernel said.
        reason: io::Error,
    },
}

/// A pair, which goes when this does.
#[derive(Debug)]
pub struct VethPair {
    ours: String,
}

impl VethPair {
    /// Makes the pair, or takes over one that a killed process left, with the addresses that the stack's end has. Both ends
    /// are up.
    ///
    /// # Errors
    /// See [`VethError`]; nothing is left then.
    pub fn create(options: &VethOptions) -> Result<Self, VethError> {
        let device = &options.device;
        let pair = Self { ours: format!("{device}{OURS}") };
        if !is_device_name(device) || !is_device_name(&pair.ours) {
            return Err(VethError::Name { device: device.clone() });
        }
        let step = |what| move |reason| VethError::Step { device: device.clone(), what, reason };
        let here = File::open("/proc/thread-self/ns/net").map_err(step("find its own namespace"))?;
        // By a thread of its own, so that no other ever finds itself in the stack's namespace.
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("veth-netns".to_owned());
            let thread = thread.spawn_scoped(scope, || pair.set_up_there(options, &here));
            let done = thread.map_err(step("start a thread to make it"))?.join();
            done.unwrap_or_else(|_| Err(step("make it")(io::Error::other("the thread that did so died"))))
        })?;
        socket().and_then(|socket| set_up(&socket, &pair.ours)).map_err(step("bring our end up"))?;
        Ok(pair)
    }

    /// The name of our end, in our namespace.
    pub fn ours(&self) -> &str {
        &self.ours
    }

    /// In the stack's namespace: the pair, and all that its end there needs.
    fn set_up_there(&self, options: &VethOptions, here: &File) -> Result<(), VethError> {
        let device = &options.device;
        let step = |what| move |reason| VethError::Step { device: device.clone(), what, reason };
        // A pair that was left behind shows by our end; asked before we are elsewhere.
        let left = socket().and_then(|socket| ioctl(&socket, libc::SIOCGIFINDEX, &mut request(&self.ours))).is_ok();
        if let Some(netns) = &options.netns {
            enter(netns).map_err(|reason| VethError::Netns {
                device: device.clone(),
                netns: netns.display().to_string(),
                reason,
            })?;
        }
        match rtnetlink(&new_pair(device, &self.ours, here)) {
            Err(reason) if reason.raw_os_error() == Some(libc::EEXIST) && left => {}
            Err(reason) if reason.raw_os_error() == Some(libc::EEXIST) => {
                return Err(VethError::Exists { device: device.clone() });
            }
            made => made.map_err(step("make it"))?,
        }
        let socket = socket().map_err(step("open a socket to set it up"))?;
        if let Some(mac) = options.mac {
            set_mac(&socket, device, mac).map_err(step("give it its address"))?;
        }
        complete_checksums(&socket, device).map_err(step("have it complete checksums"))?;
        set_up(&socket, device).map_err(step("bring it up"))
    }
}

impl Drop for VethPair {
    fn drop(&mut self) {
        // Both ends go. One that is gone already needs nothing.
        let mut message = header(libc::RTM_DELLINK, libc::NLM_F_ACK as u16);
        attribute(&mut message, libc::IFLA_IFNAME, &name(&self.ours));
        let _ = rtnetlink(&message);
    }
}

fn socket() -> io::Result<OwnedFd> {
    // SAFETY: no pointers; the result is checked.
    owned(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })
}

/// `ETHTOOL_STXCSUM` of `linux/ethtool.h`, and its argument.
const ETHTOOL_STXCSUM: u32 = 0x17;

#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// Has the stack complete its checksums, and so cut its TCP too.
fn complete_checksums(socket: &OwnedFd, device: &str) -> io::Result<()> {
    let mut value = EthtoolValue { command: ETHTOOL_STXCSUM, data: 0 };
    let mut request = request(device);
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    ioctl(socket, libc::SIOCETHTOOL, &mut request)
}

const VETH_INFO_PEER: u16 = 1;

/// `RTM_NEWLINK` for a pair: `device` here, and its peer `ours` in the namespace of `there`.
fn new_pair(device: &str, ours: &str, there: &File) -> Vec<u8> {
    let mut peer = vec![0; size_of::<libc::ifinfomsg>()];
    attribute(&mut peer, libc::IFLA_IFNAME, &name(ours));
    attribute(&mut peer, libc::IFLA_NET_NS_FD, &there.as_raw_fd().to_ne_bytes());
    let mut data = Vec::new();
    attribute(&mut data, VETH_INFO_PEER, &peer);
    let mut info = Vec::new();
    attribute(&mut info, libc::IFLA_INFO_KIND, b"veth");
    attribute(&mut info, libc::IFLA_INFO_DATA, &data);
    let mut message = header(libc::RTM_NEWLINK, (libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16);
    attribute(&mut message, libc::IFLA_IFNAME, &name(device));
    attribute(&mut message, libc::IFLA_LINKINFO, &info);
    message
}

fn name(device: &str) -> Vec<u8> {
    [device.as_bytes(), &[0]].concat()
}

/// `struct nlmsghdr`, whose length [`rtnetlink`] fills in, and an empty `struct ifinfomsg`.
fn header(kind: u16, flags: u16) -> Vec<u8> {
    let mut message = vec![0; 16 + size_of::<libc::ifinfomsg>()];
    message[4..6].copy_from_slice(&kind.to_ne_bytes());
    message[6..8].copy_from_slice(&(flags | libc::NLM_F_REQUEST as u16).to_ne_bytes());
    message
}

/// `struct rtattr`, and what makes the next one aligned.
fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend_from_slice(&(4 + value.len() as u16).to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

/// Asks the kernel of the calling thread's namespace to do what `message` says, and waits for its answer.
fn rtnetlink(message: &[u8]) -> io::Result<()> {
    let mut message = message.to_vec();
    let len = message.len() as u32;
    message[..4].copy_from_slice(&len.to_ne_bytes());
    // SAFETY: no pointers; the result is checked.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE) };
    let socket = owned(fd)?;
    let mut answer = [0u8; 1024];
    // SAFETY: both buffers are as long as is told; a netlink socket that is not bound sends to the kernel.
    let got = unsafe {
        if libc::send(socket.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) < 0 {
            return Err(io::Error::last_os_error());
        }
        libc::recv(socket.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0)
    };
    // `struct nlmsgerr` behind the header begins with the error, negative, or 0.
    match (got, answer[16..].first_chunk::<4>()) {
        (20.., Some(&code)) => match i32::from_ne_bytes(code) {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(-code)),
        },
        (0.., _) => Err(io::Error::other("an answer that is none")),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_no_room_for_ours_are_refused() {
        for device in ["", "thirteen-char", "a/b", "a b", ".."] {
            let options = VethOptions { device: device.into(), ..VethOptions::default() };
            assert!(matches!(VethPair::create(&options), Err(VethError::Name { .. })), "{device:?}");
        }
    }

    #[test]
    fn what_exists_and_is_not_ours_is_left_alone() {
        // SAFETY: no arguments, cannot fail.
        if unsafe { libc::geteuid() } != 0 {
            return eprintln!("skipped: needs root");
        }
        // Each network namespace has its loopback.
        let options = VethOptions { device: "lo".into(), ..VethOptions::default() };
        assert!(matches!(VethPair::create(&options), Err(VethError::Exists { .. })));
        let nowhere = VethOptions { netns: Some("no-such-namespace".into()), ..options };
        assert!(matches!(VethPair::create(&nowhere), Err(VethError::Netns { .. })));
    }
}
