//! A client of a simulated world: HTTP/2 by h2, retries as otel-go's exporter does them. It knows which of its requests were
//! acknowledged. Must never be cleverer than what sends on a node.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use prost::Message;
use relay_core::simulation::{Network, TcpStream};
use testkit::oracle::{
    AnyValue, ExportTraceServiceRequest, ExportTraceServiceResponse, KeyValue, Resource, ResourceSpans,
    ScopeSpans, Span, any_value, encode,
};
use testkit::raw::{EXPORT_PATH, grpc_message, grpc_message_compressed, gzip};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{sleep, timeout};

use super::plan::{ClientPlan, Dice, client_host, relay_host};
use super::server::{POISON, PORT};
use super::truth::Truth;

/// Longest that a client waits for an answer.
pub(crate) const ANSWER_WAIT: Duration = Duration::from_secs(20);
/// How long it goes on with one request.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Client {
    number: usize,
    plan: ClientPlan,
    network: Network,
    truth: Truth,
    dice: RefCell<Dice>,
    connection: RefCell<Option<SendRequest<Bytes>>>,
    dialling: tokio::sync::Mutex<()>,
    /// Exporters whose servers must have taken what is acknowledged, where the relay waits for results.
    waits_for: Option<usize>,
    /// Longest time to an answer while nothing is wrong with its way to the relay; `None` where something may be.
    answer_max: Option<Duration>,
    sent: Cell<u64>,
}

/// How a try ended.
enum Tried {
    Status(i32, bool),
    /// OK, but for so many spans.
    Taken(i64),
    Lost,
}

impl Client {
    pub(crate) fn new(
        (number, plan): (usize, ClientPlan),
        dice: Dice,
        (network, truth): (&Network, &Truth),
        (waits_for, answer_max): (Option<usize>, Option<Duration>),
    ) -> Rc<Self> {
        Rc::new(Self {
            number,
            plan,
            network: network.clone(),
            truth: truth.clone(),
            dice: RefCell::new(dice),
            connection: RefCell::default(),
            dialling: tokio::sync::Mutex::default(),
            waits_for,
            answer_max,
            sent: Cell::new(0),
        })
    }

    /// Sends everything that it has to send.
    pub(crate) async fn run(self: Rc<Self>) {
        let calls = Arc::new(Semaphore::new(self.plan.calls_max));
        let mut sending = JoinSet::new();
        for _ in 0..self.plan.requests {
            let pause = self.dice.borrow_mut().millis(0, u64::try_from(self.plan.pause.as_millis()).unwrap());
            sleep(pause).await;
            let free = Arc::clone(&calls).acquire_owned().await.unwrap();
            let client = Rc::clone(&self);
            sending.spawn_local(async move {
                client.send().await;
                drop(free);
            });
        }
        while let Some(sent) = sending.join_next().await {
            sent.unwrap();
        }
    }

    async fn send(&self) {
        let (request, poisoned) = self.make();
        let number = self.truth.made(&request, poisoned);
        let message = encode(&request);
        let until = self.network.elapsed() + PATIENCE;
        loop {
            self.truth.write().requests[number].attempts += 1;
            match self.attempt(&message).await {
                Tried::Taken(rejected) => {
                    self.truth.write().requests[number].acknowledged = true;
                    self.check_result(number, rejected);
                    let what = format!("acknowledged but for {rejected}");
                    return self.network.log(format!("client {} request {number} {what}", self.number));
                }
                Tried::Status(code, is_retryable) => {
                    self.network.log(format!("client {} request {number} refused: {code}", self.number));
                    if !is_retryable {
                        return;
                    }
                }
                Tried::Lost => self.network.log(format!("client {} request {number} lost", self.number)),
            }
            let pause = self.dice.borrow_mut().millis(100, 5_000);
            if self.network.elapsed() + pause > until {
                return;
            }
            sleep(pause).await;
        }
    }

    /// Where the relay waits for the result, OK means delivered, all but what is said to be rejected.
    fn check_result(&self, number: usize, rejected: i64) {
        for exporter in 0..self.waits_for.unwrap_or(0) {
            let missing = self.truth.undelivered(number, exporter);
            // Which of several exporters rejected them is not said.
            if missing > 0 && i64::try_from(missing).unwrap() > rejected {
                self.truth.violation(format!(
                    "request {number}: the result is OK but for {rejected}, and exporter {exporter} lacks {missing} spans"
                ));
            }
        }
    }

