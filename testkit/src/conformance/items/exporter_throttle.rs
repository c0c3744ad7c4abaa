//! When an exporter tries again: as told, or after a delay that grows and is never the same.

use std::time::Duration;

use crate::conformance::upstream::{Answer, Arrival, Protocol, Upstream};
use crate::conformance::verdict::{Miss, Seen, demand, fail};
use crate::conformance::world::{APART, World, at_each};

/// What the upstream asks for: longer than any first retry delay.
const ASKED: Duration = Duration::from_secs(3);
/// Clocks and timers of two programs.
const TOLERANCE: Duration = Duration::from_millis(20);
/// How long after what was asked for a retry may come.
const LATE_MAX: Duration = Duration::from_secs(9);

/// The times between arrivals.
pub(super) fn gaps(arrivals: &[Arrival]) -> Vec<Duration> {
    arrivals.windows(2).map(|pair| pair[1].at - pair[0].at).collect()
}

/// Feeds a request that is throttled once: how long the exporter waited.
async fn waited(world: &World, upstream: &Upstream, item: &str, throttle: Answer) -> Result<Duration, Miss> {
    let mark = world.mark(item);
    upstream.script(&mark, vec![throttle], Answer::Accept);
    world.feed(&mark, 1).await?;
    let arrivals = upstream.wait(&mark, 2, ASKED + LATE_MAX).await;
    match gaps(&arrivals).first() {
        Some(gap) => Ok(*gap),
        None if arrivals.is_empty() => fail("the data never came"),
        None => fail(format!("not sent again within {} s", (ASKED + LATE_MAX).as_secs())),
    }
}

fn long_enough(what: &str, gap: Duration) -> Seen {
    demand(gap + TOLERANCE >= ASKED, || {
        format!("{what}: asked to wait {} ms, came again after {}", ASKED.as_millis(), gap.as_millis())
    })?;
    Ok(format!("{what}: asked for {} ms, waited {}", ASKED.as_millis(), gap.as_millis()))
}

pub(super) async fn x06_retry_delay(world: &World) -> Seen {
    let upstream = world.upstream_of(Protocol::Grpc)?;
    long_enough("RetryInfo", waited(world, upstream, "X06", Answer::Busy(Some(ASKED))).await?)
}

pub(super) async fn x11_retry_after(world: &World) -> Seen {
    let upstream = world.upstream_of(Protocol::Http)?;
    let by_date = async {
        tokio::time::sleep(APART).await;
        waited(world, upstream, "X11", Answer::BusyUntil(ASKED)).await
    };
    let (by_seconds, by_date) =
        tokio::join!(waited(world, upstream, "X11", Answer::Busy(Some(ASKED))), by_date);
    let seconds = long_enough("seconds", by_seconds?)?;
    Ok(format!("{seconds}; {}", long_enough("date", by_date?)?))
}

pub(super) async fn x07_backoff(world: &World) -> Seen {
    at_each(world, async |upstream| {
        const REFUSALS: usize = 4;
        let marks: Vec<String> = (0..5).map(|_| world.mark("X07")).collect();
        for mark in &marks {
            upstream.script(mark, vec![Answer::Busy(None); REFUSALS], Answer::Accept);
            world.feed(mark, 1).await?;
            tokio::time::sleep(APART).await;
        }
        let mut all = Vec::new();
        for mark in &marks {
            let gaps = gaps(&upstream.wait(mark, REFUSALS + 1, Duration::from_secs(12)).await);
            demand(gaps.len() >= REFUSALS, || format!("{} of {REFUSALS} retries within 12 s", gaps.len()))?;
            all.push(gaps.into_iter().map(|gap| gap.as_secs_f64() * 1_000.0).collect::<Vec<_>>());
        }
        judge_backoff(&all)
    })
    .await
}

/// Judges the gaps of several requests, in milliseconds: on average they grow, and the first ones differ between requests.
fn judge_backoff(all: &[Vec<f64>]) -> Seen {
    let nth = |at: usize| all.iter().filter_map(move |gaps| gaps.get(at).copied());
    let mean = |at: usize| nth(at).sum::<f64>() / all.len() as f64;
    let last = all.first().map_or(0, |gaps| gaps.len() - 1);
    let means = (0..=last).map(|at| format!("{:.0}", mean(at))).collect::<Vec<_>>().join(", ");
    demand(mean(last) > 1.4 * mean(0), || format!("the delays do not grow: {means} ms on average"))?;
    let (least, most) = nth(0).fold((f64::MAX, 0_f64), |(least, most), gap| (least.min(gap), most.max(gap)));
    demand(most - least > 0.05 * mean(0), || {
        format!("no jitter: the first delays are {least:.0} to {most:.0} ms")
    })?;
    Ok(format!("{means} ms on average, the first between {least:.0} and {most:.0}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: growing delays with jitter pass; constant ones, and growing ones without jitter, fail.
    #[test]
    fn backoff_without_growth_or_jitter_fails() {
        let good = [vec![100.0, 160.0, 300.0], vec![80.0, 140.0, 260.0]];
        assert!(judge_backoff(&good).is_ok());
        assert!(judge_backoff(&[vec![100.0, 102.0, 98.0], vec![90.0, 110.0, 90.0]]).is_err());
        assert!(judge_backoff(&[vec![100.0, 200.0, 400.0], vec![101.0, 200.0, 400.0]]).is_err());
    }
}
