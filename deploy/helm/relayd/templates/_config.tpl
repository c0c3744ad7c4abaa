{{/* The configurations of agent, gateway and Jaeger: generated, with the values' `config` merged over. All are the Collector's YAML, and
     what is generated for the agent starts a Collector too. */}}

{{/* Maps are merged, lists and scalars replaced: (list GENERATED CONFIG TITLE). */}}
{{- define "relayd.config.merged" -}}
# {{ index . 2 }}
{{ mergeOverwrite (index . 0 | fromYaml) (index . 1 | deepCopy) | toYaml }}
{{- end -}}

{{- define "relayd.agent.config" -}}
{{- include "relayd.config.merged" (list (include "relayd.agent.generated" .) .Values.agent.config
  "relayd on every node: made from the chart's values. An edit is taken up within about a minute.") -}}
{{- end -}}

{{- define "relayd.agent.generated" -}}
{{- $host := ternary "" "localhost" (eq .Values.agent.listen "all") -}}
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: {{ printf "%s:4317" $host | quote }}
      http:
        endpoint: {{ printf "%s:4318" $host | quote }}
processors:
  {{- include "relayd.config.processors" .Values.agent | nindent 2 }}
  batch:
    timeout: 200ms
exporters:
  {{- include "relayd.config.exporter" (list .Values.agent (include "relayd.agent.endpoint" .)) | nindent 2 }}
extensions:
  health_check:
    {{- /* Two agents share the ports of a node while one replaces the other: only a socket of its own asks this one. */}}
    endpoint: /run/relayd/health.sock
    transport: unix
service:
  extensions: [health_check]
  pipelines:
    {{- include "relayd.config.pipelines" .Values.agent.signals | nindent 4 }}
  telemetry:
    {{- /* HOST_IP and not every address: other programs of the node may have 8888 of theirs. */}}
    {{- include "relayd.config.telemetry" (ternary "HOST_IP" "POD_IP" (eq .Values.agent.networkMode "hostNetwork")) | nindent 4 }}
{{- end -}}

{{- define "relayd.gateway.config" -}}
{{- $title := ternary "relayd between the agents and the storage: made from the chart's values. An edit is taken up within about a minute."
  "The OpenTelemetry Collector between the agents and the storage: made from the chart's values." (eq .Values.gateway.kind "relayd") -}}
{{- include "relayd.config.merged" (list (include "relayd.gateway.generated" .) .Values.gateway.config $title) -}}
{{- end -}}

{{- define "relayd.gateway.generated" -}}
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: ":4317"
        max_recv_msg_size_mib: 64
      http:
        endpoint: ":4318"
processors:
  {{- include "relayd.config.processors" .Values.gateway | nindent 2 }}
  batch:
    timeout: 200ms
    {{- /* relayd bounds what it sends by bytes. The Collector counts spans, and a gRPC server takes 4 MiB unless told otherwise. */}}
    {{- if eq .Values.gateway.kind "otelcol" }}
    send_batch_size: 2048
    send_batch_max_size: 2048
    {{- end }}
exporters:
  {{- include "relayd.config.exporter" (list .Values.gateway (include "relayd.gateway.endpoint" .)) | nindent 2 }}
extensions:
  health_check:
    endpoint: ":13133"
service:
  extensions: [health_check]
  pipelines:
    {{- include "relayd.config.pipelines" (include "relayd.gateway.signals" . | fromJsonArray) | nindent 4 }}
  telemetry:
    {{- include "relayd.config.telemetry" "POD_IP" | nindent 4 }}
{{- end -}}

{{/* What the gateway forwards by itself: all that agents send, or traces alone where Jaeger is behind it. */}}
{{- define "relayd.gateway.signals" -}}
{{- if .Values.gateway.endpoint }}{{ toJson .Values.agent.signals }}{{ else }}["traces"]{{ end -}}
{{- end -}}

{{- define "relayd.config.processors" -}}
memory_limiter:
  check_interval: 1s
  limit_percentage: {{ .memoryLimitPercentage }}
{{- end -}}

{{/* (list VALUES ENDPOINT) */}}
{{- define "relayd.config.exporter" -}}
{{- $values := index . 0 -}}
otlp_grpc:
  endpoint: {{ index . 1 | quote }}
  compression: {{ $values.compression }}
  tls:
    {{- if $values.tls.enabled }}
    {{- with $values.tls }}
    insecure: false
    {{- if .caSecret }}
    ca_file: /etc/relayd-tls/ca/ca.crt
    {{- end }}
    {{- if .clientSecret }}
    cert_file: /etc/relayd-tls/client/tls.crt
    key_file: /etc/relayd-tls/client/tls.key
    {{- end }}
    {{- with .serverName }}
    server_name_override: {{ . }}
    {{- end }}
    {{- if .insecureSkipVerify }}
    insecure_skip_verify: true
    {{- end }}
    {{- end }}
    {{- else }}
    insecure: true
    {{- end }}
  retry_on_failure:
    {{- /* For as long as it takes: what was taken is not thrown away by a clock. The bound is memory_limiter; when it is reached senders
         are refused, and know it, instead of losing what they were told is safe. */}}
    max_elapsed_time: 0s
{{- end -}}

{{- define "relayd.config.pipelines" -}}
{{- range . }}
{{ . }}:
  receivers: [otlp]
  processors: [memory_limiter, batch]
  exporters: [otlp_grpc]
{{- end }}
{{- end -}}

{{- define "relayd.config.telemetry" -}}
logs:
  level: info
metrics:
  readers:
    - pull:
        exporter:
          prometheus:
            host: ${env:{{ . }}}
            port: 8888
            {{- /* Names as the Collector's own metrics have them by default, which dashboards and alerts use. */}}
            without_type_suffix: true
            without_units: true
            without_scope_info: true
{{- end -}}

{{- define "relayd.jaeger.config" -}}
{{- include "relayd.config.merged" (list (include "relayd.jaeger.generated" .) .Values.jaeger.config
  "Jaeger v2: made from the chart's values.") -}}
{{- end -}}

{{/* The probes that the OpenTelemetry Operator makes are not for healthcheckv2; a CR goes without. */}}
{{- define "relayd.jaeger.generated" -}}
{{- $deployment := eq .Values.jaeger.kind "deployment" -}}
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: ":4317"
        max_recv_msg_size_mib: 64
      http:
        endpoint: ":4318"
processors:
  batch: {}
exporters:
  jaeger_storage_exporter:
    trace_storage: traces
extensions:
  jaeger_storage:
    backends:
      traces:
        memory:
          max_traces: {{ .Values.jaeger.maxTraces }}
  jaeger_query:
    storage:
      traces: traces
    http:
      endpoint: ":16686"
    grpc:
      endpoint: ":16685"
  {{- if $deployment }}
  healthcheckv2:
    use_v2: true
    http:
      endpoint: ":13133"
  {{- end }}
service:
  extensions: [jaeger_storage, jaeger_query{{ if $deployment }}, healthcheckv2{{ end }}]
  pipelines:
    traces:
      receivers: [otlp]
      processors: [batch]
      exporters: [jaeger_storage_exporter]
  telemetry:
    resource:
      service.name: jaeger
    logs:
      level: info
    {{- if $deployment }}
    metrics:
      level: basic
      readers:
        - pull:
            exporter:
              prometheus:
                host: ${env:POD_IP}
                port: 8888
    {{- end }}
{{- end -}}
