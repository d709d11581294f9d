//! Capture files as a port: one is replayed into the engine, another records what the engine sends to it.
//!
//! The file to replay lies in memory before the first frame leaves, and the record is written by a thread of its own:
//! a worker never waits for a disk. When the disk is too slow, frames are dropped and counted, like at any full output.

mod record;
mod replay;

use std::io;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::drops::DropReason;
use crate::frame::Burst;
use crate::pool::Pool;
use crate::port::{Counters, Port, Sleep};
use crate::units::Nanos;
use record::{Recorder, Refused};
pub use replay::MAX_FILE;
use replay::Replay;

/// What a pcap port is to do: replay, record, or both.
#[derive(Clone, Debug, Default)]
pub struct PcapOptions {
    /// File to replay, pcap or pcapng, of Ethernet frames.
    pub replay: Option<PathBuf>,
    /// File to record to, made anew as pcap with nanoseconds. None: what is sent to the port ends there.
    pub record: Option<PathBuf>,
    /// When frames are replayed.
    pub pace: Pace,
    /// How often the file is.
    pub repeat: Repeat,
}

/// When frames are replayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// As fast as the engine takes them.
    #[default]
    Unpaced,
    /// So many frames a second, evenly. A worker that was late catches up.
    FramesPerSecond(NonZeroU64),
    /// At the distances that the file's timestamps have.
    Recorded,
}

/// How often a file is replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// So many times.
    Times(u64),
    /// Until the port is closed.
    Forever,
}

impl Default for Repeat {
    fn default() -> Self {
        Self::Times(1)
    }
}

/// Why a pcap port cannot be.
#[derive(Debug, thiserror::Error)]
pub enum PcapError {
    /// Neither file was named.
    #[error("pcap port: nothing to do; name a file to `replay`, one to `record` to, or both")]
    Nothing,
    /// The file to replay cannot be opened or read.
    #[error("{file}: cannot read it: {reason}; check the path and its permissions", file = file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the kernel said.
        reason: io::Error,
    },
    /// It is longer than [`MAX_FILE`].
    #[error("{file}: longer than 1 GiB, and a replayed file is held in memory; cut it with `editcap -c` or `tcpdump -C`", file = file.display())]
    TooLong {
        /// The file.
        file: PathBuf,
    },
    /// Neither magic number is there.
    #[error("{file}: neither pcap nor pcapng; `file {file}` tells what it is", file = file.display())]
    NotPcap {
        /// The file.
        file: PathBuf,
    },
    /// It ends within a frame.
    #[error("{file}: ends in the middle of frame {frame}; the copy or capture was broken off: make it again, or save what is whole with `editcap {file} NEW`", file = file.display())]
    Truncated {
        /// The file.
        file: PathBuf,
        /// Which, from 1.
        frame: usize,
    },
    /// It breaks the format.
    #[error("{file}: damaged at frame {frame}: {reason}; save what is whole with `editcap {file} NEW`", file = file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Which, from 1.
        frame: usize,
        /// What is wrong.
        reason: String,
    },
    /// Not Ethernet.
    #[error("{file}: holds frames of link type {link_type}, only Ethernet (1) can be replayed; capture on an Ethernet device, not on `any`", file = file.display())]
    LinkType {
        /// The file.
        file: PathBuf,
        /// Its link type, a number from tcpdump.org/linktypes.html.
        link_type: u32,
    },
    /// A frame was cut when it was captured.
    #[error("{file}: frame {frame} was cut to {captured} of {original} bytes when it was captured; capture again with `tcpdump -s 0`", file = file.display())]
    Cut {
        /// The file.
        file: PathBuf,
        /// Which, from 1.
        frame: usize,
        /// Bytes there are.
        captured: usize,
        /// Bytes there were.
        original: usize,
    },
    /// No frame that the engine could carry.
    #[error("{file}: frame {frame} has {len} bytes; the engine carries 1 to {max}", file = file.display(), max = crate::pool::MAX_FRAME)]
    Length {
        /// The file.
        file: PathBuf,
        /// Which, from 1.
        frame: usize,
        /// Its length.
        len: usize,
    },
    /// Nothing to replay.
    #[error("{file}: holds no frames", file = file.display())]
    Empty {
        /// The file.
        file: PathBuf,
    },
    /// The file to record to cannot be made.
    #[error("{file}: cannot record to it: {reason}; check that its directory exists, is writable and has room", file = file.display())]
    Create {
        /// The file.
        file: PathBuf,
        /// What the kernel said.
        reason: io::Error,
    },
    /// Both files are one.
    #[error("{file}: cannot be replayed and recorded to at once; name another file to record to", file = file.display())]
    SameFile {
        /// The file.
        file: PathBuf,
    },
}

