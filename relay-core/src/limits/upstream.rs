//! The bounds of forwarding: addresses, connections, calls, retries, isolation.

use std::time::Duration;

use super::UPSTREAM_MESSAGE_BYTES_MAX;

/// Longest delay that a `RetryInfo` is obeyed for: an upstream that says "tomorrow" is asked again after this.
pub const THROTTLE_DELAY_MAX: Duration = Duration::from_secs(300);

/// Addresses of one upstream that are used: a headless service of the largest clusters has some hundred. Of more, the first in
/// their order.
pub const UPSTREAM_ADDRESSES_MAX: usize = 256;

/// Batches that wait for one member of a tier, on each core; when one has as many, nothing more is taken from the queue, whose bound is
/// the one on bytes.
pub const MEMBER_BATCHES_MAX: usize = 256;

/// Time for calls to a member that has left its tier: most are answered, and what is not answered by then is sent to the others.
pub const MEMBER_LEAVE_GRACE: Duration = Duration::from_secs(2);

/// Time between two lookups of an upstream's name: a pod that is new gets its share within it, and a node asks its DNS server
/// twice a minute for each upstream.
pub const RESOLVE_INTERVAL: Duration = Duration::from_secs(30);

/// Shortest interval that may be asked for.
pub const RESOLVE_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Time for one lookup: two attempts of resolv.conf's default timeout.
pub const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Shortest time between two lookups where a failed dial asks for one: a thousand agents that lose one upstream must not lose
/// their DNS server too.
pub const RESOLVE_AGAIN_MIN: Duration = Duration::from_secs(5);

/// First delay before a lookup that has failed is repeated; it doubles up to the interval.
pub const RESOLVE_RETRY_MIN: Duration = Duration::from_secs(1);

/// First delay before dialling an upstream again.
pub const RECONNECT_DELAY_MIN: Duration = Duration::from_millis(100);

/// Longest delay before dialling an upstream again: a Collector that comes back is found within this.
pub const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(10);

/// Addresses of one upstream that each core keeps connections to. More batches than [`UPSTREAM_CALLS_MAX`] are rarely in flight;
/// where an upstream has more addresses than this, each core uses those that it happens to draw.
pub const CONNECTED_ADDRESSES_MAX: usize = 32;

/// Age at which a connection to an upstream is replaced by a new one, so that one address which hides several servers (a virtual IP)
/// has its load spread anew. A handshake per address and core in this time costs nothing.
pub const CONNECTION_AGE_MAX: Duration = Duration::from_secs(300);

/// Share of [`CONNECTION_AGE_MAX`] by which the age of one connection may be less, drawn at random: connections that were made
/// together are not replaced together.
pub const CONNECTION_AGE_JITTER: f64 = 0.2;

/// Pause before a failed replacement of a connection that still works is tried again.
pub const CONNECTION_REPLACE_PAUSE: Duration = Duration::from_secs(10);

/// How long an address that has refused a call for now, without saying for how long, is used only if no other one is: refusing is
/// quick, and the least busy address would get all that is to be refused.
pub const ADDRESS_AVOID_TIME: Duration = Duration::from_secs(1);

/// Time after which `pick_first` dials the next address beside the one that has not answered yet (RFC 8305 section 5 recommends
/// 250 ms).
pub const DIAL_NEXT_DELAY: Duration = Duration::from_millis(250);

/// Times that a call which its server has not looked at (GOAWAY, REFUSED_STREAM) is sent again at once; after that it counts as
/// lost, and is retried like one.
pub const RESENDS_AT_ONCE_MAX: u32 = 8;

/// Age up to which a connection that was dialled ahead of a request over OTLP/HTTP is used: a server closes one on which nothing comes.
pub const SPARE_CONNECTION_AGE_MAX: Duration = Duration::from_secs(5);

/// Largest message, in bytes, after which a `RESOURCE_EXHAUSTED` that says nothing of a size is believed to be about memory or a
/// quota (`retry_resource_exhausted`): what every gRPC server takes by default.
pub const EXHAUSTED_RETRY_BYTES_MAX: usize = UPSTREAM_MESSAGE_BYTES_MAX;

/// Calls that isolating may cost at one upstream while nothing is delivered: enough to single out one part of
/// [`BATCH_PARTS_MAX`](super::BATCH_PARTS_MAX) in several batches at once. An upstream that refuses everything gets no more of them than
/// [`ISOLATION_CALLS_PER_SECOND`]. As many again for looking into single requests, and for what suspects send: that must not use up
/// what finds the offender among the requests of several senders.
pub const ISOLATION_CALLS_MAX: u32 = 256;

