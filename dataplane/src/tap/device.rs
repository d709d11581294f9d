//! Opening a tap device, here or in another network namespace, and asking the kernel about it. Control side only.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use crate::ifreq::{ioctl, is_device_name, owned, request, set_mac, set_up};
use crate::netns::enter;
use crate::offload::virtio::HEADER;
use crate::units::Mac;

/// What a tap port is to be.
#[derive(Clone, Debug, Default)]
pub struct TapOptions {
    /// Name of the device. One that exists must be a tap that nobody has open; otherwise it is made, and goes when the
    /// port does.
    pub device: String,
    /// Namespace of the device: a name as `ip netns` has them, or a path such as `/proc/PID/ns/net`. None: our own.
    pub netns: Option<PathBuf>,
    /// MTU to set on the device; none: leave it.
    pub mtu: Option<u32>,
    /// Address to give the device, which is the address of whoever lives behind it; none: leave it.
    pub mac: Option<Mac>,
}

/// Why a tap device cannot be a port.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// Not a name the kernel takes.
    #[error("tap {device:?}: not a device name; write 1 to 15 characters without space, '/', ':' or '%'")]
    Name {
        /// The device.
        device: String,
    },
    /// No `/dev/net/tun`, or no right to it.
    #[error(
        "tap {device}: cannot open /dev/net/tun: {reason}; `modprobe tun` loads the driver, and a container must be given the device"
    )]
    NoTun {
        /// The device.
        device: String,
        /// What the kernel said.
        reason: io::Error,
    },
    /// Not root.
    #[error(
        "tap {device}: no privilege to make or open it; run as root or with CAP_NET_ADMIN, or let root make it: `ip tuntap add {device} mode tap user NAME`"
    )]
    Privilege {
        /// The device.
        device: String,
    },
    /// Something else has the name.
    #[error(
        "tap {device}: a device of that name exists and is not a tap, or a tap of another number of queues; choose another name"
    )]
    NotTap {
        /// The device.
        device: String,
    },
    /// Someone has it open.
    #[error("tap {device}: another process has it open; stop that process or choose another name")]
    Busy {
        /// The device.
        device: String,
    },
    /// The namespace is not there, or may not be entered.
    #[error(
        "tap {device}: cannot enter network namespace {netns}: {reason}; `ip netns list` shows those there are, `ip netns add NAME` makes one, and entering takes root"
    )]
    Netns {
        /// The device.
        device: String,
        /// The namespace.
        netns: String,
        /// What the kernel said.
        reason: io::Error,
    },
    /// A setting was refused.
    #[error("tap {device}: cannot {what}: {reason}")]
    Setting {
        /// The device.
        device: String,
        /// Which.
        what: String,
        /// What the kernel said.
        reason: io::Error,
    },
}

/// An open tap device and a socket in its namespace.
#[derive(Debug)]
pub struct Device {
    pub file: OwnedFd,
    pub mtu: u32,
    /// Whether the kernel takes and gives UDP to be cut.
    pub cuts_udp: bool,
    socket: OwnedFd,
    name: String,
}

/// Frames that the kernel holds for us: what arrives within a millisecond or two.
const QUEUE_LEN: libc::c_int = 2048;

/// What the stack behind the device may leave to us: checksums, and TCP to be cut.
const OFFLOADS: libc::c_uint = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
/// UDP to be cut, over IPv4 and over IPv6, from kernel 6.2 on (`TUN_F_USO4`, `TUN_F_USO6`).
const UDP_OFFLOADS: libc::c_uint = 0x20 | 0x40;

