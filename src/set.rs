//! `pointsman set`: changes what guests and ports are entitled to, while the engine runs.

use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, Subcommand, ValueEnum};
use pointsman_dataplane::config::DEFAULT_CONTROL;
use pointsman_dataplane::control::{Change, Reply, Request, Thing, ask};

/// Change weights and rates of a running engine.
///
/// Frames on their way are not touched. What is set here lasts until the engine ends: write it into the configuration too.
#[derive(Debug, Args)]
pub struct Set {
    #[command(subcommand)]
    what: What,
    /// The engine's control socket.
    #[arg(long, global = true, value_name = "PATH", default_value = DEFAULT_CONTROL)]
    control: PathBuf,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Of a guest: its weight, or what it may send and be sent
    Guest {
        /// Its name, as in `pointsman show guests`.
        name: String,
        #[arg(value_enum)]
        key: GuestKey,
        /// A weight of 1 to 100; a rate like 200Mbit, or none; a burst in bytes, or none.
        #[arg(allow_hyphen_values = true)]
        value: String,
    },
    /// Of a port: the rate of the line that its output is
    Port {
        /// Its name, as in `pointsman show ports`.
        name: String,
        #[arg(value_enum)]
        key: PortKey,
        /// A rate like 1Gbit, or none.
        #[arg(allow_hyphen_values = true)]
        value: String,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum GuestKey {
    /// Its part of what is contended, relative to the others'
    Weight,
    /// What it may send, and what it may be sent
    Rate,
    /// What it may send
    RateFrom,
    /// What it may be sent
    RateTo,
    /// Bytes that may pass at once after a silence
    Burst,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PortKey {
    /// The rate of its line
    Rate,
}

impl Set {
    pub fn run(&self) -> anyhow::Result<()> {
        match ask(&self.control, Request::Set(self.change()))? {
            Reply::Done => Ok(()),
            Reply::Error(reason) => bail!("the engine refused: {reason}"),
            _ => bail!("the engine's answer is not understood; is it of another version?"),
        }
    }

    fn change(&self) -> Change {
        let (thing, name, key, value) = match &self.what {
            What::Guest { name, key, value } => (Thing::Guest, name, word(key), value),
            What::Port { name, key, value } => (Thing::Port, name, word(key), value),
        };
        Change { thing, name: name.clone(), key, value: value.clone() }
    }
}

/// The key as it was written.
fn word(key: &impl ValueEnum) -> String {
    key.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}
