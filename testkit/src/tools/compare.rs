//! `testkit compare`: are the spans that were sent the spans that arrived?
//!
//! Must never call two spans equal that differ in a byte, unless asked to compare values: a relay that forwards raw bytes has no reason
//! to change one.

use std::collections::HashMap;
use std::hash::Hash;
use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use serde_json::{Value, json};

use super::dump;
use crate::oracle::{decode, flatten, span_count};
use crate::wire::raw_spans;

/// Arguments of `testkit compare`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// What was sent: recordings (.pb.gz) or dumps.
    #[arg(long, required = true, num_args = 1..)]
    pub sent: Vec<PathBuf>,
    /// What arrived: dumps of sinks.
    #[arg(long, required = true, num_args = 1..)]
    pub received: Vec<PathBuf>,
    /// Compare decoded values instead of bytes, for receivers behind something that decodes and encodes.
    #[arg(long)]
    pub values: bool,
}

/// What differs between two multisets of spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Difference {
    /// Spans sent.
    pub sent: usize,
    /// Spans received.
    pub received: usize,
    /// Spans received less often than sent, by how often.
    pub missing: usize,
    /// Spans received that were never sent.
    pub extra: usize,
    /// Spans received more often than sent, by how often.
    pub duplicates: usize,
}

impl Difference {
    /// Nothing lost, nothing invented. Duplicates are allowed: OTLP delivers at least once.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.missing == 0 && self.extra == 0
    }
}

/// Compares the files. Gives the JSON object and whether nothing is missing or extra.
///
/// # Errors
/// Unreadable files, and messages in them that prost does not take.
pub fn run(args: &Args) -> io::Result<(Value, bool)> {
    let load = |paths: &[PathBuf]| -> io::Result<Vec<Bytes>> {
        let files: io::Result<Vec<_>> = paths.iter().map(|path| dump::read(path)).collect();
        Ok(files?.concat())
    };
    let found = differ(&load(&args.sent)?, &load(&args.received)?, args.values)?;
    let Difference { sent, received, missing, extra, duplicates } = found;
    let object = json!({
        "sent": sent, "received": received, "missing": missing, "extra": extra, "duplicates": duplicates,
    });
    Ok((object, found.is_complete()))
}

/// Compares two lists of encoded requests span by span: raw bytes of span, scope, resource and schema URLs, or, with `values`, what prost
/// reads from them.
///
/// # Errors
/// `InvalidData` for a message that prost does not take.
pub fn differ(sent: &[Bytes], received: &[Bytes], values: bool) -> io::Result<Difference> {
    if values {
        let keys = |messages: &[Bytes]| {
            every_span(messages, |message| {
                let request = decode(message).map_err(invalid)?;
                Ok(flatten(&request).iter().map(crate::oracle::FlatSpan::key).collect())
            })
        };
        Ok(count_up(keys(sent)?, keys(received)?))
    } else {
        let keys = |messages: &[Bytes]| {
            every_span(messages, |message| {
                let spans = raw_spans(message).map_err(invalid)?;
                let decoded = span_count(&decode(message).map_err(invalid)?);
                if decoded == spans.len() {
                    Ok(spans)
                } else {
                    Err(invalid(format!("prost sees {decoded} spans, the walker {}", spans.len())))
                }
            })
        };
        Ok(count_up(keys(sent)?, keys(received)?))
    }
}

fn every_span<K>(messages: &[Bytes], keys: impl Fn(&Bytes) -> io::Result<Vec<K>>) -> io::Result<Vec<K>> {
    let mut all = Vec::new();
    for message in messages {
        all.extend(keys(message)?);
    }
    Ok(all)
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn count_up<K: Hash + Eq>(sent: Vec<K>, received: Vec<K>) -> Difference {
    let mut difference = Difference { sent: sent.len(), received: received.len(), ..Difference::default() };
    let mut counts: HashMap<K, (usize, usize)> = HashMap::new();
    for key in sent {
        counts.entry(key).or_default().0 += 1;
    }
    for key in received {
        counts.entry(key).or_default().1 += 1;
    }
    for (sent, received) in counts.into_values() {
        difference.missing += sent.saturating_sub(received);
        if sent == 0 {
            difference.extra += received;
        } else {
            difference.duplicates += received.saturating_sub(sent);
        }
    }
    difference
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::{kube_like_bytes, kube_like_request};
    use crate::payloads::reslice;
    use crate::permute::encode_permuted;

    /// Scenario: two requests arrive as one, cut anew. Guarantee: grouping does not count as a difference.
    #[test]
    fn grouping_does_not_matter() {
        let sent = [kube_like_bytes(20, 1), kube_like_bytes(20, 2)];
        let mut received = reslice(&kube_like_request(20, 2), 3);
        received.push(kube_like_bytes(20, 1));
        let same = Difference { sent: 40, received: 40, ..Difference::default() };
        assert_eq!(differ(&sent, &received, false).unwrap(), same);
    }

    /// Guarantee: lost, invented and repeated spans are counted apart.
    #[test]
    fn losses_are_told_apart() {
        let sent = [kube_like_bytes(20, 1), kube_like_bytes(5, 2)];
        let received = [kube_like_bytes(5, 2), kube_like_bytes(5, 2), kube_like_bytes(3, 3)];
        let found = differ(&sent, &received, false).unwrap();
        assert_eq!(found, Difference { sent: 25, received: 13, missing: 20, extra: 3, duplicates: 5 });
        assert!(!found.is_complete());
    }

    /// Scenario: a receiver's peer re-encoded the spans. Guarantee: that is a difference in bytes and none in values.
    #[test]
    fn reencoding_differs_in_bytes_only() {
        let request = kube_like_request(10, 1);
        let (sent, received) = ([kube_like_bytes(10, 1)], [encode_permuted(&request, 1, false).into()]);
        assert!(!differ(&sent, &received, false).unwrap().is_complete());
        assert!(differ(&sent, &received, true).unwrap().is_complete());
        assert!(differ(&sent, &[Bytes::from_static(b"\x0a\x05no")], false).is_err());
    }
}
