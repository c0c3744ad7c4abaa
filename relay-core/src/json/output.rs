//! The protobuf being written: fields, and messages whose length is known only behind them. Never larger than its limit, and never
//! deeper than what a protobuf decoder follows.

use bytes::BufMut;

use super::error::{Fault, JsonError, Place};
use crate::limits::NESTING_DEPTH_MAX;
use crate::wire::{VARINT_BYTES_MAX, append_varint, varint_len};

/// Protobuf as far as it is written, and the way to what could not be.
pub(super) struct Output {
    bytes: Vec<u8>,
    bytes_max: usize,
    depth: u32,
    /// Set by the fault that ends the reading: serde's errors carry text alone.
    full: bool,
    /// Built from the inside out while an error passes; empty otherwise.
    path: String,
}

impl Output {
    /// Nothing written, room for `bytes_expected`, at most `bytes_max` bytes.
    pub(super) fn new(bytes_expected: usize, bytes_max: usize) -> Self {
        let bytes = Vec::with_capacity(bytes_expected.min(bytes_max));
        Self { bytes, bytes_max, depth: 0, full: false, path: String::new() }
    }

    /// What was written, and no memory besides: whoever holds it is charged for what he sees.
    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        self.bytes.shrink_to_fit();
        self.bytes
    }

    /// What ended the reading.
    pub(super) fn into_error(self, error: &serde_json::Error) -> JsonError {
        if self.full {
            return JsonError::TooLarge { bytes_max: self.bytes_max };
        }
        let (line, column) = (error.line(), error.column());
        let text = error.to_string();
        let what = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text).to_owned();
        JsonError::Malformed { what, place: Place { line, column, path: self.path } }
    }

    /// Says that the error passing by happened under this key.
    #[cold]
    pub(super) fn passed_key(&mut self, key: &str) {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path.insert_str(0, dot);
        self.path.insert_str(0, key);
    }

    /// Says that the error passing by happened in this element of an array.
    #[cold]
    pub(super) fn passed_index(&mut self, index: usize) {
        let dot = if self.path.is_empty() { "" } else { "." };
        self.path.insert_str(0, &format!("[{index}]{dot}"));
    }

    /// Makes room for `len` more bytes: doubles what is allocated as a vector does, but not beyond the limit.
    fn room(&mut self, len: usize) -> Result<(), Fault> {
        let (held, free) = (self.bytes.len(), self.bytes.capacity() - self.bytes.len());
        let left = self.bytes_max - held;
        self.full = left < len;
        if self.full {
            return Err(Fault::TooLarge);
        }
        if free < len {
            self.bytes.reserve_exact(held.max(len).min(left));
        }
        Ok(())
    }

    pub(super) fn put_varint(&mut self, value: u64) -> Result<(), Fault> {
        self.room(varint_len(value))?;
        append_varint(&mut self.bytes, value);
        Ok(())
    }

    pub(super) fn put_fixed32(&mut self, value: u32) -> Result<(), Fault> {
        self.put_slice(&value.to_le_bytes())
    }

    pub(super) fn put_fixed64(&mut self, value: u64) -> Result<(), Fault> {
        self.put_slice(&value.to_le_bytes())
    }

    pub(super) fn put_slice(&mut self, slice: &[u8]) -> Result<(), Fault> {
        self.room(slice.len())?;
        self.bytes.put_slice(slice);
        Ok(())
    }

    /// The length and bytes of a length-delimited field.
    pub(super) fn put_bytes(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.put_varint(bytes.len() as u64)?;
        self.put_slice(bytes)
    }

    /// Begins what has its length before it; [`Output::close`] takes what this gives.
    pub(super) fn open(&mut self) -> Result<usize, Fault> {
        self.put_slice(&[0])?;
        Ok(self.bytes.len())
    }

    /// Ends what was opened at `start`: writes its length before it. What takes more than the one byte that was kept free is moved;
    /// of all that is done to a byte of JSON that is the least.
    pub(super) fn close(&mut self, start: usize) -> Result<(), Fault> {
        let end = self.bytes.len();
        let len = (end - start) as u64;
        let more = varint_len(len) - 1;
        if more > 0 {
            self.put_slice([0; VARINT_BYTES_MAX].get(..more).unwrap_or_default())?;
            self.bytes.copy_within(start..end, start + more);
        }
        let mut place = self.bytes.get_mut(start - 1..).unwrap_or_default();
        append_varint(&mut place, len);
        Ok(())
    }

    /// [`Output::open`] for a message, which lies a level deeper.
    pub(super) fn open_message(&mut self) -> Result<usize, Fault> {
        if self.depth == NESTING_DEPTH_MAX {
            return Err(Fault::TooDeep);
        }
        self.depth += 1;
        self.open()
    }

    /// [`Output::close`] for a message.
    pub(super) fn close_message(&mut self, start: usize) -> Result<(), Fault> {
        self.depth -= 1;
        self.close(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_every_width_are_written_before_what_they_measure() {
        for len in [0_usize, 1, 127, 128, 16_383, 16_384, 70_000, 1 << 21] {
            let body: Vec<u8> = (0..=250).cycle().take(len).collect();
            let mut expected = vec![7];
            append_varint(&mut expected, len as u64);
            expected.extend_from_slice(&body);
            for short in [0, 1] {
                let mut output = Output::new(0, expected.len() - short);
                let written = (|| {
                    output.put_slice(&[7])?;
                    let start = output.open()?;
                    output.put_slice(&body)?;
                    output.close(start)
                })();
                assert_eq!(written, if short == 0 { Ok(()) } else { Err(Fault::TooLarge) }, "{len}");
                assert!(short == 1 || output.into_bytes() == expected, "{len}");
            }
        }
    }
}
