//! How an exporter uses connections: side by side, kept, lost, and not to be had.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::conformance::payload;
use crate::conformance::upstream::{Answer, Arrival, Protocol, Upstream};
use crate::conformance::verdict::{Miss, Seen, demand, skip};
use crate::conformance::world::{APART, THROUGH, World, at_each};

/// The most requests in flight that the suite can see: each is held until the last was fed, and exporters give up after 5 s.
const PARALLEL_MAX: usize = 4;

pub(super) async fn x01_in_flight(world: &World) -> Seen {
    in_flight(world, world.upstream_of(Protocol::Grpc)?, "X01").await
}

pub(super) async fn x24_in_flight(world: &World) -> Seen {
    in_flight(world, world.upstream_of(Protocol::Http)?, "X24").await
}

/// Every request is held for so long that all could be in flight together: how many are.
async fn in_flight(world: &World, upstream: &Upstream, item: &str) -> Seen {
    let configured = world.features().parallel;
    let wanted = configured.unwrap_or(2);
    if wanted > PARALLEL_MAX {
        return skip(format!("the suite can see at most {PARALLEL_MAX} in flight"));
    }
    // More than twice as many: a system may share them out between threads.
    let count = 2 * wanted + 2;
    let held = APART * u32::try_from(count).unwrap_or(u32::MAX) + Duration::from_millis(700);
    let marks = world.mark_start(item);
    upstream.script(&marks, Vec::new(), Answer::AcceptAfter(held));
    // As many senders side by side, because a system may bind what it sends to the connection that it came over.
    let mut senders = Vec::new();
    for _ in 0..count {
        senders.push(Arc::new(world.connect_grpc().await?));
    }
    for sender in &senders {
        world.feed_on(sender, vec![payload::span(&world.mark(item), world.number(), 0)]).await?;
        tokio::time::sleep(APART).await;
    }
    let arrived = upstream.wait_distinct(&marks, count, held + THROUGH).await;
    let arrivals = upstream.with_mark(&marks);
    let most = together(&arrivals, held);
    let connections = arrivals.iter().map(|arrival| &arrival.connection).collect::<BTreeSet<_>>().len();
    demand(arrived == count, || format!("{arrived} of {count} requests came"))?;
    match configured {
        Some(number) => {
            demand(most <= number && most * 2 > number, || {
                format!("configured to {number}, {most} were in flight")
            })?;
            Ok(format!("configured to {number}, {most} in flight over {connections} connections"))
        }
        None => {
            demand(most >= 2, || "one request after the other".to_owned())?;
            Ok(format!("{most} in flight over {connections} connections; the number was not configured"))
        }
    }
}

/// The most arrivals that were unanswered at one time, each for `held`.
fn together(arrivals: &[Arrival], held: Duration) -> usize {
    let at = |now: Instant| arrivals.iter().filter(|one| one.at <= now && one.at + held > now).count();
    arrivals.iter().map(|arrival| at(arrival.at)).max().unwrap_or(0)
}

/// Feeds a request whose first answer never comes, because the connection breaks: it must come again.
async fn broken(
    world: &World,
    upstream: &Upstream,
    item: &str,
    answer: Answer,
) -> Result<Vec<Arrival>, Miss> {
    let mark = world.mark(item);
    upstream.script(&mark, vec![answer], Answer::Accept);
    world.feed(&mark, 4).await?;
    let first = upstream.wait(&mark, 1, THROUGH).await;
    demand(!first.is_empty(), || "the data never came".to_owned())?;
    if upstream.protocol == Protocol::Grpc {
        upstream.stop();
        upstream.restart();
    }
    let arrivals = upstream.wait(&mark, 2, THROUGH).await;
    demand(arrivals.len() >= 2, || "not sent again after the connection was lost".to_owned())?;
    Ok(arrivals)
}

pub(super) async fn x12_lost(world: &World) -> Seen {
    at_each(world, async |upstream| {
        let mut seen = Vec::new();
        for (how, answer) in [("closed", Answer::Close), ("reset within the answer's head", Answer::Reset)] {
            let arrivals = broken(world, upstream, "X12", answer).await?;
            let same = arrivals[0].message == arrivals[1].message;
            let gap = arrivals[1].at - arrivals[0].at;
            let request = if same { "the same bytes" } else { "the same items" };
            seen.push(format!("{how}: {request} again after {} ms", gap.as_millis()));
            if upstream.protocol == Protocol::Grpc {
                break;
            }
        }
        Ok(seen.join(", "))
    })
    .await
}

