//! Files in, files out.

use std::borrow::Cow;
use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use pcap_file::pcap::{PcapHeader, PcapPacket, PcapReader, PcapWriter};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::pcapng::blocks::simple_packet::SimplePacketBlock;
use pcap_file::{DataLink, Endianness, TsResolution};

use super::*;

/// A directory that goes with the test.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ports-pcap-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        fs::write(self.file(name), bytes).unwrap();
        self.file(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn frames() -> Vec<Vec<u8>> {
    [60, 1514, 14, 9018, 65_000].map(|len| (0..len).map(|i| (i * 3 + len) as u8).collect()).to_vec()
}

fn pcap(endianness: Endianness, ts_resolution: TsResolution, frames: &[Vec<u8>]) -> Vec<u8> {
    let header = PcapHeader { endianness, ts_resolution, snaplen: 262_144, ..PcapHeader::default() };
    let mut writer = PcapWriter::with_header(Vec::new(), header).unwrap();
    for (index, frame) in frames.iter().enumerate() {
        let time = Duration::from_secs(1_700_000_000) + Duration::from_millis(10 * index as u64);
        writer.write_packet(&PcapPacket::new(time, frame.len() as u32, frame)).unwrap();
    }
    writer.into_writer()
}

fn open(replay: &Path) -> Result<PcapPort, PcapError> {
    PcapPort::open(&PcapOptions { replay: Some(replay.to_owned()), ..PcapOptions::default() })
}

fn error(replay: &Path) -> String {
    let error = open(replay).err().expect("this file must not open").to_string();
    assert!(error.contains(&replay.display().to_string()), "{error}");
    error
}

fn pull(port: &mut PcapPort, pool: &mut Pool) -> Vec<Vec<u8>> {
    let mut burst = Burst::new();
    port.pull(pool, &mut burst);
    let frames = burst.iter().map(|frame| pool.to_vec(frame)).collect();
    pool.free_all(burst.drain(..));
    frames
}

#[test]
fn pcap_of_either_order_and_resolution_is_replayed_whole() {
    let directory = Directory::new("read");
    let mut pool = Pool::new(512).unwrap();
    let before = pool.available();
    for endianness in [Endianness::Big, Endianness::Little] {
        for resolution in [TsResolution::MicroSecond, TsResolution::NanoSecond] {
            let file = directory.write("a.pcap", &pcap(endianness, resolution, &frames()));
            let mut port = open(&file).unwrap();
            assert!(!port.is_done());
            assert_eq!(pull(&mut port, &mut pool), frames());
            assert!(port.is_done());
            assert!(pull(&mut port, &mut pool).is_empty());
            assert_eq!(port.counters().rx_frames.load(Relaxed), frames().len() as u64);
        }
    }
    assert_eq!(pool.available(), before);
}

fn pcapng(resolution: Option<u8>, ticks: &[u64]) -> Vec<u8> {
    let mut writer = PcapNgWriter::new(Vec::new()).unwrap();
    let mut interface = InterfaceDescriptionBlock::new(DataLink::ETHERNET, 0);
    interface.options.extend(resolution.map(InterfaceDescriptionOption::IfTsResol));
    writer.write_pcapng_block(interface).unwrap();
    for &ticks in ticks {
        let block = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: Duration::from_nanos(ticks),
            original_len: 61,
            data: Cow::Owned(vec![7; 61]),
            options: vec![],
        };
        writer.write_pcapng_block(block).unwrap();
    }
    let simple = SimplePacketBlock { original_len: 61, data: Cow::Owned(vec![8; 61]) };
    writer.write_pcapng_block(simple).unwrap();
    writer.into_inner()
}

#[test]
fn pcapng_is_replayed_by_its_own_units_of_time() {
    let directory = Directory::new("ng");
    let mut pool = Pool::new(64).unwrap();
    for (resolution, unit) in [(None, 1), (Some(6), 1), (Some(9), 1000)] {
        let ticks = [5_000_000 * unit, 5_000_100 * unit, 5_000_050 * unit, 5_001_000 * unit];
        let file = directory.write("a.pcapng", &pcapng(resolution, &ticks));
        let mut replay = Replay::load(&file, Pace::Recorded, Repeat::Times(1)).unwrap();
        let start = Nanos::from_secs(9);
        let mut due = Vec::new();
        let mut now = start;
        while let Some(next) = replay.next_due() {
            now = now.max(next);
            let mut burst = Burst::new();
            let (frames, _) = replay.pull(&mut pool, &mut burst, now);
            due.extend((0..frames).map(|_| now.since(start).0));
            assert!(burst.iter().all(|frame| frame.len() == 61), "padding is no data");
            pool.free_all(burst.drain(..));
        }
        // The third was captured before the second, and goes right behind it.
        assert_eq!(due, [0, 100_000, 100_000, 1_000_000, 1_000_000]);
    }
}

