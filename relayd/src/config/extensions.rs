//! The section `extensions`: `health_check`, the authenticators, `memory_limiter`, `file_storage`; and the keys by which receivers and
//! exporters name one. Must never answer a probe or judge a call itself.

use super::auth::{self, Basic, BearerToken, ClientAuth, Credentials, Htpasswd, ServerAuth};
use super::components::{Components, Kind, State, read_components, type_of};
use super::endpoint::{Address, HostPort};
use super::error::Diagnostics;
use super::listen;
use super::node::Node;
use super::processors::{self, MemoryLimiter};
use super::section::Section;
use super::source::World;
use super::storage::{self, FileStorage};

/// An extension of this version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Extension {
    HealthCheck(HealthCheck),
    Bearer(BearerToken),
    BasicServer(Htpasswd),
    BasicClient(Credentials),
    MemoryLimiter(MemoryLimiter),
    FileStorage(FileStorage),
}

/// `extensions.health_check` (Collector, healthcheckextension).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// `endpoint` and `transport`. Default 0.0.0.0:13133 (the Collector: localhost:13133), because the kubelet probes the pod's
    /// address.
    pub endpoint: Address,
    /// `path`. Default "/".
    pub path: String,
}

const NO_AUTHENTICATOR: &str = "not an authenticator; use bearertokenauth or basicauth";

/// All extensions; `used` says whether `service.extensions` names one.
pub(super) type Extensions = Components<Extension>;

/// Reads all extensions.
pub(super) fn read(node: Option<&Node>, world: &dyn World, diag: &Diagnostics) -> Extensions {
    read_components(Kind::Extension, node, diag, |id, section| {
        let extension = match type_of(id) {
            "bearertokenauth" => auth::read_bearer(id, section).map(Extension::Bearer),
            "basicauth" => auth::read_basic(id, section).map(|basic| match basic {
                Basic::Server(htpasswd) => Extension::BasicServer(htpasswd),
                Basic::Client(credentials) => Extension::BasicClient(credentials),
            }),
            "memory_limiter" => {
                processors::read_memory_limiter(id, section, world).map(Extension::MemoryLimiter)
            }
            "file_storage" => Some(Extension::FileStorage(storage::read(id, section))),
            _ => Some(Extension::HealthCheck(read_health_check(section))),
        };
        extension.map_or(State::Refused, State::Ready)
    })
}

impl Extensions {
    /// `auth` of a server.
    pub(super) fn read_server_auth(&self, parent: &mut Section<'_>) -> Option<ServerAuth> {
        let mut section = parent.optional("auth")?;
        section.refuse("request_params", "tokens are read from headers only; remove it");
        let auth = match self.read_authenticator(&mut section) {
            Some(Extension::Bearer(bearer)) => Some(ServerAuth::Bearer(bearer.clone())),
            Some(Extension::BasicServer(htpasswd)) => Some(ServerAuth::Basic(htpasswd.clone())),
            Some(Extension::BasicClient(_)) => {
                section.error("authenticator", "a receiver needs htpasswd; client_auth is for exporters");
                None
            }
            Some(Extension::HealthCheck(_) | Extension::MemoryLimiter(_) | Extension::FileStorage(_)) => {
                section.error("authenticator", NO_AUTHENTICATOR);
                None
            }
            None => None,
        };
        section.finish();
        auth
    }

    /// `auth` of a client.
    pub(super) fn read_client_auth(&self, parent: &mut Section<'_>) -> Option<ClientAuth> {
        let mut section = parent.optional("auth")?;
        let auth = match self.read_authenticator(&mut section) {
            Some(Extension::Bearer(bearer)) => Some(ClientAuth::Bearer(bearer.clone())),
            Some(Extension::BasicClient(credentials)) => Some(ClientAuth::Basic(credentials.clone())),
            Some(Extension::BasicServer(_)) => {
                section.error("authenticator", "an exporter needs client_auth; htpasswd is for receivers");
                None
            }
            Some(Extension::HealthCheck(_) | Extension::MemoryLimiter(_) | Extension::FileStorage(_)) => {
                section.error("authenticator", NO_AUTHENTICATOR);
                None
            }
            None => None,
        };
        section.finish();
        auth
    }

