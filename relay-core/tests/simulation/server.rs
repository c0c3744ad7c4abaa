//! A collector of a simulated world: HTTP/2 by h2, protobuf by prost. It keeps account of every call that it took. Must never be
//! lenient, and share no code with the relay.

use std::cell::{Cell, RefCell};
use std::io::Read;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use prost::Message;
use relay_core::simulation::{Network, TcpListener, TcpStream};
use testkit::oracle::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse, flatten,
};
use testkit::raw::grpc_message;
use testkit::rpc_status::encode_retry_info;
use tokio::task::{AbortHandle, LocalSet, spawn_local};
use tokio::time::sleep;

use super::plan::{Mood, ServerPlan, server_host};
use super::truth::{Taken, Truth};

/// Name of the span that no server takes.
pub(crate) const POISON: &str = "poison";
pub(crate) const PORT: u16 = 4317;

/// A server, running or not. What it does is decided from outside.
pub(crate) struct Server {
    pub(crate) exporter: usize,
    pub(crate) number: usize,
    plan: ServerPlan,
    network: Network,
    truth: Truth,
    pub(crate) mood: RefCell<Mood>,
    running: RefCell<Option<AbortHandle>>,
    /// When something has happened to it that makes what it answered uncertain.
    pub(crate) troubles: RefCell<Vec<Duration>>,
}

/// What is said to a call.
enum Answer {
    Taken(u64),
    Refused { code: i32, message: String, retry_after: Option<Duration> },
}

impl Server {
    pub(crate) fn new(
        (exporter, number): (usize, usize),
        plan: ServerPlan,
        network: &Network,
        truth: &Truth,
    ) -> Rc<Self> {
        Rc::new(Self {
            exporter,
            number,
            plan,
            network: network.clone(),
            truth: truth.clone(),
            mood: RefCell::new(Mood::Well),
            running: RefCell::default(),
            troubles: RefCell::default(),
        })
    }

    pub(crate) fn start(self: &Rc<Self>) {
        let host = server_host(self.exporter, self.number);
        let server = Rc::clone(self);
        let process =
            async move { LocalSet::new().run_until(server.serve(SocketAddr::new(host, PORT))).await };
        let task = spawn_local(self.network.enter(host, process));
        if let Some(before) = self.running.replace(Some(task.abort_handle())) {
            before.abort();
        }
    }

    /// Kills it: its sockets are closed by its kernel.
    pub(crate) fn crash(&self) {
        if let Some(running) = self.running.take() {
            running.abort();
        }
    }

    /// What it has answered just before or after this may not have arrived.
    pub(crate) fn trouble(&self) {
        self.troubles.borrow_mut().push(self.network.elapsed());
    }

    pub(crate) fn message_bytes_max(&self) -> usize {
        self.plan.message_bytes_max
    }

