//! A scripted resolver: what is published when.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::io::resolver::Resolving;

type Answer = Result<Vec<IpAddr>, ResolveError>;

/// Gives its answers one after the other, the last one for ever; `None` hangs.
#[derive(Debug, Default)]
struct Scripted {
    answers: Mutex<Vec<Option<Answer>>>,
    asked: AtomicUsize,
}

impl Scripted {
    fn new(answers: impl IntoIterator<Item = Option<Answer>>) -> Arc<Self> {
        let mut answers: Vec<_> = answers.into_iter().collect();
        answers.reverse();
        Arc::new(Self { answers: Mutex::new(answers), asked: AtomicUsize::new(0) })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Resolve for Scripted {
    fn resolve(&self, name: &HostName) -> Resolving {
        assert_eq!(name.host, "collector");
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop().unwrap() } else { answers[0].clone() };
        Box::pin(async move {
            match answer {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        })
    }
}

fn found(last_bytes: &[u8]) -> Option<Answer> {
    Some(Ok(last_bytes.iter().map(|last| IpAddr::from([10, 0, 0, *last])).collect()))
}

fn last_bytes(membership: &Membership) -> Vec<u8> {
    let addresses = membership.current();
    let last_byte = |address: &SocketAddr| match address.ip() {
        IpAddr::V4(ip) => ip.octets()[3],
        IpAddr::V6(ip) => panic!("{ip}"),
    };
    addresses.iter().map(last_byte).collect()
}

/// Short ones, which bound the delays after failures and between requests as well.
const PACE: Pace = Pace { interval: Duration::from_millis(100), timeout: Duration::from_millis(50) };

/// Runs the watcher of one name.
fn watching(resolve: &Arc<Scripted>, test: impl AsyncFnOnce(Membership)) {
    let mut resolver = Resolver::new(Arc::clone(resolve) as Arc<dyn Resolve>, limits::RESOLVE_INTERVAL);
    let endpoint = Endpoint::parse("collector:4317").unwrap();
    let membership = resolver.watch_at(&endpoint, PACE);
    let again = resolver.watch_at(&endpoint, PACE);
    assert_eq!((resolver.tasks.len(), last_bytes(&again).len()), (1, 0), "looked up together, and not yet");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let watched = async {
        let watcher = tokio::spawn(resolver.tasks.pop().unwrap());
        drop((resolver, again));
        test(membership).await;
        // It ends with its memberships.
        watcher.await.unwrap();
    };
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), watched).await.unwrap() });
}

#[test]
fn a_change_is_seen_after_the_interval_and_only_a_change() {
    let resolve = Scripted::new([found(&[2, 1, 2]), found(&[1, 2]), found(&[3])]);
    watching(&resolve, async |mut membership| {
        membership.changed().await;
        assert_eq!(last_bytes(&membership), [1, 2]);
        let mut clone = membership.clone();
        let waited = tokio::time::Instant::now();
        membership.changed().await;
        // Two intervals, because the second answer is the same as the first.
        assert!(waited.elapsed() >= PACE.interval.mul_f64(1.7), "{:?}", waited.elapsed());
        assert_eq!(last_bytes(&membership), [3]);
        clone.changed().await;
        let stats = membership.stats().unwrap();
        assert_eq!((stats.lookups, stats.failures, stats.changes, stats.addresses), (3, 0, 2, 1));
    });
}

/// Names that vanish, servers that fail or are silent, empty answers: the addresses known before stay in use.
#[test]
fn failures_keep_what_is_known_and_are_repeated() {
    let failures = [
        Some(Err(ResolveError::Unknown)),
        Some(Ok(Vec::new())),
        None,
        Some(Err(ResolveError::Failed("SERVFAIL".to_owned()))),
    ];
    let answers = [found(&[1])].into_iter().chain(failures).chain([found(&[2])]);
    watching(&Scripted::new(answers), async |mut membership| {
        membership.changed().await;
        while membership.stats().unwrap().failures < 4 {
            assert_eq!(last_bytes(&membership), [1]);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        membership.changed().await;
        assert_eq!(last_bytes(&membership), [2]);
        let stats = membership.stats().unwrap();
        assert_eq!((stats.lookups, stats.failures, stats.changes), (6, 4, 2));
    });
}

#[test]
fn who_asks_for_it_gets_a_lookup_soon_but_no_more_than_one() {
    let slow = Pace { interval: limits::RESOLVE_AGAIN_MIN * 100, ..PACE };
    let resolve = Scripted::new([found(&[1]), found(&[2])]);
    let mut resolver = Resolver::new(Arc::clone(&resolve) as Arc<dyn Resolve>, limits::RESOLVE_INTERVAL);
    let mut membership = resolver.watch_at(&Endpoint::parse("collector:4317").unwrap(), slow);
    resolver.start().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        membership.changed().await;
        let asked = tokio::time::Instant::now();
        (0..1000).for_each(|_| membership.refresh());
        membership.changed().await;
        assert!(asked.elapsed() >= limits::RESOLVE_AGAIN_MIN.mul_f64(0.9), "{:?}", asked.elapsed());
        assert!(
            asked.elapsed() < limits::RESOLVE_AGAIN_MIN * 4,
            "long before the timer: {:?}",
            asked.elapsed()
        );
        assert_eq!(
            (resolve.asked(), last_bytes(&membership)),
            (2, vec![2]),
            "the thousand are answered by one"
        );
    });
}

#[test]
fn delays_double_up_to_the_interval() {
    let interval = limits::RESOLVE_INTERVAL;
    let delays: Vec<Duration> = (0..40_u32).map(|failures| delay(interval, failures, 1.0)).collect();
    assert_eq!(delays[0], interval.mul_f64(1.1));
    assert_eq!(delays[1..4], [1, 2, 4].map(Duration::from_secs));
    assert_eq!(*delays.last().unwrap(), interval);
    assert_eq!(delay(interval, 1, 0.0), limits::RESOLVE_RETRY_MIN / 2, "never at once");
}

#[test]
fn one_line_an_interval() {
    let (mut log, now) = (Log::default(), clock::now());
    assert_eq!(
        (log.allow(now), log.allow(now), log.allow(now + limits::LOG_INTERVAL)),
        (Some(0), None, Some(1))
    );
}
