//! How each item is decided, one function per item, a few where one look decides several.
//!
//! An item must never pass for a reason other than what its title says.

mod decide;
mod exporter_connection;
mod exporter_content;
mod exporter_request;
mod exporter_retry;
mod exporter_setup;
mod exporter_throttle;
mod grpc_failure;
mod grpc_success;
mod http_failure;
mod http_success;
mod json;
mod json_values;
mod overload;
mod waiting;

pub(super) use decide::decide;
pub(super) use overload::Overload;
