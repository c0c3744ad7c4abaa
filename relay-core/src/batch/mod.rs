//! Merging by concatenation: requests become parts of a [`Batch`], a rope of byte ranges that goes upstream as it is.
//!
//! `ExportTraceServiceRequest` has one field, `repeated ResourceSpans resource_spans = 1`, so the bytes of two requests
//! one after the other are a request that holds both (protobuf encoding guide, "Last One Wins" and merging of repeated
//! fields). The same holds for metrics and logs; a request of profiles is a batch of its own. Nothing here decodes, and nothing here sends.

mod builder;
mod custody;
mod failure;
mod ledger;
mod partition;
mod receipt;
mod regroup;
mod rope;
mod sealed;
mod stored;
mod unopened;
mod waiting;

#[cfg(feature = "io")]
pub(crate) use builder::held_bytes;
pub use builder::{BatchBuilder, BatchLimits, Places};
pub use custody::Custody;
pub use failure::{Answered, Failure};
pub use ledger::{DropReason, Ledger, LedgerCounts};
pub use receipt::{Answers, Receipt, ReceiptSender, Settled};
pub use rope::{Rope, RopeReader};
pub use sealed::{Batch, Origin, Part};
pub use stored::Replayed;
pub use unopened::{Encoding, Unopened};
