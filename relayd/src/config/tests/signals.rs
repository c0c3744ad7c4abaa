//! Pipelines of all signals, and what exporters cannot do for some of them.

use super::{Fake, lines};
use relay_core::otlp::Signal;

fn load(pipelines: &str) -> (Vec<(String, Signal)>, Vec<String>) {
    let text = format!(
        "receivers: {{otlp: {{protocols: {{grpc: , http: }}}}}}\n\
         processors: {{batch: }}\n\
         exporters: {{debug: , debug/all: {{verbosity: detailed}}, otlp: {{endpoint: 'a:1'}}}}\n\
         service: {{pipelines: {pipelines}}}\n"
    );
    let (config, notices) = Fake::default().file("agent.yaml", text).load().unwrap();
    let unused = |line: &String| !line.contains("not used");
    let pipelines = config.pipelines.into_iter().map(|pipeline| (pipeline.name, pipeline.signal));
    (pipelines.collect(), lines(&notices).into_iter().filter(unused).collect())
}

#[test]
fn every_signal_has_pipelines() {
    let (pipelines, notices) = load(
        "{traces: {receivers: [otlp], processors: [batch], exporters: [otlp]},
        metrics: {receivers: [otlp], processors: [batch], exporters: [otlp]},
        logs/a: {receivers: [otlp], exporters: [debug, otlp]}, profiles: {receivers: [otlp], exporters: [otlp]}}",
    );
    let expected = [
        ("traces", Signal::Traces),
        ("metrics", Signal::Metrics),
        ("logs/a", Signal::Logs),
        ("profiles", Signal::Profiles),
    ];
    assert_eq!(pipelines, expected.map(|(name, signal)| (name.to_owned(), signal)));
    assert_eq!(notices, [] as [&str; 0]);
}

#[test]
fn debug_prints_only_counts_of_other_signals() {
    let (_, notices) = load(
        "{traces: {receivers: [otlp], exporters: [debug/all]}, metrics: {receivers: [otlp], exporters: [debug, debug/all]}}",
    );
    let what = "the exporter \"debug/all\" prints only counts of data points";
    assert_eq!(notices, [format!("agent.yaml:4: service.pipelines.metrics.exporters: {what}")]);
}

#[test]
fn profiles_are_not_merged() {
    let (_, notices) = load("{profiles: {receivers: [otlp], processors: [batch], exporters: [otlp]}}");
    let what = "profiles are not merged: each request has a dictionary of its own";
    assert_eq!(notices, [format!("agent.yaml:4: service.pipelines.profiles.processors: {what}")]);
}