/// Capture files as a port.
pub struct PcapPort {
    replay: Option<Replay>,
    recorder: Option<Recorder>,
    counters: Arc<Counters>,
}

impl PcapPort {
    /// Reads the file to replay and makes the one to record to.
    ///
    /// # Errors
    /// Neither is named, or one cannot be used; the message names the file and what to do.
    pub fn open(options: &PcapOptions) -> Result<Self, PcapError> {
        if options.replay.is_none() && options.record.is_none() {
            return Err(PcapError::Nothing);
        }
        if let (Some(from), Some(to)) = (&options.replay, &options.record) {
            let same =
                std::fs::canonicalize(from).is_ok_and(|from| std::fs::canonicalize(to).is_ok_and(|to| from == to));
            if same {
                return Err(PcapError::SameFile { file: to.clone() });
            }
        }
        let replay = match &options.replay {
            Some(file) => Some(Replay::load(file, options.pace, options.repeat)?),
            None => None,
        };
        let recorder = match &options.record {
            Some(file) => {
                Some(Recorder::create(file).map_err(|reason| PcapError::Create { file: file.clone(), reason })?)
            }
            None => None,
        };
        Ok(Self { replay, recorder, counters: Arc::default() })
    }

    /// Whether everything that was to be replayed has been.
    pub fn is_done(&self) -> bool {
        self.replay.as_ref().is_none_or(Replay::is_done)
    }
}

impl Port for PcapPort {
    #[inline]
    fn pull(&mut self, pool: &mut Pool, burst: &mut Burst) {
        let Some(replay) = self.replay.as_mut().filter(|replay| !replay.is_done()) else { return };
        let now = if replay.is_paced() { Nanos::now() } else { Nanos(0) };
        let (frames, bytes) = replay.pull(pool, burst, now);
        if frames > 0 {
            self.counters.received(frames, bytes);
        }
    }

    #[inline]
    fn push(&mut self, pool: &mut Pool, burst: &mut Burst) {
        let (mut frames, mut bytes) = (0, 0);
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        for frame in burst.drain(..) {
            let recorded = match &mut self.recorder {
                Some(recorder) => recorder.record(pool, &frame, time),
                None => Ok(()),
            };
            match recorded {
                Ok(()) => {
                    frames += 1;
                    bytes += frame.len() as u64;
                }
                Err(Refused::Full) => self.counters.dropped(DropReason::OutputFull, 1),
                Err(Refused::Failed) => self.counters.dropped(DropReason::OutputDown, 1),
            }
            pool.free(frame);
        }
        self.counters.sent(frames, bytes);
    }

    fn flush(&mut self, _: &mut Pool) {}

    fn tick(&mut self, _: &mut Pool, _: Nanos) {
        if let Some(recorder) = &mut self.recorder {
            recorder.hand_over();
        }
    }

    fn arm(&mut self, _: &Sleep) -> bool {
        if let Some(recorder) = &mut self.recorder {
            recorder.hand_over();
        }
        match &self.replay {
            Some(replay) => replay.next_due().is_none_or(|due| due > Nanos::now()),
            None => true,
        }
    }

    fn deadline(&self) -> Option<Nanos> {
        self.replay.as_ref().and_then(Replay::next_due)
    }

    fn is_up(&self) -> bool {
        self.recorder.as_ref().is_none_or(|recorder| !recorder.has_failed())
    }

    fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    fn mode(&self) -> String {
        match (&self.replay, &self.recorder) {
            (Some(replay), Some(recorder)) => format!("pcap, {replay}, {recorder}"),
            (Some(replay), None) => format!("pcap, {replay}"),
            (None, Some(recorder)) => format!("pcap, {recorder}"),
            (None, None) => "pcap".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