    async fn serve(self: Rc<Self>, address: SocketAddr) {
        let listener = TcpListener::bind(address).unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            spawn_local(Rc::clone(&self).connection(stream));
        }
    }

    async fn connection(self: Rc<Self>, stream: TcpStream) {
        let addresses = stream.addresses().unwrap();
        while *self.mood.borrow() == Mood::Deaf {
            sleep(Duration::from_millis(500)).await;
        }
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(self.plan.streams_max);
        let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
        let calls = Rc::new(Cell::new(0));
        while let Some(Ok((request, respond))) = connection.accept().await {
            calls.set(calls.get() + 1);
            if *self.mood.borrow() == Mood::Leave {
                self.trouble();
                connection.abrupt_shutdown(Reason::NO_ERROR);
                continue;
            }
            if self.plan.calls_per_connection.is_some_and(|max| calls.get() >= max) {
                connection.graceful_shutdown();
            }
            spawn_local(Rc::clone(&self).call(request, respond, addresses));
        }
    }

    async fn call(
        self: Rc<Self>,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
        connection: [SocketAddr; 2],
    ) {
        let began = self.network.elapsed();
        let Some(message) = read(request).await else { return };
        if *self.mood.borrow() == Mood::Reset {
            self.trouble();
            return respond.send_reset(Reason::INTERNAL_ERROR);
        }
        let pause = match *self.mood.borrow() {
            Mood::Slow(pause) => pause,
            Mood::Mute => Duration::from_secs(3600),
            _ => self.plan.delay,
        };
        if !self.plan.takes_first {
            sleep(pause).await;
        }
        let answer = self.judge(&message);
        let mut number = None;
        if let Answer::Taken(rejected) = answer {
            let taken = Taken {
                exporter: self.exporter,
                server: self.number,
                spans: Vec::new(),
                rejected,
                connection,
                began,
                answered: None,
            };
            number =
                Some(self.truth.taken(taken, &ExportTraceServiceRequest::decode(message.clone()).unwrap()));
        }
        if self.plan.takes_first {
            sleep(pause).await;
        }
        if send(&mut respond, &answer).is_some() {
            let now = self.network.elapsed();
            if let Some(number) = number {
                self.truth.write().taken[number].answered = Some(now);
            }
        }
    }

    fn judge(&self, message: &Bytes) -> Answer {
        let refused = |code, message: String| Answer::Refused { code, message, retry_after: None };
        let (length, max) = (message.len(), self.plan.message_bytes_max);
        if length > max {
            return refused(8, format!("grpc: received message larger than max ({length} vs. {max})"));
        }
        let Ok(request) = ExportTraceServiceRequest::decode(message.clone()) else {
            self.truth.violation("a message arrived that cannot be read".to_owned());
            return refused(13, "grpc: error unmarshalling request".to_owned());
        };
        let spans = flatten(&request);
        match &*self.mood.borrow() {
            Mood::Refuse(code, retry_after) => {
                let (message, retry_after) = ("simulated".to_owned(), *retry_after);
                return Answer::Refused { code: *code, message, retry_after };
            }
            _ if spans.iter().any(|span| span.span.name == POISON) => {
                return refused(3, "a span is poison".to_owned());
            }
            Mood::Partial(rejected) => {
                return Answer::Taken(u64::try_from(*rejected).unwrap().min(spans.len() as u64));
            }
            _ => {}
        }
        Answer::Taken(0)
    }
}

/// The message of a call, inflated; `None` if the call ends before it is complete.
async fn read(request: Request<RecvStream>) -> Option<Bytes> {
    let (head, mut body) = request.into_parts();
    let mut bytes = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.ok()?;
        body.flow_control().release_capacity(chunk.len()).ok()?;
        bytes.extend_from_slice(&chunk);
    }
    assert!(bytes.len() >= 5, "a call ended in order, but its message did not");
    let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap());
    assert_eq!(length as usize, bytes.len() - 5);
    let message = bytes.split_off(5);
    if bytes[0] == 0 {
        return Some(message.into());
    }
    assert_eq!(head.headers["grpc-encoding"], "gzip");
    let mut inflated = Vec::new();
    flate2::read::GzDecoder::new(message.as_slice()).read_to_end(&mut inflated).unwrap();
    Some(inflated.into())
}

fn send(respond: &mut SendResponse<Bytes>, answer: &Answer) -> Option<()> {
    let head = || Response::builder().status(200).header("content-type", "application/grpc");
    match answer {
        Answer::Taken(rejected) => {
            let partial = ExportTracePartialSuccess {
                rejected_spans: i64::try_from(*rejected).unwrap(),
                error_message: "quota".to_owned(),
            };
            let message = ExportTraceServiceResponse { partial_success: (*rejected > 0).then_some(partial) };
            let mut stream = respond.send_response(head().body(()).unwrap(), false).ok()?;
            stream.send_data(grpc_message(&message.encode_to_vec()), false).ok()?;
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            stream.send_trailers(trailers).ok()
        }
        Answer::Refused { code, message, retry_after } => {
            let mut head = head().header("grpc-status", code.to_string()).header("grpc-message", message);
            if let Some(delay) = retry_after {
                let details = STANDARD_NO_PAD.encode(encode_retry_info(*code, message, *delay));
                head = head.header("grpc-status-details-bin", details);
            }
            respond.send_response(head.body(()).unwrap(), true).ok().map(drop)
        }
    }
}
