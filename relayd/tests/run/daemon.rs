//! A running relayd, for tests: started from the built binary, its output gathered line by line, ended by signals.
//! Must never outlive its test.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of several tests, which may fail them"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use testkit::tools::load;

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

    /// Waits until so many lines contain `text`.
    pub(crate) fn wait_for_count(&self, text: &str, count: usize) {
        let until = now() + PATIENCE;
        while self.all().iter().filter(|line| line.contains(text)).count() < count {
            assert!(
                now() < until,
                "not {count} lines with {text:?} within {PATIENCE:?} in {:#?}",
                self.all()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
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
        command.args(args).stdin(Stdio::null());
        Self::spawn(command)
    }

    /// Starts a command that becomes relayd.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = Lines::gather(child.stdout.take().unwrap());
        let stderr = Lines::gather(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// Starts with a configuration given as text.
    pub(crate) fn with_config(yaml: &str, args: &[&str]) -> Self {
        let config = format!("yaml:{yaml}");
        Self::start(&[&["--config", config.as_str()], args].concat())
    }

    /// Starts with a configuration given as text and variables of the environment.
    pub(crate) fn with_variables(yaml: &str, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_relayd"));
        command.arg(format!("--config=yaml:{yaml}")).envs(variables.iter().copied()).stdin(Stdio::null());
        Self::spawn(command)
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

/// A directory that goes with its test.
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("relayd-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Puts a file there in one step, as careful programs do; its path.
    pub(crate) fn put(&self, name: &str, text: &str) -> String {
        let (path, beside) = (self.path(name), self.path("beside"));
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(&beside, &path).unwrap();
        path.to_string_lossy().into_owned()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// Load over gRPC by `testkit load`, in a thread: 4 connections, 100 requests of 5 spans a second, for as long as it is asked to
/// go on.
pub(crate) struct Load {
    endpoint: String,
    running: JoinHandle<serde_json::Value>,
    spans: u64,
}

impl Load {
    pub(crate) fn start(endpoint: &str) -> Self {
        let args = load::Args {
            endpoint: endpoint.to_owned(),
            protocol: load::Protocol::Grpc,
            connections: 4,
            in_flight: 8,
            spans_per_request: 5,
            span_bytes: None,
            recorded: false,
            recorded_source: None,
            seconds: 5.0,
            rate: Some(100.0),
            gzip: false,
            timeout_seconds: 10.0,
        };
        let running = std::thread::spawn(move || load::run(&args).unwrap().0);
        Self { endpoint: endpoint.to_owned(), running, spans: 0 }
    }

    /// Has it last beyond now.
    pub(crate) fn go_on(self) -> Self {
        if !self.running.is_finished() {
            return self;
        }
        let endpoint = self.endpoint.clone();
        Self { spans: self.end(), ..Self::start(&endpoint) }
    }

    /// Spans that were acknowledged; nothing may have failed.
    pub(crate) fn end(self) -> u64 {
        let seen = self.running.join().unwrap();
        assert_eq!(seen["errors"], serde_json::json!({}), "{seen}");
        self.spans + seen["spans"].as_u64().unwrap()
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

pub(crate) fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a test's patience")]
    Instant::now()
}
