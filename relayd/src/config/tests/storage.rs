//! `file_storage` and the queues that name it: what they turn into, and what bad ones are told.

use std::path::Path;
use std::time::Duration;

use relay_core::config::{Acknowledge, WhenFull};

use super::super::{FileStorage, Spill};
use super::{Fake, errors, lines};

const MIB: u64 = 1 << 20;

/// Line 2 is the exporter's queue, 3 the extensions, 4 what runs.
fn text(queue: &str, extensions: &str, running: &str) -> String {
    format!(
        "receivers: {{otlp: {{protocols: {{grpc: }}}}}}\n\
         exporters: {{otlp: {{endpoint: 'gw:4317', tls: {{insecure: true}}, sending_queue: {queue}}}}}\n\
         extensions: {extensions}\n\
         service: {{extensions: {running}, pipelines: {{traces: {{receivers: [otlp], exporters: [otlp]}}}}}}\n"
    )
}

fn load(queue: &str, storage: &str) -> (Option<Spill>, Vec<String>) {
    let text = text(queue, &format!("{{file_storage: {storage}}}"), "[file_storage]");
    let (config, notices) = Fake::default().file("agent.yaml", text).load().unwrap();
    (config.exporters[0].kind.spill().cloned(), lines(&notices))
}

fn errors_of(queue: &str, extensions: &str, running: &str) -> Vec<String> {
    errors(Fake::default().file("agent.yaml", text(queue, extensions, running)).load())
}

#[test]
fn defaults() {
    let (spill, notices) = load("{storage: file_storage}", "");
    assert_eq!(notices, [] as [&str; 0]);
    let storage = FileStorage {
        id: "file_storage".to_owned(),
        directory: "/var/lib/otelcol/file_storage".into(),
        created_with: None,
        fsync: true,
        bytes_max: 1024 * MIB,
        age_max: None,
        when_full: WhenFull::Refuse,
        free_bytes_min: 128 * MIB,
    };
    let after = Duration::from_millis(100);
    assert_eq!(spill, Some(Spill { storage, after, acknowledge: Acknowledge::WhenSafe }));
}

#[test]
fn every_key() {
    let queue =
        "{storage: file_storage, spill_after: 250ms, acknowledge: when_queued, wait_for_result: false}";
    let storage = "{directory: spool, create_directory: true, directory_permissions: '0700', fsync: false, \
                   max_size_mib: 64, max_age: 36h, when_full: drop_oldest, min_free_mib: 0}";
    let (spill, notices) = load(queue, storage);
    let spill = spill.unwrap();
    assert_eq!(spill.storage.directory, Path::new("spool"));
    assert_eq!((spill.storage.created_with, spill.storage.fsync), (Some(0o700), false));
    assert_eq!((spill.storage.bytes_max, spill.storage.free_bytes_min), (64 * MIB, 0));
    assert_eq!(spill.storage.age_max, Some(Duration::from_secs(36 * 3600)));
    assert_eq!((spill.storage.when_full, spill.acknowledge), (WhenFull::DropOldest, Acknowledge::WhenQueued));
    assert_eq!(spill.after, Duration::from_millis(250));
    let why = "accepted, without effect: when_queued writes when memory is full and at the end only";
    assert_eq!(notices, [format!("agent.yaml:2: exporters.otlp.sending_queue.spill_after: {why}")]);
}

/// The Collector's own example of all settings, whose size is in bytes, and a queue that waits for the result, which the Collector
/// does not take together with a storage.
#[test]
fn what_the_collectors_files_have() {
    let storage = "{directory: /var/lib/otelcol/mydir, timeout: 1s, max_size: 268435456, recreate: true, \
                   create_directory: true, fsync: false, compaction: {on_start: true, on_rebound: false, \
                   directory: /tmp/, max_transaction_size: 65_536, rebound_needed_threshold_mib: 100, \
                   rebound_trigger_threshold_mib: 10, check_interval: 5s, cleanup_on_start: true}}";
    let (spill, notices) = load("{storage: file_storage, wait_for_result: true}", storage);
    let spill = spill.unwrap();
    assert_eq!((spill.storage.created_with, spill.storage.bytes_max), (Some(0o750), 256 * MIB));
    let keys = ["timeout", "recreate", "compaction"];
    assert_eq!(notices.len(), keys.len(), "{notices:#?}");
    for (notice, key) in notices.iter().zip(keys) {
        let start = format!("agent.yaml:3: extensions.file_storage.{key}: accepted, without effect: ");
        assert!(notice.starts_with(&start), "{notice}");
    }
    let unbounded = |storage| load("{storage: file_storage}", storage).0.unwrap().storage.bytes_max;
    assert_eq!((unbounded("{max_size: 0}"), unbounded("{max_size_mib: 0}")), (u64::MAX, u64::MAX));
}

