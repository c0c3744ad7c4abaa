//! The items: what the specification demands, how strongly, and what each depends on.
//!
//! Source: OTLP specification 1.11 and, for exporters, the OpenTelemetry specification's "OpenTelemetry Protocol Exporter". A title must
//! never say more than the text does; levels are the text's own words.

/// How strongly the specification demands it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// MUST, MUST NOT.
    Must,
    /// SHOULD, SHOULD NOT, RECOMMENDED.
    Should,
    /// MAY: either way passes.
    May,
    /// Said without such a word: a port, a path, the shape of the protocol.
    Stated,
    /// An explanation, or of programs that choose to do it: not offering it passes.
    Note,
}

impl Level {
    /// As it stands in the table.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Must => "MUST",
            Self::Should => "SHOULD",
            Self::May => "MAY",
            Self::Stated => "stated",
            Self::Note => "note",
        }
    }
}

/// One requirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    /// G: OTLP/gRPC receiver, H: OTLP/HTTP receiver, J: JSON, X: exporter.
    pub id: &'static str,
    /// How strongly.
    pub level: Level,
    /// What.
    pub title: &'static str,
    /// What the item depends on besides the receiver; empty if on nothing.
    pub depends_on: &'static str,
}

const fn item(id: &'static str, level: Level, title: &'static str, depends_on: &'static str) -> Item {
    Item { id, level, title, depends_on }
}

use Level::{May, Must, Note, Should, Stated};

const ANY_UPSTREAM: &str = "an upstream";
const LIMIT: &str = "--has limit=BYTES, if the receiver's limit is not 64 MiB";
const WAITS: &str = "--has wait-for-result and --upstream-grpc";
const HELD_BACK: &str =
    "an upstream that the suite holds back; the system's queue is full after at most 64 MiB";
const RETRIES: &str = "an upstream; first retry delay of at most 1 s";
const RETRIES_GRPC: &str = "--upstream-grpc; first retry delay of at most 1 s";
const RETRIES_HTTP: &str = "--upstream-http; first retry delay of at most 1 s";

