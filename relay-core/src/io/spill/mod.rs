//! Stand-in of the lead's branch until w-spool's is merged.
use crate::batch::{Custody, Encoding, Ledger, Part, Rope};
use crate::config::SpillConfig;
use crate::otlp::Signal;
use crate::queue::{Budget, Charge};
use crate::stats::SpillStats;
use std::sync::Arc;
use tokio::sync::oneshot;
#[derive(Debug)]
pub(crate) struct NewRecord {
    pub signal: Signal,
    pub encoding: Option<Encoding>,
    pub items: u64,
    pub unix_ms: u64,
    pub parts: Vec<Part>,
    pub payload: Rope,
}
#[derive(Debug)]
pub(crate) struct Record {
    pub signal: Signal,
    pub encoding: Option<Encoding>,
    pub items: u64,
    pub parts: Vec<Part>,
    pub payload: bytes::Bytes,
}
#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) record: Record,
    pub(crate) custody: Arc<dyn Custody>,
    pub(crate) charge: Charge,
}
#[derive(Debug)]
pub(crate) struct NotStored;
#[derive(Debug)]
pub(crate) struct Spool;
impl Spool {
    pub(crate) fn start(
        _: &SpillConfig,
        _: (&str, Signal),
        _: &Arc<Budget>,
        _: [Arc<Ledger>; 2],
        _: Box<dyn Fn() + Send + Sync>,
    ) -> std::io::Result<Arc<Self>> {
        Ok(Arc::new(Self))
    }
    pub(crate) fn is_taking(&self) -> bool {
        false
    }
    pub(crate) fn store(
        self: &Arc<Self>,
        _: NewRecord,
    ) -> oneshot::Receiver<Result<Arc<dyn Custody>, NotStored>> {
        oneshot::channel().1
    }
    pub(crate) fn next_replay(self: &Arc<Self>) -> Option<Replay> {
        None
    }
    pub(crate) fn has_backlog(&self) -> bool {
        false
    }
    pub(crate) fn stats(&self) -> SpillStats {
        SpillStats::default()
    }
    pub(crate) fn close(&self) -> oneshot::Receiver<()> {
        oneshot::channel().1
    }
}
