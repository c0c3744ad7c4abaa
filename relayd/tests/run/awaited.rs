//! `relayd send --wait-for`, against a Jaeger that this test makes up: what it is asked for, and what it answers over time.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use testkit::collector::{Collector, Script};

use crate::closed_port;

/// Answers each request with the next of `answers` (status and number of spans), the last one again and again; the paths that it
/// was asked for.
fn jaeger(answers: &'static [(&'static str, usize)]) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let paths = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let path = lines.next().unwrap_or_default().split(' ').nth(1).unwrap_or_default().to_owned();
            lines.find(String::is_empty);
            let number = paths.lock().unwrap().len();
            paths.lock().unwrap().push(path);
            let (status, spans) = answers.get(number).or_else(|| answers.last()).copied().unwrap();
            let spans: Vec<String> = (0..spans).map(|id| format!("{{\"spanId\":\"{id:016x}\"}}")).collect();
            let body = format!(
                "{{\"result\":{{\"resourceSpans\":[{{\"scopeSpans\":[{{\"spans\":[{}]}}]}}]}}}}",
                spans.join(",")
            );
            let length = body.len();
            let mut stream = stream;
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}").ok();
        }
    });
    (address, asked)
}

fn send(to: &str, url: &str, timeout: &str) -> (Output, String, String) {
    let args = ["send", "--traces=1", "--endpoint", to, "--wait-for", url, "--wait-timeout", timeout];
    let output = Command::new(env!("CARGO_BIN_EXE_relayd")).args(args).output().unwrap();
    let [said, wrong] = [&output.stdout, &output.stderr].map(|text| String::from_utf8(text.clone()).unwrap());
    (output, said, wrong)
}

/// Scenario: Jaeger does not know the trace at first, then a part of it, then all. Guarantee: it is asked until it has all, under
/// its base path, and the page is printed.
#[test]
fn send_waits_until_jaeger_has_every_span() {
    let collector = Collector::start(Script::ok());
    let (address, asked) = jaeger(&[("404 Not Found", 0), ("200 OK", 4), ("200 OK", 9)]);
    let (output, said, wrong) = send(&collector.addr().to_string(), &format!("http://{address}/ui/"), "20s");
    assert!(output.status.success(), "{said}{wrong}");
    let id = &said.strip_prefix("sent trace ").unwrap()[..32];
    assert!(said.ends_with(&format!("\nhttp://{address}/ui/trace/{id}\n")), "{said}");
    assert_eq!(*asked.lock().unwrap(), vec![format!("/ui/api/v3/traces/{id}"); 3]);
}

/// Guarantee: what is missing when the time is over is said, for each trace, and so is why; the exit code is 1.
#[test]
fn send_says_what_jaeger_does_not_have() {
    let collector = Collector::start(Script::ok());
    let to = collector.addr().to_string();
    let (address, _) = jaeger(&[("200 OK", 8)]);
    let (output, said, wrong) = send(&to, &format!("http://{address}"), "700ms");
    assert_eq!(output.status.code(), Some(1));
    assert!(!said.contains("/trace/"), "{said}");
    assert!(wrong.contains(&format!("is not in {address} after 700ms: 8 of 9 spans are there\n")), "{wrong}");

    let nobody = closed_port();
    let (output, _, wrong) = send(&to, &format!("http://{nobody}"), "600ms");
    assert_eq!(output.status.code(), Some(1));
    assert!(wrong.contains("none of 9 spans is there: Connection refused"), "{wrong}");
}
