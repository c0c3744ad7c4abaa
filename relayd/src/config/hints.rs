//! The Collector's components that relayd does not have, and what to do instead of each. Tables only.

use super::components::Kind;

/// What happens to a file that defines such a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Harmless (the Helm chart's defaults define it whether it is needed or not): a warning, and pipelines that
    /// name it do without it.
    Skip(&'static str),
    /// Leaving it out would change what the user gets: an error with the way out.
    Refuse(&'static str),
}

const GATEWAY: &str = "do it in the gateway Collector that relayd sends to";
const OTHER_RECEIVER: &str = "relayd receives OTLP only; keep this receiver in a Collector";
const OTHER_EXPORTER: &str = "relayd sends OTLP only; send to a Collector that has this exporter";
const NO_AUTH: &str =
    "relayd authenticates by bearertokenauth and basicauth; use one, or send to a Collector that has it";
const CONTRIB: &str = "remove it; relayd does not need it";

/// What to do about a type of component that is not supported; `None` for a type that the Collector has not either.
#[must_use]
pub fn fate(kind: Kind, component: &str) -> Option<Fate> {
    match kind {
        Kind::Receiver => receiver(component),
        Kind::Processor => processor(component).map(Fate::Refuse),
        Kind::Exporter => exporter(component).map(Fate::Refuse),
        Kind::Extension => extension(component),
    }
}

fn receiver(component: &str) -> Option<Fate> {
    Some(match component {
        "jaeger" => Fate::Skip("relayd does not speak Jaeger's protocols; senders use OTLP, port 4317"),
        "zipkin" => Fate::Skip("relayd does not speak Zipkin; senders use OTLP, port 4317"),
        "opencensus" => Fate::Skip("relayd does not speak OpenCensus; senders use OTLP, port 4317"),
        "prometheus" => {
            Fate::Skip("relayd does not scrape; its own metrics are served at service.telemetry.metrics")
        }
        "filelog" | "hostmetrics" | "k8s_cluster" | "k8s_events" | "k8sobjects" | "kubeletstats"
        | "journald" | "kafka" | "fluentforward" | "syslog" | "tcplog" | "udplog" | "otlpjsonfile"
        | "otelarrow" | "statsd" | "skywalking" | "awsxray" | "datadog" | "sapm" | "splunk_hec" | "loki"
        | "nop" | "receiver_creator" | "prometheus_simple" | "carbon" | "collectd" | "docker_stats"
        | "influxdb" | "webhookevent" => Fate::Refuse(OTHER_RECEIVER),
        _ => return None,
    })
}

fn processor(component: &str) -> Option<&'static str> {
    Some(match component {
        "k8sattributes"
        | "k8s_attributes"
        | "resourcedetection"
        | "resource"
        | "attributes"
        | "tail_sampling"
        | "probabilistic_sampler"
        | "filter"
        | "transform"
        | "span"
        | "groupbyattrs"
        | "groupbytrace"
        | "redaction"
        | "routing"
        | "spanmetrics"
        | "servicegraph"
        | "metricstransform"
        | "remotetap"
        | "cumulativetodelta"
        | "deltatorate"
        | "interval"
        | "schema"
        | "logstransform"
        | "geoip"
        | "isolationforest"
        | "lookup" => GATEWAY,
        "queued_retry" => "use the exporter's own sending_queue and retry_on_failure",
        "queuebatch" => "use the exporter's sending_queue.batch",
        _ => return None,
    })
}

fn exporter(component: &str) -> Option<&'static str> {
    Some(match component {
        "jaeger" | "jaeger_thrift" | "jaeger_thrift_http" => {
            "Jaeger receives OTLP; use the exporter otlp with port 4317 instead of 14250"
        }
        "zipkin"
        | "opencensus"
        | "file"
        | "kafka"
        | "prometheus"
        | "prometheusremotewrite"
        | "otelarrow"
        | "nop"
        | "awsxray"
        | "googlecloud"
        | "azuremonitor"
        | "datadog"
        | "elasticsearch"
        | "opensearch"
        | "loki"
        | "sapm"
        | "signalfx"
        | "splunk_hec"
        | "skywalking"
        | "clickhouse"
        | "pulsar"
        | "sentry"
        | "tempo"
        | "coralogix"
        | "honeycombmarker"
        | "logzio"
        | "cassandra"
        | "rabbitmq"
        | "syslog" => OTHER_EXPORTER,
        _ => return None,
    })
}

fn extension(component: &str) -> Option<Fate> {
    Some(match component {
        "memory_ballast" => Fate::Skip("relayd has no garbage collector to balance"),
        "zpages" => Fate::Refuse("remove it; relayd's metrics (port 8888) show its pipelines"),
        "pprof" => Fate::Refuse("remove it; profile relayd with perf"),
        "healthcheckv2" | "health_check_v2" => {
            Fate::Refuse("use health_check; it answers GET / on port 13133")
        }
        "db_storage" | "redis_storage" => {
            Fate::Refuse("what is not delivered goes to files here; use file_storage")
        }
        "oidc" | "oauth2client" | "headers_setter" | "sigv4auth" | "asapclient" | "azureauth"
        | "googleclientauth" => Fate::Refuse(NO_AUTH),
        "k8s_observer"
        | "host_observer"
        | "docker_observer"
        | "ecs_observer"
        | "k8s_leader_elector"
        | "opamp"
        | "remotetap"
        | "jaegerremotesampling"
        | "jaeger_query"
        | "jaeger_storage"
        | "awsproxy"
        | "http_forwarder"
        | "ack"
        | "text_encoding"
        | "otlp_encoding" => Fate::Refuse(CONTRIB),
        _ => return None,
    })
}