/// Guarantee: who has done one half of what a storage needs is told of the other.
#[test]
fn a_storage_that_nobody_names_is_said() {
    let (spill, notices) = load("{}", "");
    assert_eq!(spill, None);
    assert_eq!(
        notices,
        ["agent.yaml:3: extensions.file_storage: no exporter in use names it, so nothing is written there; \
          add sending_queue: {storage: file_storage}"]
    );
    let (spill, notices) = load("{enabled: false, storage: file_storage}", "");
    assert_eq!(spill, None);
    assert!(
        notices[0].ends_with(
            "sending_queue.storage: accepted, without effect: without a queue a sender is \
                                  answered when the upstream has answered"
        ),
        "{notices:#?}"
    );
}

/// Two exporters share a storage, and a name behind the slash is one of its own.
#[test]
fn storages_are_shared_and_named() {
    let text = "\
receivers: {otlp: {protocols: {grpc: }}}
exporters:
  otlp: {endpoint: 'gw:4317', sending_queue: {storage: file_storage/a}}
  otlp_http: {endpoint: 'http://gw:4318', sending_queue: {storage: file_storage/a}}
  otlp/b: {endpoint: 'gw:4317', sending_queue: {storage: file_storage/b}}
extensions: {file_storage/a: {directory: /a}, file_storage/b: {directory: /b}}
service:
  extensions: [file_storage/a, file_storage/b]
  pipelines: {traces: {receivers: [otlp], exporters: [otlp, otlp_http, otlp/b]}}
";
    let (config, notices) = Fake::default().file("agent.yaml", text).load().unwrap();
    assert_eq!(lines(&notices), [] as [&str; 0]);
    let spills = config.exporters.iter().map(|exporter| exporter.kind.spill().unwrap());
    let named: Vec<_> =
        spills.map(|spill| (spill.storage.id.as_str(), spill.storage.directory.to_str().unwrap())).collect();
    assert_eq!(named, [("file_storage/a", "/a"), ("file_storage/a", "/a"), ("file_storage/b", "/b")]);
}

#[test]
fn queues_that_are_refused() {
    let (all, running) = ("{file_storage: , health_check: }", "[file_storage, health_check]");
    let table = [
        (
            "{storage: file_storag}",
            "storage",
            "\"file_storag\" is not defined in extensions; did you mean \"file_storage\"?",
        ),
        ("{storage: health_check}", "storage", "\"health_check\" is no storage; relayd has file_storage"),
        ("{storage: 7}", "storage", "expected a text, found a number; put it in quotes"),
        (
            "{spill_after: 1s}",
            "spill_after",
            "nothing is written without a storage; add storage: file_storage, or remove it",
        ),
        (
            "{acknowledge: when_safe}",
            "acknowledge",
            "nothing is written without a storage; add storage: file_storage, or remove it",
        ),
        (
            "{storage: file_storage, acknowledge: always}",
            "acknowledge",
            "expected one of when_safe, when_queued, found \"always\"",
        ),
        (
            "{storage: file_storage, acknowledge: when_queued, wait_for_result: true}",
            "acknowledge",
            "when_queued contradicts wait_for_result: true; remove one of them",
        ),
        (
            "{storage: file_storage, spill_after: 6s}",
            "spill_after",
            "at most 5s: senders wait that long for their answer, found 6s",
        ),
        (
            "{storage: file_storage, spill_afer: 6s}",
            "spill_afer",
            "unknown key; did you mean \"spill_after\"?",
        ),
    ];
    for (queue, key, what) in table {
        let expected = format!("agent.yaml:2: exporters.otlp.sending_queue.{key}: {what}");
        assert_eq!(errors_of(queue, all, running), [expected], "{queue}");
    }
    let does_not_run = "\"file_storage\" does not run; add it to service.extensions";
    assert_eq!(
        errors_of("{storage: file_storage}", all, "[health_check]"),
        [format!("agent.yaml:2: exporters.otlp.sending_queue.storage: {does_not_run}")]
    );
}

