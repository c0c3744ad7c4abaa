//! What an item works with: the system's addresses, raw clients, the upstreams, marks that nobody used before.
//!
//! Must never keep state that lets one item change another's outcome, except what is costly to see and seen once: overload.

use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::http1::{HttpAnswer, HttpClient, HttpRequest};
use super::items::Overload;
use super::options::{Features, Options};
use super::payload;
use super::upstream::{Arrival, MARK_START, Protocol, Upstream, wait_until};
use super::verdict::{Miss, Seen, demand, fail, skip};
use crate::collector::Signal;
use crate::oracle::{Span, decode};
use crate::raw::{RawClient, RawRequest, RawResponse, grpc_message};

/// How long the system may take to answer one request, also a large one.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// How long data may take through the system when nothing is wrong.
pub(super) const THROUGH: Duration = Duration::from_secs(8);
/// How long nothing may come until we say that nothing comes: a first retry is due after 1 s at most.
pub(super) const QUIET: Duration = Duration::from_millis(2_500);
/// Pause between two requests that shall not share a batch.
pub(super) const APART: Duration = Duration::from_millis(350);
/// How long the system may take to find its upstreams, which listen only since the suite runs.
const WARM_UP_TIME_MAX: Duration = Duration::from_secs(30);
/// How long the receiver may still be busy with what an earlier item did.
const BUSY_TIME_MAX: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct World {
    grpc: Option<SocketAddr>,
    http: Option<SocketAddr>,
    upstream_grpc: Option<Upstream>,
    upstream_http: Option<Upstream>,
    pub(super) upstream_tls: Option<SocketAddr>,
    features: Features,
    run: String,
    serial: Cell<u64>,
    pub(super) overload_grpc: OnceCell<Result<Overload, Miss>>,
    pub(super) overload_http: OnceCell<Result<Overload, Miss>>,
}

impl World {
    /// Starts the upstreams.
    ///
    /// # Errors
    /// The socket's where an upstream's address is taken.
    pub(super) fn start(options: &Options, features: Features) -> io::Result<Self> {
        let upstream = |protocol, addr: Option<SocketAddr>| match addr {
            Some(addr) => Upstream::start(protocol, addr).map(Some).map_err(|error| {
                io::Error::new(error.kind(), format!("cannot listen on {addr} as an upstream: {error}"))
            }),
            None => Ok(None),
        };
        Ok(Self {
            grpc: options.grpc,
            http: options.http,
            upstream_grpc: upstream(Protocol::Grpc, options.upstream_grpc)?,
            upstream_http: upstream(Protocol::Http, options.upstream_http)?,
            upstream_tls: options.upstream_tls,
            features,
            run: format!("{:08x}", RandomState::new().hash_one(std::process::id()) & 0xffff_ffff),
            serial: Cell::new(0),
            overload_grpc: OnceCell::new(),
            overload_http: OnceCell::new(),
        })
    }

    pub(super) fn features(&self) -> &Features {
        &self.features
    }

