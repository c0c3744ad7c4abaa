//! What an item wants to have answered, in the words of both protocols.
//!
//! Must never decide when: that is the log's.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use prost::Message;
use tonic::Code;

use crate::collector::Reply;
use crate::http_upstream::HttpReply;
use crate::oracle::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use crate::rpc_status::RpcStatus;

/// More than the 4 MiB that a response may have.
const HUGE_BYTES: usize = 6 << 20;

/// An answer; where the protocols differ, what each makes of it.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) enum Answer {
    /// Full success.
    Accept,
    /// Full success after a while.
    AcceptAfter(Duration),
    /// This gRPC status, with a `RetryInfo` if there is a delay.
    Code(Code, Option<Duration>),
    /// This HTTP status.
    Status(u16),
    /// Overload: `UNAVAILABLE`, with a `RetryInfo` if there is a delay; 503, with `Retry-After` in seconds.
    Busy(Option<Duration>),
    /// Overload: 503 with `Retry-After` as the date so long from now.
    BusyUntil(Duration),
    /// For good: `INVALID_ARGUMENT`, 400.
    Refuse,
    /// Partial success.
    Partial { rejected: i64, message: String },
    /// The connection is closed without an answer (gRPC: whoever asks restarts the upstream).
    Close,
    /// The connection is reset within the head of the answer (gRPC: as `Close`).
    Reset,
    /// A success whose message is larger than 4 MiB.
    Huge,
}

impl Answer {
    pub(super) fn grpc(self) -> Reply {
        let status = |code, retry_after| Reply::Status { code, message: "scripted".to_owned(), retry_after };
        match self {
            Self::Accept => Reply::Ok,
            Self::AcceptAfter(delay) => Reply::ok_after(delay),
            Self::Code(code, retry_after) => status(code, retry_after),
            Self::Busy(retry_after) => status(Code::Unavailable, retry_after),
            Self::BusyUntil(delay) => status(Code::Unavailable, Some(delay)),
            Self::Status(_) | Self::Refuse => status(Code::InvalidArgument, None),
            Self::Partial { rejected, message } => {
                Reply::PartialSuccess { rejected_spans: rejected, message }
            }
            Self::Close | Self::Reset => Reply::NeverAnswer,
            Self::Huge => Reply::PartialSuccess { rejected_spans: 0, message: "x".repeat(HUGE_BYTES) },
        }
    }

    pub(super) fn http(self) -> HttpReply {
        match self {
            Self::Accept => HttpReply::status(200),
            Self::AcceptAfter(delay) => HttpReply::Delay(delay, Box::new(HttpReply::status(200))),
            Self::Code(..) | Self::Refuse => error(400, &[]),
            Self::Status(status) => error(status, &[]),
            Self::Busy(None) => error(503, &[]),
            Self::Busy(Some(delay)) => error(503, &[("retry-after", &delay.as_secs().to_string())]),
            Self::BusyUntil(delay) => {
                // A date has whole seconds: up, so that the wait is never shorter than what was asked for.
                let date = http_date(SystemTime::now() + delay + Duration::from_millis(999));
                error(503, &[("retry-after", &date)])
            }
            Self::Partial { rejected, message } => {
                let partial = ExportTracePartialSuccess { rejected_spans: rejected, error_message: message };
                let response = ExportTraceServiceResponse { partial_success: Some(partial) };
                HttpReply::answer(200, &[], response.encode_to_vec().into())
            }
            Self::Close => HttpReply::Close,
            Self::Reset => HttpReply::ResetAfter(Bytes::from_static(b"HTTP/1.1 20")),
            Self::Huge => HttpReply::Endless { status: 200, bytes_max: HUGE_BYTES },
        }
    }
}

fn error(status: u16, headers: &[(&str, &str)]) -> HttpReply {
    let body = RpcStatus { message: "scripted".to_owned(), ..RpcStatus::default() }.encode_to_vec();
    HttpReply::answer(status, headers, Bytes::from(body))
}

/// `time` as an IMF-fixdate (RFC 9110 section 5.6.7), rounded down to the second.
fn http_date(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second_of_day) = (seconds / 86_400, seconds % 86_400);
    // The calendar of 400 years, counted from a 1 March (Howard Hinnant, "chrono-compatible low-level date algorithms").
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let names = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][(days % 7) as usize];
    let (hour, minute, second) = (second_of_day / 3_600, second_of_day / 60 % 60, second_of_day % 60);
    let name = names[month as usize - 1];
    format!("{weekday}, {day:02} {name} {year} {hour:02}:{minute:02}:{second:02} GMT")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9110's own example, the epoch, and the last day of a February of 29 days.
    #[test]
    fn dates_are_what_they_should_be() {
        for (seconds, date) in [
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT"),
        ] {
            assert_eq!(http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)), date);
        }
    }
}
