//! Questions to the kernel that leave no trace: all of the doctor's system calls.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libbpf_rs::libbpf_sys;

/// Whether a socket of the family and type can be made; it is closed at once.
fn socket(family: i32, kind: i32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers; the result is checked.
    let fd = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes an AF_XDP socket, bound to nothing.
pub(super) fn xdp_socket() -> io::Result<()> {
    socket(libc::AF_XDP, libc::SOCK_RAW).map(drop)
}

/// Whether `epoll_pwait2` is there: no descriptor -1 exists, and only a kernel that has the call says so.
pub(super) fn has_epoll_pwait2() -> bool {
    // SAFETY: the descriptor is refused before any pointer is looked at; one event would be valid memory all the same.
    let refused = unsafe {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        let no_timeout = std::ptr::null::<libc::timespec>();
        let no_mask = std::ptr::null::<libc::sigset_t>();
        libc::syscall(libc::SYS_epoll_pwait2, -1, &raw mut event, 1, no_timeout, no_mask, 8usize)
    };
    refused == -1 && io::Error::last_os_error().raw_os_error() != Some(libc::ENOSYS)
}

/// Bytes of memory that this process may lock; `None`: as many as it likes.
pub(super) fn memlock_limit() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a structure that outlives the call.
    unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) };
    (limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// Whether the kernel takes XDP programs and XSKMAPs from us: `Ok`, or the reason.
pub(super) fn bpf() -> Result<(), String> {
    quietly(|| {
        // SAFETY: no options are passed; libbpf loads a program of two instructions, or makes a map, and closes it.
        let answers = unsafe {
            [
                (
                    "XDP programs",
                    libbpf_sys::libbpf_probe_bpf_prog_type(libbpf_sys::BPF_PROG_TYPE_XDP, std::ptr::null()),
                ),
                ("XSKMAPs", libbpf_sys::libbpf_probe_bpf_map_type(libbpf_sys::BPF_MAP_TYPE_XSKMAP, std::ptr::null())),
            ]
        };
        for (what, answer) in answers {
            match answer {
                1.. => {}
                0 => return Err(format!("the kernel takes no {what}")),
                error => return Err(format!("{what}: {}", io::Error::from_raw_os_error(-error))),
            }
        }
        Ok(())
    })
}

/// What the kernel knows of a device and XDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Xdp {
    /// A program is attached.
    pub(super) attached: bool,
    /// `NETDEV_XDP_ACT_*`; zero from kernels before 6.3 and for devices without native XDP.
    pub(super) features: u64,
}

/// Asks for what is attached and what the driver can do.
pub(super) fn xdp(ifindex: u32) -> io::Result<Xdp> {
    let mut answer = libbpf_sys::bpf_xdp_query_opts {
        sz: size_of::<libbpf_sys::bpf_xdp_query_opts>() as libbpf_sys::size_t,
        ..Default::default()
    };
    // SAFETY: `answer` says its own size and outlives the call.
    let error = quietly(|| unsafe { libbpf_sys::bpf_xdp_query(ifindex as i32, 0, &mut answer) });
    if error != 0 {
        return Err(io::Error::from_raw_os_error(-error));
    }
    let programs = [answer.prog_id, answer.drv_prog_id, answer.hw_prog_id, answer.skb_prog_id];
    Ok(Xdp { attached: programs.iter().any(|&id| id != 0), features: answer.feature_flags })
}

/// libbpf talks to standard error; what it has to say is in our findings.
fn quietly<T>(ask: impl FnOnce() -> T) -> T {
    let before = libbpf_rs::set_print(None);
    let answer = ask();
    libbpf_rs::set_print(before);
    answer
}

// linux/sockios.h and linux/ethtool.h.
const SIOCETHTOOL: libc::c_ulong = 0x8946;
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GTXCSUM: u32 = 0x16;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_GGRO: u32 = 0x2b;
const ETH_FLAG_TXVLAN: u32 = 1 << 7;
const ETH_FLAG_RXVLAN: u32 = 1 << 8;
const ETH_FLAG_LRO: u32 = 1 << 15;

/// Offloads that change frames before the engine sees them; `None`: the device does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Offloads {
    pub(super) lro: Option<bool>,
    pub(super) gro: Option<bool>,
    pub(super) rx_vlan: Option<bool>,
    pub(super) tx_vlan: Option<bool>,
    pub(super) tx_checksum: Option<bool>,
}

/// The driver's name (`ethtool -i`).
pub(super) fn driver(device: &str) -> Option<String> {
    /// `struct ethtool_drvinfo`: 196 bytes, the driver's name after the command.
    #[repr(C)]
    struct Info {
        command: u32,
        driver: [u8; 32],
        rest: [u8; 160],
    }
    let mut info = Info { command: ETHTOOL_GDRVINFO, driver: [0; 32], rest: [0; 160] };
    ethtool(device, &mut info).ok()?;
    let end = info.driver.iter().position(|&b| b == 0).unwrap_or(info.driver.len());
    (end > 0).then(|| String::from_utf8_lossy(&info.driver[..end]).into_owned())
}

/// The offloads of a device of this network namespace (`ethtool -k`).
pub(super) fn offloads(device: &str) -> Offloads {
    let get = |command| {
        let mut value = [command, 0_u32];
        ethtool(device, &mut value).ok().map(|()| value[1])
    };
    let flags = get(ETHTOOL_GFLAGS);
    let flag = |bit| flags.map(|flags| flags & bit != 0);
    Offloads {
        lro: flag(ETH_FLAG_LRO),
        gro: get(ETHTOOL_GGRO).map(|on| on != 0),
        rx_vlan: flag(ETH_FLAG_RXVLAN),
        tx_vlan: flag(ETH_FLAG_TXVLAN),
        tx_checksum: get(ETHTOOL_GTXCSUM).map(|on| on != 0),
    }
}

/// One `SIOCETHTOOL` call. `T` is the structure of the command that its first field holds, as large as the kernel's.
fn ethtool<T>(device: &str, command: &mut T) -> io::Result<()> {
    let name = CString::new(device).map_err(|_| io::ErrorKind::InvalidInput)?;
    let name = name.as_bytes_with_nul();
    if name.len() > libc::IFNAMSIZ {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let socket = socket(libc::AF_INET, libc::SOCK_DGRAM)?;
    // SAFETY: `ifreq` is plain bytes, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, &from) in request.ifr_name.iter_mut().zip(name) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut *command).cast();
    // SAFETY: the request names a device and points to a structure of the command's size; both outlive the call.
    match unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
