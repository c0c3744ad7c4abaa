//! Durations, addresses and the size of memory.

use std::time::Duration;

use super::super::duration;
use super::super::endpoint::{parse_listen, parse_upstream};
use super::super::memory::total_bytes;
use super::super::section::nearest;
use super::Fake;

#[test]
fn durations_are_gos() {
    let table = [
        ("200ms", 200_000_000),
        ("1m30s", 90_000_000_000),
        ("0", 0),
        ("0s", 0),
        ("+5s", 5_000_000_000),
        ("1.5h", 5_400_000_000_000),
        ("1h0m1s", 3_601_000_000_000),
        ("10us", 10_000),
        ("10µs", 10_000),
        ("7ns", 7),
        (".5s", 500_000_000),
    ];
    for (text, nanos) in table {
        assert_eq!(duration::parse(text), Ok(Duration::from_nanos(nanos)), "{text}");
    }
    for text in ["", "+", "5", "s", "1d", "1 s", "1s ", "ms", "1..5s", "1s-1s", "-1s", "9999999999h", "é"] {
        duration::parse(text).unwrap_err();
    }
}

#[test]
fn listen_addresses() {
    for text in
        ["0.0.0.0:4317", "localhost:4317", ":4317", "[::]:4317", "[fe80::1%eth0]:1", "my-node.local:0"]
    {
        assert_eq!(parse_listen(text).unwrap().to_string(), text);
    }
    for text in [
        "",
        "a",
        "a:",
        "a:-1",
        "a:+1x",
        "a b:1",
        "[::1:1",
        "[x]:1",
        "a:1:2",
        "http://a:1",
        "unix:/x",
        "a/b:1",
    ] {
        parse_listen(text).unwrap_err();
    }
}

#[test]
fn upstream_addresses() {
    for (text, address, plaintext) in [
        ("gw:4317", "gw:4317", false),
        ("http://gw:4317", "gw:4317", true),
        ("dns:///gw:4317", "gw:4317", false),
        ("dns:gw:4317", "gw:4317", false),
        ("dns://gw:4317", "gw:4317", false),
        ("passthrough:///10.0.0.1:4317", "10.0.0.1:4317", false),
        ("[::1]:4317", "[::1]:4317", false),
    ] {
        let (parsed, plain) = parse_upstream(text).unwrap();
        assert_eq!((parsed.to_string().as_str(), plain), (address, plaintext), "{text}");
    }
    for text in
        ["gw", "http://gw", "http://gw:1/path", "ftp://gw:1", "https://gw:1", "unix:///x", ":1", "gw:0"]
    {
        parse_upstream(text).unwrap_err();
    }
}

#[test]
fn memory_is_the_smallest_limit() {
    let machine = || Fake::default().file("/proc/meminfo", "MemFree: 1 kB\nMemTotal:  1000 kB\n");
    assert_eq!(total_bytes(&Fake::default()), None);
    assert_eq!(total_bytes(&machine()), Some(1_024_000));
    assert_eq!(total_bytes(&machine().file("/sys/fs/cgroup/memory.max", "max\n")), Some(1_024_000));
    assert_eq!(total_bytes(&machine().file("/sys/fs/cgroup/memory.max", "4096\n")), Some(4096));
    let v1 = machine().file("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    assert_eq!(total_bytes(&v1), Some(1_024_000));
    let nested = machine()
        .file("/proc/self/cgroup", "0::/kubepods/pod1/c1\n")
        .file("/sys/fs/cgroup/kubepods/pod1/c1/memory.max", "max\n")
        .file("/sys/fs/cgroup/kubepods/pod1/memory.max", "8192\n");
    assert_eq!(total_bytes(&nested), Some(8192));
    let nested_v1 = machine()
        .file("/proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/docker/c1\n")
        .file("/sys/fs/cgroup/memory/docker/c1/memory.limit_in_bytes", "16384\n");
    assert_eq!(total_bytes(&nested_v1), Some(16384));
}

#[test]
fn nearest_is_alike_or_nothing() {
    assert_eq!(nearest("endpont", &["timeout", "endpoint"]), Some("endpoint"));
    assert_eq!(
        nearest("max_recv_msg_size", &["max_concurrent_streams", "max_recv_msg_size_mib"]),
        Some("max_recv_msg_size_mib")
    );
    assert_eq!(nearest("compression", &["timeout", "endpoint"]), None);
    assert_eq!(nearest("", &[]), None);
}
