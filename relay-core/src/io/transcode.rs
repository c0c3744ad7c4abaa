//! OTLP/JSON to protobuf, on a thread of its own: the one way that decodes must not take time from the cores that move bytes.

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use tokio::sync::oneshot;

use super::call::Rejection;
use crate::grpc::Code;
use crate::json::{JsonError, to_protobuf};
use crate::limits::JSON_REQUESTS_MAX;
use crate::otlp::Signal;
use crate::stats::RejectReason;
use crate::wire::Segments;

struct Job {
    signal: Signal,
    json: Segments,
    bytes_max: usize,
    done: oneshot::Sender<Result<Vec<u8>, JsonError>>,
}

/// The way to the thread, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Transcoder {
    jobs: Sender<Job>,
}

impl Transcoder {
    /// Starts the thread. Called before any thread is pinned to a core, so that this one may run anywhere.
    pub(crate) fn start() -> std::io::Result<Self> {
        let (jobs, waiting) = bounded(JSON_REQUESTS_MAX);
        std::thread::Builder::new().name("relay-json".to_owned()).spawn(move || work(&waiting))?;
        Ok(Self { jobs })
    }

    /// The message as protobuf, of at most `bytes_max` bytes.
    pub(crate) async fn to_protobuf(
        &self,
        signal: Signal,
        json: Segments,
        bytes_max: usize,
    ) -> Result<Bytes, Rejection> {
        let (done, transcoded) = oneshot::channel();
        match self.jobs.try_send(Job { signal, json, bytes_max, done }) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => return Err(busy()),
        }
        match transcoded.await {
            Ok(Ok(message)) => Ok(message.into()),
            Ok(Err(error)) if error.is_too_large() => {
                Err(Rejection::new(RejectReason::TooLarge, Code::RESOURCE_EXHAUSTED, error.to_string()))
            }
            Ok(Err(error)) => Err(Rejection::malformed(signal, error)),
            Err(_) => Err(busy()),
        }
    }
}

fn work(waiting: &Receiver<Job>) {
    while let Ok(Job { signal, json, bytes_max, done }) = waiting.recv() {
        // Its sender has gone.
        if done.is_closed() {
            continue;
        }
        done.send(to_protobuf(signal, &json.contiguous(), bytes_max)).ok();
    }
}

pub(crate) fn busy() -> Rejection {
    let message = "too many JSON requests wait to be read; retry later";
    Rejection::new(RejectReason::QueueFull, Code::UNAVAILABLE, message)
}
