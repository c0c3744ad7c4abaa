//! `endpoint` and `transport` of what listens (Collector, confignet.AddrConfig). Must never open a socket.

use super::endpoint::{self, Address};
use super::node::{Node, Value};
use super::section::Section;

/// What `transport` says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    /// Nothing: the endpoint does.
    Unsaid,
    Tcp,
    Unix,
}

/// The address of a server that has one; `None` if none is given, or after an error.
pub(super) fn read_one(section: &mut Section<'_>) -> Option<Address> {
    let transport = read_transport(section);
    read_text(section, transport)
}

fn read_text(section: &mut Section<'_>, transport: Transport) -> Option<Address> {
    let text = section.text("endpoint")?;
    parse(text, transport).map_err(|what| section.error("endpoint", what)).ok()
}

/// The addresses of a receiver, whose `endpoint` may be a list (relayd's own); empty if none is given, or after an error.
pub(super) fn read_all(section: &mut Section<'_>) -> Vec<Address> {
    let transport = read_transport(section);
    match section.value("endpoint").map(|node| &node.value) {
        Some(Value::List(items)) => read_list(section, items, transport),
        _ => read_text(section, transport).into_iter().collect(),
    }
}

fn read_transport(section: &mut Section<'_>) -> Transport {
    match section.text("transport") {
        None | Some("") => Transport::Unsaid,
        Some("tcp") => Transport::Tcp,
        Some("unix") => {
            if section.value("endpoint").is_none() {
                section.error("endpoint", "transport: unix needs a path, as in /run/relay.sock");
            }
            Transport::Unix
        }
        Some("tcp4" | "tcp6") => {
            section.error("transport", "write tcp; the address says which family, as in 0.0.0.0 or [::]");
            Transport::Unsaid
        }
        Some(other) => {
            section.error("transport", format!("expected tcp or unix, found {other:?}"));
            Transport::Unsaid
        }
    }
}

fn parse(text: &str, transport: Transport) -> Result<Address, String> {
    match endpoint::parse_listen_any(text, transport == Transport::Unix)? {
        Address::Unix(_) | Address::Abstract(_) if transport == Transport::Tcp => {
            Err("it is a unix socket, but transport says tcp; write transport: unix".to_owned())
        }
        address => Ok(address),
    }
}

/// Several endpoints, each of which is listened on. Every problem is said at the line of its item.
fn read_list(section: &Section<'_>, items: &[Node], transport: Transport) -> Vec<Address> {
    let mut addresses: Vec<Address> = Vec::new();
    let (diag, path) = (section.diagnostics(), section.path_of("endpoint"));
    if items.is_empty() {
        section.error("endpoint", "a list of endpoints has one at least; remove it for the default");
    }
    for item in items {
        let text = item.as_text().ok_or_else(|| format!("expected host:port, found {}", item.kind()));
        let read = text.and_then(|text| parse(text, transport));
        match read {
            Ok(address) => match addresses.iter().find(|other| other.clashes_with(&address)) {
                Some(other) => {
                    let what = format!("{address} is listened on by {other} already; remove one of both");
                    diag.error(&item.origin, &path, what);
                }
                None => addresses.push(address),
            },
            Err(what) => diag.error(&item.origin, &path, what),
        }
    }
    addresses
}
