//! Where values come from: YAML and its bounds, merging, `--set`, URIs, and `${...}`.

use super::super::error::{Diagnostics, Origin};
use super::super::expand::expand;
use super::super::load::load;
use super::super::merge::{merge, split_paths};
use super::super::node::{Node, Value};
use super::super::yaml::{parse, resolve_plain};
use super::{Fake, Parts, errors, lines};

/// A tree without places, for comparing.
fn plain(node: &Node) -> String {
    match &node.value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => format!("{number:?}"),
        Value::String(text) => format!("{text:?}"),
        Value::List(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(",")),
        Value::Map(entries) => {
            let entries = entries.iter().map(|entry| format!("{}:{}", entry.key, plain(&entry.node)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
        }
    }
}

fn problem(text: &str) -> String {
    parse(text, "a.yaml").unwrap_err().to_string()
}

#[test]
fn scalars_follow_the_core_schema() {
    for text in ["", "~", "null", "Null"] {
        assert_eq!(resolve_plain(text), Value::Null, "{text}");
    }
    assert_eq!(resolve_plain("True"), Value::Bool(true));
    for (text, number) in [("12", 12), ("-7", -7), ("+3", 3), ("0x1F", 31), ("0o17", 15)] {
        assert_eq!(resolve_plain(text), Value::Int(number), "{text}");
    }
    for (text, number) in [("1.5", 1.5), ("1e3", 1000.0), ("-.inf", f64::NEG_INFINITY)] {
        assert_eq!(resolve_plain(text), Value::Float(number), "{text}");
    }
    for text in ["yes", "on", "inf", "nan", "1s", "0.0.0.0:4317", "1.2.3"] {
        assert_eq!(resolve_plain(text), Value::String(text.to_owned()), "{text}");
    }
}

#[test]
fn places_are_those_of_the_keys() {
    let root = parse("\u{feff}---\r\na:\r\n  bb:\r\n    - x\r\n    -  y\r\n", "a.yaml").unwrap();
    let Value::Map(a) = &root.value else { panic!() };
    let Value::Map(bb) = &a[0].node.value else { panic!() };
    let Value::List(items) = &bb[0].node.value else { panic!() };
    let place = |node: &Node| (node.origin.line, node.origin.column);
    assert_eq!((place(&a[0].node), place(&bb[0].node)), ((2, 1), (3, 3)));
    assert_eq!((place(&items[0]), place(&items[1])), ((4, 7), (5, 8)));
}

#[test]
fn anchors_aliases_and_merge_keys() {
    let text = "base: &b {x: 1, y: 2}\nsame: *b\nover: {<<: *b, y: 3}\nboth: {<<: [{x: 9}, *b], z: 4}\ntext: !!str 5\n";
    assert_eq!(
        plain(&parse(text, "a.yaml").unwrap()),
        "{base:{x:1,y:2},same:{x:1,y:2},over:{y:3,x:1},both:{z:4,x:9,y:2},text:\"5\"}"
    );
}

#[test]
fn bad_yaml_is_named_with_its_line() {
    assert_eq!(problem("a: 1\nb: 2\na: 3\n"), "a.yaml:3: the key \"a\" is already given in line 1");
    assert_eq!(
        problem("a: 1\n---\nb: 2\n"),
        "a.yaml:2: a second YAML document; give each its own file and --config"
    );
    assert_eq!(problem("a: !secret x\n"), "a.yaml:1: a YAML tag that does not fit; remove it");
    assert_eq!(problem("a: 1\n? [x]\n: 2\n"), "a.yaml:2: a key must be a text");
    assert_eq!(problem("a: 1\n<<: 2\n"), "a.yaml:2: a merge key takes a map or a list of maps");
    assert_eq!(problem("&a [x, *a]"), "a.yaml:1: an alias inside the value that it names");
    assert!(problem("a: 1\n b: [\n").starts_with("a.yaml:"));
    assert!(problem("a:\n\t- b\n").contains("not YAML"));
}

/// Neither nesting nor aliases that multiply exhaust stack or memory.
#[test]
fn depth_and_size_are_bounded() {
    assert_eq!(problem(&"- ".repeat(100_000)), "a.yaml:1: nested deeper than 64 levels");
    assert_eq!(problem(&"[".repeat(200)), "a.yaml:1: nested deeper than 64 levels");
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let inner = format!("*a{}", n - 1);
        bomb.push_str(&format!("a{n}: &a{n} [{}]\n", vec![inner; 10].join(", ")));
    }
    assert_eq!(problem(&bomb), "a.yaml:5: more than 100000 values (aliases filled in)");
    let mut deep = "a0: &a0 [x]\n".to_owned();
    for n in 1..70 {
        deep.push_str(&format!("a{n}: &a{n} [*a{}]\n", n - 1));
    }
    assert_eq!(problem(&deep), "a.yaml:64: nested deeper than 64 levels");
}

