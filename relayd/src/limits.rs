//! Every bound of the daemon: name, unit, reason. The bounds of relaying itself are `relay_core::limits`.
//! Must hold nothing else.

use std::time::Duration;

/// Time for a drain when the command line says nothing: well inside the 30 s after which Kubernetes kills.
pub(crate) const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(20);

/// How often the control thread looks whether all cores are alive; health probes look too. The only tick there is.
pub(crate) const CORE_CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// How often the files of the configuration are looked at: kubelet takes a minute to bring a changed ConfigMap, so seconds are soon.
/// A change is taken at the second look that sees it.
pub(crate) const CONFIG_LOOK_INTERVAL: Duration = Duration::from_secs(3);

/// Relays that may drain at one moment because their configuration was replaced; a further reload waits for one of them. Each holds
/// up to a byte budget of its own.
pub(crate) const RELAYS_LEAVING_MAX: usize = 2;

/// Time for a relay that is replaced to leave its listeners to the next one before a reload is said to be over.
pub(crate) const TAKE_OVER_MAX: Duration = Duration::from_secs(1);

/// How often it is looked whether it has.
pub(crate) const TAKE_OVER_LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// Exporters of former configurations whose counts are remembered by name; those of more are added up in one row.
pub(crate) const PAST_UPSTREAMS_MAX: usize = 256;

/// The smallest bound on what an exporter may have on disk, in bytes: the largest request that receivers take by default finds room.
pub(crate) const STORAGE_BYTES_MIN: u64 = relay_core::limits::RECEIVE_MESSAGE_BYTES_MAX as u64;

/// The shortest age after which what is on disk may be dropped: less would drop what a restart of the upstream leaves there.
pub(crate) const STORAGE_AGE_MIN: Duration = Duration::from_secs(1);

/// The longest that a batch may wait before it is written: senders of the OpenTelemetry SDKs give up after 10 s.
pub(crate) const SPILL_AFTER_MAX: Duration = Duration::from_secs(5);

/// Over which time it is looked how fast what is on disk becomes less, to say when it is gone.
pub(crate) const FORECAST_WINDOW: Duration = Duration::from_secs(60);

/// Scrapes that are remembered for that, of each exporter and signal: one in a second.
pub(crate) const FORECAST_SAMPLES_MAX: usize = 60;

/// What stands for "no time limit" where an upstream call needs one (`timeout: 0`).
pub(crate) const CALL_TIMEOUT_NONE: Duration = Duration::from_secs(365 * 24 * 3600);

/// Bytes of text that wait for a slow standard output or error; what comes on top is left out and counted.
pub(crate) const OUTLET_BYTES_MAX: usize = 1 << 20;

/// What each waiting text counts besides its own bytes: its allocation and its place in the queue.
pub(crate) const OUTLET_TEXT_OVERHEAD_BYTES: usize = 64;

/// Time for waiting text to be written when the process ends.
pub(crate) const OUTLET_FLUSH_MAX: Duration = Duration::from_secs(1);

/// Open connections of each HTTP server (health, metrics): a kubelet and a few scrapers.
pub(crate) const HTTP_CONNECTIONS_MAX: usize = 32;

/// Time for the head of an HTTP request to arrive, also the time that an idle connection is kept.
pub(crate) const HTTP_HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Read buffer of an HTTP connection, in bytes: the head of a request must fit.
pub(crate) const HTTP_BUFFER_BYTES_MAX: usize = 16 << 10;

/// Time to find the address of a name that is listened on: two attempts of resolv.conf's default timeout.
pub(crate) const LISTEN_LOOKUP_MAX: Duration = Duration::from_secs(10);

/// Between two tries to bind what is for one process alone while another one has it: a scraper comes every 15 s or more.
pub(crate) const BIND_RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// Between two warnings that it is still taken.
pub(crate) const BIND_WARN_INTERVAL: Duration = Duration::from_secs(60);

/// Pause after a failed `accept`, for example when file descriptors ran out.
pub(crate) const HTTP_ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Text of the debug exporter that is made before it is handed over, in bytes; one span's text may be longer.
pub(crate) const DEBUG_CHUNK_BYTES: usize = 64 << 10;

/// The printer shows a trace when no span of it has come for this long.
pub(crate) const TRACE_QUIET: Duration = Duration::from_millis(300);

/// The printer shows a trace after this long even if spans keep coming.
pub(crate) const TRACE_OPEN_MAX: Duration = Duration::from_secs(3);

/// Traces that the printer gathers at one moment; one more shows the oldest.
pub(crate) const TRACES_OPEN_MAX: usize = 256;

/// Spans that the printer keeps of one trace; more are only counted.
pub(crate) const TRACE_SPANS_MAX: usize = 200;

/// Ids of shown traces that the printer remembers, to say that later spans belong to one.
pub(crate) const TRACES_REMEMBERED_MAX: usize = 1024;

/// Lines of spans that the printer shows of one trace.
pub(crate) const TRACE_LINES_MAX: usize = 20;

/// Indentation of the deepest span that the printer shows, in levels: beyond, lines would leave the screen.
pub(crate) const TRACE_INDENT_MAX: usize = 12;

/// Characters that the printer keeps of a name, a service or an error.
pub(crate) const PRINTED_TEXT_CHARS_MAX: usize = 60;

/// Spans in one message to the printer, and messages that may wait for it: what does not fit is counted.
pub(crate) const PRINTER_MESSAGE_SPANS_MAX: usize = 256;
/// See [`PRINTER_MESSAGE_SPANS_MAX`].
pub(crate) const PRINTER_MESSAGES_MAX: usize = 64;

/// `relayd send`: time to connect, so that a wrong address is said soon.
pub(crate) const SEND_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// `relayd send`: time for the upstream to take one trace.
pub(crate) const SEND_CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// `relayd send --wait-for`: between two looks, and the time for one answer.
pub(crate) const WAIT_LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// See [`WAIT_LOOK_INTERVAL`].
pub(crate) const WAIT_ASK_MAX: Duration = Duration::from_secs(5);

/// `relayd health`: time for the whole answer. Below a kubelet's timeout of several seconds, so that the reason is said.
pub(crate) const HEALTH_ASK_MAX: Duration = Duration::from_secs(2);

/// What is read of an answer as a client: a few samples' spans are some kilobytes.
pub(crate) const ASK_BODY_BYTES_MAX: usize = 4 << 20;

/// Services that the printer names in a trace's headline.
pub(crate) const SERVICES_NAMED_MAX: usize = 5;

/// `relayd spool`: what one request of a record may inflate to, in bytes: four times what a receiver takes by default, for receivers that
/// take more.
pub(crate) const SPOOL_INFLATED_BYTES_MAX: usize = 256 << 20;
