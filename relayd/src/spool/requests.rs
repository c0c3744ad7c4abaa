//! The requests that a record was merged from: for those that would not be read together with their neighbours, and those that nobody has
//! opened. Must never hold more than one that is inflated.

use relay_core::batch::Rope;
use relay_core::encoding::inflate;
use relay_core::spill::Record;

use super::Stop;
use crate::limits::SPOOL_INFLATED_BYTES_MAX;

/// A request that could not be taken: its number in the record, and why.
pub(super) type LeftOut = (usize, String);

/// Gives all of a record to `take`, which says what is wrong with a request that it cannot read: as one request, and if that cannot be
/// read or is still encoded, each request that it was merged from, so that one bad one costs no other.
pub(super) fn requests(
    record: &Record,
    mut take: impl FnMut(&[u8]) -> Result<Result<(), String>, Stop>,
) -> Result<Vec<LeftOut>, Stop> {
    if record.encoding.is_none() {
        match take(&record.payload)? {
            Ok(()) => return Ok(Vec::new()),
            Err(why) if record.parts.len() <= 1 => return Ok(vec![(0, why)]),
            Err(_) => {}
        }
    }
    let mut left_out = Vec::new();
    let mut rest = record.payload.clone();
    for (number, part) in record.parts.iter().enumerate() {
        // The reader has proven that they add up.
        let bytes = rest.split_to(part.bytes.min(rest.len()));
        let taken = match record.encoding {
            None => take(&bytes)?,
            Some(encoding) => match inflate(encoding, Rope::new(vec![bytes]), SPOOL_INFLATED_BYTES_MAX) {
                Ok(bytes) => take(&bytes)?,
                Err(error) => Err(error.to_string()),
            },
        };
        if let Err(why) = taken {
            left_out.push((number, why));
        }
    }
    Ok(left_out)
}