/// All items, in order.
pub const ITEMS: [Item; 66] = [
    item(
        "G01",
        Stated,
        "Export of traces, metrics, logs (and profiles); another service is UNIMPLEMENTED",
        "",
    ),
    item("G02", Stated, "default port 4317", "--has default-ports"),
    item("G03", Must, "messages without compression and with gzip", ""),
    item("G04", Must, "message size limit also after decompression", LIMIT),
    item("G05", Should, "10 MiB taken by default; a configured limit is kept exactly", LIMIT),
    item("G06", Must, "over the limit: RESOURCE_EXHAUSTED that cannot be retried", LIMIT),
    item("G07", Must, "success is an empty response message", ""),
    item("G08", Should, "an empty request succeeds", ""),
    item("G09", Must, "partial acceptance: partial_success with the count of rejected items", WAITS),
    item("G10", Must, "a warning: partial_success with 0 rejected items and a message", WAITS),
    item("G11", Should, "what can be retried is refused with UNAVAILABLE", HELD_BACK),
    item("G12", Should, "what cannot be read is refused with INVALID_ARGUMENT", ""),
    item("G13", Should, "overload: UNAVAILABLE, a sensible retry_delay, recovery without loss", HELD_BACK),
    item(
        "G14",
        Must,
        "responses are limited to 4 MiB",
        "with --has wait-for-result also what the upstream says",
    ),
    item("G15", Stated, "100 calls side by side on one connection", ""),
    item("G16", Stated, "unknown fields do no harm, and are forwarded", ANY_UPSTREAM),
    item("H01", Stated, "POST to /v1/traces, /v1/metrics, /v1/logs (and profiles); GET is 405", ""),
    item("H02", Must, "application/x-protobuf and application/json, the answer in the request's type", ""),
    item("H03", Should, "both encodings on one port", ""),
    item("H04", May, "gRPC and HTTP on one port", ""),
    item("H05", Must, "bodies without compression and with gzip", ""),
    item("H06", Must, "body limit also after decompression: 413", LIMIT),
    item("H07", Must, "success is 200 with a serialized response", ""),
    item("H08", Must, "partial success is 200 with partial_success", WAITS),
    item(
        "H09",
        Must,
        "every error has a google.rpc.Status in the request's encoding",
        "503 or 429: an upstream",
    ),
    item("H10", Must, "bad data is 400", ""),
    item(
        "H11",
        Should,
        "overload is 429 or 503, with a sensible Retry-After if any; recovery without loss",
        HELD_BACK,
    ),
    item("H12", Should, "status codes tell what may be retried", "overload: an upstream"),
    item(
        "H13",
        Must,
        "responses are limited to 4 MiB",
        "with --has wait-for-result also what the upstream says",
    ),
    item("H14", May, "gzip responses on Accept-Encoding: gzip", ""),
    item("H15", Stated, "HTTP/1.1 with keep-alive; default port 4318", "the port: --has default-ports"),
    item("H16", Should, "an empty body succeeds", ""),
    item("J01", Stated, "ids are hex of either case", ANY_UPSTREAM),
    item("J02", Must, "enums are integers", ANY_UPSTREAM),
    item("J03", Must, "unknown names are ignored", ANY_UPSTREAM),
    item("J04", Stated, "names are lowerCamelCase alone", ANY_UPSTREAM),
    item("J05", Stated, "64-bit integers as strings and as numbers", ANY_UPSTREAM),
    item("J06", Stated, "other bytes are base64", ANY_UPSTREAM),
    item("J07", Must, "answers and errors to JSON are JSON", ""),
    item("J08", Must, "all attribute values are legal", ANY_UPSTREAM),
    item(
        "X01",
        Should,
        "several requests in flight, their number configurable",
        "--upstream-grpc; the number: --has parallel=N",
    ),
    item(
        "X02",
        Must,
        "nothing over the configured request size is sent",
        "--has export-limit=BYTES and an upstream",
    ),
    item("X03", Must, "a response over 4 MiB is not retried", RETRIES),
    item("X04", Should, "the retry table of gRPC codes", RETRIES_GRPC),
    item("X05", Should, "RESOURCE_EXHAUSTED is retried only with RetryInfo", RETRIES_GRPC),
    item("X06", Must, "throttling waits at least retry_delay", RETRIES_GRPC),
    item("X07", Must, "exponential backoff with jitter", RETRIES),
    item("X08", Must, "what cannot be retried is sent once, and later data flows on", RETRIES),
    item("X09", Must, "partial success is not retried", RETRIES),
    item("X10", Must, "429, 502, 503, 504 are retried, no other status is", RETRIES_HTTP),
    item("X11", Should, "Retry-After in seconds and as a date", RETRIES_HTTP),
    item("X12", Should, "a connection lost before the answer: the same request again", RETRIES),
    item("X13", Must, "unreachable: dials back off with jitter, and recover", RETRIES),
    item("X14", Should, "connections are kept between requests", ANY_UPSTREAM),
    item("X15", Should, "an upstream that only speaks HTTP/1.1 is served", "--upstream-http"),
    item("X16", Must, "Content-Type, and Content-Encoding when compressed", ANY_UPSTREAM),
    item(
        "X17",
        Should,
        "shutdown waits for what is in flight",
        "--has pid=PID (it is ended by SIGTERM) and an upstream",
    ),
    item("X18", Should, "undelivered data is counted", "--has metrics=HOST:PORT/PATH and an upstream"),
    item("X19", Should, "destinations do not block each other", "--upstream-grpc and --upstream-http"),
    item("X20", Should, "no empty requests are made", ANY_UPSTREAM),
    item("X21", Should, "User-Agent names exporter, language and version", ANY_UPSTREAM),
    item(
        "X22",
        Must,
        "base endpoint plus v1/SIGNAL; a signal's own URL as it is",
        "--has signal-urls and --upstream-http",
    ),
    item(
        "X23",
        Must,
        "http or https in a gRPC endpoint decides over insecure",
        "--has schemes, --upstream-grpc, --upstream-tls",
    ),
    item(
        "X24",
        Should,
        "parallel HTTP requests, their number configurable",
        "--upstream-http; the number: --has parallel=N",
    ),
    item("X25", Note, "duplicates rather than loss on reconnect", RETRIES),
    item(
        "X26",
        Note,
        "header values from the environment, percent-decoded",
        "--has env-headers and an upstream",
    ),
];

/// The item with this number.
#[must_use]
pub fn find(id: &str) -> Option<&'static Item> {
    ITEMS.iter().find(|item| item.id.eq_ignore_ascii_case(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_whole_and_in_order() {
        let ids: Vec<String> = ITEMS.iter().map(|item| item.id.to_owned()).collect();
        let family =
            |letter: char, count: usize| (1..=count).map(move |number| format!("{letter}{number:02}"));
        let expected = family('G', 16).chain(family('H', 16)).chain(family('J', 8)).chain(family('X', 26));
        assert_eq!(ids, expected.collect::<Vec<_>>());
    }
}