/// Calls that isolating may cost for each call that delivers something: isolating goes on to the last part where up to about three
/// of four parts are refused, which costs four calls for each that is not.
pub const ISOLATION_CALLS_PER_DELIVERY: u32 = 8;

/// Calls per second that isolating may cost at an upstream that delivers nothing: it may have been mended.
pub const ISOLATION_CALLS_PER_SECOND: u32 = 5;

/// Ordinary calls for each call that isolates, or that carries what a suspect has sent, while both wait: others have three of four
/// calls, and take at most 4/3 of the time.
pub const CALLS_PER_ISOLATION: u32 = 3;

/// Refusals in a row inside one request after which its pieces are cut no further: its spans are no better than what stands around
/// them. One bad span of a million is found after 20.
pub const INSIDE_REFUSALS_MAX: u32 = 24;

/// Refusals in a row at one upstream, by whatever core, after which it is not believed any more that a sender is to blame.
pub const BLAME_REFUSALS_MAX: u32 = 64;

/// Time for which a connection is suspected after the upstream has refused what it had sent: its requests are not merged with those
/// of others meanwhile.
pub const SUSPECT_TIME: Duration = Duration::from_secs(60);

/// Connections that are suspected at a time, per upstream; the one that was caught longest ago makes way.
pub const SUSPECTS_MAX: usize = 256;

/// Sealed batches of suspects that wait, per core and upstream; until there is room suspects are refused like anybody who meets a
/// full queue, and others are not.
pub const SUSPECT_BATCHES_MAX: usize = 16;

/// Connections whose addresses are remembered after they have closed: what they sent may be refused later.
pub const ORIGINS_LEFT_MAX: usize = 4096;

/// Calls in flight to one upstream, over all cores (the Collector's `num_consumers`).
pub const UPSTREAM_CALLS_MAX: usize = 10;

/// Time for one attempt to export a batch (the Collector's `timeout` of the OTLP exporter).
pub const UPSTREAM_TIMEOUT: Duration = Duration::from_secs(5);

/// Largest answer read from an upstream, in bytes. OTLP 1.11, "OTLP/gRPC Response": 4 MiB is recommended.
pub const UPSTREAM_RESPONSE_BYTES_MAX: usize = 4 << 20;

/// Time for one attempt to export a batch over OTLP/HTTP (the Collector's `timeout` of the OTLP/HTTP exporter).
pub const HTTP_UPSTREAM_TIMEOUT: Duration = Duration::from_secs(30);

/// Connections to an OTLP/HTTP upstream that each core keeps while nothing is sent (Go's `DefaultMaxIdleConnsPerHost`).
pub const HTTP_IDLE_CONNECTIONS_MAX: usize = 2;

/// How long such a connection is kept (the Collector's `idle_conn_timeout`).
pub const HTTP_IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// Time for the answer to a ping over HTTP/2 (the Collector's `http2_ping_timeout`).
pub const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(15);

/// Characters of an upstream's or a proxy's words that are logged: enough for a reason, not for the page of a web server.
pub const UPSTREAM_WORDS_CHARS_MAX: usize = 200;

/// Bytes of a proxy's answer to `CONNECT`: a head, which proxies keep to some hundred.
pub const PROXY_ANSWER_BYTES_MAX: usize = 8 << 10;

/// Bytes of calls to an upstream that are ready to be written, beyond what the kernel has taken: one vectored write.
pub const WRITE_AHEAD_BYTES: usize = 256 << 10;

/// What is read from an upstream at once, in bytes: its answers are a few bytes each.
pub const UPSTREAM_READ_BYTES: usize = 4 << 10;

/// Frames other than DATA that wait to be written to an upstream, in bytes: until they are, nothing more is read from it. One that
/// pings and does not read must not make them grow.
pub const UPSTREAM_CONTROL_BYTES_MAX: usize = 64 << 10;

/// Slices of one vectored write: heads and payloads of the frames in [`WRITE_AHEAD_BYTES`], and some that are cut small.
pub const WRITE_SLICES_MAX: usize = 128;

/// Largest DATA frame sent to an upstream that takes such, in bytes.
pub const UPSTREAM_FRAME_BYTES_MAX: usize = 256 << 10;

/// Time to resolve, connect to and shake hands with an upstream.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
