//! The same request with other trace ids, so that a recording sent twice makes two sets of traces.
//!
//! Must never change a length: only the bytes of ids are overwritten.

use bytes::Bytes;

use crate::wire::{WireError, sub_messages};

/// `request` with the last 8 bytes of every 16-byte trace id (of spans and of their links) xored with `number`, big-endian. 0 changes
/// nothing; distinct numbers give distinct traces.
///
/// # Errors
/// [`WireError`] where the request is malformed.
pub fn with_trace_ids_xored(request: &Bytes, number: u64) -> Result<Bytes, WireError> {
    if number == 0 {
        return Ok(request.clone());
    }
    let mut places = Vec::new();
    for resource_spans in sub_messages(request, 1)? {
        for scope_spans in sub_messages(resource_spans, 2)? {
            for span in sub_messages(scope_spans, 2)? {
                note_trace_id(request, span, &mut places)?;
                for link in sub_messages(span, 13)? {
                    note_trace_id(request, link, &mut places)?;
                }
            }
        }
    }
    let mut changed = request.to_vec();
    for place in places {
        for (byte, mask) in changed[place + 8..place + 16].iter_mut().zip(number.to_be_bytes()) {
            *byte ^= mask;
        }
    }
    Ok(changed.into())
}

/// Notes where in `request` the trace id (field 1 of spans and links) of `owner`, a slice of it, stands.
fn note_trace_id(request: &[u8], owner: &[u8], places: &mut Vec<usize>) -> Result<(), WireError> {
    let ids = sub_messages(owner, 1)?.into_iter().filter(|id| id.len() == 16);
    places.extend(ids.map(|id| id.as_ptr() as usize - request.as_ptr() as usize));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{decode, flatten};
    use crate::payloads::recorded;

    /// Guarantee: nothing but trace ids changes, all of them do, and the same number again undoes it.
    #[test]
    fn only_trace_ids_change() {
        for one in recorded() {
            let changed = with_trace_ids_xored(&one.bytes, 0x1_0002).unwrap();
            assert_eq!(changed.len(), one.bytes.len());
            let pairs =
                flatten(&decode(&one.bytes).unwrap()).into_iter().zip(flatten(&decode(&changed).unwrap()));
            for (before, mut after) in pairs {
                assert_ne!(before.span.trace_id, after.span.trace_id);
                after.span.trace_id.clone_from(&before.span.trace_id);
                after.span.links.clone_from(&before.span.links);
                assert_eq!(before, after);
            }
            assert_eq!(with_trace_ids_xored(&changed, 0x1_0002).unwrap(), one.bytes);
        }
    }
}
