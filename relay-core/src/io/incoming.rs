//! A new connection of a sender: from its socket to the protocol that it speaks.

use std::rc::Rc;

use bytes::Bytes;

use super::connection;
use super::core::Core;
use super::http::{self, Preface};
use super::origins::{Origins, Sender};
use super::socket::Socket;
use super::tls::accept_tls;

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
    let Ok(mut stream) = accept_tls(&core, receiver, socket).await else { return };
    if config.http.is_none() {
        return connection::serve(core, (receiver, origin), stream, Bytes::new()).await;
    }
    match http::sniff(&mut stream).await {
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
        self.0.connection_closed();
    }
}
