//! The servers of health and metrics: bound, served, and bound anew when the configuration says so. Must never touch a relay.

use std::rc::Rc;

use relay_core::ListeningSocket;
use tokio::task::JoinHandle;

use crate::config::{Config, HostPort};
use crate::health::Life;
use crate::metrics::Reloads;
use crate::{health, http, listen, metrics};

/// The bound listeners, each with the endpoint that it is for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sockets {
    health: Option<(HostPort, ListeningSocket)>,
    metrics: Option<(HostPort, ListeningSocket)>,
}

/// The servers.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    sockets: Sockets,
    serving: Vec<JoinHandle<()>>,
}

impl Sockets {
    /// Binds what `config` asks for; where `before` has it already, that is taken.
    ///
    /// # Errors
    /// What cannot be bound, and why.
    fn bind(config: &Config, before: &Self) -> Result<Self, String> {
        let health = config.health_check.as_ref().map(|check| {
            bind(&check.endpoint, before.health.as_ref())
                .map_err(|error| format!("health_check cannot listen on {}: {error}", check.endpoint))
        });
        let metrics = config.metrics.as_ref().map(|metrics| {
            bind(&metrics.endpoint, before.metrics.as_ref())
                .map_err(|error| format!("metrics cannot be served on {}: {error}", metrics.endpoint))
        });
        Ok(Self { health: health.transpose()?, metrics: metrics.transpose()? })
    }
}

fn bind(
    endpoint: &HostPort,
    before: Option<&(HostPort, ListeningSocket)>,
) -> std::io::Result<(HostPort, ListeningSocket)> {
    if let Some(before) = before.filter(|(bound, _)| bound == endpoint) {
        return Ok(before.clone());
    }
    let socket = ListeningSocket::bind(&listen::resolve(endpoint)?.into())?;
    if socket.is_shared() {
        tracing::warn!(
            "another process listens on {endpoint} already; either of both answers until one of them ends"
        );
    }
    Ok((endpoint.clone(), socket))
}

impl Probes {
    /// Binds what `config` asks for and these do not have yet.
    ///
    /// # Errors
    /// What cannot be bound, and why; nothing has changed then.
    pub(crate) fn bind(&self, config: &Config) -> Result<Sockets, String> {
        Sockets::bind(config, &self.sockets)
    }

    /// Serves what `config` says on `sockets` from now on, instead of what was served. Needs a LocalSet.
    pub(crate) fn serve(
        &mut self,
        config: &Config,
        sockets: Sockets,
        life: &Rc<Life>,
        reloads: &Rc<Reloads>,
    ) {
        // What waits in a socket that stays is accepted by the next server.
        self.serving.drain(..).for_each(|server| server.abort());
        if let (Some((_, socket)), Some(check)) = (&sockets.health, &config.health_check) {
            announce("health_check", socket, &check.path);
            let (life, path) = (Rc::clone(life), check.path.clone());
            let pages = move |asked: &str| (asked == path).then(|| health::answer(&life));
            self.serving.extend(serve(socket, pages));
        }
        if let (Some((_, socket)), Some(settings)) = (&sockets.metrics, &config.metrics) {
            announce("metrics", socket, "/metrics");
            let (life, reloads, settings) = (Rc::clone(life), Rc::clone(reloads), settings.clone());
            let page = move || metrics::answer(&settings, &life, &reloads);
            self.serving.extend(serve(socket, move |asked: &str| (asked == "/metrics").then(&page)));
        }
        self.sockets = sockets;
    }
}

fn announce(what: &str, socket: &ListeningSocket, path: &str) {
    tracing::info!("{what} listening on {}{path}", socket.address());
}

fn serve(
    socket: &ListeningSocket,
    pages: impl Fn(&str) -> Option<http::Answer> + 'static,
) -> Option<JoinHandle<()>> {
    match socket.tcp() {
        Ok(listener) => Some(http::serve(listener?, pages)),
        Err(error) => {
            tracing::error!(%error, "cannot serve probes on {}", socket.address());
            None
        }
    }
}
