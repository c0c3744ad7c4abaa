//! The messages that a request is nested of, from the outside in, as data: which field of which holds the next. For whoever takes a
//! request apart; framing knows the same by heart. Reads no field itself but to count items.

use super::fields::{data, metric, profile, request, resource_spans, scope_spans};
use super::{Signal, framing};
use crate::wire::{DecodeError, Input};

/// A level of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// `ExportTraceServiceRequest` and its like.
    Request,
    /// `ResourceSpans` and its like.
    Resource,
    /// `ScopeSpans` and its like.
    Scope,
    /// `Metric`.
    Metric,
    /// `Gauge`, `Sum`, `Histogram`, `ExponentialHistogram`, `Summary`.
    Data,
    /// What is never taken apart: a span, a data point, a log record, a `Profile` with its samples.
    Leaf,
}

impl Level {
    /// The level that field `field` of a message of this one holds; `None` if it is no level.
    #[inline]
    pub(crate) fn below(self, signal: Signal, field: u32) -> Option<Self> {
        match (self, field) {
            (Self::Request, request::RESOURCE_SPANS) => Some(Self::Resource),
            (Self::Resource, resource_spans::SCOPE_SPANS) => Some(Self::Scope),
            (Self::Scope, scope_spans::SPANS) if signal == Signal::Metrics => Some(Self::Metric),
            (Self::Scope, scope_spans::SPANS) | (Self::Data, data::DATA_POINTS) => Some(Self::Leaf),
            (Self::Metric, field) if metric::DATA.contains(&field) => Some(Self::Data),
            _ => None,
        }
    }

    /// Items in the body of a message of this level.
    pub(crate) fn items<I: Input>(self, signal: Signal, body: I) -> Result<u64, DecodeError> {
        match self {
            Self::Request => framing::count_request(body, signal).map(|counts| counts.items),
            Self::Resource => framing::count_resource(body, signal),
            Self::Scope => framing::count_scope(body, signal),
            Self::Metric => framing::count_metric(body),
            Self::Data => framing::count_elements(body, data::DATA_POINTS),
            Self::Leaf if signal == Signal::Profiles => framing::count_elements(body, profile::SAMPLES),
            Self::Leaf => Ok(1),
        }
    }
}
