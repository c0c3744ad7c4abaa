//! What speaks on a connection: gRPC or OTLP/HTTP, as the plan says, behind the few calls that a connection makes.
//!
//! Must never know more of either than which one it is.

use std::time::{Duration, Instant};

use super::super::http2::frame::Violation;
use super::super::http2::output::Output;
use super::pace::Turn;
use super::plan::Plan;
use super::seen::Seen;
use super::{grpc, http};

/// See the file's head.
#[derive(Debug)]
pub(super) enum Session {
    Grpc(grpc::Session),
    Http(http::Session),
}

impl Session {
    pub(super) fn new(plan: &Plan) -> Self {
        if plan.protocol.is_http() {
            Self::Http(http::Session::new())
        } else {
            Self::Grpc(grpc::Session::new())
        }
    }

    /// What is queued to be written.
    pub(super) fn output(&mut self) -> &mut Output {
        match self {
            Self::Grpc(session) => &mut session.output,
            Self::Http(session) => &mut session.output,
        }
    }

    /// The socket is connected. HTTP/1.1 waits for no more than that.
    pub(super) fn note_connected(&mut self) {
        if let Self::Http(session) = self {
            session.note_connected();
        }
    }

    /// Whether the connection is open: calls may start.
    pub(super) fn is_settled(&self) -> bool {
        match self {
            Self::Grpc(session) => session.is_settled(),
            Self::Http(session) => session.is_settled(),
        }
    }

    /// Whether the connection is of no more use: no call is in flight, and none may start.
    pub(super) fn is_done(&self) -> bool {
        match self {
            Self::Grpc(session) => session.is_done(),
            Self::Http(session) => session.is_done(),
        }
    }

    pub(super) fn can_start(&self, plan: &Plan) -> bool {
        match self {
            Self::Grpc(session) => session.can_start(plan),
            Self::Http(session) => session.can_start(plan),
        }
    }

    /// Starts a call; the caller has asked [`Self::can_start`].
    pub(super) fn start(&mut self, turn: Turn, now: Instant, plan: &Plan, seen: &mut Seen) {
        match self {
            Self::Grpc(session) => session.start(turn, now, plan, seen),
            Self::Http(session) => session.start(turn, now, plan, seen),
        }
    }

    /// Queues as much of the bodies as may be sent now.
    pub(super) fn fill(&mut self, plan: &Plan) {
        if let Self::Grpc(session) = self {
            session.fill(plan);
        }
    }

    /// Takes what the peer sent; calls that end with it are counted.
    ///
    /// # Errors
    /// [`Violation`]: the connection must be closed.
    pub(super) fn handle_input(
        &mut self,
        input: &[u8],
        now: Instant,
        plan: &Plan,
        seen: &mut Seen,
    ) -> Result<(), Violation> {
        match self {
            Self::Grpc(session) => session.handle_input(input, now, plan, seen),
            Self::Http(session) => session.handle_input(input, now, plan, seen),
        }
    }

    /// Ends the calls that have taken too long. Says whether there were any.
    pub(super) fn expire(&mut self, now: Instant, timeout: Duration, plan: &Plan, seen: &mut Seen) -> bool {
        match self {
            Self::Grpc(session) => session.expire(now, timeout, plan, seen),
            Self::Http(session) => session.expire(now, timeout, plan, seen),
        }
    }

    /// The connection is lost, and with it the calls in flight.
    pub(super) fn lose(self, now: Instant, plan: &Plan, seen: &mut Seen) {
        match self {
            Self::Grpc(session) => session.lose(now, plan, seen),
            Self::Http(mut session) => session.lose(now, plan, seen),
        }
    }

    /// Nothing more will be asked: gRPC says so, HTTP/1.1 by closing.
    pub(super) fn say_goodbye(&mut self) {
        if let Self::Grpc(session) = self {
            session.say_goodbye();
        }
    }
}
