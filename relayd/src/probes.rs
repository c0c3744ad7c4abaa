//! The servers of health and metrics: bound, served, and bound anew when the configuration says so. Must never touch a relay.

use std::cell::{OnceCell, RefCell};
use std::io;
use std::rc::Rc;

use relay_core::ListeningSocket;
use relay_core::config::ListenAddress;
use tokio::task::JoinHandle;

use crate::config::{Address, Config};
use crate::health::Life;
use crate::http::Answer;
use crate::limits::{BIND_RETRY_INTERVAL, BIND_WARN_INTERVAL};
use crate::metrics::{Forecast, Reloads};
use crate::{clock, health, http, listen, metrics};

/// The places of both, bound as far as they could be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sockets {
    health: Option<Rc<Place>>,
    metrics: Option<Rc<Place>>,
}

/// Where a server listens.
#[derive(Debug)]
struct Place {
    what: &'static str,
    endpoint: Address,
    address: ListenAddress,
    /// Whether it is for this process alone.
    alone: bool,
    /// Empty while another process has what is for one alone.
    socket: OnceCell<ListeningSocket>,
}

/// The servers.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    sockets: Sockets,
    serving: Vec<JoinHandle<()>>,
    forecast: Rc<RefCell<Forecast>>,
}

impl Sockets {
    /// Binds what `config` asks for; where `before` has it already, that is taken.
    ///
    /// # Errors
    /// What cannot be bound, and why.
    fn bind(config: &Config, before: &Self) -> Result<Self, String> {
        let health = config.health_check.as_ref().map(|check| {
            // Of a port either of two processes answers; who asks by a path means one.
            let alone = !matches!(check.endpoint, Address::Tcp(_));
            Place::bind("health_check", &check.endpoint, alone, before.health.as_ref())
        });
        let metrics = config.metrics.as_ref().map(|metrics| {
            let endpoint = Address::Tcp(metrics.endpoint.clone());
            // Scrapes that met now one process and now another would see counters jump.
            Place::bind("metrics", &endpoint, true, before.metrics.as_ref())
        });
        Ok(Self { health: health.transpose()?, metrics: metrics.transpose()? })
    }
}

impl Place {
    /// The address of `endpoint`, bound unless it is for one process alone and another one has it.
    fn bind(
        what: &'static str,
        endpoint: &Address,
        alone: bool,
        before: Option<&Rc<Self>>,
    ) -> Result<Rc<Self>, String> {
        if let Some(before) = before.filter(|before| before.endpoint == *endpoint) {
            return Ok(Rc::clone(before));
        }
        let address = listen::one(endpoint).map_err(|error| format!("{what} {error}"))?;
        let place = Self { what, endpoint: endpoint.clone(), address, alone, socket: OnceCell::new() };
        match place.try_to_bind() {
            Ok(()) => {}
            Err(error) if alone && is_taken(&error) => place.warn(),
            Err(error) => return Err(format!("{what} cannot listen on {endpoint}: {error}")),
        }
        Ok(Rc::new(place))
    }

    fn try_to_bind(&self) -> io::Result<()> {
        let socket = if self.alone {
            ListeningSocket::bind_alone(&self.address)?
        } else {
            ListeningSocket::bind(&self.address)?
        };
        if socket.is_shared() {
            tracing::warn!(
                "another process listens on {} already; either of both answers until one of them ends",
                self.endpoint
            );
        }
        self.socket.get_or_init(|| socket);
        Ok(())
    }

    /// The socket; waits as long as another process has it, whatever else is wrong meanwhile.
    async fn bound(&self) -> &ListeningSocket {
        let mut said = clock::now();
        loop {
            if let Some(socket) = self.socket.get() {
                return socket;
            }
            tokio::time::sleep(BIND_RETRY_INTERVAL).await;
            if self.try_to_bind().is_err()
                && clock::now().saturating_duration_since(said) > BIND_WARN_INTERVAL
            {
                said = clock::now();
                self.warn();
            }
        }
    }

    fn warn(&self) {
        tracing::warn!(
            "{}: another process listens on {}; it is taken as soon as it is free",
            self.what,
            self.endpoint
        );
    }
}

fn is_taken(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
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
        if let (Some(place), Some(check)) = (&sockets.health, &config.health_check) {
            let (life, path) = (Rc::clone(life), check.path.clone());
            let pages = move |asked: &str| (asked == path).then(|| health::answer(&life));
            self.serving.push(serve(place, check.path.clone(), pages));
        }
        if let (Some(place), Some(settings)) = (&sockets.metrics, &config.metrics) {
            let (life, reloads, settings) = (Rc::clone(life), Rc::clone(reloads), settings.clone());
            let forecast = Rc::clone(&self.forecast);
            let page = move || metrics::answer(&settings, &life, &reloads, &mut forecast.borrow_mut());
            let pages = move |asked: &str| (asked == "/metrics").then(&page);
            self.serving.push(serve(place, "/metrics".to_owned(), pages));
        }
        self.sockets = sockets;
    }
}

/// Serves as soon as it can be.
fn serve(
    place: &Rc<Place>,
    path: String,
    pages: impl Fn(&str) -> Option<Answer> + 'static,
) -> JoinHandle<()> {
    let place = Rc::clone(place);
    tokio::task::spawn_local(async move {
        let socket = place.bound().await;
        tracing::info!("{} listening on {}{path}", place.what, socket.address());
        match http::Listener::of(socket) {
            Ok(listener) => http::serve(listener, pages).await,
            Err(error) => tracing::error!(%error, "cannot serve probes on {}", socket.address()),
        }
    })
}
