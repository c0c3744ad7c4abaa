//! Text on its way to standard output or error: handed over without waiting, written by a thread of its own.
//!
//! What does not fit while the reader of the other end is slow is left out, counted, and said. Must never make whoever
//! hands text over wait for a terminal or a pipe.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use crate::limits::{OUTLET_BYTES_MAX, OUTLET_TEXT_OVERHEAD_BYTES};

/// The near end of an outlet. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Outlet {
    // The channel has no bound of its own: `waiting_bytes` is the bound, so that a flush always gets in.
    sender: Sender<Item>,
    state: Arc<State>,
}

#[derive(Debug)]
enum Item {
    Text(Vec<u8>),
    Flush(Sender<()>),
}

#[derive(Debug, Default)]
struct State {
    // 0 <= waiting_bytes; at most OUTLET_BYTES_MAX except for one text per thread that is just being handed over.
    waiting_bytes: AtomicUsize,
    lines_left_out: AtomicU64,
}

impl Outlet {
    /// An outlet to `target`, written by a thread called `name`.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn start(name: &str, target: impl Write + Send + 'static) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let state = Arc::new(State::default());
        let writer_state = Arc::clone(&state);
        let thread = std::thread::Builder::new().name(name.to_owned());
        thread.spawn(move || write_all(&receiver, &writer_state, target))?;
        Ok(Self { sender, state })
    }

    /// Whether text would be taken now: saves making text that nobody will read.
    pub(crate) fn has_room(&self) -> bool {
        self.state.waiting_bytes.load(Ordering::Relaxed) < OUTLET_BYTES_MAX
    }

    /// Hands over whole lines. Leaves them out and counts them when too much waits already.
    pub(crate) fn put(&self, text: Vec<u8>) {
        if !self.has_room() {
            let lines = text.iter().filter(|byte| **byte == b'\n').count();
            self.leave_out(lines.max(1) as u64);
            return;
        }
        let bytes = text.len() + OUTLET_TEXT_OVERHEAD_BYTES;
        self.state.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        // An error means that the writer has died with its target: nobody reads any more.
        self.sender.send(Item::Text(text)).ok();
    }

    /// Counts lines that were not made because there was no room.
    pub(crate) fn leave_out(&self, lines: u64) {
        self.state.lines_left_out.fetch_add(lines, Ordering::Relaxed);
    }

    /// Waits until everything handed over before is written, at most `timeout`.
    pub(crate) fn flush(&self, timeout: Duration) {
        let (done, written) = mpsc::channel();
        if self.sender.send(Item::Flush(done)).is_ok() {
            written.recv_timeout(timeout).ok();
        }
    }
}

fn write_all(receiver: &Receiver<Item>, state: &State, mut target: impl Write) {
    while let Ok(item) = receiver.recv() {
        // A target that cannot be written to (a closed pipe) is no reason to stop relaying.
        match item {
            Item::Text(text) => {
                target.write_all(&text).and_then(|()| target.flush()).ok();
                state.waiting_bytes.fetch_sub(text.len() + OUTLET_TEXT_OVERHEAD_BYTES, Ordering::Relaxed);
            }
            Item::Flush(done) => {
                done.send(()).ok();
            }
        }
        let left_out = state.lines_left_out.swap(0, Ordering::Relaxed);
        if left_out > 0 {
            writeln!(target, "... {left_out} lines left out: the reader is too slow").ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A target that writes nothing until it is let go, as a stopped terminal does.
    #[derive(Clone, Default)]
    struct Stopped {
        written: Arc<Mutex<Vec<u8>>>,
        gate: Arc<Mutex<()>>,
    }

    impl Write for Stopped {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            let _open = self.gate.lock().unwrap();
            self.written.lock().unwrap().extend_from_slice(text);
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Scenario: the target takes nothing while more is handed over than may wait. Guarantee: nobody waits, memory is
    /// bounded, and the text says how many lines are missing.
    #[test]
    fn a_stopped_target_loses_counted_lines_and_blocks_nobody() {
        let target = Stopped::default();
        let outlet = Outlet::start("test", target.clone()).unwrap();
        let closed = target.gate.lock().unwrap();
        let line = [vec![b'x'; 1023], vec![b'\n']].concat();
        let lines = 2 * OUTLET_BYTES_MAX / line.len();
        (0..lines).for_each(|_| outlet.put(line.clone()));
        assert!(outlet.state.waiting_bytes.load(Ordering::Relaxed) <= OUTLET_BYTES_MAX + 2 * line.len());
        drop(closed);
        outlet.flush(Duration::from_secs(5));
        outlet.put(b"later\n".to_vec());
        outlet.flush(Duration::from_secs(5));
        let written = String::from_utf8(target.written.lock().unwrap().clone()).unwrap();
        let kept = written.lines().filter(|line| line.starts_with('x')).count();
        let said = format!("... {} lines left out: the reader is too slow\n", lines - kept);
        assert!(kept < lines && written.contains(&said), "{kept} of {lines} kept; no line {said:?}");
        assert!(written.ends_with("later\n"));
        assert_eq!(outlet.state.waiting_bytes.load(Ordering::Relaxed), 0);
    }
}
