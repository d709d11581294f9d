//! `pointsman trace`: what becomes of a flow's frames in a running engine.

use std::fs::File;
use std::io::BufWriter;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use pointsman_dataplane::config::DEFAULT_CONTROL;
use pointsman_dataplane::control::{TraceEnd, TraceLine, TraceRequest, TraceStep, TracedFrame, trace};
use pointsman_dataplane::trace::pcapng::{Direction, Writer};

use crate::output::print;

/// Follow a flow's frames through a running engine: each step, and what was decided.
///
/// Of a frame all that is given must hold, as it comes in; without any of it, every frame is one. It ends with its count or
/// its time, or when it is interrupted.
#[derive(Debug, Args)]
pub struct Trace {
    /// Frames that come in by this port, as in `pointsman show ports`
    #[arg(long, value_name = "NAME")]
    port: Option<String>,
    /// From or to this Ethernet address
    #[arg(long, value_name = "ADDRESS")]
    mac: Option<String>,
    /// Of this VLAN; 0: without a tag
    #[arg(long, value_name = "N")]
    vlan: Option<u16>,
    /// From or to this address; given twice, between the two
    #[arg(long, value_name = "IP")]
    host: Vec<IpAddr>,
    /// Of this protocol: tcp, udp, icmp or a number
    #[arg(long, value_name = "NAME")]
    proto: Option<String>,
    /// From or to this port of TCP, UDP or SCTP
    #[arg(long, value_name = "N")]
    l4_port: Option<u16>,
    /// Only frames that are lost
    #[arg(long)]
    drops: bool,
    /// Frames at most
    #[arg(long, value_name = "N", default_value_t = 20)]
    count: u64,
    /// For how long, like 500ms, 10s or 5m
    #[arg(long = "for", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    time: Duration,
    /// Also write the frames, with their steps as comments, for Wireshark
    #[arg(long, value_name = "FILE")]
    pcapng: Option<PathBuf>,
    /// As JSON, a line a frame, for programs
    #[arg(long)]
    json: bool,
    /// The engine's control socket.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_CONTROL)]
    control: PathBuf,
}

impl Trace {
    pub fn run(&self) -> anyhow::Result<()> {
        let request = TraceRequest {
            port: self.port.clone(),
            mac: self.mac.clone(),
            vlan: self.vlan,
            hosts: self.host.clone(),
            protocol: self.proto.clone(),
            l4_port: self.l4_port,
            drops: self.drops,
            count: self.count,
            millis: self.time.as_millis() as u64,
        };
        let mut capture: Option<Writer<BufWriter<File>>> = None;
        let mut first = None;
        trace(&self.control, request, |line| -> anyhow::Result<bool> {
            match &line {
                TraceLine::Error(reason) => bail!("the engine refused: {reason}"),
                TraceLine::Begin(ports) => {
                    capture = self.create(ports)?;
                    return Ok(true);
                }
                TraceLine::Frame(frame) => {
                    if let Some(capture) = &mut capture {
                        record(capture, frame).with_context(|| self.cannot_write())?;
                    }
                    let since = frame.time.saturating_sub(*first.get_or_insert(frame.time));
                    if !self.json {
                        print(&text(frame, since))?;
                    }
                }
                TraceLine::End(end) if !self.json => print(&conclusion(end))?,
                TraceLine::End(_) => (),
            }
            if self.json {
                print(&format!("{}\n", serde_json::to_string(&line)?))?;
            }
            if let Some(capture) = &mut capture {
                capture.flush().with_context(|| self.cannot_write())?;
            }
            Ok(!matches!(line, TraceLine::End(_)))
        })
    }

    /// Begins the file, if one is wanted: after a refusal, what was there before is still there.
    fn create(&self, ports: &[String]) -> anyhow::Result<Option<Writer<BufWriter<File>>>> {
        let Some(path) = &self.pcapng else { return Ok(None) };
        let file = File::create(path).with_context(|| self.cannot_write())?;
        Writer::new(BufWriter::new(file), ports).map(Some).with_context(|| self.cannot_write())
    }

    fn cannot_write(&self) -> String {
        let path = self.pcapng.as_deref().unwrap_or_else(|| Path::new("")).display();
        format!(
            "cannot write {path}; give --pcapng a file in a folder that exists, with room, and that you may write to"
        )
    }
}

/// Reads `500ms`, `10s`, `5m`, `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let unit = match &text[digits..] {
        "ms" => 1,
        "s" | "" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    let millis = text[..digits].parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    let millis = millis.filter(|millis| (1..=86_400_000).contains(millis));
    millis.map(Duration::from_millis).ok_or_else(|| "give a time up to 24h, like 500ms, 10s or 5m".into())
}

fn line(step: &TraceStep) -> String {
    let word = if step.step == "drop" { "DROP" } else { &step.step };
    format!("  {word:<7} {}\n", step.text)
}

fn text(frame: &TracedFrame, since: u64) -> String {
    let steps: String = frame.steps.iter().map(line).collect();
    format!("frame {} +{:.6} s  {}\n{steps}", frame.frame, since as f64 / 1e9, frame.summary)
}

fn conclusion(end: &TraceEnd) -> String {
    let why = match &*end.why {
        "count" => "as many as were asked for",
        "time" => "the time is over",
        "engine" => "the engine has ended",
        other => other,
    };
    let untold = match end.untold {
        0 => String::new(),
        n => format!(
            "; {n} more matched and are not told, or not whole: they came too fast (name the flow more exactly)"
        ),
    };
    format!("{} frames: {why}{untold}\n", end.frames)
}

/// The frame as it came, with its story, and as it left.
fn record(capture: &mut Writer<BufWriter<File>>, frame: &TracedFrame) -> anyhow::Result<()> {
    let time = Duration::from_nanos(frame.time);
    let story: String = frame.steps.iter().map(|step| format!("{}: {}\n", step.step, step.text)).collect();
    for step in &frame.steps {
        let (Some(bytes), Some(port), Some(len)) = (step.frame(), &step.port, step.length) else { continue };
        let number = frame.frame;
        let (direction, comment) = match &*step.step {
            "in" => (Direction::In, format!("frame {number}\n{}", story.trim_end())),
            word => (Direction::Out, format!("frame {number}\n{word}: {}", step.text)),
        };
        capture.frame(port, direction, time, (&bytes, len), &comment)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_nonsense_is_refused() {
        for (text, millis) in [("500ms", 500), ("10s", 10_000), ("7", 7_000), ("5m", 300_000), ("24h", 86_400_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "0s", "25h", "1d", "-1s", "1.5s", "99999999999999999999s", "18446744073709551615h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
