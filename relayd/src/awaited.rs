//! `relayd send --wait-for`: asks Jaeger for what was sent until all of it is there. Must never count a span that Jaeger does
//! not show.

use std::collections::HashSet;
use std::time::Duration;

use hyper::StatusCode;
use relay_core::otlp::TraceId;
use serde_json::Value;

use crate::ask::{Whom, get};
use crate::clock;
use crate::config::HttpUrl;
use crate::config::url::parse_url;
use crate::limits::{WAIT_ASK_MAX, WAIT_LOOK_INTERVAL};

/// A trace that was sent, and what of it has been seen.
#[derive(Debug)]
pub(crate) struct Awaited {
    pub(crate) id: TraceId,
    pub(crate) spans: usize,
    pub(crate) seen: Seen,
}

/// What Jaeger says of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Spans(usize),
    Nothing(String),
}

/// Where Jaeger's pages are, without a slash at its end.
#[derive(Clone, Debug)]
pub(crate) struct Jaeger {
    url: HttpUrl,
    base: String,
}

impl Jaeger {
    /// Reads `--wait-for`.
    ///
    /// # Errors
    /// What is wrong, and the way out.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if !text.contains("://") {
            return Err("expected a URL; write http://jaeger:16686".to_owned());
        }
        let url = parse_url(text)?;
        if url.tls {
            return Err("https is not spoken to Jaeger; give its plaintext port, as in http://jaeger:16686, from inside \
                        the cluster or through kubectl port-forward"
                .to_owned());
        }
        if url.path_and_query.contains('?') {
            return Err("Jaeger's address has no query (?); write http://jaeger:16686".to_owned());
        }
        let base = url.path_and_query.trim_end_matches('/').to_owned();
        Ok(Self { url, base })
    }

    /// The page that shows a trace.
    pub(crate) fn page(&self, id: TraceId) -> String {
        format!("http://{}{}/trace/{id}", self.url.authority(), self.base)
    }

    /// Asks until every span of `awaited` is there.
    ///
    /// # Errors
    /// What is missing after `timeout`, a trace a line.
    pub(crate) async fn wait(&self, mut awaited: Vec<Awaited>, timeout: Duration) -> Result<(), String> {
        let until = clock::now() + timeout;
        loop {
            for trace in awaited.iter_mut().filter(|trace| !trace.is_there()) {
                trace.seen = self.look(trace.id).await;
            }
            if awaited.iter().all(Awaited::is_there) {
                return Ok(());
            }
            if clock::now() >= until {
                let missing = awaited.iter().filter(|trace| !trace.is_there());
                return Err(missing.map(|trace| self.missing(trace, timeout)).collect::<Vec<_>>().join("\n"));
            }
            tokio::time::sleep(WAIT_LOOK_INTERVAL).await;
        }
    }

    fn missing(&self, trace: &Awaited, timeout: Duration) -> String {
        let seen = match &trace.seen {
            Seen::Spans(seen) => format!("{seen} of {} spans are there", trace.spans),
            Seen::Nothing(why) => format!("none of {} spans is there: {why}", trace.spans),
        };
        format!("trace {} is not in {} after {timeout:?}: {seen}", trace.id, self.url.authority())
    }

    async fn look(&self, id: TraceId) -> Seen {
        let path = format!("{}/api/v3/traces/{id}", self.base);
        match get(&Whom::Tcp(self.url.address.clone()), &path, WAIT_ASK_MAX).await {
            Ok(answered) if answered.status == StatusCode::OK => count(&answered.body),
            Ok(answered) => Seen::Nothing(format!("it answers {}: {}", answered.status, answered.words())),
            Err(why) => Seen::Nothing(why),
        }
    }
}

impl Awaited {
    fn is_there(&self) -> bool {
        matches!(self.seen, Seen::Spans(seen) if seen >= self.spans)
    }
}

/// The spans of `TracesData` as Jaeger's API v3 shows it (query_service.proto: an envelope `result` around OTLP/JSON, several of them
/// for a large trace), each once.
fn count(body: &[u8]) -> Seen {
    let nothing = |what: &str| Seen::Nothing(format!("its answer {what}; is this Jaeger's query port?"));
    let mut ids = HashSet::new();
    for part in serde_json::Deserializer::from_slice(body).into_iter::<Value>() {
        let Ok(part) = part else { return nothing("is not JSON") };
        let data = part.get("result").unwrap_or(&part);
        let Some(resources) = data.get("resourceSpans").and_then(Value::as_array) else {
            return nothing("holds no resourceSpans");
        };
        let scopes = resources.iter().flat_map(|resource| list(resource, "scopeSpans"));
        let spans = scopes.flat_map(|scope| list(scope, "spans"));
        ids.extend(spans.filter_map(|span| Some(span.get("spanId")?.as_str()?.to_owned())));
    }
    Seen::Spans(ids.len())
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_jaeger() {
        let page = |text: &str| Jaeger::parse(text).map(|jaeger| jaeger.page(TraceId([7; 16])));
        let id = "07".repeat(16);
        assert_eq!(page("http://jaeger:16686").unwrap(), format!("http://jaeger:16686/trace/{id}"));
        assert_eq!(page("http://[::1]:16686/ui/").unwrap(), format!("http://[::1]:16686/ui/trace/{id}"));
        let refused = |text: &str| page(text).unwrap_err();
        assert!(refused("https://jaeger:16686").contains("https is not spoken to Jaeger"));
        assert!(refused("jaeger:16686").contains("write http://jaeger:16686"), "{}", refused("jaeger:16686"));
        assert!(refused("http://jaeger:16686/?a=b").contains("no query"));
    }

    /// Guarantee: spans are counted once, whatever resource and scope they are in; anything else counts as none.
    #[test]
    fn spans_are_counted_once() {
        let body =
            br#"{"result":{"resourceSpans":[{"scopeSpans":[{"spans":[{"spanId":"a"},{"spanId":"b"}]}]},
            {"scopeSpans":[{"spans":[{"spanId":"a"},{"spanId":"c"}]},{"spans":[]}]}]}}"#;
        assert_eq!(count(body), Seen::Spans(3));
        assert_eq!(count(&[&body[..], b"\n", body].concat()), Seen::Spans(3));
        assert_eq!(count(br#"{"resourceSpans":[]}"#), Seen::Spans(0));
        for wrong in [&b"<html>"[..], b"{}", br#"{"result":{"resourceSpans":7}}"#] {
            assert!(matches!(count(wrong), Seen::Nothing(_)));
        }
    }
}
