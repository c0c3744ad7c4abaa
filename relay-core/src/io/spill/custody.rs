//! What cores and the log's thread say to each other. Must never block a core: everything here is sent and forgotten, or awaited.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use crossbeam_channel::Sender;
use tokio::sync::oneshot;

use crate::batch::Custody;
use crate::spill::{NewRecord, RecordId};

/// The way to the thread, shared by all who may still have something to say: when the last of them is gone, the thread closes the log and
/// ends.
///
/// The channel has no bound of its own. What is in it is a store per batch in memory, a word per record that memory holds, and one read
/// and one close: the budget of what is held bounds it, and a core that gives back what it holds must not wait for a disk.
#[derive(Clone, Debug)]
pub(super) struct Commands(Arc<Sender<Command>>);

/// The same for the thread itself, which must not keep itself alive.
#[derive(Debug)]
pub(super) struct WeakCommands(std::sync::Weak<Sender<Command>>);

/// Work for the thread.
#[derive(Debug)]
pub(super) enum Command {
    Store(Store),
    /// Memory is done with a record.
    Done(Done),
    /// Somebody would send what is on disk.
    Read,
    /// Nothing more is given; close the log when all that was given is done.
    Close(oneshot::Sender<()>),
}

/// A batch to be stored.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) record: NewRecord,
    pub(super) reply: Reply,
}

/// Who is told what became of a store, and what speaks for the record from then on.
#[derive(Debug)]
pub(super) struct Reply {
    stored: oneshot::Sender<Result<Arc<Stored>, NotStored>>,
    commands: Commands,
}

/// What became of a record that memory held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    pub(super) id: RecordId,
    pub(super) fate: Fate,
    /// It was read back from the disk.
    pub(super) is_replay: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Delivered, or dropped for good.
    Settled,
    /// The disk alone has it.
    Released,
}

/// Why a batch is not on disk. It stays in memory, and its senders unanswered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotStored {
    #[error("the log has reached its bound")]
    Full,
    #[error("the disk has failed")]
    Fault,
    #[error("it is larger than the log takes")]
    TooLarge,
    #[error("the log is closed")]
    Closed,
}

impl Commands {
    pub(super) fn new(sender: Sender<Command>) -> Self {
        Self(Arc::new(sender))
    }

    pub(super) fn downgrade(&self) -> WeakCommands {
        WeakCommands(Arc::downgrade(&self.0))
    }

    /// A thread that has ended hears nothing, and needs to hear nothing: the next start reads what is on disk.
    pub(super) fn send(&self, command: Command) {
        self.0.send(command).ok();
    }

    pub(super) fn store(&self, record: NewRecord) -> Storing {
        let (stored, storing) = oneshot::channel();
        let reply = Reply { stored, commands: self.clone() };
        self.send(Command::Store(Store { record, reply }));
        Storing(storing)
    }
}

impl WeakCommands {
    /// `None` when nobody is left to whom anything could be given.
    pub(super) fn upgrade(&self) -> Option<Commands> {
        self.0.upgrade().map(Commands)
    }
}

impl Reply {
    /// Whether nobody waits for it: the batch was settled meanwhile.
    pub(super) fn is_closed(&self) -> bool {
        self.stored.is_closed()
    }

    /// The record is safe; who waited has it in memory.
    pub(super) fn stored(self, id: RecordId) {
        let custody = Stored::new(id, false, self.commands);
        if let Err(Ok(unheard)) = self.stored.send(Ok(custody)) {
            unheard.settled();
        }
    }

    pub(super) fn not_stored(self, why: NotStored) {
        self.stored.send(Err(why)).ok();
    }
}

/// A store under way. Dropping it says that the batch was settled otherwise: it is not written any more, and if it was, its record is
/// settled.
#[derive(Debug)]
pub(crate) struct Storing(oneshot::Receiver<Result<Arc<Stored>, NotStored>>);

impl Future for Storing {
    type Output = Result<Arc<dyn Custody>, NotStored>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|stored| match stored {
            Ok(Ok(custody)) => Ok(custody as Arc<dyn Custody>),
            Ok(Err(why)) => Err(why),
            Err(_) => Err(NotStored::Closed),
        })
    }
}

impl Drop for Storing {
    fn drop(&mut self) {
        self.0.close();
        if let Ok(Ok(unheard)) = self.0.try_recv() {
            unheard.settled();
        }
    }
}

/// The custody of one record. Dropped without a word (a panic) it is released: what is on disk is not lost with who forgot it.
#[derive(Debug)]
pub(super) struct Stored {
    id: RecordId,
    is_replay: bool,
    commands: Commands,
    has_told: AtomicBool,
}

impl Stored {
    pub(super) fn new(id: RecordId, is_replay: bool, commands: Commands) -> Arc<Self> {
        Arc::new(Self { id, is_replay, commands, has_told: AtomicBool::new(false) })
    }

    fn tell(&self, fate: Fate) {
        // Relaxed: it guards nothing but itself.
        if !self.has_told.swap(true, Ordering::Relaxed) {
            self.commands.send(Command::Done(Done { id: self.id, fate, is_replay: self.is_replay }));
        }
    }
}

impl Custody for Stored {
    fn settled(&self) {
        self.tell(Fate::Settled);
    }

    fn released(&self) {
        self.tell(Fate::Released);
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.tell(Fate::Released);
    }
}
