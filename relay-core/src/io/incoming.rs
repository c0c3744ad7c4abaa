//! A new connection of a sender: from its socket to the protocol that it speaks.

use std::rc::Rc;

use bytes::Bytes;

use super::connection;
use super::core::Core;
use super::http::{self, Preface};
use super::origins::{Origins, Sender};
use super::socket::Socket;
use super::tls::accept_tls;
use crate::limits::DRAIN_CONNECTIONS_MAX;

/// Serves `socket` for the receiver of this number until it ends.
pub(crate) async fn serve(core: Rc<Core>, receiver: usize, socket: Socket) {
    let _open = OpenConnection(Rc::clone(&core));
    let Some(config) = core.receiver(receiver).map(|receiver| &receiver.config) else { return };
    if let Err(error) = socket.tune() {
        tracing::debug!(%error, "a new connection is gone already");
        return;
    }
    let sender = Sender { receiver, peer: socket.peer() };
    let origin = Origins::open(&core.shared.origins, sender);
    // Who has not said yet what it speaks holds a drain up no longer than an idle connection.
    let draining = connection::draining(Rc::clone(&core));
    let mut too_late = std::pin::pin!(async move {
        draining.await;
        tokio::time::sleep(DRAIN_CONNECTIONS_MAX).await;
    });
    let stream = tokio::select! {
        biased;
        stream = accept_tls(&core, receiver, socket) => stream,
        () = too_late.as_mut() => return,
    };
    let Ok(mut stream) = stream else { return };
    if config.http.is_none() {
        return connection::serve(core, (receiver, origin), stream, Bytes::new()).await;
    }
    let preface = tokio::select! {
        biased;
        preface = http::sniff(&mut stream) => preface,
        () = too_late => return,
    };
    match preface {
        Ok(Preface::Http2(first)) if config.grpc => {
            connection::serve(Rc::clone(&core), (receiver, origin), stream, first).await;
        }
        Ok(preface) => http::serve(Rc::clone(&core), (receiver, origin), stream, preface).await,
        // A sender that goes away is not an event (health probes do so all day).
        Err(error) => tracing::debug!(%error, "connection of a sender ended"),
    }
}

/// Counts a connection while it is open; also when its task panics.
struct OpenConnection(Rc<Core>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.count_panic();
        }
        self.0.connection_closed();
    }
}
