//! Socket activation and the service manager's notifications, without systemd: a shell, or the standard streams, pass descriptors.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Stdio};

use testkit::collector::{Collector, Script};

use crate::daemon::{Dir, PATIENCE, Relayd};
use crate::{config, send_spans};

/// Scenario: a shell passes one listener as descriptor 3, as systemd does; relayd ends, and another one gets the same listener.
/// Guarantee: it is used instead of the configured address; who connects in between waits and is served.
#[test]
fn a_passed_listener_is_used_and_outlives_the_process() {
    let collector = Collector::start(Script::ok());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let yaml = format!("--config=yaml:{}", config(&collector.addr().to_string(), ""));
    let start = || {
        let passed = listener.try_clone().unwrap();
        let mut command = Command::new("sh");
        let script = "exec 3<&0 </dev/null; LISTEN_PID=$$; export LISTEN_PID; exec \"$0\" \"$@\"";
        command.args(["-c", script, env!("CARGO_BIN_EXE_relayd"), &yaml]);
        command
            .env("LISTEN_FDS", "1")
            .env("LISTEN_FDNAMES", "otlp")
            .stdin(Stdio::from(OwnedFd::from(passed)));
        Relayd::spawn(command)
    };
    let mut first = start();
    assert_eq!(first.address_of("receiver otlp"), address);
    send_spans(&address, 10, 1);
    first.signal("-TERM");
    assert_eq!(first.wait().0.code(), Some(0));
    let sender = std::thread::spawn({
        let address = address.clone();
        move || send_spans(&address, 20, 2)
    });
    let mut second = start();
    sender.join().unwrap();
    second.signal("-TERM");
    assert_eq!(second.wait().0.code(), Some(0));
    assert_eq!(collector.wait_for_spans(30, PATIENCE), 30);
}

/// Scenario: a unix listener and a TCP listener are passed. Guarantee: the one on a receiver's address is for that receiver; one
/// that is for nobody is an error that names it.
#[test]
fn listeners_are_matched_by_address_and_strays_are_named() {
    let collector = Collector::start(Script::ok());
    let dir = Dir::new("activation");
    let path = dir.path("otlp.sock");
    let unix = UnixListener::bind(&path).unwrap();
    let yaml = config(&collector.addr().to_string(), "").replacen(
        "endpoint: '127.0.0.1:0'",
        &format!("endpoint: 'unix://{}'", path.display()),
        1,
    );
    let start = |fds: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_relayd"));
        command.arg(format!("--config=yaml:{yaml}"));
        command.env("LISTEN_FDS", fds).env("LISTEN_FDS_FIRST_FD", "0").env("LISTEN_FDNAMES", "a:stray");
        command.stdin(Stdio::from(OwnedFd::from(unix.try_clone().unwrap())));
        command
    };
    let mut relayd = Relayd::spawn(start("1"));
    relayd.stderr.wait_for(&format!("receiver otlp listening on unix:{}", path.display()));
    relayd.signal("-TERM");
    assert_eq!(relayd.wait().0.code(), Some(0));
    assert!(path.exists(), "it belongs to whoever made it");

    let stray = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = stray.local_addr().unwrap();
    let output = start("2").stdout(Stdio::from(OwnedFd::from(stray))).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("the listener \"stray\" on {address} is for no receiver")), "{said}");

    let mut file = Command::new(env!("CARGO_BIN_EXE_relayd"));
    file.env("LISTEN_FDS", "1").env("LISTEN_FDS_FIRST_FD", "0").stdin(Stdio::null());
    let output = file.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("socket activation: listener 1: "), "{said}");
    assert_eq!(output.status.code(), Some(1));
}

/// The service manager hears READY when connections are accepted, RELOADING and READY around a reload, STOPPING at the end.
#[test]
fn the_service_manager_is_told() {
    let collector = Collector::start(Script::ok());
    let dir = Dir::new("notify");
    let manager = UnixDatagram::bind(dir.path("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let hear = || {
        let mut buffer = [0; 256];
        let read = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..read].to_vec()).unwrap()
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_relayd"));
    command.arg(format!("--config=yaml:{}", config(&collector.addr().to_string(), "")));
    let mut relayd = Relayd::spawn({
        command.env("NOTIFY_SOCKET", dir.path("notify")).stdin(Stdio::null());
        command
    });
    assert_eq!(hear(), "READY=1\n");
    relayd.signal("-HUP");
    let reloading = hear();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(hear(), "READY=1\n");
    relayd.signal("-TERM");
    assert_eq!(hear(), "STOPPING=1\n");
    assert_eq!(relayd.wait().0.code(), Some(0));
}
