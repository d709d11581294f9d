//! Reading a capture file, and giving out its frames at the right time.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use pcap_file::PcapError as FormatError;
use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::pcapng::{Block, PcapNgReader};

use super::{Pace, PcapError, Repeat};
use crate::frame::Burst;
use crate::pool::{MAX_FRAME, Pool};
use crate::units::Nanos;

/// Longest file that is taken.
pub const MAX_FILE: u64 = 1 << 30;

/// LINKTYPE_ETHERNET; the upper half of pcap's field may hold the length of the FCS.
const ETHERNET: u32 = 1;

/// From a file's last frame to its first when it is repeated, for a file of one frame.
const LONE_GAP: Nanos = Nanos::from_secs(1);

#[derive(Debug)]
struct Entry {
    at: usize,
    len: u32,
    /// After the first frame, by the file's timestamps.
    time: Nanos,
}

/// A file in memory, and how far it has been replayed.
#[derive(Debug)]
pub struct Replay {
    file: PathBuf,
    data: Vec<u8>,
    frames: Vec<Entry>,
    pace: Pace,
    repeat: Repeat,
    /// Rounds begun before this one.
    rounds: u64,
    /// Next frame of this round.
    next: usize,
    /// When the first frame of this round is due; known from the first pull on.
    origin: Option<Nanos>,
    /// When the next frame is due.
    due: Nanos,
    /// The part of a nanosecond beyond `due`, in units of 1/rate.
    rest: u64,
}

impl Replay {
    /// Reads the whole file.
    pub fn load(file: &Path, pace: Pace, repeat: Repeat) -> Result<Self, PcapError> {
        let mut replay = Self {
            file: file.to_owned(),
            data: Vec::new(),
            frames: Vec::new(),
            pace,
            repeat,
            rounds: 0,
            next: 0,
            origin: None,
            due: Nanos(0),
            rest: 0,
        };
        let mut opened = File::open(file).map_err(|reason| replay.read_error(reason))?;
        let len = opened.metadata().map_err(|reason| replay.read_error(reason))?.len();
        if len > MAX_FILE {
            return Err(PcapError::TooLong { file: replay.file });
        }
        let mut magic = Vec::new();
        opened.by_ref().take(4).read_to_end(&mut magic).map_err(|reason| replay.read_error(reason))?;
        match magic.as_slice() {
            [0x0a, 0x0d, 0x0d, 0x0a] => replay.load_pcapng(magic.as_slice().chain(opened))?,
            [0xa1, 0xb2, 0xc3, 0xd4]
            | [0xa1, 0xb2, 0x3c, 0x4d]
            | [0xd4, 0xc3, 0xb2, 0xa1]
            | [0x4d, 0x3c, 0xb2, 0xa1] => {
                replay.load_pcap(magic.as_slice().chain(opened))?;
            }
            _ => return Err(PcapError::NotPcap { file: replay.file }),
        }
        if replay.frames.is_empty() {
            return Err(PcapError::Empty { file: replay.file });
        }
        Ok(replay)
    }

    fn read_error(&self, reason: io::Error) -> PcapError {
        PcapError::Read { file: self.file.clone(), reason }
    }

    fn load_pcap(&mut self, bytes: impl Read) -> Result<(), PcapError> {
        let mut reader = PcapReader::new(bytes).map_err(|error| self.format_error(error))?;
        let header = reader.header();
        self.check_link_type(u32::from(header.datalink) & 0xffff)?;
        let unit = match header.ts_resolution {
            pcap_file::TsResolution::MicroSecond => 1_000,
            pcap_file::TsResolution::NanoSecond => 1,
        };
        let mut clock = Clock::default();
        // Raw, since the checked form refuses every file that was captured with a small `-s` without a word about it.
        while let Some(packet) = reader.next_raw_packet() {
            let packet = packet.map_err(|error| self.format_error(error))?;
            let time = Nanos::from_secs(packet.ts_sec.into()).plus(Nanos(u64::from(packet.ts_frac) * unit));
            self.add(&packet.data, packet.orig_len as usize, clock.tell(time))?;
        }
        Ok(())
    }

