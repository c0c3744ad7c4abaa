//! Socket activation (systemd, sd_listen_fds(3)): listeners that the process was started with, and which receiver each is for. Must
//! never bind.

use listenfd::ListenFd;
use relay_core::ListeningSocket;
use relay_core::config::{ListenAddress, ReceiverConfig};

/// The listeners that were passed, with their names; kept for as long as the process runs.
#[derive(Debug, Default)]
pub(crate) struct Inherited(Vec<(String, ListeningSocket)>);

/// Takes what `LISTEN_FDS`, `LISTEN_PID` and `LISTEN_FDNAMES` tell of. Changes the environment: to be called while there is one
/// thread.
///
/// # Errors
/// A descriptor that is no listener that a receiver could use.
pub(crate) fn from_environment() -> Result<Inherited, String> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut passed = ListenFd::from_env();
    let mut inherited = Vec::new();
    for number in 0..passed.len() {
        let name = names.next().unwrap_or_default().to_owned();
        inherited.push((name, take(&mut passed, number)?));
    }
    Ok(Inherited(inherited))
}

fn take(passed: &mut ListenFd, number: usize) -> Result<ListeningSocket, String> {
    let wrong = |error: std::io::Error| format!("socket activation: listener {}: {error}", number + 1);
    let none = || std::io::Error::other("it is there twice");
    if let Ok(listener) = passed.take_tcp_listener(number) {
        return listener.ok_or_else(none).and_then(ListeningSocket::inherited_tcp).map_err(wrong);
    }
    let listener = passed.take_unix_listener(number);
    listener.and_then(|l| l.ok_or_else(none)).and_then(ListeningSocket::inherited_unix).map_err(wrong)
}

impl Inherited {
    /// The socket for each of `receivers`, if one was passed for it: the one on its address, or the one with its id as its name
    /// (`otlp`; `otlp.grpc` and `otlp.http` where it has two ports).
    ///
    /// # Errors
    /// Names a listener that no receiver is for: whoever connects to it would wait for ever.
    pub(crate) fn assign(
        &self,
        receivers: &[ReceiverConfig],
    ) -> Result<Vec<Option<ListeningSocket>>, String> {
        let mut assigned: Vec<Option<ListeningSocket>> = vec![None; receivers.len()];
        for (name, socket) in &self.0 {
            let on_address = |receiver: &ReceiverConfig| is_same(&receiver.listen, socket.address());
            let named = |receiver: &ReceiverConfig| is_named(receiver, name);
            let found =
                place(receivers, &assigned, on_address).or_else(|| place(receivers, &assigned, named));
            let Some(place) = found.and_then(|at| assigned.get_mut(at)) else {
                return Err(format!(
                    "socket activation: the listener {name:?} on {} is for no receiver; name it after one \
                     (FileDescriptorName=) or give a receiver its address as endpoint",
                    socket.address()
                ));
            };
            *place = Some(socket.clone());
        }
        Ok(assigned)
    }
}

/// The first receiver without a socket that is asked for.
fn place(
    receivers: &[ReceiverConfig],
    assigned: &[Option<ListeningSocket>],
    wanted: impl Fn(&ReceiverConfig) -> bool,
) -> Option<usize> {
    receivers.iter().zip(assigned).position(|(receiver, socket)| socket.is_none() && wanted(receiver))
}

fn is_named(receiver: &ReceiverConfig, name: &str) -> bool {
    match name.strip_prefix(receiver.name.as_str()) {
        Some("") => true,
        Some(".grpc") => receiver.grpc,
        Some(".http") => receiver.http.is_some(),
        _ => false,
    }
}

/// `ListenStream=4317` is all addresses of both families, which a receiver's `0.0.0.0:4317` means too.
fn is_same(configured: &ListenAddress, passed: &ListenAddress) -> bool {
    let (Some(configured), Some(tcp)) = (configured.tcp(), passed.tcp()) else { return configured == passed };
    configured == tcp
        || (configured.port() == tcp.port() && configured.ip().is_unspecified() && tcp.ip().is_unspecified())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn passed(name: &str, address: &str) -> (String, ListeningSocket) {
        let listener = TcpListener::bind(address).unwrap();
        (name.to_owned(), ListeningSocket::inherited_tcp(listener).unwrap())
    }

    fn receiver(name: &str, address: &str) -> ReceiverConfig {
        ReceiverConfig::new(name, address.parse::<std::net::SocketAddr>().unwrap())
    }

    /// Guarantee: an address decides before a name; all addresses are all addresses; each socket is used once; one that fits
    /// nowhere is named.
    #[test]
    fn each_listener_finds_its_receiver() {
        let inherited = Inherited(vec![passed("otlp", "127.0.0.1:0"), passed("any", "[::]:0")]);
        let port = inherited.0[1].1.address().tcp().unwrap().port();
        let receivers = [receiver("otlp", "127.0.0.1:9"), receiver("otlp", &format!("0.0.0.0:{port}"))];
        let assigned = inherited.assign(&receivers).unwrap();
        let ports: Vec<_> =
            assigned.iter().map(|socket| socket.as_ref().unwrap().address().tcp().unwrap().port()).collect();
        assert_eq!(ports, [inherited.0[0].1.address().tcp().unwrap().port(), port]);
        let error = inherited.assign(&receivers[..1]).unwrap_err();
        assert!(
            error.contains(&format!("the listener \"any\" on [::]:{port} is for no receiver")),
            "{error}"
        );
        let http =
            ReceiverConfig { grpc: false, http: Some(Default::default()), ..receiver("a", "127.0.0.1:9") };
        assert!(is_named(&http, "a.http") && is_named(&http, "a") && !is_named(&http, "a.grpc"));
        assert!(!is_named(&http, "ab") && !is_named(&http, ""));
    }
}