#[test]
fn storages_that_are_refused() {
    let table = [
        (
            "{max_size_mib: 63}",
            "max_size_mib",
            "expected at least 64 MiB, or 0 for no bound, found 66060288 bytes",
        ),
        ("{max_size: 1000}", "max_size", "expected at least 64 MiB, or 0 for no bound, found 1000 bytes"),
        (
            "{max_size: 268435456, max_size_mib: 256}",
            "max_size_mib",
            "max_size is given too; remove one of them",
        ),
        ("{max_size: -1}", "max_size", "expected a whole number from 0 up, found -1"),
        ("{max_age: 10ms}", "max_age", "expected 0s (for ever) or at least 1s, found 10ms"),
        ("{when_full: block}", "when_full", "expected one of refuse, drop_oldest, found \"block\""),
        ("{min_free_mib: some}", "min_free_mib", "expected a whole number from 0 up, found a text"),
        (
            "{directory_permissions: '0999'}",
            "directory_permissions",
            "expected octal permissions of a directory, as in \"0750\", found \"0999\"",
        ),
        (
            "{directory_permissions: '1777'}",
            "directory_permissions",
            "expected octal permissions of a directory, as in \"0750\", found \"1777\"",
        ),
        (
            "{directory_permissions: '0050'}",
            "directory_permissions",
            "relayd itself must be let in, as by \"0750\" or \"0700\", found \"0050\"",
        ),
        ("{timeout: soon}", "timeout", "expected a duration such as \"200ms\" or \"1m30s\", found \"soon\""),
        ("{compaction: {on_strat: 1}}", "compaction.on_strat", "unknown key; did you mean \"on_start\"?"),
        (
            "{dir: /x}",
            "dir",
            "unknown key; known here: directory, create_directory, directory_permissions, fsync, \
                              max_size_mib, max_size, max_age, when_full, min_free_mib, timeout, recreate, compaction",
        ),
    ];
    for (storage, key, what) in table {
        let extensions = format!("{{file_storage: {storage}}}");
        let expected = format!("agent.yaml:3: extensions.file_storage.{key}: {what}");
        assert_eq!(
            errors_of("{storage: file_storage}", &extensions, "[file_storage]"),
            [expected],
            "{storage}"
        );
    }
    let way_out = "what is not delivered goes to files here; use file_storage";
    assert_eq!(
        errors_of("{}", "{db_storage: }", "[]"),
        [format!(
            "agent.yaml:3: extensions.db_storage: the extension \"db_storage\" is not in this version: {way_out}"
        )]
    );
}

/// Guarantee: neither the tier's own queue nor one of its members' is taken for one that is on disk.
#[test]
fn a_tier_has_no_storage() {
    let text = "\
receivers: {otlp: {protocols: {grpc: }}}
exporters:
  load_balancing:
    protocol:
      otlp:
        tls: {insecure: true}
        sending_queue: {storage: file_storage}
    resolver: {static: {hostnames: [a, b]}}
    sending_queue:
      storage: file_storage
extensions: {file_storage: }
service: {extensions: [file_storage], pipelines: {traces: {receivers: [otlp], exporters: [load_balancing]}}}
";
    let what = "not supported: what waits for a tier is in memory in this version; remove it, or send to one gateway by otlp";
    assert_eq!(
        errors(Fake::default().file("agent.yaml", text).load()),
        [
            format!("agent.yaml:7: exporters.load_balancing.protocol.otlp.sending_queue.storage: {what}"),
            format!("agent.yaml:10: exporters.load_balancing.sending_queue.storage: {what}"),
        ]
    );
}

/// Guarantee: the page that is said to list every key does, with the default that a user gets.
#[test]
fn every_key_is_documented() {
    let page = include_str!("../../../../docs/configuration.md");
    let rows = [
        "| sending_queue.storage | none",
        "| **sending_queue.spill_after** | 100ms |",
        "| **sending_queue.acknowledge** | when_safe |",
        "| directory | /var/lib/otelcol/file_storage |",
        "| create_directory | false |",
        "| directory_permissions | \"0750\" |",
        "| fsync | **true** |",
        "| **max_size_mib** | 1024 |",
        "| max_size | |",
        "| **max_age** | 0s",
        "| **when_full** | refuse |",
        "| **min_free_mib** | 128 |",
        "| timeout, compaction, recreate | |",
    ];
    for row in rows {
        assert!(page.contains(row), "no row {row:?}");
    }
    let known = &errors_of("{storage: file_storage}", "{file_storage: {dir: /x}}", "[file_storage]")[0];
    let (_, known) = known.split_once("known here: ").unwrap();
    for key in known.split(", ") {
        let names_it =
            |row: &&str| row.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == key);
        assert!(rows.iter().any(names_it), "{key} has no row");
    }
}