    fn load_pcapng(&mut self, bytes: impl Read) -> Result<(), PcapError> {
        let mut reader = PcapNgReader::new(bytes).map_err(|error| self.format_error(error))?;
        let mut clock = Clock::default();
        // A block borrows the reader, which alone knows the interfaces: what is needed of each is kept beside it.
        let mut interfaces: Vec<(u32, u8)> = Vec::new();
        while let Some(block) = reader.next_block() {
            match block.map_err(|error| self.format_error(error))? {
                Block::SectionHeader(_) => interfaces.clear(),
                Block::InterfaceDescription(interface) => {
                    interfaces.push((interface.linktype.into(), resolution(&interface)));
                }
                Block::EnhancedPacket(packet) => {
                    let unit = self.interface(&interfaces, packet.interface_id)?;
                    // The crate takes every timestamp for nanoseconds; it is in the interface's unit.
                    let time = nanos(packet.timestamp.as_nanos() as u64, unit);
                    self.add(&packet.data, packet.original_len as usize, clock.tell(time))?;
                }
                Block::Packet(packet) => {
                    let unit = self.interface(&interfaces, packet.interface_id.into())?;
                    let time = nanos(packet.timestamp, unit);
                    self.add(&packet.data, packet.original_len as usize, clock.tell(time))?;
                }
                Block::SimplePacket(packet) => {
                    self.interface(&interfaces, 0)?;
                    // Without a timestamp, and with the padding still there.
                    let len = packet.data.len().min(packet.original_len as usize);
                    let data = packet.data.get(..len).unwrap_or_default();
                    self.add(data, packet.original_len as usize, clock.last)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Time unit of an interface, once its link type has been found right.
    fn interface(&self, interfaces: &[(u32, u8)], id: u32) -> Result<u8, PcapError> {
        let Some(&(link_type, unit)) = interfaces.get(id as usize) else {
            return Err(self.format_error(FormatError::InvalidInterfaceId(id)));
        };
        self.check_link_type(link_type)?;
        Ok(unit)
    }

    fn add(&mut self, data: &[u8], original: usize, time: Nanos) -> Result<(), PcapError> {
        let (file, frame, len) = (self.file.clone(), self.frames.len() + 1, data.len());
        if len < original {
            return Err(PcapError::Cut { file, frame, captured: len, original });
        }
        if len == 0 || len > MAX_FRAME {
            return Err(PcapError::Length { file, frame, len });
        }
        // The length of a pipe is not known beforehand.
        if (self.data.len() + len) as u64 > MAX_FILE {
            return Err(PcapError::TooLong { file });
        }
        self.frames.push(Entry { at: self.data.len(), len: len as u32, time });
        self.data.extend_from_slice(data);
        Ok(())
    }

    fn check_link_type(&self, link_type: u32) -> Result<(), PcapError> {
        match link_type {
            ETHERNET => Ok(()),
            _ => Err(PcapError::LinkType { file: self.file.clone(), link_type }),
        }
    }

    fn format_error(&self, error: FormatError) -> PcapError {
        let (file, frame) = (self.file.clone(), self.frames.len() + 1);
        match error {
            FormatError::IncompleteBuffer => PcapError::Truncated { file, frame },
            FormatError::IoError(reason) if reason.kind() == io::ErrorKind::UnexpectedEof => {
                PcapError::Truncated { file, frame }
            }
            FormatError::IoError(reason) => self.read_error(reason),
            error => PcapError::Damaged { file, frame, reason: error.to_string() },
        }
    }

    pub fn is_done(&self) -> bool {
        matches!(self.repeat, Repeat::Times(times) if self.rounds >= times)
    }

    pub fn is_paced(&self) -> bool {
        self.pace != Pace::Unpaced
    }

    /// When the next frame is due, if there is one. Without a pace, always now.
    pub fn next_due(&self) -> Option<Nanos> {
        (!self.is_done()).then_some(self.due)
    }

    /// Gives out what is due; how many frames and bytes. An empty pool delays frames and loses none.
    #[inline]
    pub fn pull(&mut self, pool: &mut Pool, burst: &mut Burst, now: Nanos) -> (u64, u64) {
        if self.origin.is_none() && self.is_paced() {
            self.origin = Some(now);
            self.due = now;
        }
        let (mut frames, mut bytes) = (0, 0);
        while self.due <= now && !burst.is_full() && !self.is_done() {
            let Some(entry) = self.frames.get(self.next) else { break };
            let Some(data) = self.data.get(entry.at..entry.at + entry.len as usize) else { break };
            let Some(frame) = pool.frame_from(data) else { break };
            frames += 1;
            bytes += data.len() as u64;
            burst.push(frame);
            self.advance();
        }
        (frames, bytes)
    }

    #[inline]
    fn advance(&mut self) {
        self.next += 1;
        let wrapped = self.next == self.frames.len();
        if wrapped {
            self.next = 0;
            self.rounds += 1;
        }
        match self.pace {
            Pace::Unpaced => {}
            Pace::FramesPerSecond(rate) => {
                let work = 1_000_000_000 + self.rest;
                self.due = self.due.plus(Nanos(work / rate));
                self.rest = work % rate;
            }
            Pace::Recorded => {
                let mut origin = self.origin.unwrap_or_default();
                if wrapped {
                    origin = origin.plus(self.round_time());
                    self.origin = Some(origin);
                }
                let time = self.frames.get(self.next).map_or(Nanos(0), |entry| entry.time);
                self.due = origin.plus(time);
            }
        }
    }

    /// From one round's first frame to the next one's: the file's time and one average gap.
    fn round_time(&self) -> Nanos {
        let last = self.frames.last().map_or(Nanos(0), |entry| entry.time);
        match self.frames.len() as u64 {
            0 | 1 => LONE_GAP,
            frames => last.plus(Nanos(last.0 / (frames - 1))),
        }
    }
}

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "replaying {} ({} frames, ", self.file.display(), self.frames.len())?;
        match self.pace {
            Pace::Unpaced => write!(f, "unpaced, ")?,
            Pace::FramesPerSecond(rate) => write!(f, "{rate} a second, ")?,
            Pace::Recorded => write!(f, "as recorded, ")?,
        }
        match self.repeat {
            Repeat::Times(1) => write!(f, "once)"),
            Repeat::Times(times) => write!(f, "{times} times)"),
            Repeat::Forever => write!(f, "forever)"),
        }
    }
}

/// Turns absolute timestamps into the time since the first, which never goes back.
#[derive(Default)]
struct Clock {
    first: Option<Nanos>,
    last: Nanos,
}

impl Clock {
    fn tell(&mut self, time: Nanos) -> Nanos {
        let first = *self.first.get_or_insert(time);
        self.last = self.last.max(time.since(first));
        self.last
    }
}

/// The `if_tsresol` of an interface; microseconds where it has none.
fn resolution(interface: &InterfaceDescriptionBlock<'_>) -> u8 {
    let given = interface.options.iter().find_map(|option| match option {
        InterfaceDescriptionOption::IfTsResol(unit) => Some(*unit),
        _ => None,
    });
    given.unwrap_or(6)
}

/// A timestamp in nanoseconds. `unit` is a negative power of 10, or of 2 with the highest bit set.
fn nanos(ticks: u64, unit: u8) -> Nanos {
    let exponent = u32::from(unit & 0x7f);
    let per_second =
        if unit & 0x80 == 0 { 10u128.checked_pow(exponent) } else { 1u128.checked_shl(exponent).filter(|&n| n > 0) };
    let nanos = per_second.map_or(0, |per_second| u128::from(ticks) * 1_000_000_000 / per_second);
    Nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_of_any_unit_become_nanoseconds() {
        assert_eq!(nanos(1_500_000, 6), Nanos(1_500_000_000));
        assert_eq!(nanos(1_500_000, 9), Nanos(1_500_000));
        assert_eq!(nanos(3, 0), Nanos(3_000_000_000));
        assert_eq!(nanos(1_500, 12), Nanos(1));
        assert_eq!(nanos(3 << 9, 0x80 | 10), Nanos(1_500_000_000));
        assert_eq!(nanos(u64::MAX, 0), Nanos(u64::MAX));
        for unit in 0..=255 {
            let _ = nanos(u64::MAX, unit);
        }
    }
}
