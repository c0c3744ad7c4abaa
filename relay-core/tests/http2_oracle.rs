//! The HTTP/2 server against another implementation: h2's client calls it over memory, with bodies and header fields of any
//! kind, and both sides must have understood the same. Must never build a frame by hand: `src/http2/server/tests.rs` does.

#![cfg(test)]

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use h2::client::SendRequest;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use proptest::prelude::*;
use relay_core::http2::{Event, Server, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

/// Larger than all that is ever on the way, so that neither side waits for the other to read.
const PIPE_BYTES: usize = 64 << 20;

const CONFIG: ServerConfig = ServerConfig {
    streams_max: 16,
    stream_window_bytes: 100_000,
    connection_window_bytes: 150_000,
    header_list_bytes_max: 30 << 10,
};

/// A call as the client makes it.
#[derive(Clone, Debug)]
struct Call {
    body: usize,
    // Bytes after which the client gives up.
    reset_at: Option<usize>,
    // Whether the server is to refuse it, before its body has come.
    refuse: bool,
    // Bytes that are given to h2 at once.
    chunk: usize,
    fields: Vec<(HeaderName, HeaderValue)>,
}

/// A call as the server saw it.
#[derive(Debug, Default)]
struct Served {
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
    ended: bool,
    reset: bool,
}

/// The body of the call of this number: no two bytes of two calls stand in the same order.
fn body(number: usize, len: usize) -> Bytes {
    (0..len).map(|at| (at * 31 + at / 251 + number * 7).to_le_bytes()[0]).collect::<Vec<u8>>().into()
}

fn mix(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 40) as usize
}

/// What a server does besides answering.
#[derive(Clone, Copy)]
struct Manner {
    // Chooses the pieces that are read.
    seed: u64,
    // It leaves when so many calls have begun.
    leaves_after: usize,
}

/// Serves a connection to its end: accepts each call that is complete and refuses those that say so; all that was seen.
async fn serve(mut io: DuplexStream, mut server: Server, manner: Manner) -> BTreeMap<u32, Served> {
    let (mut calls, mut state) = (BTreeMap::<u32, Served>::new(), manner.seed);
    let mut buffer = vec![0; 64 << 10];
    loop {
        server.begin_turn();
        let written = io.write_all(server.output()).await;
        server.output().clear();
        if server.is_done() || written.is_err() {
            // A client that has all its answers may be gone before it has read all that it is told.
            return calls;
        }
        let most = [1, 30, 1_000, 64 << 10][mix(&mut state) % 4];
        let read = io.read(&mut buffer[..1 + mix(&mut state) % most]).await.unwrap();
        if read == 0 {
            return calls;
        }
        let mut input = Bytes::copy_from_slice(&buffer[..read]);
        let mut todo = Vec::new();
        while let Some(event) = server.receive(&mut input).unwrap() {
            take(&mut server, &mut calls, event, &mut todo);
        }
        // Later than they came, and in another order.
        for (stream, bytes) in todo.into_iter().rev() {
            server.release(stream, bytes);
            if calls[&stream].ended && !calls[&stream].reset {
                server.accept(stream);
            }
        }
        if calls.len() >= manner.leaves_after {
            server.leave();
        }
    }
}

fn take(server: &mut Server, calls: &mut BTreeMap<u32, Served>, event: Event, todo: &mut Vec<(u32, usize)>) {
    match event {
        Event::Call { stream, end } => {
            let fields =
                server.fields().iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
            let call = Served { fields, ended: end, ..Served::default() };
            assert!(calls.insert(stream, call).is_none());
            todo.push((stream, 0));
            if server.fields().has(b"x-refuse") {
                let fields =
                    [(&b":status"[..], &b"200"[..]), (b"grpc-status", b"14"), (b"grpc-message", b"full")];
                server.refuse(stream, fields.into_iter());
            }
        }
        Event::Data { stream, bytes, end } => {
            let call = calls.get_mut(&stream).unwrap();
            assert!(!call.ended && !call.reset);
            todo.push((stream, bytes.len()));
            call.body.extend_from_slice(&bytes);
            call.ended = end;
        }
        Event::Reset { stream } => calls.get_mut(&stream).unwrap().reset = true,
    }
}

