//! Recording: frames are copied into buffers that were there from the start, and a thread writes full ones to the file.
//!
//! Buffers go round: the worker fills one, hands it over, and takes an empty one back if the disk has kept up. If it
//! has not, frames are refused, and the worker goes on.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use pcap_file::pcap::PcapHeader;
use pcap_file::{DataLink, Endianness, TsResolution};

use crate::frame::Frame;
use crate::pool::{MAX_FRAME, Pool};

/// Bytes of a buffer.
const BUFFER: usize = 256 << 10;

/// Buffers: together a disk's delay of 30 ms at 1 Gb/s.
const BUFFERS: usize = 16;

/// Before every frame: seconds, nanoseconds, bytes recorded, bytes there were.
const RECORD_HEADER: usize = 16;

const _: () = assert!(RECORD_HEADER + MAX_FRAME <= BUFFER);

/// Why a frame was not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// All buffers wait for the disk.
    Full,
    /// The disk returned an error before, and the record has ended.
    Failed,
}

/// The worker's side of a record.
pub struct Recorder {
    file: PathBuf,
    /// Being filled.
    buffer: Option<Vec<u8>>,
    empty: Receiver<Vec<u8>>,
    /// None once the recorder is being closed.
    full: Option<SyncSender<Vec<u8>>>,
    failed: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Makes the file, which replaces one of that name.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut file = File::create(path)?;
        let header = PcapHeader {
            snaplen: 262_144,
            datalink: DataLink::ETHERNET,
            ts_resolution: TsResolution::NanoSecond,
            endianness: Endianness::Little,
            ..PcapHeader::default()
        };
        let mut bytes = Vec::new();
        header.write_to(&mut bytes).map_err(io::Error::other)?;
        file.write_all(&bytes)?;

        // Each channel holds all buffers there are, so neither side ever waits to send.
        let (full, to_write) = sync_channel::<Vec<u8>>(BUFFERS);
        let (written, empty) = sync_channel(BUFFERS);
        for _ in 0..BUFFERS {
            let _ = written.try_send(Vec::with_capacity(BUFFER));
        }
        let failed = Arc::new(AtomicBool::new(false));
        let (fails, name) = (Arc::clone(&failed), path.display().to_string());
        let thread = std::thread::Builder::new().name("pcap-record".to_owned()).spawn(move || {
            for mut buffer in to_write {
                if !fails.load(Ordering::Relaxed) {
                    file.write_all(&buffer).unwrap_or_else(|error| {
                        tracing::error!("{name}: recording ended: {error}");
                        fails.store(true, Ordering::Relaxed);
                    });
                }
                buffer.clear();
                let _ = written.try_send(buffer);
            }
        })?;
        Ok(Self { file: path.to_owned(), buffer: None, empty, full: Some(full), failed, thread: Some(thread) })
    }

    /// Copies `frame`, which was sent at `time` after 1970, into the record.
    #[inline]
    pub fn record(&mut self, pool: &Pool, frame: &Frame, time: Duration) -> Result<(), Refused> {
        if self.has_failed() {
            return Err(Refused::Failed);
        }
        let needed = RECORD_HEADER + frame.len();
        if self.buffer.as_ref().is_some_and(|buffer| BUFFER - buffer.len() < needed) {
            self.hand_over();
        }
        if self.buffer.is_none() {
            self.buffer = self.empty.try_recv().ok();
        }
        let buffer = self.buffer.as_mut().ok_or(Refused::Full)?;
        let len = frame.len() as u32;
        for word in [time.as_secs() as u32, time.subsec_nanos(), len, len] {
            buffer.extend_from_slice(&word.to_le_bytes());
        }
        for (at, len) in pool.parts(frame) {
            // SAFETY: a part of a frame that we were given, which nobody writes while `pool` is borrowed.
            buffer.extend_from_slice(unsafe { std::slice::from_raw_parts(at, len) });
        }
        Ok(())
    }

    /// Gives what has been recorded so far to the thread that writes.
    pub fn hand_over(&mut self) {
        let filled = self.buffer.take_if(|buffer| !buffer.is_empty());
        if let (Some(buffer), Some(full)) = (filled, &self.full) {
            let _ = full.try_send(buffer);
        }
    }

    /// Whether the disk returned an error.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

impl Drop for Recorder {
    /// Waits until everything is written.
    fn drop(&mut self) {
        self.hand_over();
        self.full = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Display for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        if self.has_failed() {
            return write!(f, "recording to {file} ended with an error");
        }
        write!(f, "recording to {file}")
    }
}
