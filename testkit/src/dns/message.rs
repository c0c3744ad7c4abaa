//! DNS messages, as far as addresses need them (RFC 1035 section 4.1, RFC 3596 section 2). Must never follow a pointer: queries have none.

use std::net::IpAddr;

const HEADER_BYTES: usize = 12;
const KIND_A: u16 = 1;
const KIND_AAAA: u16 = 28;

/// What is asked.
#[derive(Debug)]
pub(super) struct Question {
    /// In lower case, without the dot at its end.
    pub(super) name: String,
    /// The type of record.
    pub(super) kind: u16,
    /// Where the question ends in the query, in bytes.
    end: usize,
}

/// What is answered.
#[derive(Debug)]
pub(super) enum Answer<'a> {
    /// NOERROR with those of the kind that was asked for.
    Addresses(&'a [IpAddr]),
    /// NXDOMAIN.
    NoSuchName,
    /// SERVFAIL.
    Failure,
}

/// The first question of a query; `None` if it is none.
pub(super) fn question(query: &[u8]) -> Option<Question> {
    let (mut at, mut labels) = (HEADER_BYTES, Vec::new());
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes(query.get(at..at + 2)?.try_into().ok()?);
    Some(Question { name: labels.join("."), kind, end: at + 4 })
}

/// The response to `query`; cut off, and said so, where it would be longer than `bytes_max`. Nobody may keep it (a time to live of 0).
pub(super) fn response(query: &[u8], question: &Question, answer: &Answer<'_>, bytes_max: usize) -> Vec<u8> {
    let (code, addresses) = match answer {
        Answer::Addresses(addresses) => (0, *addresses),
        Answer::NoSuchName => (3, &[][..]),
        Answer::Failure => (2, &[][..]),
    };
    let mut records = Vec::new();
    let mut count = 0_u16;
    for address in addresses {
        let bytes = match (address, question.kind) {
            (IpAddr::V4(ip), KIND_A) => ip.octets().to_vec(),
            (IpAddr::V6(ip), KIND_AAAA) => ip.octets().to_vec(),
            _ => continue,
        };
        // The name: a pointer to that of the question.
        records.extend_from_slice(&[0xc0, HEADER_BYTES as u8]);
        records.extend_from_slice(&question.kind.to_be_bytes());
        // Class IN, time to live.
        records.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, bytes.len() as u8]);
        records.extend_from_slice(&bytes);
        count += 1;
    }
    let is_cut = question.end + records.len() > bytes_max;
    if is_cut {
        (records, count) = (Vec::new(), 0);
    }
    let recursion_desired = query[2] & 1;
    let flags = [0x84 | u8::from(is_cut) << 1 | recursion_desired, 0x80 | code];
    let mut response = [&query[..2], &flags, &[0, 1], &count.to_be_bytes(), &[0; 4]].concat();
    response.extend_from_slice(&query[HEADER_BYTES..question.end]);
    response.extend_from_slice(&records);
    response
}
