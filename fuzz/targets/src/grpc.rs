//! gRPC's length-prefixed messages, and the headers of peers that are parsed.

use bytes::Bytes;
use relay_core::grpc::{
    Code, Message, MessageAssembler, MessageError, PREFIX_BYTES, decode_message, encode_message,
    format_timeout, parse_timeout, prefix, retry_delay,
};

use crate::cut;

/// The first byte chooses the limit and the cut, the rest is a call's body: it gives the same message or
/// error in any cut, a message is within the limit, consists of slices of the body, and is what its prefix
/// says. The same bytes as headers do no harm.
pub fn grpc_messages(data: &[u8]) {
    let Some((&choice, body)) = data.split_first() else { return };
    let bytes_max = 1 << (choice & 0x0f);
    let whole = assemble([Bytes::copy_from_slice(body)], bytes_max);
    for seed in [choice, !choice] {
        let pieces = assemble(cut(body, seed), bytes_max);
        assert_eq!(summary(&whole), summary(&pieces), "the cut must not matter");
    }
    if let Ok(message) = &whole {
        let len = message.body.len();
        assert!(len <= bytes_max && body.len() == PREFIX_BYTES + len);
        assert_eq!(prefix(message.compressed, len).unwrap(), body[..PREFIX_BYTES]);
        assert_eq!(message.body.to_bytes(), body[PREFIX_BYTES..]);
    }
    headers(body);
}

fn assemble(chunks: impl IntoIterator<Item = Bytes>, bytes_max: usize) -> Result<Message, MessageError> {
    let mut assembler = MessageAssembler::new(bytes_max);
    for chunk in chunks {
        let source = chunk.as_ptr_range();
        let before = assembler.len();
        assembler.push(chunk)?;
        assert!(assembler.len() - before <= source.end as usize - source.start as usize);
    }
    assembler.finish()
}

/// The message, or what is wrong with it: bytes after the end are found before or after a truncation is, so
/// only their kind counts.
fn summary(result: &Result<Message, MessageError>) -> Result<(bool, Bytes), MessageError> {
    match result {
        Ok(message) => Ok((message.compressed, message.body.to_bytes())),
        Err(error) => Err(*error),
    }
}

fn headers(value: &[u8]) {
    let text = decode_message(value);
    assert_eq!(decode_message(encode_message(&text).as_bytes()), text);
    retry_delay(value);
    assert_eq!(Code::parse(Code::parse(value).0.to_string().as_bytes()), Code::parse(value));
    if let Some(timeout) = parse_timeout(value) {
        // Written in whole milliseconds at the finest, and eight digits at the most.
        let again = parse_timeout(format_timeout(timeout).as_bytes());
        assert!(again.is_some(), "{timeout:?} is written as {}", format_timeout(timeout));
    }
}