#[test]
fn a_rate_is_kept_without_drift_and_caught_up_with() {
    let directory = Directory::new("rate");
    let file = directory.write("a.pcap", &pcap(Endianness::Little, TsResolution::MicroSecond, &frames()[..3]));
    let mut pool = Pool::new(512).unwrap();
    let pace = Pace::FramesPerSecond(NonZeroU64::new(70_001).unwrap());
    let mut replay = Replay::load(&file, pace, Repeat::Forever).unwrap();
    let start = Nanos::from_secs(1);
    let mut sent = 0;
    for late in 0..1000 {
        let now = start.plus(Nanos(late * 1_000_003));
        loop {
            let mut burst = Burst::new();
            let (frames, bytes) = replay.pull(&mut pool, &mut burst, now);
            assert_eq!(bytes, burst.iter().map(|frame| frame.len() as u64).sum::<u64>());
            pool.free_all(burst.drain(..));
            sent += frames;
            if frames == 0 {
                break;
            }
        }
        assert_eq!(sent, now.since(start).0 * 70_001 / 1_000_000_000 + 1, "after {late}");
    }
}

#[test]
fn a_file_is_repeated_as_often_as_asked() {
    let directory = Directory::new("repeat");
    let file = directory.write("a.pcap", &pcap(Endianness::Little, TsResolution::MicroSecond, &frames()[..3]));
    let mut pool = Pool::new(512).unwrap();
    let mut port =
        PcapPort::open(&PcapOptions { replay: Some(file.clone()), repeat: Repeat::Times(3), ..PcapOptions::default() })
            .unwrap();
    assert_eq!(pull(&mut port, &mut pool), [&frames()[..3], &frames()[..3], &frames()[..3]].concat());
    assert!(port.is_done());

    // As recorded: 0, 10, 20 ms, and the next round after one more gap.
    let mut replay = Replay::load(&file, Pace::Recorded, Repeat::Times(2)).unwrap();
    let mut burst = Burst::new();
    let start = Nanos::from_secs(1);
    replay.pull(&mut pool, &mut burst, start);
    replay.pull(&mut pool, &mut burst, start.plus(Nanos::from_millis(29)));
    assert_eq!(burst.len(), 3);
    assert_eq!(replay.next_due(), Some(start.plus(Nanos::from_millis(30))));
    replay.pull(&mut pool, &mut burst, start.plus(Nanos::from_secs(9)));
    assert_eq!((burst.len(), replay.next_due()), (6, None));
    pool.free_all(burst.drain(..));
}

#[test]
fn an_empty_pool_delays_and_loses_nothing() {
    let directory = Directory::new("pool");
    let file = directory.write("a.pcap", &pcap(Endianness::Little, TsResolution::MicroSecond, &frames()));
    let mut pool = Pool::new(64).unwrap();
    let mut port = open(&file).unwrap();
    let held: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    assert!(pull(&mut port, &mut pool).is_empty());
    assert!(!port.arm(&Sleep::new().unwrap()), "there is something to do");
    pool.free_all(held);
    assert_eq!(pull(&mut port, &mut pool), frames());
    assert!(port.arm(&Sleep::new().unwrap()));
}

#[test]
fn every_file_that_cannot_be_replayed_is_refused_by_name_and_with_advice() {
    let directory = Directory::new("bad");
    let good = pcap(Endianness::Little, TsResolution::NanoSecond, &frames());
    assert!(error(&directory.file("missing")).contains("No such file"));
    assert!(error(&directory.write("text", b"not a capture at all")).contains("neither pcap nor pcapng"));
    assert!(error(&directory.write("short", b"\xd4")).contains("neither"));
    assert!(error(&directory.write("header", &good[..20])).contains("middle of frame 1"));
    assert!(error(&directory.write("cut", &good[..good.len() - 1])).contains("middle of frame 5"));
    assert!(error(&directory.write("cut2", &good[..24 + 16 + 60 + 8])).contains("middle of frame 2"));
    assert!(error(&directory.write("empty", &good[..24])).contains("no frames"));
    let ng = pcapng(None, &[1]);
    assert!(error(&directory.write("ng", &ng[..ng.len() - 5])).contains("middle of frame 2"));

    let mut wifi = good.clone();
    wifi[20] = 105;
    assert!(error(&directory.write("wifi", &wifi)).contains("link type 105"));
    let mut snapped = good.clone();
    snapped[24 + 12..24 + 16].copy_from_slice(&1514u32.to_le_bytes());
    let text = error(&directory.write("snapped", &snapped));
    assert!(text.contains("frame 1 was cut to 60 of 1514") && text.contains("-s 0"), "{text}");
    let long = pcap(Endianness::Little, TsResolution::NanoSecond, &[vec![0; crate::pool::MAX_FRAME + 1]]);
    assert!(error(&directory.write("long", &long)).contains("65554 bytes"));

    let huge = directory.write("huge", &good);
    fs::File::options().write(true).open(&huge).unwrap().set_len(MAX_FILE + 1).unwrap();
    assert!(error(&huge).contains("1 GiB"));

    assert!(matches!(PcapPort::open(&PcapOptions::default()), Err(PcapError::Nothing)));
    let file = directory.write("both", &good);
    let both = PcapOptions { replay: Some(file.clone()), record: Some(file.clone()), ..PcapOptions::default() };
    assert!(matches!(PcapPort::open(&both), Err(PcapError::SameFile { .. })));
    assert_eq!(fs::read(&file).unwrap(), good, "and it is left as it was");
    for (record, reason) in [("no/such/directory/x", "No such file"), ("/dev/full", "No space")] {
        let options = PcapOptions { record: Some(directory.file(record)), ..PcapOptions::default() };
        let error = PcapPort::open(&options).err().unwrap().to_string();
        assert!(error.contains(reason) && error.contains(record), "{error}");
    }
}

