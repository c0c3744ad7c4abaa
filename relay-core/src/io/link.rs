//! One connection to an upstream: its socket and its HTTP/2, driven by a task of its own, shared by the calls of one core.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::sync::{Notify, oneshot};

use super::export::Body;
use super::socket::Socket;
use crate::http2::{Client, Ended, RequestHead};
use crate::limits::{READS_PER_TURN_MAX, UPSTREAM_CONTROL_BYTES_MAX, UPSTREAM_READ_BYTES, WRITE_SLICES_MAX};

/// A connection on which calls are started. Belongs to one core.
pub(crate) struct Link {
    state: RefCell<State>,
    // Told when something about the connection is other than it was: settled, room for a call, ended.
    changed: Rc<Notify>,
}

/// Whether a call can start on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// Now.
    Free,
    /// When another one has ended.
    None,
    /// Never again: it has ended, or the upstream has said GOAWAY.
    Over,
}

struct State {
    client: Client<Body>,
    // Who waits for the end of which call; ascending streams.
    callers: Vec<(u32, oneshot::Sender<Ended>)>,
    driver: Option<Waker>,
    // Why it has ended.
    ended: Option<String>,
}

impl Link {
    /// A link over a connected socket, and the task that drives it; `changed` is told whenever there may be room on it, and at its end.
    /// The future resolves when the connection has ended.
    pub(crate) fn new(stream: Socket, changed: Rc<Notify>) -> (Rc<Self>, impl Future<Output = String>) {
        let state = State { client: Client::new(), callers: Vec::new(), driver: None, ended: None };
        let link = Rc::new(Self { state: RefCell::new(state), changed });
        (Rc::clone(&link), drive(link, stream))
    }

    /// Resolves when the upstream has shown that it speaks HTTP/2.
    ///
    /// # Errors
    /// Why the connection has ended instead.
    pub(crate) async fn settled(&self) -> Result<(), String> {
        loop {
            let changed = self.changed.notified();
            {
                let state = self.state.borrow();
                if let Some(cause) = &state.ended {
                    return Err(cause.clone());
                }
                if state.client.is_settled() {
                    return Ok(());
                }
            }
            changed.await;
        }
    }

    /// Whether a call can start.
    pub(crate) fn room(&self) -> Room {
        let state = self.state.borrow();
        if state.ended.is_some() || state.client.is_leaving() {
            Room::Over
        } else if state.client.has_room() {
            Room::Free
        } else {
            Room::None
        }
    }

    /// One call, with fields of its own besides those of `head` ([`crate::http2::literal_field`]). Dropping the future gives it up.
    ///
    /// # Errors
    /// Why the connection has ended before the call did.
    pub(crate) async fn call(
        self: &Rc<Self>,
        head: &RequestHead,
        own_fields: &[u8],
        body: Body,
    ) -> Result<Ended, String> {
        let started = {
            let mut state = self.state.borrow_mut();
            if let Some(cause) = &state.ended {
                return Err(cause.clone());
            }
            let opened = state.client.open_with(head, own_fields, body);
            opened.map(|stream| {
                let (caller, answer) = oneshot::channel();
                state.callers.push((stream, caller));
                state.wake();
                (stream, answer)
            })
        };
        let Some((stream, answer)) = started else { return Ok(Ended::NotProcessed) };
        let guard = CallGuard { link: Rc::clone(self), stream };
        match answer.await {
            Ok(ended) => Ok(ended),
            Err(_) => {
                drop(guard);
                Err(self.state.borrow().ended.clone().unwrap_or_else(|| "connection ended".to_owned()))
            }
        }
    }

    /// Lets the driver look whether anybody still wants the connection.
    pub(crate) fn left(&self) {
        self.state.borrow().wake();
    }
}

impl State {
    fn wake(&self) {
        if let Some(driver) = &self.driver {
            driver.wake_by_ref();
        }
    }

