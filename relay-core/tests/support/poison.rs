//! Requests that an upstream refuses for good because of some of their spans, and the upstream that does.

use std::time::Duration;

use bytes::Bytes;
use testkit::collector::{Call, Reply, Script};
use testkit::oracle::encode;
use tonic::Code;

use super::request;

/// The name of a poisonous span.
pub(crate) const POISON: &[u8] = b"poison";

/// A request of which the spans of these numbers are poisonous.
pub(crate) fn poisoned(spans: usize, seed: u64, bad: &[usize]) -> Bytes {
    let mut request = request(spans, seed);
    let spans = request.resource_spans.iter_mut().flat_map(|resource| &mut resource.scope_spans);
    for (number, span) in spans.flat_map(|scope| &mut scope.spans).enumerate() {
        if bad.contains(&number) {
            span.name = String::from_utf8(POISON.to_vec()).unwrap();
        }
    }
    Bytes::from(encode(&request))
}

fn has_poison(message: &[u8]) -> bool {
    message.windows(POISON.len()).any(|window| window == POISON)
}

/// Refuses every message with poison in it; answers others after `delay`.
pub(crate) fn allergic(delay: Duration) -> Script {
    Script::by_call(move |call: &Call, _| match has_poison(&call.raw) {
        true => Reply::Delay(delay, Box::new(Reply::status(Code::InvalidArgument, "poison"))),
        false => Reply::ok_after(delay),
    })
}
