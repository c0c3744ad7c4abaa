//! A request on its way in, framed or unopened.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::batch::{Encoding, Origin, Unopened, held_bytes};
use crate::limits::INLINE_COPY_BYTES_MAX;
use crate::otlp::{FramedRequest, Signal};
use crate::queue::{Budget, Charge};
use crate::stats::Counted;
use crate::wire::Segments;

/// A request that may be admitted.
#[derive(Clone, Debug)]
pub(crate) struct Inbound {
    pub(crate) form: Form,
    /// Who sent it.
    pub(crate) origin: Origin,
}

/// What is known of a request.
#[derive(Clone, Debug)]
pub(crate) enum Form {
    /// Its items are counted.
    Framed(FramedRequest),
    /// It is forwarded as it came.
    Unopened(Unopened),
}

impl From<FramedRequest> for Inbound {
    fn from(request: FramedRequest) -> Self {
        Self { form: Form::Framed(request), origin: Origin::default() }
    }
}

impl From<Unopened> for Inbound {
    fn from(request: Unopened) -> Self {
        Self { form: Form::Unopened(request), origin: Origin::default() }
    }
}

impl Inbound {
    /// Says who sent it.
    pub(crate) fn sent_by(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }

    pub(crate) fn signal(&self) -> Signal {
        match &self.form {
            Form::Framed(request) => request.signal(),
            Form::Unopened(request) => request.signal,
        }
    }

    pub(crate) fn bytes(&self) -> &Segments {
        match &self.form {
            Form::Framed(request) => request.segments(),
            Form::Unopened(request) => &request.bytes,
        }
    }

    /// Items; of an unopened request as many as a queue's places count it for.
    pub(crate) fn items(&self) -> u64 {
        match &self.form {
            Form::Framed(request) => request.items(),
            Form::Unopened(_) => 1,
        }
    }

    pub(crate) fn encoding(&self) -> Option<Encoding> {
        match &self.form {
            Form::Framed(_) => None,
            Form::Unopened(request) => Some(request.encoding),
        }
    }

    pub(crate) fn counted(&self) -> Counted {
        match &self.form {
            Form::Framed(request) => {
                Counted { signal: request.signal(), items: request.items(), unopened: 0 }
            }
            Form::Unopened(request) => Counted { signal: request.signal, items: 0, unopened: 1 },
        }
    }

    /// What it holds of receive buffers, in bytes; of a small one that is copied once it is admitted, itself.
    pub(crate) fn held_bytes(&self, inline_copy_bytes_max: usize) -> usize {
        let bytes = self.bytes();
        if bytes.len() < inline_copy_bytes_max {
            return bytes.len();
        }
        bytes.iter().map(|segment| held_bytes(segment.len())).sum()
    }

    /// The same request without a hold on the read buffer that it came in, if it is small: copied once. For one that waits, or that
    /// several upstreams will hold, which then share that copy.
    pub(crate) fn detached(self) -> Self {
        if self.bytes().len() >= INLINE_COPY_BYTES_MAX {
            return self;
        }
        let mut copy = BytesMut::with_capacity(self.bytes().len());
        self.bytes().iter().for_each(|segment| copy.extend_from_slice(segment));
        self.with_bytes(Segments::from(copy.freeze()))
    }

    /// The same request for several upstreams that share its bytes: these carry the charge for what they hold, so that it is counted
    /// once, and given back when the last upstream has let go of them.
    ///
    /// # Errors
    /// The request, when the budget has no room for it.
    pub(crate) fn shared(self, budget: &Arc<Budget>) -> Result<Self, Self> {
        let Some(mut charge) = budget.try_charge(self.held_bytes(INLINE_COPY_BYTES_MAX)) else {
            return Err(self);
        };
        let alone = self.detached();
        let small = alone.bytes().len() < INLINE_COPY_BYTES_MAX;
        let segments: Segments = alone
            .bytes()
            .iter()
            .map(|segment| {
                let held = if small { segment.len() } else { held_bytes(segment.len()) };
                Bytes::from_owner(Charged { bytes: segment.clone(), _charge: charge.split_off(held) })
            })
            .collect();
        Ok(alone.with_bytes(segments))
    }

    fn with_bytes(self, bytes: Segments) -> Self {
        let form = match self.form {
            Form::Framed(request) => {
                let (signal, items) = (request.signal(), request.items());
                Form::Framed(FramedRequest::composed(signal, bytes, items, request.resources()))
            }
            Form::Unopened(request) => Form::Unopened(Unopened { bytes, ..request }),
        };
        Self { form, origin: self.origin }
    }
}

/// Bytes with the charge for the memory that they hold.
struct Charged {
    bytes: Bytes,
    _charge: Charge,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::RawRequest;

    /// Three hold the same bytes, large or small: they are counted once, not copied if they are large, and given back with the last.
    #[test]
    fn shared_bytes_are_counted_once() {
        for len in [100_usize, 40_000] {
            // Empty ResourceSpans, two bytes each.
            let bytes = Bytes::from([0x0a, 0].repeat(len / 2));
            let request = RawRequest::new(bytes.clone()).frame(Signal::Traces).unwrap();
            let budget = Budget::new(100_000);
            let shared = Inbound::from(request).shared(&budget).unwrap();
            assert_eq!(budget.used(), bytes.len());
            let copies = [shared.clone(), shared.clone(), shared];
            let is_same = |copy: &Inbound| copy.bytes().as_contiguous().unwrap().as_ptr() == bytes.as_ptr();
            assert_eq!(copies.iter().all(is_same), len >= INLINE_COPY_BYTES_MAX);
            assert!(copies.iter().all(|copy| copy.bytes().as_contiguous().unwrap() == bytes));
            let [first, second, third] = copies;
            drop((first, third));
            assert_eq!(budget.used(), bytes.len());
            drop(second);
            assert_eq!(budget.used(), 0);
        }
    }
}
