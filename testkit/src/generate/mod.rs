//! Requests to test with: arbitrary ones ([`arb_request`], [`arbitrary_metrics`], [`arbitrary_logs`], [`arbitrary_profiles`]) that reach
//! every corner of the format, and kube-like ones ([`kube_like_request`]) that look like a node's traffic.
//!
//! Must never produce a NaN: values are compared with `==`.

mod arbitrary;
mod kube;
mod logs;
mod metrics;
mod profiles;
mod sized;

pub use arbitrary::{
    Sizes, arb_any_value, arb_attributes, arb_event, arb_link, arb_request, arb_request_sized, arb_resource,
    arb_resource_spans, arb_scope, arb_scope_spans, arb_span, arb_span_sized, arb_status,
};
pub use kube::{Xorshift, kube_like_bytes, kube_like_request};
pub use logs::arbitrary_logs;
pub use metrics::arbitrary_metrics;
pub use profiles::arbitrary_profiles;
pub use sized::kube_like_bytes_sized;
