//! Where inflated bytes go: one buffer that never holds more than its bound, and never touches much more memory than that while
//! it grows.

/// Why inflating stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// There is more than the bound.
    TooLarge,
    /// The bytes are not what they are said to be.
    Invalid(std::io::Error),
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Invalid(error)
    }
}

/// The bytes are wrong in a way that has only a text.
pub(super) fn invalid(text: &'static str) -> Stop {
    Stop::Invalid(std::io::Error::new(std::io::ErrorKind::InvalidData, text))
}

/// The bytes end too early.
pub(super) fn truncated() -> Stop {
    Stop::Invalid(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "truncated"))
}

/// Inflated bytes.
#[derive(Debug)]
pub(super) struct Output {
    // At most one byte more than `bytes_max`: that is how more is noticed.
    bytes: Vec<u8>,
    bytes_max: usize,
}

/// A buffer of an unknown size starts with this many bytes.
const START_BYTES: usize = 4 << 10;

/// Honest telemetry shrinks to a tenth; a size that is said to be more than this many times the body is not believed before it comes.
const RATIO_BELIEVED_MAX: usize = 64;

impl Output {
    /// An empty one for the inflated form of `body_len` bytes, which is `said` bytes if the body says so.
    pub(super) fn new(bytes_max: usize, body_len: usize, said: Option<usize>) -> Self {
        let believed = body_len.saturating_mul(RATIO_BELIEVED_MAX).max(START_BYTES);
        let guess = said.unwrap_or_else(|| body_len.saturating_mul(4).max(START_BYTES)).min(believed).max(1);
        let most = bytes_max.saturating_add(1);
        Self { bytes: Vec::with_capacity(if guess > most / 2 { most } else { guess }), bytes_max }
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes from `from` on.
    pub(super) fn since(&self, from: usize) -> &[u8] {
        self.bytes.get(from..).unwrap_or_default()
    }

    /// Bytes that may still come, and one more.
    pub(super) fn left(&self) -> usize {
        self.bytes_max.saturating_add(1).saturating_sub(self.bytes.len())
    }

    /// The buffer with room for one byte at least, to be appended to within its capacity.
    pub(super) fn with_room(&mut self) -> Result<&mut Vec<u8>, Stop> {
        if self.bytes.len() > self.bytes_max {
            return Err(Stop::TooLarge);
        }
        if self.bytes.len() == self.bytes.capacity() {
            self.reserve(1)?;
        }
        Ok(&mut self.bytes)
    }

    /// The buffer, longer by `len` zeros, of which at most as many as are [`left`](Self::left) are added.
    pub(super) fn with_zeros(&mut self, len: usize) -> Result<&mut Vec<u8>, Stop> {
        let len = len.min(self.left());
        if self.bytes.capacity() - self.bytes.len() < len {
            self.reserve(len)?;
        }
        self.bytes.resize(self.bytes.len() + len, 0);
        Ok(&mut self.bytes)
    }

    /// Appends `bytes`.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        if bytes.len() >= self.left() {
            return Err(Stop::TooLarge);
        }
        self.reserve(bytes.len())?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// What came, if it is within the bound.
    pub(super) fn finish(self) -> Result<Vec<u8>, Stop> {
        if self.bytes.len() > self.bytes_max { Err(Stop::TooLarge) } else { Ok(self.bytes) }
    }

    /// Room for `more`. It doubles; from a quarter of the bound on it takes all that it may need at once, so that the old and the new
    /// buffer together touch no more than the bound: memory that is not written is not resident.
    fn reserve(&mut self, more: usize) -> Result<(), Stop> {
        let (len, capacity, most) =
            (self.bytes.len(), self.bytes.capacity(), self.bytes_max.saturating_add(1));
        let needed = len.saturating_add(more);
        if needed <= capacity {
            return Ok(());
        }
        if needed > most {
            return Err(Stop::TooLarge);
        }
        let doubled = capacity.saturating_mul(2).max(needed);
        let next = if doubled > most / 2 { most } else { doubled };
        self.bytes.try_reserve_exact(next - len).map_err(|_| Stop::TooLarge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_its_bound_and_not_a_byte_more() {
        for bytes_max in [0, 1, 7, 4096, 100_000] {
            let mut output = Output::new(bytes_max, 10, Some(usize::MAX));
            for _ in 0..bytes_max {
                output.append(b"x").unwrap();
            }
            assert!(matches!(output.append(b"x"), Err(Stop::TooLarge)));
            assert_eq!(output.finish().unwrap().len(), bytes_max);
            let mut output = Output::new(bytes_max, 10, None);
            output.with_zeros(usize::MAX).unwrap();
            assert!(matches!(output.with_room(), Err(Stop::TooLarge)));
            assert!(matches!(output.finish(), Err(Stop::TooLarge)));
        }
    }

    /// What a body says of its size costs no memory that is out of proportion to the body.
    #[test]
    fn a_size_that_is_said_is_believed_in_proportion() {
        assert_eq!(Output::new(1 << 40, 1000, Some(5000)).bytes.capacity(), 5000);
        assert!(Output::new(1 << 40, 1000, Some(1 << 39)).bytes.capacity() <= 64_000);
        assert!(Output::new(10, 1000, Some(5000)).bytes.capacity() <= 11);
    }
}
