//! A client's side of an HTTP/1.1 connection that posts requests and stays open: bytes in, bytes queued to be written, calls that end.
//!
//! Must never touch a socket or a clock, nor guess where an answer ends: one that does not say its length ends the connection.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::http2::frame::Violation;
use super::super::http2::output::Output;
use super::pace::Turn;
use super::plan::Plan;
use super::seen::{Ended, Seen};

/// The end of a head.
const BLANK_LINE: &[u8] = b"\r\n\r\n";
/// Bytes of a head, at most; Go's and hyper's answers have about 150.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// A call in flight. Answers come in the order of requests (RFC 9112, section 9.3.2).
#[derive(Debug)]
struct Call {
    /// Which of the plan's bodies it sends.
    body: u32,
    /// What the latency counts from, and when it really started.
    from: Instant,
    started: Instant,
}

/// What an answer's head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct AnswerHead {
    status: u16,
    content_bytes: usize,
    /// No answer follows this one.
    is_last: bool,
}

/// See the file's head.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) output: Output,
    calls: VecDeque<Call>,
    /// The beginning of a head that has not come to its end.
    head: Vec<u8>,
    /// The answer whose content is arriving, with what is missing of it.
    answer: Option<AnswerHead>,
    connected: bool,
    draining: bool,
}

impl Session {
    /// A connection that is being opened.
    pub(super) fn new() -> Self {
        Self {
            output: Output::default(),
            calls: VecDeque::new(),
            head: Vec::new(),
            answer: None,
            connected: false,
            draining: false,
        }
    }

    pub(super) fn note_connected(&mut self) {
        self.connected = true;
    }

    /// Whether the connection is open.
    pub(super) fn is_settled(&self) -> bool {
        self.connected
    }

    /// Whether the connection is of no more use: no call is in flight, and none may start.
    pub(super) fn is_done(&self) -> bool {
        self.draining && self.calls.is_empty()
    }

    pub(super) fn can_start(&self, plan: &Plan) -> bool {
        self.connected && !self.draining && self.calls.len() < plan.in_flight
    }

    /// Starts a call; the caller has asked [`Self::can_start`]. Behind one that has not been answered it is pipelined.
    pub(super) fn start(&mut self, turn: Turn, now: Instant, plan: &Plan, seen: &mut Seen) {
        let body = (turn.number % plan.bodies.len() as u64) as u32;
        self.output.push_part(body, 0..plan.bodies[body as usize].len() as u32);
        self.calls.push_back(Call { body, from: turn.from, started: now });
        seen.in_flight += 1;
    }

    /// Takes what the peer sent; calls that end with it are counted.
    ///
    /// # Errors
    /// [`Violation`]: the connection must be closed.
    pub(super) fn handle_input(
        &mut self,
        mut input: &[u8],
        now: Instant,
        plan: &Plan,
        seen: &mut Seen,
    ) -> Result<(), Violation> {
        loop {
            if let Some(answer) = &mut self.answer {
                let len = answer.content_bytes.min(input.len());
                answer.content_bytes -= len;
                input = &input[len..];
                if answer.content_bytes > 0 {
                    return Ok(());
                }
                let (status, is_last) = (answer.status, answer.is_last);
                self.answer = None;
                self.draining |= is_last;
                let call = self.calls.pop_front().ok_or(Violation("an answer that nobody asked for"))?;
                end(&call, ended(status), now, plan, seen);
            }
            if input.is_empty() {
                return Ok(());
            }
            self.answer = self.take_head(&mut input)?;
            if self.answer.is_none() {
                return Ok(());
            }
        }
    }

    /// The next answer's head; `None` before all of it is there. What is interim is passed over (RFC 9110, section 15.2).
    fn take_head(&mut self, input: &mut &[u8]) -> Result<Option<AnswerHead>, Violation> {
        loop {
            // The end may have begun in what came before.
            let (had, seam) = (self.head.len(), self.head.len().saturating_sub(BLANK_LINE.len() - 1));
            let head = if had == 0 {
                let Some(end) = end_of_head(input) else {
                    self.head.extend_from_slice(input);
                    return within_bounds(had + input.len());
                };
                let (head, rest) = input.split_at(end);
                *input = rest;
                read_head(head)?
            } else {
                self.head.extend_from_slice(input);
                let Some(end) = end_of_head(&self.head[seam..]).map(|end| seam + end) else {
                    return within_bounds(self.head.len());
                };
                *input = &input[end - had..];
                let head = read_head(&self.head[..end])?;
                self.head.clear();
                head
            };
            if head.status >= 200 {
                return Ok(Some(head));
            }
            if input.is_empty() {
                return Ok(None);
            }
        }
    }

    /// Ends the calls that have taken too long, and with them the connection: a request cannot be taken back. Says whether there were any.
    pub(super) fn expire(&mut self, now: Instant, timeout: Duration, plan: &Plan, seen: &mut Seen) -> bool {
        let mut any = false;
        while let Some(call) = self.calls.pop_front_if(|call| now - call.started >= timeout) {
            end(&call, Ended::Timeout, now, plan, seen);
            any = true;
        }
        if any {
            self.lose(now, plan, seen);
        }
        any
    }

    /// The connection is lost, and with it the calls in flight.
    pub(super) fn lose(&mut self, now: Instant, plan: &Plan, seen: &mut Seen) {
        self.draining = true;
        for call in self.calls.drain(..) {
            end(&call, Ended::Connection, now, plan, seen);
        }
    }
}

fn end(call: &Call, ended: Ended, now: Instant, plan: &Plan, seen: &mut Seen) {
    let micros = now.saturating_duration_since(call.from).as_micros();
    seen.end(ended, plan.spans[call.body as usize], u64::try_from(micros).unwrap_or(u64::MAX));
}

/// Only 200 is success (OTLP specification, section OTLP/HTTP Response).
fn ended(status: u16) -> Ended {
    Ended::Answered(if status == 200 { 0 } else { status.into() })
}

/// Where the head at the beginning of `bytes` ends.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(BLANK_LINE.len()).position(|four| four == BLANK_LINE).map(|start| start + BLANK_LINE.len())
}

fn within_bounds(head_bytes: usize) -> Result<Option<AnswerHead>, Violation> {
    if head_bytes > HEAD_BYTES_MAX { Err(Violation("a head without an end")) } else { Ok(None) }
}

/// RFC 9112, sections 4 and 6.3; without `Content-Length` only where there is no content.
fn read_head(head: &[u8]) -> Result<AnswerHead, Violation> {
    let text = std::str::from_utf8(head).map_err(|_| Violation("a head that is no text"))?;
    let mut lines = text.split("\r\n");
    let mut line = lines.next().unwrap_or_default().split(' ');
    let status = match (line.next(), line.next()) {
        (Some("HTTP/1.1"), Some(status)) if status.len() == 3 => status.parse().ok(),
        _ => None,
    };
    let status = status.ok_or(Violation("no status line of HTTP/1.1"))?;
    let (mut content_bytes, mut is_last) = (None, false);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            content_bytes = Some(value.trim().parse().map_err(|_| Violation("a length that is no number"))?);
        } else if name.eq_ignore_ascii_case("connection") {
            is_last |= value.trim().eq_ignore_ascii_case("close");
        }
    }
    let none = if status < 200 || status == 204 || status == 304 { Some(0) } else { None };
    let content_bytes = none.or(content_bytes).ok_or(Violation("an answer without its length"))?;
    Ok(AnswerHead { status, content_bytes, is_last })
}

#[cfg(test)]
mod tests;
