//! What depends on how the system was set up: endpoints, headers from the environment, several destinations, shutdown.

use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;

use super::exporter_content::one_arrival;
use crate::collector::Signal;
use crate::conformance::payload;
use crate::conformance::upstream::{Answer, Protocol, wait_until};
use crate::conformance::verdict::{Seen, demand, fail, skip};
use crate::conformance::world::{THROUGH, World};

/// Whether a process runs: not gone, and no zombie that its parent has not asked about (proc_pid_stat(5)).
fn is_running(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state follows the name, which may hold anything, in parentheses.
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

pub(super) async fn x17_shutdown(world: &World) -> Seen {
    const HELD: Duration = Duration::from_secs(3);
    const END_TIME_MAX: Duration = Duration::from_secs(12);
    let Some(pid) = world.features().pid else { return skip("--has pid is not given") };
    let upstream = world.any_upstream()?;
    let Some(process) = rustix::process::Pid::from_raw(pid).filter(|_| is_running(pid)) else {
        return fail(format!("process {pid} does not run"));
    };
    let (in_flight, behind) = (world.mark("X17"), world.mark("X17"));
    upstream.script(&in_flight, Vec::new(), Answer::AcceptAfter(HELD));
    world.feed(&in_flight, 1).await?;
    let arrived = upstream.wait(&in_flight, 1, THROUGH).await;
    let Some(first) = arrived.first() else { return fail("the data never came") };
    world.feed(&behind, 1).await?;
    rustix::process::kill_process(process, rustix::process::Signal::TERM)
        .map_err(|error| crate::conformance::verdict::Miss::Fail(format!("cannot signal {pid}: {error}")))?;
    let told = Instant::now();
    tokio::time::sleep(
        (first.at + HELD)
            .saturating_duration_since(Instant::now())
            .saturating_sub(Duration::from_millis(200)),
    )
    .await;
    demand(is_running(pid), || {
        format!("gone before the answer that it had to wait for: within {} ms", told.elapsed().as_millis())
    })?;
    wait_until(END_TIME_MAX, || !is_running(pid)).await;
    demand(!is_running(pid), || format!("still runs {} s after SIGTERM", told.elapsed().as_secs()))?;
    demand(!upstream.with_mark(&behind).is_empty(), || {
        "what was accepted before SIGTERM is lost".to_owned()
    })?;
    let times = upstream.with_mark(&in_flight).len();
    Ok(format!(
        "waited for the answer and ended {} ms after SIGTERM; what was accepted before arrived, the held request {times} time(s)",
        told.elapsed().as_millis()
    ))
}

pub(super) async fn x19_destinations(world: &World) -> Seen {
    const REQUESTS: usize = 12;
    let healthy = world.upstream_of(Protocol::Grpc)?;
    let dead = world.upstream_of(Protocol::Http)?;
    dead.stop();
    let marks = world.mark_start("X19");
    let began = Instant::now();
    for _ in 0..REQUESTS {
        world.feed(&world.mark("X19"), 1).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let arrived = healthy.wait_distinct(&marks, REQUESTS, Duration::from_secs(3)).await;
    let took = began.elapsed();
    demand(arrived == REQUESTS, || {
        format!("HTTP is down: {arrived} of {REQUESTS} requests at gRPC after {} ms", took.as_millis())
    })?;
    dead.restart();
    let later = dead.wait_distinct(&marks, REQUESTS, Duration::from_secs(11)).await;
    demand(later == REQUESTS, || format!("HTTP is back: {later} of {REQUESTS} requests there within 11 s"))?;
    Ok(format!(
        "HTTP down: all {REQUESTS} requests at gRPC after {} ms; HTTP back: all there. That queues share data cannot be seen from outside",
        took.as_millis()
    ))
}

pub(super) async fn x22_urls(world: &World) -> Seen {
    let upstream = world.upstream_of(Protocol::Http)?;
    if !world.features().signal_urls {
        return skip("--has signal-urls is not given");
    }
    let expected = [
        (Signal::Traces, "POST /base/v1/traces"),
        (Signal::Metrics, "POST /"),
        (Signal::Logs, "POST /custom/logs"),
    ];
    for (signal, target) in expected {
        let mark = world.mark("X22");
        let response = world.export(signal.grpc_path(), &payload::one(signal, &mark, world.number())).await?;
        demand(response.grpc_status() == Some(0), || {
            format!("{}: {:?}", signal.name(), response.grpc_status())
        })?;
        let arrived = upstream.wait(&mark, 1, THROUGH).await;
        let found = arrived.first().map_or("nothing", |arrival| arrival.target.as_str());
        demand(found == target, || format!("{}: {found} instead of {target}", signal.name()))?;
    }
    Ok("base/v1/traces; a metrics URL without path: /; a logs URL as it is".to_owned())
}

pub(super) async fn x23_schemes(world: &World) -> Seen {
    let upstream = world.upstream_of(Protocol::Grpc)?;
    let Some(addr) = world.upstream_tls.filter(|_| world.features().schemes) else {
        return skip("--has schemes or --upstream-tls is not given");
    };
    let listener = crate::listener::listen(addr).await;
    let listener =
        listener.map_err(|error| crate::conformance::verdict::Miss::Fail(format!("{addr}: {error}")))?;
    let sniff = async {
        let (mut stream, _) = listener.accept().await.ok()?;
        let mut first = [0; 3];
        stream.read_exact(&mut first).await.ok()?;
        Some(first)
    };
    let (plain, first) = tokio::join!(
        one_arrival(world, upstream, "X23"),
        tokio::time::timeout(Duration::from_secs(12), sniff)
    );
    // A TLS record of a handshake, version 3.x (RFC 8446 section 5.1).
    match first.ok().flatten() {
        Some([0x16, 0x03, _]) => {}
        Some(first) => {
            return fail(format!("https with insecure: true begins with {first:02x?}, which is no TLS"));
        }
        None => return fail("https with insecure: true: no connection within 12 s"),
    }
    match plain {
        Ok(_) => Ok("http with insecure: false is plain, https with insecure: true is TLS".to_owned()),
        Err(_) => fail("https with insecure: true is TLS; http with insecure: false does not come in plain"),
    }
}

pub(super) async fn x26_headers(world: &World) -> Seen {
    if !world.features().env_headers {
        return skip("--has env-headers is not given");
    }
    let arrival = one_arrival(world, world.any_upstream()?, "X26").await?;
    for (name, value) in [("conformance-one", "1"), ("conformance-two", "a,b c")] {
        let found = arrival.header(name);
        demand(found == Some(value), || format!("{name} is {found:?} instead of {value:?}"))?;
    }
    Ok("both came, the second one decoded".to_owned())
}
