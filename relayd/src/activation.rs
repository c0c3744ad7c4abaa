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

/// What a receiver listens on, and the socket for it, if one was passed.
pub(crate) type Assigned = (ReceiverConfig, Option<ListeningSocket>);

impl Inherited {
    /// The socket for each of `receivers`, if one was passed for it: the one on its address, or the one with its id as its name
    /// (`otlp`; `otlp.grpc` and `otlp.http` where it has two ports), first that of its port. A socket that is found by its name
    /// stands for all endpoints of its protocol: those without a socket are left out.
    ///
    /// # Errors
    /// Names a listener that no receiver is for: whoever connects to it would wait for ever.
    pub(crate) fn assign(&self, receivers: Vec<ReceiverConfig>) -> Result<Vec<Assigned>, String> {
        let mut assigned: Vec<Assigned> = receivers.into_iter().map(|receiver| (receiver, None)).collect();
        let mut stands_for_all = Vec::new();
        for (name, socket) in &self.0 {
            let on_address = place(&assigned, |receiver| is_same(&receiver.listen, socket.address()));
            let found = on_address.or_else(|| {
                let named = |receiver: &ReceiverConfig| is_named(receiver, name);
                let served = |receiver: &ReceiverConfig| {
                    assigned.iter().any(|(other, socket)| socket.is_some() && are_one(other, receiver))
                };
                place(&assigned, |receiver| named(receiver) && same_port(&receiver.listen, socket.address()))
                    .or_else(|| place(&assigned, |receiver| named(receiver) && !served(receiver)))
                    .or_else(|| place(&assigned, named))
            });
            let Some((receiver, place)) = found.and_then(|at| assigned.get_mut(at)) else {
                return Err(format!(
                    "socket activation: the listener {name:?} on {} is for no receiver; name it after one \
                     (FileDescriptorName=) or give a receiver its address as endpoint",
                    socket.address()
                ));
            };
            *place = Some(socket.clone());
            if on_address.is_none() {
                stands_for_all.push(receiver.clone());
            }
        }
        assigned.retain(|(receiver, socket)| {
            socket.is_some() || !stands_for_all.iter().any(|served| are_one(served, receiver))
        });
        Ok(assigned)
    }
}

/// The first without a socket that is asked for.
fn place(assigned: &[Assigned], wanted: impl Fn(&ReceiverConfig) -> bool) -> Option<usize> {
    assigned.iter().position(|(receiver, socket)| socket.is_none() && wanted(receiver))
}

/// Whether two sockets are for the same protocol of the same receiver.
fn are_one(one: &ReceiverConfig, other: &ReceiverConfig) -> bool {
    let spoken = |receiver: &ReceiverConfig| (receiver.grpc, receiver.http.is_some());
    one.name == other.name && spoken(one) == spoken(other)
}

fn same_port(configured: &ListenAddress, passed: &ListenAddress) -> bool {
    configured.tcp().zip(passed.tcp()).is_some_and(|(one, other)| one.port() == other.port())
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

    fn port_of(socket: &(String, ListeningSocket)) -> u16 {
        socket.1.address().tcp().unwrap().port()
    }

    /// The ports of the sockets that were found, 0 where there is none.
    fn ports(assigned: &[Assigned]) -> Vec<u16> {
        let port = |socket: &ListeningSocket| socket.address().tcp().unwrap().port();
        assigned.iter().map(|(_, socket)| socket.as_ref().map_or(0, port)).collect()
    }

    /// Guarantee: an address decides before a name; all addresses are all addresses; each socket is used once; one that fits
    /// nowhere is named.
    #[test]
    fn each_listener_finds_its_receiver() {
        let inherited = Inherited(vec![passed("otlp", "127.0.0.1:0"), passed("any", "[::]:0")]);
        let port = port_of(&inherited.0[1]);
        let receivers = [receiver("otlp", "127.0.0.1:9"), receiver("otlp", &format!("0.0.0.0:{port}"))];
        let assigned = inherited.assign(receivers.to_vec()).unwrap();
        assert_eq!(ports(&assigned), [port_of(&inherited.0[0]), port]);
        let error = inherited.assign(receivers[..1].to_vec()).unwrap_err();
        assert!(
            error.contains(&format!("the listener \"any\" on [::]:{port} is for no receiver")),
            "{error}"
        );
        let http = http_at("a", "127.0.0.1:9");
        assert!(is_named(&http, "a.http") && is_named(&http, "a") && !is_named(&http, "a.grpc"));
        assert!(!is_named(&http, "ab") && !is_named(&http, ""));
    }

    fn http_at(name: &str, address: &str) -> ReceiverConfig {
        ReceiverConfig { grpc: false, http: Some(Default::default()), ..receiver(name, address) }
    }

    /// Scenario: endpoints that are several addresses (`localhost:4317`, `localhost:4318`). Guarantee: a socket on one of the
    /// addresses is for that one, and the rest is bound; one that is found by its name, by its port or in the order of the
    /// protocols, stands for all addresses of its protocol.
    #[test]
    fn a_named_listener_stands_for_all_addresses_of_its_protocol() {
        let any = [passed("otlp", "[::]:0"), passed("otlp", "[::]:0")];
        let [grpc, http] = [port_of(&any[0]), port_of(&any[1])];
        let local = |grpc: u16, http: u16| {
            vec![
                receiver("otlp", &format!("127.0.0.1:{grpc}")),
                receiver("otlp", &format!("[::1]:{grpc}")),
                http_at("otlp", &format!("127.0.0.1:{http}")),
                http_at("otlp", &format!("[::1]:{http}")),
            ]
        };
        let [first, second] = any;
        let by_port = Inherited(vec![second.clone(), first.clone()]).assign(local(grpc, http)).unwrap();
        assert_eq!(ports(&by_port), [grpc, http]);
        let by_order = Inherited(vec![second, first]).assign(local(9, 10)).unwrap();
        assert_eq!(ports(&by_order), [http, grpc]);
        assert!(by_order[0].0.grpc && !by_order[1].0.grpc);

        let one = passed("otlp", "127.0.0.1:0");
        let port = port_of(&one);
        let by_address = Inherited(vec![one]).assign(local(port, 10)).unwrap();
        assert_eq!(ports(&by_address), [port, 0, 0, 0]);
    }
}
