//! Which answers of an upstream are tried again, as data: the specification's tables unless an exporter is configured otherwise.

use crate::grpc::Code;
use crate::limits::EXHAUSTED_RETRY_BYTES_MAX;

/// First and last status of HTTP (RFC 9110 section 15).
const STATUS_MIN: u16 = 100;
const STATUS_MAX: u16 = 599;

/// Which gRPC codes and HTTP statuses are tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryTable {
    // Bit n is code n.
    codes: u32,
    // Bit n is status 100 + n.
    statuses: [u64; 8],
    exhausted: bool,
}

/// The tables of OTLP 1.11: "Failures" of OTLP/gRPC, "Retryable Response Codes" of OTLP/HTTP.
impl Default for RetryTable {
    fn default() -> Self {
        let codes = [
            Code::CANCELLED,
            Code::DEADLINE_EXCEEDED,
            Code::ABORTED,
            Code::OUT_OF_RANGE,
            Code::UNAVAILABLE,
            Code::DATA_LOSS,
        ];
        Self { codes: 0, statuses: [0; 8], exhausted: false }
            .with_codes(&codes)
            .with_statuses(&[429, 502, 503, 504])
    }
}

impl RetryTable {
    /// With these gRPC codes and no others. `RESOURCE_EXHAUSTED` with a `RetryInfo` is tried again even when it is not among them:
    /// the upstream has asked for it. Codes that gRPC does not have are left out.
    #[must_use]
    pub fn with_codes(mut self, codes: &[Code]) -> Self {
        self.codes = codes.iter().fold(0, |bits, code| bits | 1_u32.checked_shl(code.0).unwrap_or(0));
        self
    }

    /// With these HTTP statuses and no others. What is not within 100 to 599 is left out.
    #[must_use]
    pub fn with_statuses(mut self, statuses: &[u16]) -> Self {
        self.statuses = [0; 8];
        for status in statuses {
            if let Some((at, bit)) = place(*status)
                && let Some(bits) = self.statuses.get_mut(at)
            {
                *bits |= bit;
            }
        }
        self
    }

    /// Whether `RESOURCE_EXHAUSTED` without a `RetryInfo` is tried again when the message was small: the Collector's memory_limiter
    /// answers so (against OTLP, which asks for `UNAVAILABLE` or a `RetryInfo`).
    #[must_use]
    pub fn with_exhausted(mut self, retried: bool) -> Self {
        self.exhausted = retried;
        self
    }

    /// Whether `code` is tried again.
    pub fn retries_code(&self, code: Code) -> bool {
        1_u32.checked_shl(code.0).is_some_and(|bit| self.codes & bit != 0)
    }

    /// Whether the HTTP status is tried again.
    pub fn retries_status(&self, status: u16) -> bool {
        place(status).is_some_and(|(at, bit)| self.statuses.get(at).is_some_and(|bits| bits & bit != 0))
    }

    /// Whether `RESOURCE_EXHAUSTED` without a word is tried again for a message of `bytes`.
    pub(super) fn retries_exhausted(&self, bytes: usize) -> bool {
        self.exhausted && bytes <= EXHAUSTED_RETRY_BYTES_MAX
    }
}

fn place(status: u16) -> Option<(usize, u64)> {
    let at = status.checked_sub(STATUS_MIN).filter(|_| status <= STATUS_MAX)?;
    Some((usize::from(at / 64), 1 << (at % 64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_replace_the_specifications() {
        let table = RetryTable::default()
            .with_codes(&[Code::INTERNAL, Code(77)])
            .with_statuses(&[500, 599, 100, 600, 99]);
        let codes: Vec<u32> = (0..100).filter(|code| table.retries_code(Code(*code))).collect();
        let statuses: Vec<u16> = (0..=u16::MAX).filter(|status| table.retries_status(*status)).collect();
        assert_eq!((codes, statuses), (vec![13], vec![100, 500, 599]));
    }

    #[test]
    fn the_default_is_the_specifications() {
        let table = RetryTable::default();
        let codes: Vec<u32> = (0..=20).filter(|code| table.retries_code(Code(*code))).collect();
        let statuses: Vec<u16> = (0..700).filter(|status| table.retries_status(*status)).collect();
        assert_eq!((codes, statuses), (vec![1, 4, 10, 11, 14, 15], vec![429, 502, 503, 504]));
        assert!(!table.retries_exhausted(1));
        let table = table.with_exhausted(true);
        assert!(table.retries_exhausted(EXHAUSTED_RETRY_BYTES_MAX) && !table.retries_exhausted(usize::MAX));
    }
}
