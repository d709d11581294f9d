//! Running shell scripts on the lab's machines, over TCP to `shelld` (tests/xen/tools).

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::interrupt;

/// Where a machine's `shelld` listens.
#[derive(Clone, Debug)]
pub struct Shell {
    name: String,
    address: SocketAddr,
}

/// A script that runs.
#[derive(Debug)]
pub struct Pending {
    name: String,
    script: String,
    stream: TcpStream,
    said: Vec<u8>,
}

/// Ends a script's output, followed by its exit status.
const END: &[u8] = b"@@status ";

/// Said by a script before anything else.
const BEGUN: &[u8] = b"@@begun\n";

/// Says that a script is ready for what it reads.
const GO: &[u8] = b"@@go\n";

impl Shell {
    /// Of a machine, named for messages.
    pub fn new(name: &str, address: SocketAddr) -> Self {
        Self { name: name.into(), address }
    }

    /// Runs a script; its output, standard error included.
    ///
    /// # Errors
    /// It fails, or lasts longer than `patience`; the message has what it said.
    pub fn run(&self, script: &str, patience: Duration) -> Result<String> {
        self.start(script)?.finish(patience)
    }

    /// Starts a script and does not wait for it.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn start(&self, script: &str) -> Result<Pending> {
        let mut pending = self.open(script)?;
        let wrapped = format!(
            "exec 2>&1; PATH=/usr/lib/xen:/usr/sbin:/usr/bin:/sbin:/bin; export PATH; cd /root; echo @@begun; \
             (\n{script}\n) </dev/null; echo '@@status '$?; exit\n"
        );
        pending.stream.write_all(wrapped.as_bytes()).with_context(|| self.name.clone())?;
        Ok(pending)
    }

    /// Writes an executable file.
    ///
    /// # Errors
    /// Nobody answers, or there is no room.
    pub fn put(&self, path: &str, content: &[u8], patience: Duration) -> Result<()> {
        let mut pending = self.open(&format!("(writes {path})"))?;
        let line =
            format!("echo @@go; head -c {} > {path} && chmod 755 {path}; echo '@@status '$?; exit\n", content.len());
        pending.stream.set_write_timeout(Some(patience))?;
        pending.stream.write_all(line.as_bytes())?;
        // The shell reads ahead: what comes now would be taken for more of its script.
        pending.wait_for(GO, patience)?;
        pending.stream.write_all(content).with_context(|| format!("{}: writing {path}", self.name))?;
        pending.finish(patience).map(drop)
    }

    fn open(&self, script: &str) -> Result<Pending> {
        let stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(10))
            .with_context(|| format!("{}: its shell at {} does not answer", self.name, self.address))?;
        stream.set_read_timeout(Some(Duration::from_millis(50)))?;
        stream.set_nodelay(true)?;
        Ok(Pending { name: self.name.clone(), script: script.into(), stream, said: Vec::new() })
    }
}

impl Pending {
    /// Waits until it runs: what comes now cannot be earlier, however slow the way to its machine is.
    ///
    /// # Errors
    /// It did not begin within `patience`.
    pub fn begun(mut self, patience: Duration) -> Result<Self> {
        self.wait_for(BEGUN, patience)?;
        Ok(self)
    }

    /// Waits for its end; its output.
    ///
    /// # Errors
    /// It failed, or did not end within `patience`.
    pub fn finish(mut self, patience: Duration) -> Result<String> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.status() {
                let said = self.output();
                if status != 0 {
                    bail!("{}: exit status {status} of: {}\n{said}", self.name, self.script.trim());
                }
                return Ok(said);
            }
            self.listen(begin, patience)?;
        }
    }

    /// Reads on until it has said `word`.
    fn wait_for(&mut self, word: &[u8], patience: Duration) -> Result<()> {
        let begin = Instant::now();
        while !self.said.windows(word.len()).any(|window| window == word) {
            self.listen(begin, patience)?;
        }
        Ok(())
    }

    /// Takes what it says next, if it says something soon.
    fn listen(&mut self, begin: Instant, patience: Duration) -> Result<()> {
        interrupt::check()?;
        if begin.elapsed() > patience {
            bail!("{}: not done after {patience:?}: {}\n{}", self.name, self.script.trim(), self.output());
        }
        let mut buffer = [0; 16384];
        match self.stream.read(&mut buffer) {
            Ok(0) => bail!("{}: its shell ended in: {}\n{}", self.name, self.script.trim(), self.output()),
            Ok(count) => self.said.extend_from_slice(&buffer[..count]),
            Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(why) => return Err(why).with_context(|| format!("{}: {}", self.name, self.script.trim())),
        }
        Ok(())
    }

    fn end(&self) -> Option<usize> {
        self.said.windows(END.len()).rposition(|window| window == END)
    }

    fn status(&self) -> Option<i32> {
        let text = &self.said[self.end()? + END.len()..];
        std::str::from_utf8(text.strip_suffix(b"\n")?).ok()?.parse().ok()
    }

    fn output(&self) -> String {
        let said = &self.said[..self.end().unwrap_or(self.said.len())];
        String::from_utf8_lossy(said.strip_prefix(BEGUN).unwrap_or(said)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A shell that answers with `answer`, whatever it is told.
    fn answering(answer: &'static [u8]) -> Shell {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let _ = stream.read(&mut [0; 4096]);
            for part in answer.chunks(7) {
                stream.write_all(part).unwrap();
            }
        });
        Shell::new("far", address)
    }

    #[test]
    fn output_comes_without_its_begin_and_end() {
        let far = answering(b"@@begun\na\nb\n@@status 0\n");
        let pending = far.start("x").unwrap().begun(Duration::from_secs(5)).unwrap();
        assert_eq!(pending.finish(Duration::from_secs(5)).unwrap(), "a\nb\n");
    }

    #[test]
    fn a_failure_names_machine_script_and_what_was_said() {
        let error = answering(b"broken\n@@status 3\n").run("do-it", Duration::from_secs(5)).unwrap_err().to_string();
        for part in ["far", "exit status 3", "do-it", "broken"] {
            assert!(error.contains(part), "{error}");
        }
        let error = answering(b"half").run("do-it", Duration::from_secs(5)).unwrap_err().to_string();
        assert!(error.contains("ended") && error.contains("half"), "{error}");
    }
}
