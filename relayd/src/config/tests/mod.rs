//! Tests of the configuration, without a process environment or files of the machine.

use std::collections::HashMap;
use std::io;

use super::error::{ConfigError, Notice};
use super::load::{Config, load};
use super::source::World;

mod accepted;
mod authentication;
mod http;
mod load_balancing;
mod refused;
mod signals;
mod sources;
mod storage;
mod tls;
mod units;

/// Variables and files that a test makes up.
#[derive(Default)]
struct Fake {
    variables: HashMap<&'static str, &'static str>,
    files: HashMap<&'static str, String>,
}

impl Fake {
    fn var(mut self, name: &'static str, value: &'static str) -> Self {
        self.variables.insert(name, value);
        self
    }

    fn file(mut self, path: &'static str, text: impl Into<String>) -> Self {
        self.files.insert(path, text.into());
        self
    }

    /// Loads the files `agent.yaml` and, if it exists, `over.yaml`.
    fn load(&self) -> Result<(Config, Vec<Notice>), ConfigError> {
        self.load_with(&[])
    }

    fn load_with(&self, sets: &[&str]) -> Result<(Config, Vec<Notice>), ConfigError> {
        let mut uris = vec!["agent.yaml".to_owned()];
        if self.files.contains_key("over.yaml") {
            uris.push("over.yaml".to_owned());
        }
        load(&uris, &sets.iter().map(|set| (*set).to_owned()).collect::<Vec<_>>(), self)
    }
}

impl World for Fake {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).map(|value| (*value).to_owned())
    }

    fn read_file(&self, path: &str) -> io::Result<String> {
        self.files.get(path).cloned().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

/// A configuration of one pipeline. `{}` parts replace the bodies of the sections' single components.
struct Parts<'a> {
    grpc: &'a str,
    processors: &'a str,
    exporter: &'a str,
    service: &'a str,
}

impl Default for Parts<'_> {
    fn default() -> Self {
        Self {
            grpc: "{}",
            processors: "{batch: {}}",
            exporter: "{endpoint: 'gateway:4317', tls: {insecure: true}}",
            service: "",
        }
    }
}

impl Parts<'_> {
    /// Line 1 receivers, 2 processors, 3 exporters, 4 extensions, from 6 on the rest of service.
    fn text(&self) -> String {
        let Self { grpc, processors, exporter, service } = self;
        format!(
            "receivers: {{otlp: {{protocols: {{grpc: {grpc}}}}}}}\n\
             processors: {processors}\n\
             exporters: {{otlp: {exporter}}}\n\
             extensions: {{}}\n\
             service:\n\
             \x20 pipelines: {{traces: {{receivers: [otlp], exporters: [otlp]}}}}\n{service}"
        )
    }

    fn load(&self) -> Result<(Config, Vec<Notice>), ConfigError> {
        Fake::default().file("agent.yaml", self.text()).load()
    }
}

fn lines(notices: &[Notice]) -> Vec<String> {
    notices.iter().map(ToString::to_string).collect()
}

/// The errors as they are printed.
fn errors(loaded: Result<(Config, Vec<Notice>), ConfigError>) -> Vec<String> {
    match loaded {
        Ok((config, _)) => panic!("accepted: {config:?}"),
        Err(error) => error.to_string().lines().map(str::to_owned).collect(),
    }
}