/// What became of a call, as the client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Accepted,
    Refused,
    GivenUp,
    NotTaken,
}

fn request(number: usize, call: &Call) -> Request<()> {
    let mut request = Request::post("http://relay.example:4317/some.Service/Export").body(()).unwrap();
    let headers = request.headers_mut();
    for (name, value) in &call.fields {
        headers.append(name, value.clone());
    }
    headers.insert("x-call", number.into());
    if call.refuse {
        headers.insert("x-refuse", HeaderValue::from_static("1"));
    }
    request
}

/// Makes one call and checks each part of its answer.
async fn make(client: SendRequest<Bytes>, number: usize, call: &Call) -> Answer {
    let Ok(mut client) = client.ready().await else { return Answer::NotTaken };
    let ends = call.body == 0 && call.reset_at.is_none();
    let Ok((response, mut stream)) = client.send_request(request(number, call), ends) else {
        return Answer::NotTaken;
    };
    drop(client);
    let mut rest = body(number, call.body).slice(..call.reset_at.unwrap_or(call.body));
    while !rest.is_empty() {
        stream.reserve_capacity(rest.len().min(call.chunk));
        let Some(Ok(room)) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else { break };
        let piece = rest.split_to(room.min(rest.len()));
        if stream.send_data(piece, rest.is_empty() && call.reset_at.is_none()).is_err() {
            break;
        }
    }
    if call.reset_at.is_some() {
        stream.send_reset(h2::Reason::CANCEL);
        return Answer::GivenUp;
    }
    match response.await {
        Ok(response) => understand(response).await,
        Err(error) if error.is_go_away() => Answer::NotTaken,
        Err(error) => panic!("call {number}: {error}"),
    }
}

async fn understand(response: http::Response<h2::RecvStream>) -> Answer {
    assert_eq!(response.status(), 200);
    if response.body().is_end_stream() {
        let fields = response.headers();
        assert!(fields["grpc-status"] == "14" && fields["grpc-message"] == "full", "{fields:?}");
        return Answer::Refused;
    }
    assert_eq!(response.headers()["content-type"], "application/grpc");
    let (mut message, mut body) = (Vec::new(), response.into_body());
    while let Some(piece) = body.data().await {
        let piece = piece.unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        message.extend_from_slice(&piece);
    }
    assert_eq!(message, [0; 5]);
    assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
    Answer::Accepted
}

/// What h2's client is told to do.
#[derive(Clone, Copy, Debug)]
struct Client {
    window: u32,
    table: Option<u32>,
    // Calls at once; h2 keeps to what the server allows.
    at_once: usize,
}

/// Makes all calls on one connection, in groups; what each side saw.
fn exchange(client: Client, manner: Manner, calls: &[Call]) -> (Vec<Answer>, BTreeMap<u32, Served>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let (near, far) = duplex(PIPE_BYTES);
        let server = tokio::spawn(serve(far, Server::new(CONFIG), manner));
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(client.window).initial_max_send_streams(CONFIG.streams_max as usize);
        // Of calls that it gives up h2 remembers ten, and takes what still comes for them as an offence.
        builder.max_concurrent_reset_streams(100_000);
        if let Some(table) = client.table {
            builder.header_table_size(table);
        }
        let (sender, connection) = builder.handshake::<_, Bytes>(near).await.unwrap();
        let connection = tokio::spawn(connection);
        let all = async {
            let (mut answers, mut number) = (Vec::new(), 0);
            for group in calls.chunks(client.at_once) {
                let group =
                    group.iter().zip(number..).map(|(call, number)| make(sender.clone(), number, call));
                answers.extend(join_all(group).await);
                number = answers.len();
            }
            drop(sender);
            connection.await.unwrap().unwrap();
            (answers, server.await.unwrap())
        };
        tokio::time::timeout(Duration::from_secs(60), all).await.expect("both sides come to an end")
    })
}