impl Device {
    /// Opens the device in its namespace, once a queue, and sets it up. A thread of its own does that when the namespace is not ours,
    /// so that no other thread ever finds itself there.
    pub fn open(options: &TapOptions, queues: usize) -> Result<Vec<Self>, TapError> {
        let device = &options.device;
        if !is_device_name(device) {
            return Err(TapError::Name { device: device.clone() });
        }
        let Some(netns) = &options.netns else { return Self::open_here(options, queues) };
        let opened = std::thread::scope(|scope| {
            let entered = std::thread::Builder::new().name("tap-netns".to_owned()).spawn_scoped(scope, || {
                enter(netns).map_err(|reason| TapError::Netns {
                    device: device.clone(),
                    netns: netns.display().to_string(),
                    reason,
                })?;
                Self::open_here(options, queues)
            });
            entered.map(|thread| thread.join())
        });
        match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(_)) => Err(setting(device, "set it up")(io::Error::other("the thread that did so died"))),
            Err(reason) => Err(setting(device, "start a thread to set it up")(reason)),
        }
    }

    fn open_here(options: &TapOptions, queues: usize) -> Result<Vec<Self>, TapError> {
        let mut opened =
            (0..queues.max(1)).map(|_| Self::attach(&options.device, queues > 1)).collect::<Result<Vec<_>, _>>()?;
        for queue in &mut opened {
            queue.set_up(options)?;
        }
        Ok(opened)
    }

    fn attach(device: &str, several: bool) -> Result<Self, TapError> {
        // SAFETY: the path is a NUL-terminated literal; the result is checked.
        let fd = unsafe { libc::open(c"/dev/net/tun".as_ptr(), libc::O_RDWR | libc::O_NONBLOCK | libc::O_CLOEXEC) };
        let file = owned(fd).map_err(|reason| TapError::NoTun { device: device.to_owned(), reason })?;
        let mut request = request(device);
        let several = if several { libc::IFF_MULTI_QUEUE } else { 0 };
        request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | several) as libc::c_short;
        ioctl(&file, libc::TUNSETIFF, &mut request).map_err(|reason| attach_error(device, reason))?;
        let mut header = HEADER as libc::c_int;
        ioctl(&file, libc::TUNSETVNETHDRSZ, &mut header).map_err(setting(device, "set the header size"))?;
        // SAFETY: this request takes its argument as a value.
        let set = |offloads: libc::c_uint| unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETOFFLOAD, offloads) } == 0;
        let cuts_udp = set(OFFLOADS | UDP_OFFLOADS);
        if !cuts_udp && !set(OFFLOADS) {
            return Err(setting(device, "turn offloads on")(io::Error::last_os_error()));
        }
        // SAFETY: no pointers; the result is checked.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        let socket = owned(fd).map_err(setting(device, "open a socket to set it up"))?;
        Ok(Self { file, mtu: 0, cuts_udp, socket, name: device.to_owned() })
    }

    fn set_up(&mut self, options: &TapOptions) -> Result<(), TapError> {
        let device = &options.device;
        if let Some(mac) = options.mac {
            set_mac(&self.socket, device, mac).map_err(setting(device, &format!("give it the address {mac}")))?;
        }
        if let Some(mtu) = options.mtu {
            let mut request = request(device);
            request.ifr_ifru.ifru_mtu = libc::c_int::try_from(mtu).unwrap_or(libc::c_int::MAX);
            ioctl(&self.socket, libc::SIOCSIFMTU, &mut request)
                .map_err(setting(device, &format!("set its MTU to {mtu} (68 to 65521)")))?;
        }
        let mut long = request(device);
        long.ifr_ifru.ifru_metric = QUEUE_LEN;
        // A shorter queue loses more in a burst, and is no reason to fail.
        let _ = ioctl(&self.socket, libc::SIOCSIFTXQLEN, &mut long);

        set_up(&self.socket, device).map_err(setting(device, "bring it up"))?;

        let mut mtu = request(device);
        ioctl(&self.socket, libc::SIOCGIFMTU, &mut mtu).map_err(setting(device, "read its MTU"))?;
        // SAFETY: the kernel has just written this member.
        self.mtu = u32::try_from(unsafe { mtu.ifr_ifru.ifru_mtu }).unwrap_or(1500);
        Ok(())
    }

    /// What its stack is told of its link.
    pub fn carrier(&self) -> io::Result<Carrier> {
        Ok(Carrier(self.file.try_clone()?))
    }

    /// Its number in its namespace.
    pub fn index(&self) -> Option<u32> {
        let mut request = request(&self.name);
        ioctl(&self.socket, libc::SIOCGIFINDEX, &mut request).ok()?;
        // SAFETY: the kernel has just written this member.
        u32::try_from(unsafe { request.ifr_ifru.ifru_ifindex }).ok()
    }

    /// Its Ethernet address.
    pub fn mac(&self) -> Option<Mac> {
        let mut request = request(&self.name);
        ioctl(&self.socket, libc::SIOCGIFHWADDR, &mut request).ok()?;
        // SAFETY: the kernel has just written this member.
        let address = unsafe { request.ifr_ifru.ifru_hwaddr };
        let mut mac = Mac::default();
        for (to, from) in mac.0.iter_mut().zip(address.sa_data) {
            *to = from as u8;
        }
        Some(mac)
    }

    /// Whether the device is up. One that is no longer in its namespace, or renamed, is taken for up: what is written to
    /// it tells otherwise.
    pub fn is_up(&self) -> bool {
        let mut flags = request(&self.name);
        if ioctl(&self.socket, libc::SIOCGIFFLAGS, &mut flags).is_err() {
            return true;
        }
        // SAFETY: the kernel has just written this member.
        let flags = unsafe { flags.ifr_ifru.ifru_flags };
        flags & libc::IFF_UP as libc::c_short != 0
    }
}

/// Whether a tap's stack sees a link (`IFF_RUNNING`), which it does until it is told otherwise.
#[derive(Debug)]
pub struct Carrier(OwnedFd);

/// `TUNSETCARRIER` of `linux/if_tun.h`, from kernel 4.20 on: `_IOW('T', 226, int)`.
const TUNSETCARRIER: libc::Ioctl = 0x4004_54e2;

impl Carrier {
    /// Lets the stack see a link, or none. The device stays up, with all its addresses.
    ///
    /// # Errors
    /// The device is gone or down, or the kernel cannot.
    pub fn set(&self, present: bool) -> io::Result<()> {
        let mut present = libc::c_int::from(present);
        ioctl(&self.0, TUNSETCARRIER, &mut present)
    }
}

fn attach_error(device: &str, reason: io::Error) -> TapError {
    let device = device.to_owned();
    match reason.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => TapError::Privilege { device },
        Some(libc::EINVAL) => TapError::NotTap { device },
        Some(libc::EBUSY) => TapError::Busy { device },
        _ => TapError::Setting { device, what: "make or open it".to_owned(), reason },
    }
}

fn setting(device: &str, what: &str) -> impl FnOnce(io::Error) -> TapError {
    let (device, what) = (device.to_owned(), what.to_owned());
    move |reason| TapError::Setting { device, what, reason }
}
