//! A running relayd, for tests: started from the built binary, its output gathered line by line, ended by signals.
//! Must never outlive its test.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of several tests, which may fail them"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How long a test waits for what should come at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Lines that a process has written so far.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<(Mutex<Vec<String>>, Condvar)>);

impl Lines {
    fn gather(pipe: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let gathered = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                gathered.0.0.lock().unwrap().push(line);
                gathered.0.1.notify_all();
            }
        });
        lines
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.0.lock().unwrap().clone()
    }

    /// The first line that contains `text`; waits for it.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        let until = now() + PATIENCE;
        let mut lines = self.0.0.lock().unwrap();
        loop {
            if let Some(line) = lines.iter().find(|line| line.contains(text)) {
                return line.clone();
            }
            let left = until.saturating_duration_since(now());
            assert!(!left.is_zero(), "no line with {text:?} within {PATIENCE:?} in {lines:#?}");
            lines = self.0.1.wait_timeout(lines, left).unwrap().0;
        }
    }
}

pub(crate) struct Relayd {
    child: Child,
    pub(crate) stdout: Lines,
    pub(crate) stderr: Lines,
}

impl Relayd {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_relayd"));
        let command = command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = Lines::gather(child.stdout.take().unwrap());
        let stderr = Lines::gather(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// Starts with a configuration given as text.
    pub(crate) fn with_config(yaml: &str, args: &[&str]) -> Self {
        let config = format!("yaml:{yaml}");
        Self::start(&[&["--config", config.as_str()], args].concat())
    }

    /// The address that a line of the log says that `what` is listening on.
    pub(crate) fn address_of(&self, what: &str) -> String {
        let line = self.stderr.wait_for(&format!("{what} listening on "));
        let address = line.split(" listening on ").nth(1).unwrap();
        address.split([' ', '/']).next().unwrap().to_owned()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, pid.as_str()]).status().unwrap().success());
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, and after how long; waits for it.
    pub(crate) fn wait(&mut self) -> (ExitStatus, Duration) {
        let began = now();
        while now().saturating_duration_since(began) < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                // The pipes may hold the last lines still.
                std::thread::sleep(Duration::from_millis(100));
                return (status, now().saturating_duration_since(began));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("relayd does not end: {:#?}", self.stderr.all());
    }
}

impl Drop for Relayd {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// `relayd send`.
pub(crate) fn send(endpoint: &str, traces: u32) -> Output {
    let traces = traces.to_string();
    let args = ["send", "--endpoint", endpoint, "--traces", traces.as_str()];
    Command::new(env!("CARGO_BIN_EXE_relayd")).args(args).output().unwrap()
}

/// Status line and body of an answer.
pub(crate) fn http(address: &str, method: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a test's patience")]
    Instant::now()
}
