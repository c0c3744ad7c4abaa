//! What clients and servers saw of each other, with the relay between them: the independent account that the relay is held against.
//! Must never ask the relay.

use std::cell::{Ref, RefCell, RefMut};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use testkit::oracle::{ExportTraceServiceRequest, FlatSpan, flatten};

/// Shared by all who act in one world.
#[derive(Clone, Debug, Default)]
pub(crate) struct Truth(Rc<RefCell<Account>>);

#[derive(Debug, Default)]
pub(crate) struct Account {
    /// By its number.
    pub(crate) requests: Vec<Request>,
    /// Every span that a client made, by its id.
    pub(crate) spans: BTreeMap<u64, Made>,
    /// Calls that servers took, in part or whole.
    pub(crate) taken: Vec<Taken>,
    /// What must not be.
    pub(crate) violations: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) spans: Vec<u64>,
    /// How often it was sent.
    pub(crate) attempts: usize,
    /// Whether the relay has said OK.
    pub(crate) acknowledged: bool,
    /// It holds a span that servers refuse for good.
    pub(crate) poisoned: bool,
}

#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) request: usize,
    pub(crate) content: FlatSpan,
    /// Bytes of a request that holds it alone.
    pub(crate) bytes: usize,
}

/// A call that a server took.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) exporter: usize,
    pub(crate) server: usize,
    pub(crate) spans: Vec<u64>,
    /// `partial_success.rejected_spans`.
    pub(crate) rejected: u64,
    pub(crate) connection: [SocketAddr; 2],
    pub(crate) began: Duration,
    /// When the answer was given to the connection, if it was.
    pub(crate) answered: Option<Duration>,
}

impl Truth {
    pub(crate) fn read(&self) -> Ref<'_, Account> {
        self.0.borrow()
    }

    pub(crate) fn write(&self) -> RefMut<'_, Account> {
        self.0.borrow_mut()
    }

    pub(crate) fn violation(&self, text: String) {
        self.write().violations.push(text);
    }

    /// A client makes a request: its number.
    pub(crate) fn made(&self, request: &ExportTraceServiceRequest, poisoned: bool) -> usize {
        let mut account = self.write();
        let number = account.requests.len();
        let mut spans = Vec::new();
        for span in flatten(request) {
            let id = span_id(&span.span.span_id).unwrap();
            spans.push(id);
            let bytes = span.key().len();
            account.spans.insert(id, Made { request: number, content: span, bytes });
        }
        account.requests.push(Request { spans, attempts: 0, acknowledged: false, poisoned });
        number
    }

    /// A server takes a call: its number among those taken. Whatever no client has made is a violation.
    pub(crate) fn taken(&self, taken: Taken, request: &ExportTraceServiceRequest) -> usize {
        let mut account = self.write();
        let mut spans = Vec::new();
        for span in flatten(request) {
            let id = span_id(&span.span.span_id);
            match id.and_then(|id| account.spans.get(&id)) {
                Some(made) if made.content == span => spans.extend(id),
                Some(_) => account.violations.push(format!("span {id:?} arrived changed: {span:?}")),
                None => account.violations.push(format!("a span arrived that nobody sent: {span:?}")),
            }
        }
        account.taken.push(Taken { spans, ..taken });
        account.taken.len() - 1
    }

    /// How many spans of a request no server of an exporter has taken.
    pub(crate) fn undelivered(&self, number: usize, exporter: usize) -> usize {
        let account = self.read();
        let by_exporter = || account.taken.iter().filter(|taken| taken.exporter == exporter);
        let missing = |span: &&u64| !by_exporter().any(|taken| taken.spans.contains(span));
        account.requests[number].spans.iter().filter(missing).count()
    }
}

/// Ids of spans are numbers here.
pub(crate) fn span_id(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}
