//! Sorts the spans of a request into one new request for each member that gets some, by the key that spans are kept together by.
//! Loses none; must never decide where a key belongs.

use std::collections::HashMap;

use super::compose::{Header, Piece, Sorter, Unit};
use super::routing_key::{self, RoutingKey};
use super::split::{next_field, read_header};
use crate::limits::SPLIT_HEADER_PIECES_MAX;
use crate::otlp::{FramedRequest, Level, Signal};
use crate::wire::{DecodeError, Input, Reader, SegmentIndex, SegmentReader, Segments};

/// Sorts the spans of `request`, which is of traces, into requests for members `0..members`: `member` says which has a key. Resource,
/// scope, schema URLs and unknown fields are repeated byte for byte around each run of spans; the spans themselves are slices of
/// the source, in its order. Other fields of the request itself go to the first member that gets anything. A request all of
/// whose spans go to one member comes back as it is; a resource or scope without spans goes nowhere, as in the Collector.
///
/// No output is larger than the request. A span whose member is not below `members` goes to member 0.
///
/// # Errors
/// A length of the request does not nest, which framing has ruled out.
pub fn partition(
    request: &FramedRequest,
    key: RoutingKey,
    members: usize,
    member: impl FnMut(&[u8]) -> usize,
) -> Result<Vec<(usize, FramedRequest)>, DecodeError> {
    let segments = request.segments();
    let source = SegmentIndex::new(segments);
    let sorter = Sorter::new(request.signal(), members.max(1));
    let mut partition = Partition { signal: request.signal(), key, member, members, sorter, source: &source };
    match segments.as_contiguous() {
        Some(bytes) => partition.request(Reader::new(bytes))?,
        None => partition.request(SegmentReader::new(segments))?,
    }
    Ok(match partition.sorter.first_used() {
        Some((only, true)) => vec![(only, request.clone())],
        _ => partition.sorter.finish(&source),
    })
}

struct Partition<'a, F> {
    signal: Signal,
    key: RoutingKey,
    member: F,
    members: usize,
    sorter: Sorter,
    source: &'a SegmentIndex<'a>,
}

/// How the member of a span is found.
enum Keyed {
    /// Here are all of the resource or scope.
    Member(usize),
    /// By its trace id.
    TraceId,
    /// By the first span of its trace in the scope.
    FirstOfTrace(HashMap<Vec<u8>, usize>),
}

impl<F: FnMut(&[u8]) -> usize> Partition<'_, F> {
    fn request<I: Input>(&mut self, body: I) -> Result<(), DecodeError> {
        let (mut input, mut rest) = (body, Vec::new());
        while let Some(found) = next_field(&mut input, (self.signal, Level::Request))? {
            match found.child {
                Some((_, body)) => self.resource(body, found.field)?,
                None => rest.push(found.unit),
            }
        }
        if let Some((first, _)) = self.sorter.first_used() {
            rest.iter().for_each(|unit| self.sorter.place(first, &[], unit));
        }
        Ok(())
    }

    fn resource<I: Input>(&mut self, body: I, field: u32) -> Result<(), DecodeError> {
        let (header, key) =
            self.header(body.clone(), Level::Resource, field, routing_key::service_of_resource)?;
        let mut around = vec![header];
        let mut input = body;
        while let Some(found) = next_field(&mut input, (self.signal, Level::Resource))? {
            if let Some((_, body)) = found.child {
                let (header, key_of_scope) =
                    self.header(body.clone(), Level::Scope, found.field, routing_key::service_of_scope)?;
                around.push(header);
                let keyed = match (self.key, key.as_ref().or(key_of_scope.as_ref())) {
                    (RoutingKey::TraceId, _) => Keyed::TraceId,
                    (RoutingKey::Service, Some(key)) => Keyed::Member(self.member_of(key)),
                    (RoutingKey::Service, None) => Keyed::FirstOfTrace(HashMap::new()),
                };
                self.spans(body, &around, keyed)?;
                around.pop();
                self.sorter.close_to(1);
            }
        }
        self.sorter.close_to(0);
        Ok(())
    }

    fn spans<I: Input>(&mut self, body: I, around: &[Header], mut keyed: Keyed) -> Result<(), DecodeError> {
        let mut input = body;
        while let Some(found) = next_field(&mut input, (self.signal, Level::Scope))? {
            let Some((_, span)) = found.child else { continue };
            let member = match &mut keyed {
                Keyed::Member(member) => *member,
                by_span => {
                    let end = found.unit.range.end;
                    let mut bytes = Segments::new();
                    self.source.slice_into(end.saturating_sub(span.remaining())..end, &mut bytes);
                    self.member_of_span(&bytes.contiguous(), by_span)
                }
            };
            self.sorter.place(member, around, &Unit { items: 1, ..found.unit });
        }
        Ok(())
    }

    fn member_of_span(&mut self, span: &[u8], keyed: &mut Keyed) -> usize {
        let trace_id = routing_key::trace_id(span);
        let Keyed::FirstOfTrace(known) = keyed else { return self.member_of(&trace_id) };
        if let Some(member) = known.get(&*trace_id) {
            return *member;
        }
        let member = self.member_of(&routing_key::service_of_span(span));
        known.insert(trace_id.into_owned(), member);
        member
    }

    fn member_of(&mut self, key: &[u8]) -> usize {
        let member = (self.member)(key);
        if member < self.members { member } else { 0 }
    }

    /// The fields around the children of a message, and the key that `read` finds in them if it is asked for.
    fn header<I: Input>(
        &mut self,
        body: I,
        level: Level,
        field: u32,
        read: fn(&[u8]) -> Option<Vec<u8>>,
    ) -> Result<(Header, Option<Vec<u8>>), DecodeError> {
        let mut header = read_header(body, (self.signal, level), field)?;
        let mut key = None;
        if self.key == RoutingKey::Service {
            let mut bytes = Segments::new();
            for piece in &header.pieces {
                if let Piece::Source(range) = piece {
                    self.source.slice_into(range.clone(), &mut bytes);
                }
            }
            key = read(&bytes.contiguous());
        }
        if header.pieces.len() > SPLIT_HEADER_PIECES_MAX {
            self.sorter.join(self.source, &mut header);
        }
        Ok((header, key))
    }
}