#[test]
fn damage_of_every_byte_is_an_error_or_other_frames_and_never_a_panic() {
    let directory = Directory::new("fuzz");
    for good in [pcap(Endianness::Big, TsResolution::MicroSecond, &frames()[..3]), pcapng(Some(9), &[1, 2])] {
        for at in 0..good.len().min(200) {
            for value in [0, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                let _ = open(&directory.write("bad", &bad));
            }
            let _ = open(&directory.write("bad", &good[..at]));
        }
    }
}

fn recorder(file: &Path) -> PcapPort {
    PcapPort::open(&PcapOptions { record: Some(file.to_owned()), ..PcapOptions::default() }).unwrap()
}

fn push(port: &mut PcapPort, pool: &mut Pool, data: &[u8]) {
    let mut burst = Burst::new();
    burst.push(pool.frame_from(data).unwrap());
    port.push(pool, &mut burst);
}

#[test]
fn what_is_recorded_can_be_read_back() {
    let directory = Directory::new("record");
    let file = directory.file("out.pcap");
    let mut pool = Pool::new(512).unwrap();
    let before = pool.available();
    let mut port = recorder(&file);
    let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    for frame in frames() {
        push(&mut port, &mut pool, &frame);
    }
    assert!(port.mode().contains("out.pcap"));
    assert_eq!((port.counters().tx_frames.load(Relaxed), port.counters().drops.total()), (5, 0));
    drop(port);
    assert_eq!(pool.available(), before);
    let mut reader = PcapReader::new(fs::File::open(&file).unwrap()).unwrap();
    assert_eq!(reader.header().ts_resolution, TsResolution::NanoSecond);
    for frame in frames() {
        let packet = reader.next_packet().unwrap().unwrap();
        assert_eq!(packet.data, frame);
        assert!(packet.timestamp >= start && packet.timestamp < start + Duration::from_secs(60));
    }
    assert!(reader.next_packet().is_none());
}

#[test]
fn a_record_reaches_the_file_at_every_tick() {
    let directory = Directory::new("tick");
    let file = directory.file("out.pcap");
    let mut pool = Pool::new(64).unwrap();
    let mut port = recorder(&file);
    push(&mut port, &mut pool, &[1; 60]);
    port.tick(&mut pool, Nanos::now());
    let until = Nanos::now().plus(Nanos::from_secs(5));
    while fs::metadata(&file).unwrap().len() < 24 + 16 + 60 && Nanos::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(fs::metadata(&file).unwrap().len(), 24 + 16 + 60);
}

/// A pipe that nobody reads: the slowest disk there is.
fn pipe(directory: &Directory) -> (PathBuf, fs::File) {
    let path = directory.file("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    // Open for both, so that opening it waits for nobody.
    let reader = fs::File::options().read(true).write(true).open(&path).unwrap();
    (path, reader)
}

#[test]
fn a_slow_disk_costs_frames_that_are_counted_and_never_the_workers_time() {
    use std::io::Read as _;
    let directory = Directory::new("slow");
    let (path, mut reader) = pipe(&directory);
    let mut pool = Pool::new(512).unwrap();
    let before = pool.available();
    let mut port = recorder(&path);
    const FRAMES: u64 = 5000;
    let began = Nanos::now();
    for _ in 0..FRAMES {
        push(&mut port, &mut pool, &[3; 1514]);
    }
    assert!(Nanos::now().since(began) < Nanos::from_secs(5));
    let sent = port.counters().tx_frames.load(Relaxed);
    assert_eq!(sent + port.counters().drops.get(DropReason::OutputFull), FRAMES);
    assert!((1000..4000).contains(&sent), "{sent}");
    assert_eq!(pool.available(), before);
    // What was counted as sent is in the file in the end.
    let expected = 24 + sent as usize * (16 + 1514);
    let read = std::thread::spawn(move || {
        let mut bytes = vec![0; expected];
        reader.read_exact(&mut bytes).unwrap();
    });
    drop(port);
    read.join().unwrap();
}

#[test]
fn a_disk_that_fails_takes_the_port_down() {
    let directory = Directory::new("fail");
    let (path, reader) = pipe(&directory);
    let mut pool = Pool::new(64).unwrap();
    let mut port = recorder(&path);
    assert!(port.is_up());
    drop(reader);
    push(&mut port, &mut pool, &[1; 60]);
    port.tick(&mut pool, Nanos::now());
    let until = Nanos::now().plus(Nanos::from_secs(5));
    while port.is_up() && Nanos::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(!port.is_up());
    push(&mut port, &mut pool, &[1; 60]);
    assert_eq!(port.counters().drops.get(DropReason::OutputDown), 1);
    assert!(port.mode().contains("error"));
}