pub(super) async fn x25_duplicates(world: &World) -> Seen {
    at_each(world, async |upstream| {
        let arrivals = broken(world, upstream, "X25", Answer::Close).await?;
        Ok(format!("taken, connection broken before the answer: arrived {} times", arrivals.len()))
    })
    .await
}

pub(super) async fn x13_unreachable(world: &World) -> Seen {
    at_each(world, async |upstream| {
        const DOWN: Duration = Duration::from_secs(7);
        let mark = world.mark("X13");
        let began = Instant::now();
        let feed = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            world.feed(&mark, 1).await
        };
        let (dials, fed) = tokio::join!(upstream.slam(DOWN), feed);
        upstream.restart();
        fed?;
        let dials: Vec<Duration> = dials.unwrap_or_default().into_iter().map(|at| at - began).collect();
        let judged = judge_dials(&dials, DOWN)?;
        let up = Instant::now();
        let arrived = upstream.wait(&mark, 1, Duration::from_secs(11)).await;
        demand(!arrived.is_empty(), || {
            format!("{judged}; nothing came within 11 s after it was there again")
        })?;
        Ok(format!("{judged}; delivered {} ms after it was there again", up.elapsed().as_millis()))
    })
    .await
}

/// Judges when an unreachable upstream was dialled: again, less and less, and not by the clock.
fn judge_dials(dials: &[Duration], down: Duration) -> Seen {
    let count = dials.len();
    let seconds = down.as_secs();
    demand(count >= 2, || format!("{count} dials in {seconds} s"))?;
    demand(count <= 100, || format!("{count} dials in {seconds} s"))?;
    let first_half = dials.iter().filter(|at| **at < down / 2).count();
    demand(count <= 3 || first_half * 2 > count, || {
        format!("{first_half} of {count} dials in the first half of {seconds} s: the delays do not grow")
    })?;
    let gaps: Vec<f64> = dials.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    let ratios: Vec<f64> = gaps.windows(2).map(|pair| pair[1] / pair[0]).collect();
    let (least, most) = ratios.iter().fold((f64::MAX, 0_f64), |(l, m), ratio| (l.min(*ratio), m.max(*ratio)));
    if ratios.len() < 2 {
        return Ok(format!("{count} dials in {seconds} s, too few to see jitter"));
    }
    demand(most > least * 1.03, || format!("no jitter: every delay is {most:.3} times the one before"))?;
    Ok(format!("{count} dials in {seconds} s, {first_half} of them in the first half"))
}

pub(super) async fn x14_kept(world: &World) -> Seen {
    at_each(world, async |upstream| {
        const REQUESTS: usize = 10;
        let marks = world.mark_start("X14");
        for _ in 0..REQUESTS {
            world.feed(&world.mark("X14"), 1).await?;
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        let arrived = upstream.wait_distinct(&marks, REQUESTS, THROUGH).await;
        demand(arrived >= REQUESTS, || format!("{arrived} of {REQUESTS} came"))?;
        let arrivals = upstream.with_mark(&marks);
        let connections = arrivals.iter().map(|arrival| &arrival.connection).collect::<BTreeSet<_>>().len();
        demand(connections * 2 <= arrivals.len(), || {
            format!("{connections} connections for {} requests, one after the other", arrivals.len())
        })?;
        Ok(format!("{} requests over {connections} connections", arrivals.len()))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: &[u64]) -> Vec<Duration> {
        millis.iter().map(|millis| Duration::from_millis(*millis)).collect()
    }

    /// Guarantee: dials in a loop, at a fixed pace, or by an exact formula fail; growing delays with jitter pass.
    #[test]
    fn dials_without_backoff_fail() {
        let down = Duration::from_secs(7);
        assert!(judge_dials(&at(&[100, 220, 500, 900, 2_300, 5_200]), down).is_ok());
        assert!(judge_dials(&at(&[100]), down).is_err());
        assert!(judge_dials(&at(&(0..700).map(|n| n * 10).collect::<Vec<_>>()), down).is_err());
        assert!(judge_dials(&at(&[500, 1_500, 2_500, 3_500, 4_500, 5_500, 6_500]), down).is_err());
        assert!(judge_dials(&at(&[100, 200, 400, 800, 1_600, 3_200]), down).is_err());
    }
}