/// Whatever the text is, reading it ends without a panic: every cut of a file, and every byte changed.
#[test]
fn damaged_yaml_never_panics() {
    let text = "a: &x {b: [1, \"q\\n\", 'z'], <<: {c: ~}}\nd: |\n  text ${env:X}\n? e\n: !!int 5\nf: *x\n";
    for cut in 0..=text.len() {
        drop(parse(&text[..cut], "a.yaml"));
        for byte in b"\t:{[&*!|\"'-? \n" {
            let mut damaged = text.as_bytes().to_vec();
            if let Some(slot) = damaged.get_mut(cut) {
                *slot = *byte;
            }
            drop(parse(std::str::from_utf8(&damaged).unwrap(), "a.yaml"));
        }
    }
}

#[test]
fn maps_merge_and_all_else_is_replaced() {
    let table = [
        ("{a: {x: 1, y: 2}}", "{a: {y: 3, z: 4}}", "{a:{x:1,y:3,z:4}}"),
        ("{a: [1, 2]}", "{a: [3]}", "{a:[3]}"),
        ("{a: {x: 1}}", "{a: }", "{a:null}"),
        ("{a: }", "{a: {x: 1}}", "{a:{x:1}}"),
        ("{a: {x: 1}}", "{a: 5}", "{a:5}"),
        ("{a: 1}", "{b: 2}", "{a:1,b:2}"),
    ];
    for (earlier, later, expected) in table {
        let merged = merge(parse(earlier, "1").unwrap(), parse(later, "2").unwrap());
        assert_eq!(plain(&merged), expected, "{earlier} {later}");
    }
}

#[test]
fn path_keys_nest_and_join() {
    let node = split_paths(parse("a::b: 1\na::c: {d::e: 2}\n", "1").unwrap());
    assert_eq!(plain(&node), "{a:{b:1,c:{d:{e:2}}}}");
}

#[test]
fn later_files_and_sets_win_and_keep_their_places() {
    let world = Fake::default()
        .file("agent.yaml", Parts::default().text())
        .file("over.yaml", "exporters:\n  otlp:\n    endpoint: other:1\n    compresion: gzip\n");
    assert_eq!(
        errors(world.load()),
        ["over.yaml:4: exporters.otlp.compresion: unknown key; did you mean \"compression\"?"]
    );
    assert_eq!(
        errors(world.load_with(&["exporters.otlp.compresion=", "processors.batch.timeout=soon"])),
        [
            "--set processors.batch.timeout: processors.batch.timeout: expected a duration such as \"200ms\" or \"1m30s\", found \"soon\"",
            "--set exporters.otlp.compresion: exporters.otlp.compresion: unknown key; did you mean \"compression\"?",
        ]
    );
    let world = Fake::default().file("agent.yaml", Parts::default().text());
    let set = ["service.pipelines.traces.processors=[batch]", "processors.batch.send_batch_size=9"];
    let (config, _) = world.load_with(&set).unwrap();
    assert_eq!(config.pipelines[0].batch.as_ref().unwrap().send_batch_size, 9);
    let expected = "expected KEY=VALUE with the parts of the key joined by dots, as in a.b=c";
    assert_eq!(
        errors(world.load_with(&["a..b=1", "ab"])),
        [format!("--set a..b: {expected}"), format!("--set ab: {expected}")]
    );
}