    /// Lets the system find its upstreams: names those that nothing came to in the time that a client may take to dial again.
    pub(super) async fn warm_up(&self) -> Vec<&'static str> {
        let mark = self.mark("warm-up");
        let missing = || self.upstreams().filter(|upstream| upstream.distinct(&mark) == 0);
        let give_up = tokio::time::Instant::now() + WARM_UP_TIME_MAX;
        while missing().next().is_some() && tokio::time::Instant::now() < give_up {
            // What is wrong with the receiver is the items' to say.
            if self.grpc.is_some() {
                drop(self.feed(&mark, 1).await);
            } else {
                let message = payload::one(Signal::Traces, &mark, self.number());
                drop(self.post(Signal::Traces.http_path(), "application/x-protobuf", message).await);
            }
            wait_until(Duration::from_millis(500), || missing().next().is_none()).await;
        }
        missing().map(|upstream| upstream.protocol.name()).collect()
    }

    /// Between items: upstreams listen and accept; what they held is dropped.
    pub(super) fn tidy_up(&self) {
        self.upstreams().for_each(Upstream::tidy_up);
    }

    pub(super) fn upstreams(&self) -> impl Iterator<Item = &Upstream> {
        self.upstream_grpc.iter().chain(&self.upstream_http)
    }

    /// An upstream to see data arrive at, whatever its protocol.
    pub(super) fn any_upstream(&self) -> Result<&Upstream, Miss> {
        self.upstreams().next().map_or_else(|| skip("no upstream is given"), Ok)
    }

    pub(super) fn upstream_of(&self, protocol: Protocol) -> Result<&Upstream, Miss> {
        let (upstream, option) = match protocol {
            Protocol::Grpc => (&self.upstream_grpc, "--upstream-grpc"),
            Protocol::Http => (&self.upstream_http, "--upstream-http"),
        };
        upstream.as_ref().map_or_else(|| skip(format!("{option} is not given")), Ok)
    }

    /// The system's receiver of one protocol.
    pub(super) fn receiver(&self, protocol: Protocol) -> Result<SocketAddr, Miss> {
        let (addr, option) = match protocol {
            Protocol::Grpc => (self.grpc, "--grpc"),
            Protocol::Http => (self.http, "--http"),
        };
        addr.map_or_else(|| skip(format!("{option} is not given")), Ok)
    }

    /// A number that was not given before.
    pub(super) fn number(&self) -> u64 {
        self.serial.set(self.serial.get() + 1);
        self.serial.get()
    }

    /// The beginning of all marks of one item.
    pub(super) fn mark_start(&self, item: &str) -> String {
        format!("{MARK_START}{}-{item}.", self.run)
    }

    /// A mark that was not given before.
    pub(super) fn mark(&self, item: &str) -> String {
        format!("{}{}.", self.mark_start(item), self.number())
    }

    // gRPC

    pub(super) async fn connect_grpc(&self) -> Result<RawClient, Miss> {
        connect_grpc(self.receiver(Protocol::Grpc)?).await
    }

    /// One call on a connection of its own.
    pub(super) async fn grpc(&self, request: RawRequest) -> Result<RawResponse, Miss> {
        call(&self.connect_grpc().await?, request).await
    }

    /// `Export` of one message.
    pub(super) async fn export(&self, path: &str, message: &[u8]) -> Result<RawResponse, Miss> {
        self.grpc(RawRequest::export(vec![grpc_message(message)]).with_path(path)).await
    }

    /// Sends one request of `spans` spans with this mark and takes care that it is accepted: what is tried comes behind the receiver.
    /// A system that answers only when the upstream has is not waited for.
    pub(super) async fn feed(&self, mark: &str, spans: usize) -> Result<(), Miss> {
        self.feed_with(mark, spans, 0).await
    }

    pub(super) async fn feed_with(&self, mark: &str, spans: usize, filler_bytes: usize) -> Result<(), Miss> {
        let spans = (0..spans).map(|_| payload::span(mark, self.number(), filler_bytes)).collect();
        self.feed_on(&Arc::new(self.connect_grpc().await?), spans).await
    }

    /// Like [`World::feed`], these spans over a connection that may be there already.
    pub(super) async fn feed_on(&self, client: &Arc<RawClient>, spans: Vec<Span>) -> Result<(), Miss> {
        let message = payload::of_spans(spans).encode_to_vec();
        let request = RawRequest::export(vec![grpc_message(&message)]);
        if self.features.wait_for_result {
            let client = Arc::clone(client);
            tokio::spawn(async move { client.send(request).await });
            return Ok(());
        }
        let give_up = tokio::time::Instant::now() + BUSY_TIME_MAX;
        loop {
            let response = call(client, request.clone()).await?;
            match response.grpc_status() {
                Some(0) => return Ok(()),
                Some(8 | 14) if tokio::time::Instant::now() < give_up => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                status => {
                    let text = response.grpc_message();
                    return fail(format!("the receiver answered {status:?} {text} to ordinary data"));
                }
            }
        }
    }

    // HTTP

    /// One request on a connection of its own.
    pub(super) async fn http(&self, request: HttpRequest) -> Result<HttpAnswer, Miss> {
        let mut client = self.connect_http().await?;
        ask(&mut client, &request).await
    }

    pub(super) async fn connect_http(&self) -> Result<HttpClient, Miss> {
        let addr = self.receiver(Protocol::Http)?;
        match timeout(ANSWER_TIME_MAX, HttpClient::connect(addr)).await {
            Ok(Ok(client)) => Ok(client),
            Ok(Err(error)) => fail(format!("cannot connect to {addr}: {error}")),
            Err(_) => fail(format!("cannot connect to {addr} within {} s", ANSWER_TIME_MAX.as_secs())),
        }
    }

    pub(super) async fn post(
        &self,
        target: &str,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> Result<HttpAnswer, Miss> {
        self.http(HttpRequest::post(target, content_type, body)).await
    }

    // what arrived

    /// The first arrival of a mark at any upstream.
    pub(super) async fn arrived(&self, mark: &str) -> Result<Arrival, Miss> {
        let upstream = self.any_upstream()?;
        upstream.wait(mark, 1, THROUGH).await.into_iter().next().map_or_else(
            || fail(format!("accepted, but not at the upstream after {} s", THROUGH.as_secs())),
            Ok,
        )
    }

    /// Waits until all `count` spans with this name are at an upstream, whatever messages they came in.
    pub(super) async fn all_arrived(&self, mark: &str, count: usize) -> Result<(), Miss> {
        let upstream = self.any_upstream()?;
        let found =
            || upstream.with_mark(mark).iter().map(|arrival| spans_named(arrival, mark)).sum::<usize>();
        wait_until(THROUGH, || upstream.distinct(mark) > 0 && found() >= count).await;
        demand(found() == count, || format!("{count} spans accepted, {} of them at the upstream", found()))
    }

    /// Like [`World::arrived`], in words, also where no upstream is there to ask.
    pub(super) async fn tell_arrival(&self, mark: &str) -> Seen {
        if self.upstreams().next().is_none() {
            return Ok("not looked for at an upstream".to_owned());
        }
        self.arrived(mark).await.map(|_| "arrived at the upstream".to_owned())
    }
}

