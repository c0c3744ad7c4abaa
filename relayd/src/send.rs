//! `relayd send`: sends sample traces through relay-core itself, and says what became of them. Must never leave whoever
//! calls it waiting for long.

use std::io::{self, Write};
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::process::ExitCode;
use std::time::Duration;

use relay_core::batch::Settled;
use relay_core::config::{Destination, GrpcConfig, UpstreamConfig};
use relay_core::otlp::Signal;
use relay_core::upstream::{Endpoint, RetryPolicy};
use relay_core::{Relay, RelayHandle};

use crate::awaited::{Awaited, Seen};
use crate::cli::SendArgs;
use crate::config::{LogLevel, Logs};
use crate::limits::{OUTLET_FLUSH_MAX, SEND_CALL_TIMEOUT, SEND_CONNECT_TIMEOUT};
use crate::outlet::Outlet;
use crate::samples::{Sample, sample};
use crate::{clock, logging};

/// Sends what was asked for.
///
/// # Errors
/// Why the upstream did not take it.
pub(crate) fn send(args: &SendArgs) -> Result<ExitCode, String> {
    let endpoint = Endpoint::parse(&args.endpoint).map_err(|error| format!("--endpoint: {error}"))?;
    // The relay would hold the data and try again; who looks at a terminal wants the reason now.
    reach(&endpoint)?;
    let log = Outlet::start("stderr", io::stderr()).map_err(|error| error.to_string())?;
    let logs = Logs { level: LogLevel::Warn, json: false };
    logging::start(logs, LogLevel::Warn, log.clone()).map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let sent = runtime.block_on(send_all(args, endpoint));
    log.flush(OUTLET_FLUSH_MAX);
    sent.map(|()| ExitCode::SUCCESS)
}

fn reach(endpoint: &Endpoint) -> Result<(), String> {
    let reached = match endpoint {
        Endpoint::Tcp { host, port } => reach_tcp(host, *port),
        Endpoint::Addresses(addresses) => {
            let tries = addresses.iter().map(|at| TcpStream::connect_timeout(at, SEND_CONNECT_TIMEOUT));
            tries.reduce(|before, now| before.or(now)).map_or(Ok(()), |reached| reached.map(drop))
        }
        // Its server is asked by who sends.
        Endpoint::Dns { .. } => Ok(()),
        Endpoint::Unix(path) => UnixStream::connect(path).map(drop),
        Endpoint::Abstract(name) => {
            let address = SocketAddr::from_abstract_name(name);
            address.and_then(|address| UnixStream::connect_addr(&address)).map(drop)
        }
    };
    let Err(error) = reached else { return Ok(()) };
    Err(format!(
        "cannot connect to {endpoint}: {error}\nIs anything listening there? `relayd` without arguments listens on \
         localhost:4317."
    ))
}

fn reach_tcp(host: &str, port: u16) -> io::Result<()> {
    let mut last = io::Error::other("the name has no address");
    let resolved = relay_core::lookup(host, port, SEND_CONNECT_TIMEOUT);
    for address in resolved.map_err(|error| io::Error::other(format!("cannot resolve it: {error}")))? {
        match TcpStream::connect_timeout(&address, SEND_CONNECT_TIMEOUT) {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn send_all(args: &SendArgs, endpoint: Endpoint) -> Result<(), String> {
    let to = endpoint.to_string();
    let relay = start(endpoint)?;
    let (mut sent, mut spans) = (Vec::new(), 0);
    let mut outcome = Ok(());
    for number in 0..args.traces {
        let now = u64::try_from(clock::unix_time().as_nanos()).unwrap_or(u64::MAX);
        let sample = sample(number, now);
        outcome = send_one(&relay, &sample).await;
        if outcome.is_err() {
            break;
        }
        spans += sample.spans;
        sent.push(Awaited { id: sample.id, spans: sample.spans, seen: Seen::Spans(0) });
        say(&format!("sent trace {}  {} ({} spans)", sample.id, sample.name, sample.spans));
    }
    relay.drain(Duration::ZERO).await;
    outcome.map_err(|error| format!("{to} did not take a trace: {error}"))?;
    let traces = if sent.len() == 1 { "trace" } else { "traces" };
    say(&format!("{to} took {} {traces} with {spans} spans", sent.len()));
    let Some(jaeger) = &args.wait_for else { return Ok(()) };
    let pages: Vec<String> = sent.iter().map(|trace| jaeger.page(trace.id)).collect();
    jaeger.wait(sent, args.wait_timeout).await?;
    pages.iter().for_each(|page| say(page));
    Ok(())
}

fn start(endpoint: Endpoint) -> Result<RelayHandle, String> {
    let mut grpc = GrpcConfig::new(endpoint.clone());
    grpc.timeout = SEND_CALL_TIMEOUT;
    grpc.retry = RetryPolicy { enabled: false, ..RetryPolicy::default() };
    let mut upstream = UpstreamConfig::grpc("send", endpoint);
    upstream.destination = Destination::Grpc(Box::new(grpc));
    Relay::builder().cores(1).upstream(upstream).start().map_err(|error| error.to_string())
}

/// A request for each service, as they would come from a real system.
async fn send_one(relay: &RelayHandle, sample: &Sample) -> Result<(), String> {
    let mut receipts = Vec::new();
    for request in &sample.requests {
        receipts.push(relay.submit(Signal::Traces, request.clone()).map_err(|error| error.to_string())?);
    }
    for receipt in receipts {
        match receipt.await {
            Settled::Delivered | Settled::Stored => {}
            Settled::Partial { rejected, message } => {
                return Err(format!("it rejected {rejected} of its spans: {message}"));
            }
            Settled::Refused => return Err("it was refused".to_owned()),
            Settled::Dropped(reason) => return Err(reason.name().replace('_', " ")),
            Settled::Failed(failure) => {
                return Err(format!("{}: {}", failure.reason.name().replace('_', " "), failure.message));
            }
        }
    }
    Ok(())
}

/// A line on standard output. A closed pipe is nobody to talk to.
fn say(line: &str) {
    writeln!(io::stdout().lock(), "{line}").ok();
}