    /// `middlewares` of a server: a list of `{id}`, where a memory limiter is the one kind that relayd has.
    pub(super) fn read_middlewares(&self, parent: &mut Section<'_>) -> Option<MemoryLimiter> {
        let mut limiter = None;
        for item in parent.list("middlewares") {
            let mut section = Section::open(item, parent.path_of("middlewares"), parent.diagnostics());
            let id = section.text("id");
            match id.map(|id| self.find(&section, "id", id)) {
                None => section.error("id", "a middleware is named, as in {id: memory_limiter}"),
                Some(None) => {}
                Some(Some(Extension::MemoryLimiter(found))) => limiter = Some(found.clone()),
                Some(Some(_)) => {
                    section
                        .error("id", "not supported: memory_limiter is the one middleware that relayd has");
                }
            }
            section.finish();
        }
        limiter
    }

    /// `storage` of a `sending_queue`.
    pub(super) fn read_storage(&self, section: &mut Section<'_>) -> Option<FileStorage> {
        let id = section.text("storage")?;
        match self.find(section, "storage", id)? {
            Extension::FileStorage(storage) => Some(storage.clone()),
            _ => {
                section.error("storage", format!("\"{id}\" is no storage; relayd has file_storage"));
                None
            }
        }
    }

    /// Warns of every storage that runs and is in no queue of `used` by its id: the Collector's two steps are often taken for one.
    pub(super) fn warn_idle_storages(&self, used: &[&str], diag: &Diagnostics) {
        for component in self.all.iter().filter(|component| component.used) {
            if matches!(component.state, State::Ready(Extension::FileStorage(_)))
                && !used.contains(&component.id.as_str())
            {
                let path = format!("extensions.{}", component.id);
                let what = format!(
                    "no exporter in use names it, so nothing is written there; add sending_queue: {{storage: {}}}",
                    component.id
                );
                diag.warn(&component.origin, &path, what);
            }
        }
    }

    /// `None` after an error only, so that nothing runs without the authentication that was asked for.
    fn read_authenticator(&self, section: &mut Section<'_>) -> Option<&Extension> {
        match section.text("authenticator").filter(|id| !id.is_empty()) {
            Some(id) => self.find(section, "authenticator", id),
            None => {
                section
                    .error("authenticator", "auth names an extension, as in authenticator: bearertokenauth");
                None
            }
        }
    }

    /// The extension that a key names, if it runs.
    fn find(&self, section: &Section<'_>, key: &str, id: &str) -> Option<&Extension> {
        let Some(component) = self.all.iter().find(|component| component.id == id) else {
            section.error(key, self.undefined(id));
            return None;
        };
        match &component.state {
            State::Ready(_) if !component.used => {
                section.error(key, format!("\"{id}\" does not run; add it to service.extensions"));
                None
            }
            State::Ready(extension) => Some(extension),
            State::Skipped => {
                section.error(key, format!("\"{id}\" is skipped by this version"));
                None
            }
            State::Refused => None,
        }
    }
}

fn read_health_check(mut section: Section<'_>) -> HealthCheck {
    let endpoint = listen::read_one(&mut section);
    let endpoint = endpoint.unwrap_or_else(|| Address::Tcp(HostPort::new("0.0.0.0", 13133)));
    let path = section.text("path").unwrap_or("/").to_owned();
    if !path.starts_with('/') {
        section.error("path", format!("must begin with a slash, found {path:?}"));
    }
    section.refuse("port", "use endpoint, as in 0.0.0.0:13133");
    section.refuse("response_body", "remove it; probes look at the status code");
    section
        .refuse("check_collector_pipeline", "remove it; relayd answers 503 by itself when it cannot accept");
    section.refuse("tls", "remove it; probes use plain HTTP here");
    section.refuse("auth", "remove it; probes are answered to everybody");
    section.refuse("cors", "remove it; probes are not browsers");
    section.finish();
    HealthCheck { endpoint, path }
}
