//! What callers are told who wait for the result: the upstream's own status, words and delay, in their protocol, and each of its own.

#![cfg(test)]

mod support;

use std::time::Duration;

use prost::Message;
use relay_core::config::{HttpConfig, QueueLimit, ReceiverConfig, UpstreamConfig};
use relay_core::{Relay, RelayHandle};
use support::poison::{allergic, poisoned};
use support::{
    SOON, assert_ok, block_on, builder, drain, encoded, endpoint, retry, send_all, settled, upstream,
};
use testkit::collector::{Collector, Reply, Script};
use testkit::http_upstream::HttpReply;
use testkit::raw::{RawClient, RawRequest, grpc_message};
use tonic::Code;

/// Whose callers are told what becomes of the first attempt, or of all of them.
fn waiting(mut config: UpstreamConfig, retries: bool) -> RelayHandle {
    config.wait_for_result = true;
    retry(&mut config).enabled = retries;
    builder(config).cores(1).start().unwrap()
}

/// `wait_for_result` over gRPC: the upstream's own status, words and delay.
#[test]
fn a_caller_that_waits_is_told_the_upstreams_status() {
    let delay = Some(Duration::from_secs(40));
    for code in 1..=16 {
        let status =
            Reply::Status { code: Code::from(code), message: format!("words {code}"), retry_after: delay };
        let collector = Collector::start(Script::always(status));
        let relay = waiting(upstream(collector.addr()), false);
        let answer = send_all(endpoint(&relay), [encoded(2, 1)]).remove(0);
        assert_eq!(
            (answer.grpc_status(), answer.grpc_message()),
            (Some(code), format!("words {code}").as_str())
        );
        let is_retryable = [1, 4, 8, 10, 11, 14, 15].contains(&code);
        assert_eq!(answer.retry_delay(), delay.filter(|_| is_retryable), "{code}");
        assert_eq!(settled(&drain(relay, SOON)).dropped_total(), 2);
    }
}

/// An HTTP upstream and a caller by gRPC: retryable stays retryable, what is for good stays for good.
#[test]
fn statuses_are_translated() {
    for (status, code) in
        [(400, 3), (401, 16), (403, 7), (404, 12), (413, 8), (429, 14), (503, 14), (500, 13), (422, 13)]
    {
        let (server, _asked) =
            support::http_out::server(move |_, _| HttpReply::answer(status, &[], "words".into()));
        let relay = waiting(support::http_out::http_upstream(server.addr()), false);
        let answer = send_all(endpoint(&relay), [encoded(1, 1)]).remove(0);
        assert_eq!(answer.grpc_status(), Some(code), "{status}: {answer:?}");
        assert_eq!(answer.retry_delay().is_some(), code == 14, "{status}");
        assert_eq!(answer.grpc_message(), format!("HTTP {status}: words"));
        drop(drain(relay, SOON));
    }
}

/// Callers over HTTP, in protobuf and JSON: the status of OTLP/HTTP, `Retry-After`, and a `google.rpc.Status` with the upstream's words.
#[test]
fn http_callers_are_told_in_their_protocol() {
    let delay = Some(Duration::from_millis(2500));
    let cases = [(3, 400), (7, 403), (16, 401), (12, 404), (13, 500), (8, 429), (14, 503), (10, 503)];
    for (code, expected) in cases {
        let is_retryable = [8, 10, 14].contains(&code);
        let retry_after = delay.filter(|_| is_retryable);
        let status = Reply::Status { code: Code::from(code), message: "words".to_owned(), retry_after };
        let collector = Collector::start(Script::always(status));
        let mut config = upstream(collector.addr());
        config.wait_for_result = true;
        retry(&mut config).enabled = false;
        let receiver = ReceiverConfig {
            grpc: false,
            http: Some(HttpConfig::default()),
            ..ReceiverConfig::new("otlp", support::loopback())
        };
        let relay = Relay::builder().receiver(receiver).upstream(config).cores(1).start().unwrap();
        let mut client = support::http1::Http1::connect(endpoint(&relay));
        let json = [("content-type", "application/json")];
        let body = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"a"}]}]}]}"#;
        let json = client.request("POST", "/v1/traces", &json, body.as_bytes());
        let protobuf = client.post("/v1/traces", &encoded(2, 1));
        for answer in [&json, &protobuf] {
            assert_eq!(answer.status, expected, "{code}");
            assert_eq!(answer.header("retry-after"), is_retryable.then_some("3"), "{code}");
        }
        let told: serde_json::Value = serde_json::from_slice(&json.body).unwrap();
        assert_eq!((told["code"].as_i64(), told["message"].as_str()), (Some(code.into()), Some("words")));
        let told = testkit::rpc_status::RpcStatus::decode(&protobuf.body[..]).unwrap();
        assert_eq!((told.code, told.message.as_str()), (code, "words"));
        assert_eq!(settled(&drain(relay, SOON)).dropped_total(), 3);
    }
}

