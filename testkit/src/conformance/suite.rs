//! Runs the items one after the other, each within its time.
//!
//! Must never let one item keep the others from being tried: what takes too long has failed, and the run goes on.

use std::io;
use std::time::{Duration, Instant};

use super::catalog::{ITEMS, Item, Level};
use super::items;
use super::options::{Features, Options};
use super::report::Row;
use super::verdict::Verdict;
use super::world::World;

/// How long one item may take.
const ITEM_TIME_MAX: Duration = Duration::from_secs(20);
/// How long all of them may take.
const RUN_TIME_MAX: Duration = Duration::from_secs(240);
/// Ends the system, so it comes last.
const LAST: &str = "X17";

/// Tries the chosen items; `told` hears of each as it ends. The rows are in the order of the list.
///
/// # Errors
/// `InvalidInput` for options that cannot be, the socket's where an upstream's address is taken.
pub async fn run(options: &Options, mut told: impl FnMut(&Row)) -> io::Result<Vec<Row>> {
    let features = Features::parse(&options.has, &options.lacks)
        .map_err(|problem| io::Error::new(io::ErrorKind::InvalidInput, problem))?;
    let mut chosen = chosen(options)?;
    chosen.sort_by_key(|item| item.id == LAST);
    let world = World::start(options, features)?;
    for protocol in world.warm_up().await {
        eprintln!(
            "otlp-conformance: nothing has come to the {protocol} upstream yet; is the system configured for it?"
        );
    }
    let began = Instant::now();
    let mut rows = Vec::with_capacity(chosen.len());
    for item in chosen {
        let started = Instant::now();
        let verdict = if began.elapsed() > RUN_TIME_MAX {
            Verdict::Fail(format!("not tried: {} s were over", RUN_TIME_MAX.as_secs()))
        } else {
            one(item, &world).await
        };
        world.tidy_up();
        rows.push(Row { item, verdict, took: started.elapsed() });
        rows.last().into_iter().for_each(&mut told);
    }
    rows.sort_by_key(|row| ITEMS.iter().position(|item| item.id == row.item.id));
    Ok(rows)
}

fn chosen(options: &Options) -> io::Result<Vec<&'static Item>> {
    for id in options.only.iter().chain(&options.except) {
        if super::catalog::find(id).is_none() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("there is no item {id}; see --list"),
            ));
        }
    }
    let named = |list: &[String], item: &Item| list.iter().any(|id| item.id.eq_ignore_ascii_case(id));
    let wanted = |item: &&Item| {
        (options.only.is_empty() || named(&options.only, item)) && !named(&options.except, item)
    };
    Ok(ITEMS.iter().filter(wanted).collect())
}

async fn one(item: &'static Item, world: &World) -> Verdict {
    if let Some(lacking) = lacking(item, world.features()) {
        return lacking;
    }
    let decided = tokio::time::timeout(ITEM_TIME_MAX, items::decide(item.id, world)).await;
    decided.map_or_else(
        |_| Verdict::Fail(format!("not decided after {} s", ITEM_TIME_MAX.as_secs())),
        Verdict::from,
    )
}

/// The verdict on an item whose feature the system does not offer.
fn lacking(item: &Item, features: &Features) -> Option<Verdict> {
    let needs = |feature: &&String| {
        let needed = item.depends_on.strip_prefix("--has ").unwrap_or_default();
        needed.split([' ', '=', ',']).next() == Some(feature.as_str())
    };
    let feature = features.lacking.iter().find(needs)?;
    Some(match item.level {
        Level::May | Level::Note => Verdict::Pass(format!("not offered: {feature}")),
        Level::Should => Verdict::Fail(format!("not offered: {feature}")),
        Level::Must | Level::Stated => Verdict::Skip(format!("not offered: {feature}")),
    })
}
