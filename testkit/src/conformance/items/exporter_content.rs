//! What an exporter sends: sizes, headers, and nothing where there is nothing to send.

use std::time::Duration;

use crate::collector::Signal;
use crate::conformance::upstream::{Arrival, Protocol, Upstream};
use crate::conformance::verdict::{Miss, Seen, demand, skip};
use crate::conformance::world::{QUIET, THROUGH, World, at_each};

/// Feeds one span and gives what came of it at this upstream.
pub(super) async fn one_arrival(world: &World, upstream: &Upstream, item: &str) -> Result<Arrival, Miss> {
    let mark = world.mark(item);
    world.feed(&mark, 1).await?;
    let arrived = upstream.wait(&mark, 1, THROUGH).await;
    arrived.into_iter().next().ok_or_else(|| Miss::Fail("the data never came".to_owned()))
}

pub(super) async fn x02_request_size(world: &World) -> Seen {
    let Some(limit) = world.features().export_limit_bytes else {
        return skip("--has export-limit is not given");
    };
    at_each(world, async |upstream| {
        // Many spans that are too large together: in pieces, or not at all.
        let many = world.mark("X02");
        let count = limit * 5 / 2 / 16_384;
        world.feed_with(&many, count, 16_000).await?;
        // One span that is too large by itself: not at all.
        let single = world.mark("X02");
        world.feed_with(&single, 1, limit + (64 << 10)).await?;
        let later = world.mark("X02");
        world.feed(&later, 1).await?;
        let came = upstream.wait(&later, 1, THROUGH).await;
        demand(!came.is_empty(), || "later data does not come any more".to_owned())?;
        let sent = upstream.wait(&single, 1, QUIET).await;
        demand(sent.is_empty(), || format!("a span of more than {limit} bytes was sent"))?;
        let pieces = upstream.with_mark(&many);
        let largest = pieces.iter().map(|arrival| arrival.message.len()).max().unwrap_or(0);
        demand(largest <= limit, || format!("{largest} bytes were sent, the limit is {limit}"))?;
        let many = if pieces.is_empty() {
            "not sent".to_owned()
        } else {
            format!("in {} pieces of at most {largest} bytes", pieces.len())
        };
        Ok(format!("limit {limit}: 2.5 times as much {many}; a larger span not sent (counting: X18)"))
    })
    .await
}

pub(super) async fn x15_http1(world: &World) -> Seen {
    // The upstream knows HTTP/1.1 alone: it takes an HTTP/2 preface for a broken request and closes.
    one_arrival(world, world.upstream_of(Protocol::Http)?, "X15").await?;
    Ok("delivered to an upstream that only speaks HTTP/1.1, without TLS".to_owned())
}

/// What the headers say of a request, and whether it is so.
fn check_headers(protocol: Protocol, arrival: &Arrival) -> Seen {
    let content_type = arrival.header("content-type").unwrap_or_default();
    if protocol == Protocol::Grpc {
        demand(content_type.starts_with("application/grpc"), || format!("Content-Type {content_type:?}"))?;
        let encoding = arrival.header("grpc-encoding").unwrap_or("identity");
        return Ok(format!("{content_type}, grpc-encoding {encoding}"));
    }
    let known = ["application/x-protobuf", "application/json"];
    demand(known.contains(&content_type), || format!("Content-Type {content_type:?}"))?;
    let encoding = arrival.header("content-encoding").unwrap_or("none");
    let is_gzip = arrival.body.starts_with(&[0x1f, 0x8b]);
    demand(is_gzip == (encoding == "gzip"), || {
        let body = if is_gzip { "gzip" } else { "no gzip" };
        format!("Content-Encoding is {encoding}, the body is {body}")
    })?;
    Ok(format!("{content_type}, Content-Encoding {encoding}"))
}

pub(super) async fn x16_headers(world: &World) -> Seen {
    at_each(world, async |upstream| {
        check_headers(upstream.protocol, &one_arrival(world, upstream, "X16").await?)
    })
    .await
}

pub(super) async fn x20_no_empties(world: &World) -> Seen {
    let totals =
        |world: &World| world.upstreams().map(Upstream::totals).fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
    world.any_upstream()?;
    let before = totals(world);
    let empties = [&b""[..], b"\x0a\x00", b"\x0a\x02\x12\x00"];
    for signal in [Signal::Traces, Signal::Metrics, Signal::Logs] {
        for empty in empties {
            world.export(signal.grpc_path(), empty).await?;
        }
    }
    world.feed(&world.mark("X20"), 1).await?;
    // Long enough for a timer of a batch to come by with nothing in it.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = totals(world);
    let (sent, came) = (9 * world.upstreams().count(), after.1 - before.1);
    demand(came <= sent, || format!("{came} empty requests came, {sent} went in"))?;
    demand(after.0 > before.0, || "the data never came".to_owned())?;
    Ok(format!("9 empty requests in, {came} out, none beyond them in 3 s without data"))
}

/// The languages of OTLP exporters, as words of a User-Agent.
const LANGUAGES: [&str; 17] = [
    "c",
    "cpp",
    "dotnet",
    "elixir",
    "erlang",
    "go",
    "haskell",
    "java",
    "javascript",
    "js",
    "node",
    "php",
    "python",
    "ruby",
    "rust",
    "swift",
    "kotlin",
];

/// Whether a User-Agent names an exporter or product, a version, and a language.
fn check_user_agent(agent: &str) -> Result<(), String> {
    let words: Vec<String> =
        agent.split(|byte: char| !byte.is_ascii_alphanumeric()).map(str::to_ascii_lowercase).collect();
    // product/version (RFC 9110 section 10.1.5), the version beginning with a digit or v and a digit.
    let versioned = agent
        .split(['/'])
        .skip(1)
        .any(|after| after.trim_start_matches('v').starts_with(|first: char| first.is_ascii_digit()));
    if !versioned {
        return Err(format!("{agent:?} names no version"));
    }
    if !words.iter().any(|word| LANGUAGES.contains(&word.as_str())) {
        return Err(format!("{agent:?} names no language of the implementation"));
    }
    Ok(())
}

pub(super) async fn x21_user_agent(world: &World) -> Seen {
    at_each(world, async |upstream| {
        let arrival = one_arrival(world, upstream, "X21").await?;
        let agent = arrival.header("user-agent").unwrap_or_default();
        check_user_agent(agent).map_err(Miss::Fail)?;
        Ok(format!("{agent:?}"))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: the specification's example passes, a product alone or without version fails.
    #[test]
    fn a_user_agent_without_version_or_language_fails() {
        assert!(check_user_agent("OTel-OTLP-Exporter-Python/1.2.3").is_ok());
        assert!(check_user_agent("relayd/0.1.0 OTel-OTLP-Exporter-Rust/0.1.0").is_ok());
        assert!(check_user_agent("collector/1.0 (linux/amd64)").is_err());
        assert!(check_user_agent("OTel-OTLP-Exporter-Python").is_err());
        assert!(check_user_agent("").is_err());
    }
}
