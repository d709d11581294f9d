//! VLAN tags on the tap. (The kernel that this runs on need not have VLAN devices.)

use std::ffi::CString;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use pointsman_bench::interrupt;

/// Asks for an address by ARP in a VLAN, through a device of this namespace; an error unless the answer has the tag.
pub fn ask(device: &str, vlan: u16, sender: [u8; 4], target: [u8; 4]) -> Result<()> {
    let address = target.map(|byte| byte.to_string()).join(".");
    let filter = format!("vlan {vlan} and arp[6:2] == 2 and arp src host {address}");
    let words = ["--immediate-mode", "-n", "-e", "-l", "-c", "1", "-i", device, &filter];
    let mut capture = Command::new("tcpdump")
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("tcpdump cannot be started; is it installed?")?;
    let mac = [0x02, 0, 0, 0, 0, 0x77];
    let mut frame =
        [&[0xff; 6][..], &mac, &[0x81, 0x00], &vlan.to_be_bytes(), &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]].concat();
    frame.extend([&mac[..], &sender, &[0; 6], &target].concat());
    frame.resize(64, 0);
    let answered = interrupt::wait_for("a tagged answer", Duration::from_secs(15), || {
        send(device, &frame)?;
        interrupt::sleep(Duration::from_millis(200))?;
        Ok(capture.try_wait()?.is_some())
    });
    let _ = capture.kill();
    let status = capture.wait()?;
    answered?;
    if !status.success() {
        bail!("tcpdump on {device}: {status}");
    }
    Ok(())
}

/// Sends a frame as it is.
fn send(device: &str, frame: &[u8]) -> Result<()> {
    let name = CString::new(device)?;
    // SAFETY: names and buffers outlive each call, lengths are theirs, and the descriptor is closed once.
    let sent = unsafe {
        let socket = libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0);
        let mut to: libc::sockaddr_ll = std::mem::zeroed();
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_ifindex = libc::if_nametoindex(name.as_ptr()) as i32;
        let length = size_of_val(&to) as u32;
        let sent = libc::sendto(socket, frame.as_ptr().cast(), frame.len(), 0, (&raw const to).cast(), length);
        libc::close(socket);
        sent
    };
    if sent < 0 { Err(std::io::Error::last_os_error()).context(device.to_owned()) } else { Ok(()) }
}