/// A null pipeline in a later file takes the earlier one away: so the Helm chart's defaults run.
#[test]
fn a_null_takes_a_pipeline_away() {
    let text = Parts { service: "", ..Parts::default() }
        .text()
        .replace("{traces:", "{logs: {receivers: [otlp]}, traces:");
    let world = Fake::default().file("agent.yaml", text).file("over.yaml", "service: {pipelines: {logs: }}");
    let (config, notices) = world.load().unwrap();
    assert_eq!(config.pipelines.len(), 1);
    assert!(
        lines(&notices)
            .contains(&"over.yaml:1: service.pipelines.logs: no pipeline: null takes it away".to_owned())
    );
}

#[test]
fn uris() {
    let text = Parts::default().text();
    let world =
        Fake::default().file("agent.yaml", text.clone()).var("CONF", Box::leak(text.into_boxed_str()));
    let load =
        |uris: &[&str]| load(&uris.iter().map(|uri| (*uri).to_owned()).collect::<Vec<_>>(), &[], &world);
    for uri in ["agent.yaml", "file:agent.yaml", "env:CONF"] {
        load(&[uri]).unwrap();
    }
    let (config, _) =
        load(&["agent.yaml", "yaml:receivers::otlp::protocols::grpc::endpoint: 0.0.0.0:14317"]).unwrap();
    assert_eq!(config.receivers[0].grpc.as_ref().unwrap().endpoints[0].to_string(), "0.0.0.0:14317");
    assert_eq!(
        errors(load(&["gone.yaml"])),
        ["gone.yaml: cannot read the configuration file: entity not found"]
    );
    assert_eq!(errors(load(&["env:GONE"])), ["env:GONE: the environment variable is not set"]);
    assert_eq!(
        errors(load(&["https://x/y", "s3:y", "yaml:[1]"])),
        [
            "https://x/y: configuration is not fetched over the network; mount it as a file (a ConfigMap) and name its path",
            "s3:y: unknown scheme \"s3\"; use a path, file:, env: or yaml:",
            "yaml::1: expected a map with receivers, exporters and service, found a list",
        ]
    );
}

fn expanded(text: &str, world: &Fake) -> (String, Vec<String>) {
    let diag = Diagnostics::default();
    let node = Node::new(Value::String(text.to_owned()), Origin::of_source("f"));
    let node = expand(node, world, &diag);
    match diag.finish(Some(node)) {
        Ok((node, notices)) => (plain(&node), lines(&notices)),
        Err(error) => ("error".to_owned(), vec![error.to_string()]),
    }
}

#[test]
fn references_are_filled_in() {
    let world = Fake::default()
        .var("N", "5")
        .var("S", "text")
        .var("Q", "'0123'")
        .var("MAP", "{a: [1, true]}")
        .var("EMPTY", "")
        .var("REF", "${env:N}")
        .var("NAME", "S")
        .var("BRACKET", "[not yaml")
        .file("f.txt", "secret\n");
    let table = [
        ("${env:N}", "5"),
        ("${N}", "5"),
        ("x${env:N}y", "\"x5y\""),
        ("${env:S}", "\"text\""),
        ("${env:Q}", "\"0123\""),
        ("a${env:Q}", "\"a0123\""),
        ("${env:MAP}", "{a:[1,true]}"),
        ("${env:EMPTY}", "null"),
        ("a${env:EMPTY}b", "\"ab\""),
        ("${env:GONE:-200ms}", "\"200ms\""),
        ("${env:GONE:-}", "null"),
        ("${env:N:-7}", "5"),
        ("${env:REF}", "5"),
        ("${env:${env:NAME}}", "\"text\""),
        ("${env:BRACKET}", "\"[not yaml\""),
        ("${file:f.txt}", "\"secret\""),
        ("Bearer ${file:f.txt}", "\"Bearer secret\""),
        ("${yaml:7}", "7"),
        ("$${env:N}", "\"${env:N}\""),
        ("a$$b$c${open", "\"a$b$c${open\""),
        ("${env:N}${env:N}", "\"55\""),
        ("$(KUBE)", "\"$(KUBE)\""),
    ];
    for (text, expected) in table {
        assert_eq!(expanded(text, &world), (expected.to_owned(), vec![]), "{text}");
    }
}