/// Sees to it that what the server saw is what the client did.
fn compare(calls: &[Call], answers: &[Answer], served: &BTreeMap<u32, Served>) {
    let number = |served: &Served| {
        let field = served.fields.iter().find(|(name, _)| name == b"x-call").unwrap();
        String::from_utf8(field.1.clone()).unwrap().parse::<usize>().unwrap()
    };
    let served: BTreeMap<usize, &Served> = served.values().map(|served| (number(served), served)).collect();
    for (number, (call, answer)) in calls.iter().zip(answers).enumerate() {
        let sent = body(number, call.body);
        let served = served.get(&number);
        match answer {
            Answer::Accepted => {
                let served = served.unwrap();
                assert!(!call.refuse && served.ended && served.body == sent, "body of call {number}");
            }
            Answer::Refused => {
                assert!(call.refuse && served.unwrap().body.is_empty(), "refused call {number}");
            }
            Answer::GivenUp => {
                // It may have been given up before it was sent.
                let body = served.map_or(&[][..], |served| &served.body);
                assert!(sent.starts_with(body), "given up call {number}");
            }
            Answer::NotTaken => assert!(served.is_none(), "call {number} is told to go elsewhere"),
        }
        if let Some(served) = served {
            compare_fields(number, call, &served.fields);
        }
    }
}

fn compare_fields(number: usize, call: &Call, served: &[(Vec<u8>, Vec<u8>)]) {
    let request = request(number, call);
    let (pseudo, regular) = served.split_at(4);
    let mut pseudo: Vec<_> = pseudo.iter().map(|(name, value)| (&name[..], &value[..])).collect();
    pseudo.sort_unstable();
    let expected = [
        (&b":authority"[..], &b"relay.example:4317"[..]),
        (b":method", b"POST"),
        (b":path", b"/some.Service/Export"),
        (b":scheme", b"http"),
    ];
    assert_eq!(pseudo, expected);
    let mut seen = HeaderMap::new();
    for (name, value) in regular {
        let name = HeaderName::from_bytes(name).unwrap();
        seen.append(name, HeaderValue::from_bytes(value).unwrap());
    }
    assert_eq!(&seen, request.headers(), "call {number}");
}

/// Values as HTTP allows them: mostly what one reads, sometimes any byte that is allowed.
fn some_value(len: usize) -> impl Strategy<Value = HeaderValue> {
    let readable = prop::collection::vec(0x20..0x7f_u8, 0..=len);
    let allowed = any::<u8>().prop_map(|byte| if byte < 0x20 || byte == 0x7f { b'\t' } else { byte });
    let any = prop::collection::vec(allowed, 0..=len / 4);
    let value = prop_oneof![3 => readable, 1 => any];
    (value, 0..8_u8).prop_map(|(value, sensitive)| {
        let mut value = HeaderValue::from_bytes(&value).unwrap();
        value.set_sensitive(sensitive == 0);
        value
    })
}

/// Few names, so that values change and come back in the tables; some stand in the static one.
fn some_name() -> impl Strategy<Value = HeaderName> {
    let known =
        ["user-agent", "content-type", "accept", "cookie", "authorization", "grpc-timeout", "via", "x-b3"];
    let known = known.map(HeaderName::from_static);
    // None of them has a meaning of its own.
    let any = "x-[a-z0-9_.~!#$%&'*+^`|-]{1,40}z".prop_map(|name| name.parse().unwrap());
    prop_oneof![8 => prop::sample::select(known.to_vec()), 1 => any]
}

fn some_fields(count: usize, len: usize) -> impl Strategy<Value = Vec<(HeaderName, HeaderValue)>> {
    prop::collection::vec((some_name(), some_value(len)), 0..=count)
}