    /// Reads once and tells the callers of calls that ended by it; false at the end of the connection.
    fn read(
        &mut self,
        stream: &mut Socket,
        buffer: &mut BytesMut,
        cx: &mut Context<'_>,
    ) -> io::Result<Poll<bool>> {
        buffer.reserve(UPSTREAM_READ_BYTES);
        match pin!(stream.read_buf(buffer)).poll(cx) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(Ok(0)) => return Ok(Poll::Ready(false)),
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Ready(Ok(_)) => {}
        }
        let received = self.client.receive(buffer);
        buffer.clear();
        // Also before a violation: answers that came count.
        while let Some((stream, ended)) = self.client.next_ended() {
            if let Ok(at) = self.callers.binary_search_by_key(&stream, |(id, _)| *id) {
                let (_, caller) = self.callers.remove(at);
                // An error means that the caller has just given up.
                caller.send(ended).ok();
            }
        }
        received.map(|()| Poll::Ready(true)).map_err(io::Error::other)
    }

    /// Writes what may be written; ready when all of it is.
    fn write(&mut self, stream: &mut Socket, cx: &mut Context<'_>) -> io::Result<Poll<()>> {
        while self.client.fill() {
            let mut slices = [IoSlice::new(&[]); WRITE_SLICES_MAX];
            let filled = self.client.slices(&mut slices);
            let slices = slices.get(..filled).unwrap_or_default();
            match Pin::new(&mut *stream).poll_write_vectored(cx, slices) {
                Poll::Ready(written) => self.client.written(written?),
                Poll::Pending => return Ok(Poll::Pending),
            }
        }
        // TLS may hold what the socket did not take.
        match Pin::new(stream).poll_flush(cx) {
            Poll::Ready(flushed) => flushed.map(Poll::Ready),
            Poll::Pending => Ok(Poll::Pending),
        }
    }
}

/// Gives a call up when its caller is dropped; does nothing when it has ended.
struct CallGuard {
    link: Rc<Link>,
    stream: u32,
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        let mut state = self.link.state.borrow_mut();
        if let Ok(at) = state.callers.binary_search_by_key(&self.stream, |(id, _)| *id) {
            state.callers.remove(at);
            state.client.cancel(self.stream);
            state.wake();
            self.link.changed.notify_waiters();
        }
    }
}

async fn drive(link: Rc<Link>, mut stream: Socket) -> String {
    let mut buffer = BytesMut::new();
    let ended = std::future::poll_fn(|cx| turn(&link, &mut stream, &mut buffer, cx)).await;
    let cause = match ended {
        Ok(()) => "connection ended".to_owned(),
        Err(error) => error.to_string(),
    };
    let mut state = link.state.borrow_mut();
    state.ended = Some(cause.clone());
    // Their callers see that nobody will answer.
    state.callers.clear();
    drop(state);
    link.changed.notify_waiters();
    cause
}

fn turn(
    link: &Rc<Link>,
    stream: &mut Socket,
    buffer: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    let mut state = link.state.borrow_mut();
    let mut reads = 0;
    loop {
        while reads < READS_PER_TURN_MAX && state.client.control_bytes() < UPSTREAM_CONTROL_BYTES_MAX {
            match state.read(stream, buffer, cx)? {
                Poll::Ready(true) => reads += 1,
                Poll::Ready(false) => return Poll::Ready(Ok(())),
                Poll::Pending => break,
            }
        }
        // Reading has stopped for what is to be written, not because nothing was there: nobody will say when there is more.
        let held_back = state.client.control_bytes() >= UPSTREAM_CONTROL_BYTES_MAX;
        let written = state.write(stream, cx)?.is_ready();
        if reads >= READS_PER_TURN_MAX {
            cx.waker().wake_by_ref();
            break;
        }
        if !(held_back && written) {
            break;
        }
    }
    if reads > 0 {
        link.changed.notify_waiters();
    }
    // Nobody can start a call here any more: the upstream leaves, or another connection has taken this one's place.
    let unwanted = state.client.is_leaving() || Rc::strong_count(link) == 1;
    if unwanted && state.client.open_calls() == 0 {
        return Poll::Ready(Ok(()));
    }
    match &mut state.driver {
        Some(driver) => driver.clone_from(cx.waker()),
        none => *none = Some(cx.waker().clone()),
    }
    Poll::Pending
}