#[test]
fn bad_references_are_named() {
    let world = Fake::default().var("LOOP", "a${env:LOOP}").var("LOOP2", "${env:LOOP2}");
    let warning = |name: &str| format!("f: the environment variable {name} is not set; the value is empty");
    assert_eq!(expanded("${env:GONE}", &world), ("null".to_owned(), vec![warning("GONE")]));
    assert_eq!(expanded("${GONE}:4317", &world), ("\":4317\"".to_owned(), vec![warning("GONE")]));
    let table = [
        ("${env:1A}", "f: \"1A\" is not the name of an environment variable (letters, digits, _)"),
        ("${GONE:-x}", "f: a default needs the scheme; write ${env:GONE:-x}"),
        ("${s3:x}", "f: unknown scheme \"s3\"; use ${env:NAME} or ${file:path}"),
        (
            "${https://x}",
            "f: configuration is not fetched over the network; mount it as a file and use ${file:path}",
        ),
        ("${file:gone}", "f: cannot read the file \"gone\": entity not found"),
        ("${env:LOOP}", "f: references inside references, more than 16 levels"),
        ("${env:LOOP2}", "f: references inside references, more than 16 levels"),
    ];
    for (text, expected) in table {
        assert_eq!(expanded(text, &world), ("error".to_owned(), vec![expected.to_owned()]), "{text}");
    }
}

/// Variables that double each other end at a bound, not in exhausted memory or time.
#[test]
fn references_that_double_each_other_are_bounded() {
    let doubling = |leaf: String| {
        let mut world = Fake::default().file("leaf", leaf).var("V0", "${file:leaf}");
        for n in 1..=14 {
            let value = format!("${{V{0}}}${{V{0}}}${{V{0}}}${{V{0}}}", n - 1);
            world = world.var(Box::leak(format!("V{n}").into_boxed_str()), Box::leak(value.into_boxed_str()));
        }
        expanded("a${V14}", &world)
    };
    let error = |what: &str| ("error".to_owned(), vec![format!("f: {what}")]);
    assert_eq!(doubling("x".repeat(10_000)), error("expands to more than 4 MiB"));
    assert_eq!(doubling(String::new()), error("more than 10000 references in all"));
}

/// A number from a variable is a number for a number's key and its own text for a text's key, quoted or not.
#[test]
fn a_whole_reference_fits_numbers_and_texts() {
    let grpc = "{max_concurrent_streams: '${env:STREAMS}', endpoint: '${env:HOST}:4317'}";
    let exporter = "{endpoint: 'gw:4317', tls: {insecure: '${env:INSECURE}'}, headers: {x-id: '${env:ID}'}}";
    let text = Parts { grpc, exporter, ..Parts::default() }.text();
    let world = Fake::default().file("agent.yaml", text);
    let world = world.var("STREAMS", "9").var("HOST", "10.0.0.5").var("INSECURE", "true").var("ID", "0123");
    let (config, _) = world.load().unwrap();
    assert_eq!(config.receivers[0].grpc.as_ref().unwrap().max_concurrent_streams, 9);
    assert_eq!(config.receivers[0].grpc.as_ref().unwrap().endpoints[0].to_string(), "10.0.0.5:4317");
    let super::super::ExporterKind::Otlp(otlp) = &config.exporters[0].kind else { panic!() };
    assert_eq!(otlp.headers[0].1.reveal(), "0123");
}

/// An error inside an included file names that file.
#[test]
fn an_included_file_keeps_its_places() {
    let text = Parts { exporter: "'${file:exporter.yaml}'", ..Parts::default() }.text();
    let world = Fake::default().file("agent.yaml", text);
    let world = world.file("exporter.yaml", "endpoint: gw:4317\ninsecure: true\ntimout: 1s\n");
    assert_eq!(
        errors(world.load()),
        ["exporter.yaml:3: exporters.otlp.timout: unknown key; did you mean \"timeout\"?"]
    );
}