/// Two callers share a call. One has sent what the upstream refuses; Guarantee: each is told of its own.
#[test]
fn callers_that_share_a_call_are_told_of_their_own() {
    let collector = Collector::start(allergic(Duration::ZERO));
    let mut config = upstream(collector.addr());
    config.linger = Duration::from_millis(200);
    let relay = waiting(config, true);
    assert_ok(&send_all(endpoint(&relay), [encoded(1, 1)]));
    let answers =
        send_all(endpoint(&relay), [encoded(3, 1), poisoned(3, 2, &[0, 1, 2]), poisoned(4, 3, &[2])]);
    assert_eq!(answers[0].grpc_status(), Some(0));
    assert_eq!((answers[1].grpc_status(), answers[1].grpc_message()), (Some(3), "poison"));
    // Of the third the rest was delivered: sending it again would double that.
    assert_eq!(answers[2].grpc_status(), Some(0));
    let response = testkit::oracle::ExportTraceServiceResponse::decode(&answers[2].body[5..]).unwrap();
    let partial = response.partial_success.unwrap();
    assert_eq!((partial.rejected_spans, partial.error_message.as_str()), (1, "poison"));
    assert_eq!(settled(&drain(relay, SOON)).delivered, 7);
}

/// The caller's deadline passes first. As with the Collector it is told so; what it sent stays queued and is delivered.
#[test]
fn a_callers_deadline_is_kept_and_its_data_too() {
    let collector = Collector::start(Script::always(Reply::ok_after(Duration::from_millis(600))));
    let relay = waiting(upstream(collector.addr()), true);
    let call = RawRequest::export(vec![grpc_message(&encoded(3, 1))]).with_header("grpc-timeout", "100m");
    let answer =
        block_on(async { RawClient::connect(endpoint(&relay)).await.unwrap().send(call).await.unwrap() });
    assert_eq!(answer.grpc_status(), Some(4));
    assert_eq!(settled(&drain(relay, SOON)).delivered, 3);
}

/// A call that waits for room, and then for its result, on a connection on which nothing more comes. Guarantee: it is answered, although
/// only the upstream's answer wakes its connection.
#[test]
fn a_caller_that_found_room_late_is_answered() {
    let collector = Collector::start(Script::always(Reply::ok_after(Duration::from_millis(100))));
    let mut config = upstream(collector.addr());
    config.wait_for_result = true;
    config.queue = QueueLimit::Requests(1);
    let relay = builder(config).cores(1).start().unwrap();
    let addr = endpoint(&relay);
    block_on(async {
        let (first, second) =
            (RawClient::connect(addr).await.unwrap(), RawClient::connect(addr).await.unwrap());
        let call = |seed| RawRequest::export(vec![grpc_message(&encoded(1, seed))]);
        let both = async { tokio::join!(first.send(call(1)), second.send(call(2))) };
        let both = tokio::time::timeout(SOON, both).await.unwrap();
        assert_ok(&[both.0.unwrap(), both.1.unwrap()]);
    });
    assert_eq!(settled(&drain(relay, SOON)).delivered, 2);
}
