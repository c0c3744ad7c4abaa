//! What is there: `ls` and `stat`.

use std::fs;

use relay_core::otlp::Signal;
use serde_json::Value;
use testkit::generate::kube_like_bytes;

use crate::written::{NOW, Storage, record};
use crate::{spool, spool_ok};

/// Rows of cells, the head left out.
fn rows(out: &str) -> Vec<Vec<&str>> {
    out.lines().skip(1).map(|line| line.split_whitespace().collect()).collect()
}

fn lines(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Scenario: a log whose process has closed it, with one of two records delivered; one that a process writes to; one whose process was
/// killed. Guarantee: each segment is a line that says so, in the table and as JSON.
#[test]
fn ls_says_what_each_segment_holds() {
    let storage = Storage::new();
    let batch = |spans, seed| record(Signal::Traces, &[(kube_like_bytes(spans, seed), spans as u64)]);
    let mut closed = storage.log("otlp/a", Signal::Traces, 1);
    let ids = closed.append(&[batch(3, 1), batch(4, 2)], NOW).unwrap();
    closed.settle(ids[0]);
    closed.close(NOW + 10).unwrap();
    let mut live = storage.log("otlp", Signal::Traces, 2);
    live.append(&[batch(5, 3)], NOW + 1).unwrap();
    let mut killed = storage.log("otlp", Signal::Metrics, 3);
    killed.append(&[record(Signal::Metrics, &[(kube_like_bytes(1, 1), 9)])], NOW + 2).unwrap();
    drop(killed);

    let out = spool_ok(&["ls"], storage.path());
    let rows = rows(&out);
    let bytes: Vec<_> =
        storage.segments().iter().map(|path| fs::metadata(path).unwrap().len().to_string()).collect();
    let cells = |row: usize| -> Vec<&str> {
        // The names of process and segment are those on disk.
        assert!(
            storage
                .path()
                .join(["otlp%2Fa_traces", "otlp_metrics", "otlp_traces"][row])
                .join(rows[row][2])
                .join(rows[row][4])
                .is_file(),
            "{out}"
        );
        [&rows[row][..2], &rows[row][3..4], &rows[row][5..]].concat()
    };
    let oldest = "2023-11-14T22:13:19.623Z";
    assert_eq!(
        cells(0),
        ["otlp/a", "traces", "no", &bytes[0], "2", "1", "7", "0", oldest, "sealed"],
        "{out}"
    );
    assert_eq!(cells(1), ["otlp", "metrics", "no", &bytes[1], "1", "0", "9", "0", oldest, "ended"], "{out}");
    assert_eq!(cells(2), ["otlp", "traces", "yes", &bytes[2], "1", "0", "5", "0", oldest, "active"], "{out}");
    assert_eq!(rows.len(), 3);

    let json = lines(&spool_ok(&["ls", "--json"], storage.path()));
    assert_eq!(json.len(), 3);
    assert_eq!((&json[0]["exporter"], &json[0]["data_type"]), (&"otlp/a".into(), &"traces".into()));
    assert_eq!((&json[0]["held"], &json[2]["held"]), (&false.into(), &true.into()));
    assert_eq!(
        (&json[0]["records"], &json[0]["settled"], &json[0]["items"]),
        (&2.into(), &1.into(), &7.into())
    );
    assert_eq!(json[0]["oldest_unix_ms"], NOW - 500);
    assert_eq!(json[2]["path"], storage.segments()[2].to_str().unwrap());

    let stat = spool_ok(&["stat"], storage.path());
    let blocks: Vec<_> = stat.split("\n\n").collect();
    assert_eq!(blocks.len(), 3, "{stat}");
    for expected in [
        "otlp/a traces\n",
        "processes  1 (0 of them live)",
        "segments   1 (1 sealed)",
        "records    2: 1 waiting, 1 settled",
        "items      7 spans, in all records",
        "oldest     2023-11-14T22:13:19.623Z (",
    ] {
        assert!(blocks[0].contains(expected), "{expected}: {stat}");
    }
    assert!(blocks[1].contains("items      9 data points"), "{stat}");
    assert!(blocks[2].contains("processes  1 (1 of them live)"), "{stat}");
    let stat = lines(&spool_ok(&["stat", "--json"], storage.path()));
    assert_eq!(
        (&stat[0]["records"], &stat[0]["settled"], &stat[0]["states"]["sealed"]),
        (&2.into(), &1.into(), &1.into())
    );
}

/// Scenario: a directory of a process that has ended is taken over by another one, while `ls` is run again and again. Guarantee: the locks
/// that `ls` looks at keep nobody from taking over, and afterwards the segments are those of the other process.
#[test]
fn looking_keeps_nobody_from_taking_over() {
    let storage = Storage::new();
    let batch = record(Signal::Logs, &[(kube_like_bytes(1, 1), 2)]);
    let mut dead = storage.log("otlp", Signal::Logs, 1);
    dead.append(std::slice::from_ref(&batch), NOW).unwrap();
    drop(dead);
    assert_eq!(rows(&spool_ok(&["ls"], storage.path()))[0][3], "no");
    let mut heir = storage.log("otlp", Signal::Logs, 2);
    let adopted = std::thread::scope(|scope| {
        let looking = scope.spawn(|| (0..10).for_each(|_| drop(spool(&["ls"], storage.path()))));
        let mut now = NOW + 1;
        // As relayd does: it tries again while it has seen that somebody holds a directory.
        let mut adopted = heir.adopt(now).unwrap();
        while adopted.still_locked > 0 {
            now += 2000;
            std::thread::sleep(std::time::Duration::from_millis(20));
            adopted = heir.adopt(now).unwrap();
        }
        looking.join().unwrap();
        adopted
    });
    assert_eq!(adopted.segments, 1);
    heir.append(&[batch], NOW + 5000).unwrap();
    let out = spool_ok(&["ls"], storage.path());
    let states: Vec<_> = rows(&out).iter().map(|row| (row[3], row[11])).collect();
    assert_eq!(states, [("yes", "ended"), ("yes", "active")], "{out}");
}