fn some_call(bytes_max: usize) -> impl Strategy<Value = Call> {
    let size = prop_oneof![Just(0), 1..200_usize, 0..=bytes_max];
    (size, 0..10_u8, 1..40_000_usize, some_fields(4, 60), any::<prop::sample::Index>()).prop_map(
        |(body, fate, chunk, fields, at)| Call {
            body,
            reset_at: (fate == 0).then(|| at.index(body + 1)),
            refuse: fate == 1,
            // Thousands of tiny frames are a flood.
            chunk: chunk.max(body / 100),
            fields,
        },
    )
}

fn some_client() -> impl Strategy<Value = Client> {
    let window = prop_oneof![5..40_u32, Just(65_535)];
    let table = prop_oneof![Just(None), Just(Some(0)), Just(Some(100)), Just(Some(65_536))];
    (window, table, 1..60_usize).prop_map(|(window, table, at_once)| Client { window, table, at_once })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 200, ..ProptestConfig::default() })]

    /// Scenario: up to 60 calls at once, with bodies up to 200 KB (two windows of a call), small windows and tables of the
    /// client, calls given up and refused, input in any pieces.
    /// Guarantees: every body arrives byte for byte, every field is the one sent, and h2 understands every answer.
    #[test]
    fn calls_of_any_kind(
        client in some_client(),
        seed in any::<u64>(),
        calls in prop::collection::vec(some_call(200_000), 1..60),
    ) {
        let (answers, served) = exchange(client, Manner { seed, leaves_after: usize::MAX }, &calls);
        prop_assert!(!answers.contains(&Answer::NotTaken));
        compare(&calls, &answers, &served);
    }

    /// Scenario: hundreds of calls whose fields come, change, come back and are larger than the table.
    /// Guarantees: HPACK's state, Huffman's code and CONTINUATION frames are read as h2 writes them.
    #[test]
    fn header_lists_of_any_kind(
        seed in any::<u64>(),
        at_once in 1..8_usize,
        lists in prop::collection::vec(prop_oneof![
            12 => some_fields(8, 40),
            2 => some_fields(40, 200),
            1 => some_fields(3, 5_000),
        ], 100..300),
    ) {
        let calls: Vec<Call> = lists
            .into_iter()
            .map(|fields| Call { body: 0, reset_at: None, refuse: false, chunk: 1, fields })
            .collect();
        let client = Client { window: 65_535, table: None, at_once };
        let (answers, served) = exchange(client, Manner { seed, leaves_after: usize::MAX }, &calls);
        prop_assert!(answers.iter().all(|answer| *answer == Answer::Accepted));
        prop_assert_eq!(served.len(), calls.len());
        compare(&calls, &answers, &served);
    }

    /// Scenario: the server leaves in the middle of it.
    /// Guarantees: each call is served whole or told that it was not looked at, and the connection ends without an error.
    #[test]
    fn leaving_loses_no_call(
        client in some_client(),
        seed in any::<u64>(),
        leaves_after in 1..30_usize,
        calls in prop::collection::vec(some_call(20_000), 30..60),
    ) {
        let (answers, served) = exchange(client, Manner { seed, leaves_after }, &calls);
        compare(&calls, &answers, &served);
    }
}

/// 20,000 calls on one connection: the peer's windows are used up and opened again hundreds of times.
#[test]
fn a_connection_lasts() {
    let call = |number: usize| Call {
        body: number % 300,
        reset_at: number.is_multiple_of(97).then_some(number % 50),
        refuse: number % 13 == 5,
        chunk: 1000,
        fields: vec![(HeaderName::from_static("traceparent"), (number % 70).into())],
    };
    let calls: Vec<Call> =
        (0..20_000).map(|number| Call { body: call(number).body.max(50), ..call(number) }).collect();
    let client = Client { window: 65_535, table: None, at_once: 16 };
    let (answers, served) = exchange(client, Manner { seed: 1, leaves_after: usize::MAX }, &calls);
    compare(&calls, &answers, &served);
    let accepted = answers.iter().filter(|answer| **answer == Answer::Accepted).count();
    assert!(accepted > 18_000, "{accepted} accepted");
}
