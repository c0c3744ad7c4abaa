//! Durations, addresses and the size of memory.

use std::time::Duration;

use super::super::duration;
use super::super::endpoint::{Scheme, parse_listen, parse_listen_any, parse_upstream};
use super::super::memory::total_bytes;
use super::super::secret::Secret;
use super::super::section::nearest;
use super::super::url::{parse_proxy, parse_url};
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
    for (text, address, scheme) in [
        ("gw:4317", "gw:4317", None),
        ("http://gw:4317", "gw:4317", Some(Scheme::Http)),
        ("https://gw:4317", "gw:4317", Some(Scheme::Https)),
        ("dns:///gw:4317", "gw:4317", None),
        ("dns:gw:4317", "gw:4317", None),
        ("dns://gw:4317", "gw:4317", None),
        ("passthrough:///10.0.0.1:4317", "10.0.0.1:4317", None),
        ("[::1]:4317", "[::1]:4317", None),
        ("dns://10.0.0.10/gw:4317", "dns://10.0.0.10:53/gw:4317", None),
        ("ipv4:10.0.0.1:4317,10.0.0.2:4317", "ipv4:10.0.0.1:4317,10.0.0.2:4317", None),
        ("ipv6:[fd00::1]:4317", "ipv6:[fd00::1]:4317", None),
        ("unix:///run/x.sock", "unix:/run/x.sock", None),
        ("unix:x.sock", "unix:x.sock", None),
        ("unix-abstract:x", "unix-abstract:x", None),
    ] {
        let (parsed, found) = parse_upstream(text).unwrap();
        assert_eq!((parsed.to_string().as_str(), found), (address, scheme), "{text}");
    }
    let long = format!("unix:/{}", "x".repeat(107));
    for text in [
        "gw",
        "http://gw",
        "https://gw",
        "http://gw:1/path",
        "ftp://gw:1",
        ":1",
        "gw:0",
        "unix:",
        "unix://",
        "unix://x",
        "unix-abstract:",
        &long,
    ] {
        parse_upstream(text).unwrap_err();
    }
}

/// `unix:` is a socket everywhere; a bare path or `@name` only where `transport: unix` says so.
#[test]
fn listening_on_unix_sockets() {
    for (text, unix, address) in [
        ("unix:///run/x.sock", false, "unix:/run/x.sock"),
        ("unix:/run/x.sock", true, "unix:/run/x.sock"),
        ("unix-abstract:x", false, "unix-abstract:x"),
        ("/run/x.sock", true, "unix:/run/x.sock"),
        ("x.sock", true, "unix:x.sock"),
        ("@x", true, "unix-abstract:x"),
        ("0.0.0.0:4317", false, "0.0.0.0:4317"),
    ] {
        assert_eq!(parse_listen_any(text, unix).unwrap().to_string(), address, "{text}");
    }
    for (text, unix) in [("/run/x.sock", false), ("@x", false), ("@", true), ("", true)] {
        parse_listen_any(text, unix).unwrap_err();
    }
}

#[test]
fn urls() {
    for (text, shown, authority, port) in [
        ("http://gw", "http://gw/", "gw", 80),
        ("HTTPS://gw/", "https://gw/", "gw", 443),
        ("https://gw:443/a", "https://gw/a", "gw", 443),
        ("http://gw:4318/otlp/?x=1", "http://gw:4318/otlp/?x=1", "gw:4318", 4318),
        ("http://[::1]:4318", "http://[::1]:4318/", "[::1]:4318", 4318),
        ("http://[::1]", "http://[::1]/", "[::1]", 80),
        ("http://gw?x", "http://gw/?x", "gw", 80),
    ] {
        let url = parse_url(text).unwrap();
        assert_eq!((url.to_string().as_str(), url.authority().as_str()), (shown, authority), "{text}");
        assert_eq!(url.address.port, port, "{text}");
    }
    for text in [
        "",
        "gw:4318",
        "unix:///x",
        "http://",
        "http:///x",
        "http://gw:0",
        "http://gw:x",
        "http://g w/",
        "http://gw/a b",
        "http://gw/#x",
        "http://u:p@gw/",
    ] {
        parse_url(text).unwrap_err();
    }
}

/// Guarantee: a password in a URL is used, and never shown.
#[test]
fn proxies() {
    let proxy = parse_proxy("http://us%65r:p%40ss@proxy:3128/").unwrap();
    assert_eq!((proxy.tls, proxy.address.to_string().as_str()), (false, "proxy:3128"));
    assert_eq!(proxy.credentials.as_ref().map(Secret::reveal), Some("user:p@ss"));
    assert!(!format!("{proxy:?}").contains("p@ss"));
    assert_eq!(parse_proxy("https://me@proxy").unwrap().credentials.unwrap().reveal(), "me:");
    assert_eq!(parse_proxy("https://proxy").unwrap().address.port, 443);
    for text in [
        "proxy:3128",
        "socks5://proxy:1",
        "http://s3cret:s3cret%@proxy",
        "http://s3cret%0a@proxy",
        "http://s3cret@proxy/x",
        "http://s3cret@:1",
    ] {
        assert!(!parse_proxy(text).unwrap_err().contains("s3cret"), "{text}");
    }
}

/// Guarantee: an address that is refused does not show the password that was put into it.
#[test]
fn refused_addresses_hide_passwords() {
    for text in ["http://me:s3cret@gw:4318", "http://me:s3cret/x@gw:4318", "http://me:s3cret?x@gw:4318"] {
        let what = parse_url(text).unwrap_err();
        assert!(!what.contains("s3cret"), "{text}: {what}");
    }
    for text in ["http://me:s3cret@gw:4317", "me:s3cret@gw:4317"] {
        let what = parse_upstream(text).unwrap_err();
        assert!(!what.contains("s3cret"), "{text}: {what}");
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
