{{/* Names, labels, images and addresses that several templates use. */}}

{{/* 44 characters leave room for the longest suffix, -gateway-headless, in a label of DNS. */}}
{{- define "relayd.fullname" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 44 | trimSuffix "-" -}}
{{- end -}}

{{/* Name of a component's objects: (list $ "agent"). */}}
{{- define "relayd.name" -}}
{{- $root := index . 0 -}}{{- $component := index . 1 -}}
{{- (index $root.Values $component).name | default (printf "%s-%s" (include "relayd.fullname" $root) $component) -}}
{{- end -}}

{{- define "relayd.configMapName" -}}
{{- $root := index . 0 -}}{{- $component := index . 1 -}}
{{- (index $root.Values $component).configMapName | default (include "relayd.name" .) -}}
{{- end -}}

{{/* What a Deployment, a Service or a policy finds pods by: never changes, as selectors cannot. */}}
{{- define "relayd.selectorLabels" -}}
{{- $root := index . 0 -}}{{- $component := index . 1 -}}
app.kubernetes.io/name: relayd
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ $component }}
{{- end -}}

{{/* The version is that of what runs in the component's pods: an upgrade of relayd must not restart Jaeger, which would forget its traces. */}}
{{- define "relayd.labels" -}}
{{- $root := index . 0 -}}{{- $component := index . 1 -}}
{{- $image := $root.Values.image -}}
{{- if or (and (eq $component "jaeger") (ne $root.Values.jaeger.kind "operator-v1")) (and (eq $component "gateway") (eq $root.Values.gateway.kind "otelcol")) -}}
{{- $image = (index $root.Values $component).image -}}
{{- end -}}
{{ include "relayd.selectorLabels" . }}
app.kubernetes.io/version: {{ $image.tag | default $root.Chart.AppVersion | trunc 63 | trimAll "-_." | quote }}
app.kubernetes.io/part-of: relayd
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
{{- end -}}

{{/* Name, namespace and labels of an object: (list $ COMPONENT NAME). */}}
{{- define "relayd.metadata" -}}
name: {{ index . 2 }}
namespace: {{ (index . 0).Release.Namespace }}
labels:
  {{- include "relayd.labels" . | nindent 2 }}
{{- end -}}

{{/* Labels and annotations of a component's pods: (list $ COMPONENT). The checksum rolls the pods when the configuration changes: the
     rollout shows whether the new one starts, and stops if it does not. relayd also takes up a ConfigMap edited by hand, without. */}}
{{- define "relayd.podMetadata" -}}
{{- $root := index . 0 -}}{{- $component := index . 1 -}}{{- $values := index $root.Values $component -}}
labels:
  {{- include "relayd.labels" . | nindent 2 }}
  {{- with $values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  checksum/config: {{ include (printf "relayd.%s.config" $component) $root | sha256sum }}
  {{- with $values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* (list IMAGE TAG): the tag counts where the image has neither digest nor tag. */}}
{{- define "relayd.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}{{ $image.repository }}@{{ $image.digest }}
{{- else -}}{{ $image.repository }}:{{ $image.tag | default (index . 1) }}
{{- end -}}
{{- end -}}

{{- define "relayd.gateway.host" -}}
{{ include "relayd.name" (list . "gateway") }}.{{ .Release.Namespace }}.svc
{{- end -}}

{{/* The Service that OTLP goes to and the one that shows traces; operators append to the name. */}}
{{- define "relayd.jaeger.host" -}}
{{- $suffix := ternary "" "-collector" (eq .Values.jaeger.kind "deployment") -}}
{{ include "relayd.name" (list . "jaeger") }}{{ $suffix }}.{{ .Release.Namespace }}.svc
{{- end -}}

{{- define "relayd.jaeger.query" -}}
{{- $suffix := get (dict "deployment" "" "operator" "-collector" "operator-v1" "-query") .Values.jaeger.kind -}}
http://{{ include "relayd.name" (list . "jaeger") }}{{ $suffix }}.{{ .Release.Namespace }}.svc:16686
{{- end -}}

{{/* A headless Service has an address for each gateway, and dns:/// has them all used: through one address of a Service a gRPC
     connection would stay with one gateway. Names end in .svc, so that a cluster domain other than cluster.local works too. */}}
{{- define "relayd.agent.endpoint" -}}
{{- if .Values.agent.endpoint -}}{{ .Values.agent.endpoint }}
{{- else if ne .Values.gateway.kind "none" -}}
dns:///{{ include "relayd.name" (list . "gateway") }}-headless.{{ .Release.Namespace }}.svc:4317
{{- else -}}{{ include "relayd.jaeger.host" . }}:4317
{{- end -}}
{{- end -}}

{{- define "relayd.gateway.endpoint" -}}
{{ .Values.gateway.endpoint | default (printf "%s:4317" (include "relayd.jaeger.host" .)) }}
{{- end -}}

{{/* Where the test's trace starts. An agent on loopback is reached from its node only, so then at the gateway, or at Jaeger; empty where a
     pod reaches none of them, and where the gateway takes TLS alone, which `relayd send` does not speak. */}}
{{- define "relayd.test.endpoint" -}}
{{- if and .Values.agent.enabled (eq .Values.agent.listen "all") -}}$(HOST_IP):4317
{{- else if and .Values.agent.tls.enabled (not .Values.agent.endpoint) -}}
{{- else if ne .Values.gateway.kind "none" -}}{{ include "relayd.gateway.host" . }}:4317
{{- else if ne .Values.jaeger.kind "none" -}}{{ include "relayd.jaeger.host" . }}:4317
{{- end -}}
{{- end -}}
