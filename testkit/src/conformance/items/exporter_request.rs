//! What an exporter must not send again, and how it counts what it could not deliver.

use std::time::Duration;

use crate::conformance::http1::{HttpClient, HttpRequest};
use crate::conformance::upstream::{Answer, Upstream, wait_until};
use crate::conformance::verdict::{Miss, Seen, demand, fail, skip};
use crate::conformance::world::{QUIET, THROUGH, World, ask, at_each};

/// Feeds a request of so many spans that always gets this answer, and demands that it comes once; later data must come, too.
async fn once(world: &World, upstream: &Upstream, item: &str, of: (usize, Answer)) -> Result<(), Miss> {
    let ((spans, answer), mark) = (of, world.mark(item));
    upstream.script(&mark, Vec::new(), answer);
    world.feed(&mark, spans).await?;
    let first = upstream.wait(&mark, 1, THROUGH).await;
    demand(!first.is_empty(), || "the data never came".to_owned())?;
    let again = upstream.wait(&mark, 2, QUIET).await.len();
    demand(again == 1, || "sent again".to_owned())?;
    let later = world.mark(item);
    world.feed(&later, 1).await?;
    let arrived = upstream.wait(&later, 1, THROUGH).await;
    demand(!arrived.is_empty(), || "later data does not come any more".to_owned())?;
    demand(upstream.with_mark(&mark).len() == 1, || "sent again, later".to_owned())
}

pub(super) async fn x03_huge_response(world: &World) -> Seen {
    at_each(world, async |upstream| {
        once(world, upstream, "X03", (3, Answer::Huge)).await?;
        Ok("a response of 6 MiB: sent once, later data flows".to_owned())
    })
    .await
}

pub(super) async fn x08_refused(world: &World) -> Seen {
    at_each(world, async |upstream| {
        // One span: of several that are refused together an exporter may look for the one that is to blame.
        once(world, upstream, "X08", (1, Answer::Refuse)).await?;
        Ok("refused for good: sent once, later data flows (counting: X18)".to_owned())
    })
    .await
}

pub(super) async fn x09_partial(world: &World) -> Seen {
    at_each(world, async |upstream| {
        for rejected in [0, 2] {
            let message = "scripted quota".to_owned();
            once(world, upstream, "X09", (3, Answer::Partial { rejected, message })).await?;
        }
        Ok("a warning and 2 rejected: sent once".to_owned())
    })
    .await
}

/// Counters of the Prometheus text format whose names say that something was lost or refused: name with labels, value.
fn losses(text: &str) -> Vec<(String, f64)> {
    const WORDS: [&str; 8] = ["fail", "drop", "reject", "lost", "discard", "undeliver", "error", "refus"];
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.rsplit_once(' '));
    let lossy = pairs.filter(|(name, _)| WORDS.iter().any(|word| name.contains(word)));
    lossy.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

async fn scrape(world: &World) -> Result<Vec<(String, f64)>, Miss> {
    let Some((addr, path)) = world.features().metrics.clone() else {
        return skip("--has metrics is not given");
    };
    let client = tokio::time::timeout(THROUGH, HttpClient::connect(addr)).await;
    let Ok(Ok(mut client)) = client else { return fail(format!("nothing listens on {addr} for metrics")) };
    let get = HttpRequest { method: "GET", ..HttpRequest::post(&path, "text/plain", "") };
    let answer = ask(&mut client, &get).await?;
    demand(answer.status == 200, || format!("metrics answered {}", answer.status))?;
    Ok(losses(&String::from_utf8_lossy(&answer.body)))
}

/// The first counter that grew by at least `count`.
fn grown(before: &[(String, f64)], after: &[(String, f64)], count: f64) -> Option<(String, f64)> {
    let was = |name: &str| before.iter().find(|(found, _)| found == name).map_or(0.0, |(_, value)| *value);
    let mut growth = after.iter().map(|(name, value)| (name.clone(), value - was(name)));
    growth.find(|(_, by)| *by >= count)
}

pub(super) async fn x18_counted(world: &World) -> Seen {
    const SPANS: usize = 7;
    let upstream = world.any_upstream()?;
    let before = scrape(world).await?;
    let mark = world.mark("X18");
    upstream.script(&mark, Vec::new(), Answer::Refuse);
    world.feed(&mark, SPANS).await?;
    demand(!upstream.wait(&mark, 1, THROUGH).await.is_empty(), || "the data never came".to_owned())?;
    for _ in 0..20 {
        if let Some((name, by)) = grown(&before, &scrape(world).await?, SPANS as f64) {
            return Ok(format!("{SPANS} spans refused for good: {name} grew by {by}"));
        }
        wait_until(Duration::from_millis(300), || false).await;
    }
    fail(format!("{SPANS} spans were refused for good; no counter of losses grew by as many within 6 s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: only counters of losses are looked at, with their labels, and only growth counts.
    #[test]
    fn growth_of_losses_is_found() {
        let before = losses("# HELP x\nsent_total 5\nsend_failed_spans_total{exporter=\"a b\"} 1\n");
        let after = losses("sent_total 50\nsend_failed_spans_total{exporter=\"a b\"} 8\n");
        assert_eq!(grown(&before, &after, 7.0).unwrap().1, 7.0);
        assert_eq!(grown(&after, &after, 1.0), None);
    }
}
