//! A trace as a pcapng file: one interface a port, and with each frame a comment on what became of it.
//!
//! A frame stands in the file as it came in, at the port that it came in by, with its whole story; and once more at each
//! port that it left by, as it left. Wireshark shows comments above the frame, and finds them by `frame.comment`.

use std::borrow::Cow;
use std::io::Write;
use std::time::Duration;

use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::{DataLink, PcapError};

use super::SNAP;

/// Which way a frame went (`epb_flags`, bits 0 and 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Into the engine.
    In = 1,
    /// Out of it.
    Out = 2,
}

/// A file in the making.
pub struct Writer<W: Write> {
    inner: PcapNgWriter<W>,
    ports: Vec<String>,
}

impl<W: Write> Writer<W> {
    /// A file whose interfaces are `ports`, in order.
    ///
    /// # Errors
    /// Writing failed.
    pub fn new(file: W, ports: &[String]) -> Result<Self, PcapError> {
        let mut writer = Self { inner: PcapNgWriter::new(file)?, ports: Vec::new() };
        for port in ports {
            writer.interface(port)?;
        }
        Ok(writer)
    }

    /// The number of the interface that is `port`; a port that came later gets one now.
    fn interface(&mut self, port: &str) -> Result<u32, PcapError> {
        if let Some(known) = self.ports.iter().position(|known| known == port) {
            return Ok(known as u32);
        }
        let mut block = InterfaceDescriptionBlock::new(DataLink::ETHERNET, SNAP as u32);
        block.options.push(InterfaceDescriptionOption::IfName(Cow::Borrowed(port)));
        // Nanoseconds.
        block.options.push(InterfaceDescriptionOption::IfTsResol(9));
        self.inner.write_pcapng_block(block)?;
        self.ports.push(port.to_owned());
        Ok(self.ports.len() as u32 - 1)
    }

    /// Adds a frame of `len` bytes that begins with `bytes`, at `time` since 1970, at `port`.
    ///
    /// # Errors
    /// Writing failed.
    pub fn frame(
        &mut self,
        port: &str,
        direction: Direction,
        time: Duration,
        (bytes, len): (&[u8], u32),
        comment: &str,
    ) -> Result<(), PcapError> {
        let block = EnhancedPacketBlock {
            interface_id: self.interface(port)?,
            timestamp: time,
            original_len: len,
            data: Cow::Borrowed(bytes),
            options: vec![
                EnhancedPacketOption::Comment(Cow::Borrowed(comment)),
                EnhancedPacketOption::Flags(direction as u32),
            ],
        };
        self.inner.write_pcapng_block(block)?;
        Ok(())
    }

    /// Writes out what is buffered.
    ///
    /// # Errors
    /// Writing failed.
    pub fn flush(&mut self) -> std::io::Result<()> {
        self.inner.get_mut().flush()
    }
}