    async fn attempt(&self, message: &[u8]) -> Tried {
        let Some(connection) = self.connect().await else { return Tried::Lost };
        let began = self.network.elapsed();
        let tried = timeout(ANSWER_WAIT, self.call(connection, message)).await;
        let took = self.network.elapsed() - began;
        if let Some(max) = self.answer_max.filter(|max| took > *max) {
            self.truth
                .violation(format!("client {}: an answer took {took:?}, more than {max:?}", self.number));
        }
        match tried {
            Ok(Some(tried)) => tried,
            Ok(None) | Err(_) => {
                // As gRPC does: the next call dials anew.
                self.connection.take();
                Tried::Lost
            }
        }
    }

    async fn connect(&self) -> Option<SendRequest<Bytes>> {
        let _alone = self.dialling.lock().await;
        let known = self.connection.borrow().clone();
        if let Some(known) = known
            && let Ok(Ok(ready)) = timeout(ANSWER_WAIT, known.ready()).await
        {
            return Some(ready);
        }
        let address = SocketAddr::new(relay_host(), PORT);
        let stream =
            self.network.enter(client_host(self.number), async { TcpStream::connect(address).await });
        let stream = timeout(Duration::from_secs(5), stream).await.ok()?.ok()?;
        let (requests, connection) = timeout(ANSWER_WAIT, h2::client::handshake(stream)).await.ok()?.ok()?;
        spawn_local(connection);
        self.connection.replace(Some(requests.clone()));
        timeout(ANSWER_WAIT, requests.ready()).await.ok()?.ok()
    }

    async fn call(&self, mut connection: SendRequest<Bytes>, message: &[u8]) -> Option<Tried> {
        let mut request = Request::post(format!("http://relay{EXPORT_PATH}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let mut body = grpc_message(message);
        if self.plan.gzip {
            request = request.header("grpc-encoding", "gzip");
            body = grpc_message_compressed(&gzip(message));
        }
        let (answer, mut stream) = connection.send_request(request.body(()).unwrap(), false).ok()?;
        drop(connection);
        // A large body is sent as its windows allow.
        let sending = async {
            while !body.is_empty() {
                stream.reserve_capacity(body.len());
                let Some(Ok(room)) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else {
                    return;
                };
                let piece = body.split_to(room.min(body.len()));
                if stream.send_data(piece, body.is_empty()).is_err() {
                    return;
                }
            }
        };
        let (answer, ()) = tokio::join!(answer, sending);
        let (head, mut body) = answer.ok()?.into_parts();
        if head.headers.contains_key("grpc-status") {
            return Some(status(&head.headers));
        }
        let mut message = Vec::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk.ok()?;
            body.flow_control().release_capacity(chunk.len()).ok()?;
            message.extend_from_slice(&chunk);
        }
        match status(&body.trailers().await.ok()??) {
            Tried::Status(0, _) => {
                let response = ExportTraceServiceResponse::decode(message.get(5..)?).unwrap();
                Some(Tried::Taken(response.partial_success.unwrap_or_default().rejected_spans))
            }
            refused => Some(refused),
        }
    }

    /// A request, and whether it holds a span that servers refuse.
    fn make(&self) -> (ExportTraceServiceRequest, bool) {
        let mut dice = self.dice.borrow_mut();
        let (poisoned, large) = (dice.percent(self.plan.poison_share), dice.percent(self.plan.large_share));
        let count = dice.between(1, self.plan.spans_max);
        let mut spans: Vec<Span> = (0..count).map(|_| self.span(dice.between(0, 300))).collect();
        let chosen = dice.below(count);
        if poisoned {
            spans[chosen].name = POISON.to_owned();
        }
        if large {
            spans[chosen].attributes = vec![text("payload", "x".repeat(self.plan.large_bytes))];
        }
        let attributes = vec![text("service.name", format!("client-{}", self.number))];
        let resource = Resource { attributes, ..Resource::default() };
        let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
        let resource_spans =
            vec![ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() }];
        (ExportTraceServiceRequest { resource_spans }, poisoned)
    }

    fn span(&self, length: usize) -> Span {
        self.sent.set(self.sent.get() + 1);
        let id = (u64::try_from(self.number).unwrap() + 1) << 32 | self.sent.get();
        Span {
            trace_id: [id.to_be_bytes(), id.to_be_bytes()].concat(),
            span_id: id.to_be_bytes().to_vec(),
            name: "work".to_owned(),
            attributes: vec![text("payload", "y".repeat(length))],
            ..Span::default()
        }
    }
}

fn text(key: &str, value: String) -> KeyValue {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(value)) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

/// The status in trailers, and whether it may be tried again (OTLP specification, section "Failures").
fn status(trailers: &HeaderMap) -> Tried {
    let code = trailers.get("grpc-status").and_then(|code| code.to_str().ok()?.parse().ok()).unwrap_or(2);
    let throttled = code == 8 && trailers.contains_key("grpc-status-details-bin");
    Tried::Status(code, throttled || [1, 4, 10, 11, 14, 15].contains(&code))
}