fn spans_named(arrival: &Arrival, name: &str) -> usize {
    let decoded = decode(&arrival.message).unwrap_or_default();
    let scopes = decoded.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    scopes.flat_map(|scope| &scope.spans).filter(|span| span.name == name).count()
}

/// Looks at each upstream that is given, side by side: all must pass.
pub(super) async fn at_each(world: &World, look: impl AsyncFn(&Upstream) -> Seen) -> Seen {
    let named = |upstream: &Upstream, seen: Seen| {
        let name = upstream.protocol.name();
        match seen {
            Ok(detail) => Ok(format!("{name}: {detail}")),
            Err(Miss::Fail(detail)) => fail(format!("{name}: {detail}")),
            Err(Miss::Skip(detail)) => skip(format!("{name}: {detail}")),
        }
    };
    let mut upstreams = world.upstreams();
    match (upstreams.next(), upstreams.next()) {
        (Some(one), Some(other)) => {
            let (of_one, of_other) = tokio::join!(look(one), look(other));
            match (named(one, of_one), named(other, of_other)) {
                (Ok(one), Ok(other)) => Ok(format!("{one}; {other}")),
                (Err(Miss::Fail(one)), Err(Miss::Fail(other))) => fail(format!("{one}; {other}")),
                (Err(Miss::Fail(one)), _) | (_, Err(Miss::Fail(one))) => fail(one),
                (Err(miss), _) | (_, Err(miss)) => Err(miss),
            }
        }
        (Some(one), None) => named(one, look(one).await),
        _ => skip("no upstream is given"),
    }
}

/// Connects to a gRPC server with prior knowledge.
pub(super) async fn connect_grpc(addr: SocketAddr) -> Result<RawClient, Miss> {
    match timeout(ANSWER_TIME_MAX, RawClient::connect(addr)).await {
        Ok(Ok(client)) => Ok(client),
        Ok(Err(error)) => fail(format!("cannot connect to {addr}: {error}")),
        Err(_) => fail(format!("cannot connect to {addr} within {} s", ANSWER_TIME_MAX.as_secs())),
    }
}

/// One call, with the bound on its answer.
pub(super) async fn call(client: &RawClient, request: RawRequest) -> Result<RawResponse, Miss> {
    match timeout(ANSWER_TIME_MAX, client.send(request)).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => fail(format!("no gRPC answer: {error}")),
        Err(_) => fail(format!("no gRPC answer within {} s", ANSWER_TIME_MAX.as_secs())),
    }
}

/// One HTTP request, with the bound on its answer.
pub(super) async fn ask(client: &mut HttpClient, request: &HttpRequest) -> Result<HttpAnswer, Miss> {
    match timeout(ANSWER_TIME_MAX, client.send(request)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => fail(format!("no HTTP answer: {error}")),
        Err(_) => fail(format!("no HTTP answer within {} s", ANSWER_TIME_MAX.as_secs())),
    }
}
