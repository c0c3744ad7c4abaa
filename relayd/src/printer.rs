//! The embedded default's exporter: prints every trace on standard output. Cores hand over summaries; the control thread
//! groups and draws. Must never make a core wait, and says how many spans it could not show.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use relay_core::batch::Batch;
use relay_core::config::{BatchSink, ListenAddress};
use relay_core::otlp::RequestView;
use relay_core::upstream::Outcome;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::assembly::{Assembly, Trace};
use crate::clock;
use crate::limits::{OUTLET_FLUSH_MAX, PRINTER_MESSAGE_SPANS_MAX, PRINTER_MESSAGES_MAX};
use crate::outlet::Outlet;
use crate::picture::{Style, draw};
use crate::summary::{self, SpanSummary};

/// The cores' end.
#[derive(Debug)]
pub(crate) struct PrinterSink {
    to_printer: mpsc::Sender<Vec<SpanSummary>>,
    unseen: Arc<Unseen>,
}

/// Spans that are relayed but not shown.
#[derive(Debug, Default)]
struct Unseen {
    left_out: AtomicU64,
    unreadable: AtomicU64,
}

/// The control thread's end, before it starts.
#[derive(Debug)]
pub(crate) struct Printer {
    from_cores: mpsc::Receiver<Vec<SpanSummary>>,
    unseen: Arc<Unseen>,
}

/// A printer at work.
#[derive(Debug)]
pub(crate) struct Printing {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    outlet: Outlet,
}

impl BatchSink for PrinterSink {
    fn deliver(&self, batch: &Batch) -> Outcome {
        let bytes = batch.rope().slice(0, batch.rope().len());
        let mut message = Vec::new();
        summary::read(&RequestView::new(&bytes.contiguous()), |span| match span {
            Ok(span) => {
                message.push(span);
                if message.len() >= PRINTER_MESSAGE_SPANS_MAX {
                    self.send(std::mem::take(&mut message));
                }
            }
            Err(_) => {
                self.unseen.unreadable.fetch_add(1, Ordering::Relaxed);
            }
        });
        self.send(message);
        Outcome::Accepted { rejected: 0, message: String::new() }
    }
}

impl PrinterSink {
    fn send(&self, message: Vec<SpanSummary>) {
        let spans = message.len() as u64;
        if self.to_printer.try_send(message).is_err() {
            self.unseen.left_out.fetch_add(spans, Ordering::Relaxed);
        }
    }
}

impl Printer {
    /// Both ends.
    pub(crate) fn new() -> (PrinterSink, Self) {
        let (to_printer, from_cores) = mpsc::channel(PRINTER_MESSAGES_MAX);
        let unseen = Arc::new(Unseen::default());
        (PrinterSink { to_printer, unseen: Arc::clone(&unseen) }, Self { from_cores, unseen })
    }

    /// Greets, and prints from now on. Needs a LocalSet.
    ///
    /// # Errors
    /// The thread that writes cannot be started.
    pub(crate) fn start(self, listening_on: Vec<(ListenAddress, &'static str)>) -> io::Result<Printing> {
        let outlet = Outlet::start("stdout", io::stdout())?;
        let colours = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let style = Style { colours };
        outlet.put(greeting(listening_on, style).into_bytes());
        let (stop, stopped) = oneshot::channel();
        let task = tokio::task::spawn_local(print(self, outlet.clone(), style, stopped));
        Ok(Printing { stop, task, outlet })
    }
}

impl Printing {
    /// Prints what has come so far and ends.
    pub(crate) async fn finish(self) {
        self.stop.send(()).ok();
        self.task.await.ok();
        self.outlet.flush(OUTLET_FLUSH_MAX);
    }
}

fn greeting(listening_on: Vec<(ListenAddress, &'static str)>, style: Style) -> String {
    // Of one protocol together: localhost is several addresses.
    let mut places: Vec<(Vec<String>, &str)> = Vec::new();
    for (address, spoken) in listening_on {
        let address = style.bold(&address.to_string());
        match places.iter_mut().find(|(_, known)| *known == spoken) {
            Some((addresses, _)) => addresses.push(address),
            None => places.push((vec![address], spoken)),
        }
    }
    let place = |(addresses, spoken): (Vec<String>, &str)| format!("{} ({spoken})", addresses.join(", "));
    let addresses: Vec<String> = places.into_iter().map(place).collect();
    format!(
        "relayd {} receives OTLP traces on {} and prints them here.\n\
         Nothing is forwarded: this is what runs without a configuration.\n  \
         try it         {}   (in another terminal; Ctrl-C ends this one)\n  \
         forward        {}   (an OpenTelemetry Collector's configuration)\n\n",
        env!("CARGO_PKG_VERSION"),
        addresses.join(" and "),
        style.bold("relayd send"),
        style.bold("relayd --config agent.yaml"),
    )
}

async fn print(mut printer: Printer, outlet: Outlet, style: Style, mut stopped: oneshot::Receiver<()>) {
    let mut assembly = Assembly::default();
    let show = |traces: Vec<Trace>| {
        for trace in traces {
            outlet.put(draw(&trace, style).into_bytes());
        }
    };
    loop {
        let due = assembly.due_at();
        let quiet = async {
            match due {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            message = printer.from_cores.recv() => match message {
                Some(spans) => show(add(&mut assembly, spans)),
                None => break,
            },
            () = quiet => show(assembly.take_due(clock::now())),
            _ = &mut stopped => break,
        }
        printer.unseen.say(&outlet);
    }
    while let Ok(spans) = printer.from_cores.try_recv() {
        show(add(&mut assembly, spans));
    }
    show(assembly.take_all());
    printer.unseen.say(&outlet);
}

/// Adds spans; returns traces that there was no more room for.
fn add(assembly: &mut Assembly, spans: Vec<SpanSummary>) -> Vec<Trace> {
    let now = clock::now();
    spans.into_iter().filter_map(|span| assembly.add(span, now)).collect()
}

impl Unseen {
    fn say(&self, outlet: &Outlet) {
        let left_out = self.left_out.swap(0, Ordering::Relaxed);
        if left_out > 0 {
            let text =
                format!("... {left_out} spans not shown: they come faster than they can be printed\n\n");
            outlet.put(text.into_bytes());
        }
        let unreadable = self.unreadable.swap(0, Ordering::Relaxed);
        if unreadable > 0 {
            outlet.put(format!("... {unreadable} spans not shown: they are malformed\n\n").into_bytes());
        }
    }
}
