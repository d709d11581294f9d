//! The emulated machine with a backend and its three guests, and what checks ask of them.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use pointsman_bench::process::run;
use pointsman_bench::xenlab::{Backend, Domain, Image, Kind, Machine, PATIENCE, Pending, leave_network};
use serde_json::Value;

pub struct Lab {
    pub machine: Machine,
    pub backend: Backend,
    /// Two unmodified PV guests.
    pub u1: Domain,
    pub u2: Domain,
    /// An unmodified PVH guest.
    pub p1: Domain,
}

impl Lab {
    /// Boots; nothing runs in dom0 yet. With a `keeper`: takes the machine that this process of ours has booted.
    pub fn boot(image: &Image, backend: &Backend, keeper: Option<u32>) -> Result<Self> {
        let machine = match keeper {
            Some(keeper) => Machine::borrow(keeper)?,
            None => {
                leave_network()?;
                Machine::boot(image)?
            }
        };
        Ok(Self {
            machine,
            backend: backend.clone(),
            u1: Domain::new("u1", Kind::Pv, 11),
            u2: Domain::new("u2", Kind::Pv, 12),
            p1: Domain::new("p1", Kind::Pvh, 13),
        })
    }

    pub fn guests(&self) -> [&Domain; 3] {
        [&self.u1, &self.u2, &self.p1]
    }

    /// Starts the backend.
    pub fn start_backend(&mut self) -> Result<()> {
        self.backend.install(&self.machine)?;
        self.backend.start(&self.machine)
    }

    /// Creates the guests, one after the other: a second one that boots would slow the first one down.
    pub fn populate(&mut self) -> Result<()> {
        self.guests().into_iter().try_for_each(|guest| guest.create(&self.machine, &self.backend))
    }

    /// Away with all guests and the backend, and the same anew.
    pub fn start_over(&mut self) -> Result<()> {
        if self.backend.is_process() {
            let _ = self.backend.kill(&self.machine);
            self.backend.revive(&self.machine)?;
        }
        self.xl("list | awk 'NR > 1 && $2 > 0 { print $2 }' | xargs -r -n 1 xl destroy")?;
        self.populate()
    }

    /// Runs `xl ARGUMENTS` in dom0.
    pub fn xl(&self, arguments: &str) -> Result<String> {
        self.machine.dom0().run(&format!("xl {arguments}"), PATIENCE)
    }

    /// That neither a domain of this name nor a dying one is left, nor a backend of this number.
    pub fn assert_gone(&self, name: &str, number: u32) -> Result<()> {
        let script = format!(
            "n=0; while xl list | grep -qE '^({name}|\\(null\\)) '; do n=$((n+1)); [ $n -lt 20 ] || {{ xl list; exit 1; }}; \
             usleep 100000; done; if xenstore-exists /local/domain/0/backend/vif/{number}; then xenstore-ls backend/vif; \
             exit 1; fi"
        );
        self.machine.run(&script).with_context(|| format!("{name} should be gone"))?;
        Ok(())
    }

    /// Xen's number of a guest.
    pub fn number(&self, name: &str) -> Result<u32> {
        let said = self.xl(&format!("domid {name}"))?;
        said.trim().parse().with_context(|| format!("xl domid {name}: {said}"))
    }

    /// A connection to a guest that carries data until [`Lab::released`]. (iperf3 ends a test that takes ten seconds longer
    /// than planned, as one does on a busy machine.)
    pub fn hold(&self, guest: &Domain) -> Result<Pending> {
        guest.shell()?.start(
            "rm -f /tmp/go; n=0; until [ -e /tmp/go ]; do n=$((n+1)); echo $n; usleep 20000; done; echo still here",
        )
    }

    /// That a connection made by [`Lab::hold`] still stands, and lost nothing; how many lines it carried.
    pub fn released(&self, guest: &Domain, held: Pending) -> Result<usize> {
        guest.run("touch /tmp/go")?;
        let said = held.finish(PATIENCE).context("the connection did not survive")?;
        let numbers = said.trim_end().strip_suffix("still here").context("the connection ended early")?;
        let numbers: Vec<&str> = numbers.lines().collect();
        if let Some((i, line)) = numbers.iter().enumerate().find(|(i, line)| **line != (i + 1).to_string()) {
            bail!("line {} of the connection is {line:?}", i + 1);
        }
        Ok(numbers.len())
    }
}

/// Echo requests from here, until `count` answers have come. On a busy machine answers take seconds, and without a deadline
/// ping leaves before them.
pub fn ping(address: &str, count: u32, arguments: &str) -> Result<()> {
    let command = format!("ping -q -i 0.2 -w 30 -c {count} {arguments} {address}");
    let words: Vec<&str> = command.split_whitespace().collect();
    run(words[0], &words[1..]).map(drop)
}

/// That nothing answers.
pub fn silent(address: &str) -> bool {
    run("ping", &["-q", "-c", "1", "-w", "2", address]).is_err()
}

/// iperf3 here or in a guest, started; its report is JSON.
pub enum Flow {
    Here(Child),
    There(Pending),
}

impl Flow {
    /// With a server in the guest `to`; from here, or from the guest `from`.
    pub fn start(from: Option<&Domain>, to: &Domain, arguments: &str) -> Result<Self> {
        let (address, port) = (to.address(), to.serve_iperf3()?);
        let command = format!("iperf3 --json --connect-timeout 9000 --client {address} --port {port} {arguments}");
        match from {
            Some(guest) => Ok(Self::There(guest.shell()?.start(&command)?)),
            None => {
                let words: Vec<&str> = command.split(' ').filter(|word| !word.is_empty()).collect();
                let mut builder = Command::new(words[0]);
                builder.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::piped());
                Ok(Self::Here(builder.spawn().context("iperf3 cannot be started; is it installed?")?))
            }
        }
    }

    /// Waits for its end; the report.
    pub fn finish(self) -> Result<Value> {
        let text = match self {
            Self::Here(child) => String::from_utf8_lossy(&child.wait_with_output()?.stdout).into_owned(),
            Self::There(pending) => pending.finish(Duration::from_secs(60))?,
        };
        let report: Value = serde_json::from_str(&text).with_context(|| format!("iperf3 said {text}"))?;
        if let Some(why) = report["error"].as_str() {
            bail!("iperf3: {why}");
        }
        Ok(report)
    }
}
