//! Memory of the process at an upstream that has stalled, against the configured bound.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use testkit::generate::kube_like_bytes;
use testkit::raw::{RawClient, RawRequest, grpc_message};

use crate::daemon::{Relayd, http};

/// Soft limit: 32 MiB less a fifth.
const BOUND_MIB: u64 = 25;

/// Complete requests and bodies that wait, besides (`WAITING_BYTES_MAX`).
const WAITING_MIB: u64 = 8;

fn resident_kib(relayd: &Relayd) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", relayd.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Scenario: an upstream that accepts and reads nothing; 64 connections with 4 calls at a time, of 1 MiB each, for 4 seconds. Guarantee:
/// what is held stays below the soft limit of `memory_limiter`, and the process grows by no more than that, what may wait,
/// and some MiB for its connections and for what the allocator keeps.
#[test]
fn memory_stays_near_the_bound_at_a_stalled_upstream() {
    let stalled = TcpListener::bind("127.0.0.1:0").unwrap();
    let yaml = format!(
        "{{receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:0'}}}}}}}}, \
         processors: {{memory_limiter: {{check_interval: 1s, limit_mib: 32}}, batch: {{timeout: 10ms}}}}, \
         exporters: {{otlp: {{endpoint: '{}', tls: {{insecure: true}}, compression: none}}}}, \
         service: {{pipelines: {{traces: {{receivers: [otlp], processors: [memory_limiter, batch], exporters: [otlp]}}}}, \
         telemetry: {{metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: 0}}}}}}}}]}}}}}}}}",
        stalled.local_addr().unwrap()
    );
    let relayd = Relayd::with_config(&yaml, &["--shutdown-timeout=100ms"]);
    let (receiver, metrics) = (relayd.address_of("receiver otlp"), relayd.address_of("metrics"));
    let idle = resident_kib(&relayd);
    let message = grpc_message(&kube_like_bytes(2600, 1));
    assert!(message.len() > 900 << 10, "{}", message.len());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let mut tasks = Vec::new();
        for _ in 0..64 {
            let client = Arc::new(RawClient::connect(receiver.parse().unwrap()).await.unwrap());
            for _ in 0..4 {
                let (client, message) = (Arc::clone(&client), message.clone());
                tasks.push(tokio::task::spawn_local(async move {
                    while client.send(RawRequest::export(vec![message.clone()])).await.is_ok() {}
                }));
            }
        }
        tokio::time::sleep(Duration::from_secs(4)).await;
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
    });
    let most = resident_kib(&relayd);
    let (_, page) = http(&metrics, "GET", "/metrics");
    let held = page.lines().find(|line| line.starts_with("relayd_held_bytes"));
    println!("{idle} KiB idle, {most} KiB at most; {held:?}");
    let held: f64 = held.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap();
    assert!(held > 0.0 && held <= 25.6 * 1024.0 * 1024.0, "{held} bytes held");
    // What is free inside the allocator's pages counts as resident, and differs from run to run.
    assert!(most - idle <= (BOUND_MIB + WAITING_MIB + 32) << 10, "{idle} KiB idle, {most} KiB at most");
}
