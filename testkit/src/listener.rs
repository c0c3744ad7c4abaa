//! Listening again on a port that was ours a moment ago.
//!
//! Must never wait for a port that something else serves for good: after [`PORT_TIMEOUT`] the error is the caller's.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;

/// How long a port may be in somebody else's way: an outgoing connection can be given it while nobody listens.
const PORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Binds `addr`; a fixed port that is in use is tried again for a while.
pub(crate) async fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let give_up = Instant::now() + PORT_TIMEOUT;
    loop {
        match TcpListener::bind(addr).await {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse
                    && addr.port() != 0
                    && Instant::now() < give_up =>
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            bound => return bound,
        }
    }
}
