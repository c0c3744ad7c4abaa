//! The section `extensions`: `health_check`. Must never answer a probe itself.

use super::components::{Components, Kind, State, read_components};
use super::endpoint::HostPort;
use super::error::Diagnostics;
use super::node::Node;
use super::section::Section;

/// `extensions.health_check` (Collector, healthcheckextension).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// `endpoint`. Default 0.0.0.0:13133 (the Collector: localhost:13133), because the kubelet probes the pod's address.
    pub endpoint: HostPort,
    /// `path`. Default "/".
    pub path: String,
}

/// Reads all extensions.
pub(super) fn read(node: Option<&Node>, diag: &Diagnostics) -> Components<HealthCheck> {
    read_components(Kind::Extension, node, diag, |_, section| State::Ready(read_health_check(section)))
}

fn read_health_check(mut section: Section<'_>) -> HealthCheck {
    let endpoint = section.listen("endpoint").unwrap_or_else(|| HostPort::new("0.0.0.0", 13133));
    let path = section.text("path").unwrap_or("/").to_owned();
    if !path.starts_with('/') {
        section.error("path", format!("must begin with a slash, found {path:?}"));
    }
    section.refuse("port", "use endpoint, as in 0.0.0.0:13133");
    section.refuse("response_body", "remove it; probes look at the status code");
    section
        .refuse("check_collector_pipeline", "remove it; relayd answers 503 by itself when it cannot accept");
    section.refuse("tls", "TLS is not in this version; probes use plain HTTP");
    section.refuse("auth", "authentication is not in this version; remove it");
    section.refuse("cors", "remove it; probes are not browsers");
    section.finish();
    HealthCheck { endpoint, path }
}
