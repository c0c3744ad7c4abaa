//! What the tests, e2e runs and benches hold the relay against.
//!
//! Nothing here shares code with relay-core: the oracle is prost, the scripted collector and the sender are tonic, the raw
//! clients are h2, load and sink speak HTTP/2 by code of their own, and so walks the wire walker. A mistake in the relay
//! therefore cannot hide behind the same mistake here.
//!
//! | module | holds |
//! | --- | --- |
//! | [`wire`] | a minimal protobuf walker, down to fields, for comparing bytes |
//! | [`oracle`] | prost's types and the grouping-independent form of a request |
//! | [`otlp_json`] | prost's types as OTLP/JSON, in any of its spellings |
//! | [`generate`] | proptest strategies for every field, and deterministic kube-like requests |
//! | [`permute`] | the same value with fields in another order and unknown fields between them |
//! | [`payloads`] | recorded traffic of kube-apiserver, etcd, CRI-O, containerd |
//! | [`alloc`] | a counting global allocator |
//! | [`collector`] | a scripted OTLP/gRPC collector of all signals |
//! | [`http_upstream`] | a scripted HTTP/1.1 server by hand |
//! | [`conformance`] | the OTLP specification as a suite against a running system |
//! | [`dns`] | a scripted DNS server |
//! | [`rpc_status`] | `google.rpc.Status` with `RetryInfo` |
//! | [`spill_format`] | segments of the log on disk, written from the document of their format alone |
//! | [`sender`] | an OTLP/gRPC client that behaves |
//! | [`raw`] | an OTLP/gRPC client that need not behave, on h2 |
//! | [`proxy`] | a TCP proxy that cuts, stalls and refuses |
//! | [`tools`] | the subcommands of the `testkit` program: replay, load, sink, tcp-relay, dns, compare |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test support: a broken expectation must stop the test where it broke"
)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "sizes and seeds here are small and our own, never a peer's"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "tests and load tools measure real time and wait for real sockets"
)]

pub mod alloc;
pub mod collector;
pub mod conformance;
pub mod dns;
pub mod generate;
pub mod http_upstream;
mod listener;
pub mod oracle;
pub mod otlp_json;
pub mod payloads;
pub mod permute;
pub mod proxy;
pub mod raw;
pub mod rpc_status;
pub mod sender;
pub mod spill_format;
pub mod tools;
pub mod wire;
