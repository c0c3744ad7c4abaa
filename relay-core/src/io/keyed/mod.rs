//! Sends the spans of a trace or service to one member of a tier. A batch is taken from the exporter's one queue, sorted by the ring of
//! that moment, and handed to senders of which each member has its own, with everything that senders do: balancing over the
//! addresses of a name, retries, splitting, isolation. What has not been sent when the ring changes is sorted anew.

mod core_side;
mod member;
mod tier;

pub(crate) use core_side::Keyed;
pub(crate) use member::MemberSide;
pub(crate) use tier::Tier;
