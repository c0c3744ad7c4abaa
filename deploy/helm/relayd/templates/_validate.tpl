{{/* What the schema cannot say: values that are fine each and wrong together. Every refusal names the key and the way out; all are said at
     once. */}}
{{- define "relayd.validate" -}}
{{- $problems := concat (include "relayd.validate.profile" . | fromJsonArray) (include "relayd.validate.agent" . | fromJsonArray)
  (include "relayd.validate.gateway" . | fromJsonArray) (include "relayd.validate.storage" . | fromJsonArray) -}}
{{- if $problems -}}
{{- printf "\n- %s\n" (join "\n- " $problems) | fail -}}
{{- end -}}
{{- end -}}

{{- define "relayd.validate.profile" -}}
{{- $problems := list -}}
{{- $is := dict
  "default" true
  "single-node" (eq .Values.gateway.kind "none")
  "openshift" .Values.openshift.enabled
  "ha" .Values.gateway.autoscaling.enabled
  "article" (and (eq .Values.agent.name "otel-agent") (eq .Values.gateway.name "otel-collector"))
  "otelcol-gateway" (eq .Values.gateway.kind "otelcol") -}}
{{- $profile := .Values.profile -}}
{{- if not (get $is $profile) -}}
{{- $problems = append $problems (printf "profile: the values are not those of %s. Give its file: helm install -f values-%s.yaml; or set profile: default" $profile $profile) -}}
{{- end -}}
{{- if and .Values.namespace.create (has .Release.Namespace (list "default" "kube-system" "kube-public" "kube-node-lease")) -}}
{{- $problems = append $problems (printf "namespace.create: %s is a namespace of the cluster's own. Name another one with --namespace, or set namespace.create: false" .Release.Namespace) -}}
{{- end -}}
{{- range $key, $image := dict "image" .Values.image "gateway.image" .Values.gateway.image "jaeger.image" .Values.jaeger.image -}}
{{- if and (eq $image.tag "latest") (not $image.digest) -}}
{{- $problems = append $problems (printf "%s.tag: latest is another image tomorrow, and pods of one rollout may differ. Name a version, or set %s.digest" $key $key) -}}
{{- end -}}
{{- if and (not $image.tag) (not $image.digest) (ne $key "image") -}}
{{- $problems = append $problems (printf "%s.tag: neither tag nor digest is set. Name a version" $key) -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{/* 0, "0" and "0%" are all none. */}}
{{- define "relayd.validate.some" -}}
{{- if ne (toString . | trimSuffix "%" | int) 0 }}yes{{ end -}}
{{- end -}}

{{- define "relayd.validate.agent" -}}
{{- $problems := list -}}
{{- $agent := .Values.agent -}}
{{- $surge := include "relayd.validate.some" $agent.rollout.maxSurge -}}
{{- $unavailable := include "relayd.validate.some" $agent.rollout.maxUnavailable -}}
{{- if and (not $agent.enabled) (eq .Values.gateway.kind "none") (eq .Values.jaeger.kind "none") -}}
{{- $problems = append $problems "agent.enabled: without agent, gateway and Jaeger nothing would be installed. Enable one" -}}
{{- end -}}
{{- if $agent.enabled -}}
{{- if and (not $agent.endpoint) (eq .Values.gateway.kind "none") (eq .Values.jaeger.kind "none") -}}
{{- $problems = append $problems "agent.endpoint: without gateway and Jaeger of this chart the agent must be told where to send. Set agent.endpoint to HOST:PORT of an OTLP/gRPC server" -}}
{{- end -}}
{{- if and $agent.endpoint (ne .Values.gateway.kind "none") -}}
{{- $problems = append $problems "agent.endpoint: it passes by the gateway of this chart, which nothing would reach. Set gateway.kind: none, or gateway.endpoint instead of agent.endpoint" -}}
{{- end -}}
{{- if eq $agent.networkMode "hostPort" -}}
{{- if $surge -}}
{{- $problems = append $problems "agent.rollout.maxSurge: in networkMode hostPort two pods cannot have one port of a node, and the new one would wait for ever. Set agent.rollout.maxSurge: 0 and agent.rollout.maxUnavailable: 1, or networkMode: hostNetwork" -}}
{{- end -}}
{{- if eq $agent.listen "loopback" -}}
{{- $problems = append $problems "agent.listen: loopback is the pod's own in networkMode hostPort, where nobody sends. Set agent.listen: all, or networkMode: hostNetwork" -}}
{{- end -}}
{{- end -}}
{{- if and (not $surge) (not $unavailable) -}}
{{- $problems = append $problems "agent.rollout: maxSurge and maxUnavailable are both 0, and no pod could ever be replaced. Set maxSurge: 1 (hostNetwork) or maxUnavailable: 1" -}}
{{- end -}}
{{- if and $surge $unavailable -}}
{{- $problems = append $problems "agent.rollout: Kubernetes takes only one of maxSurge and maxUnavailable. Set the other to 0" -}}
{{- end -}}
{{- if and $agent.service.enabled (ne $agent.listen "all") -}}
{{- $problems = append $problems "agent.service.enabled: an agent on loopback is not reached by a Service. Set agent.listen: all" -}}
{{- end -}}
{{- if eq (include "relayd.name" (list . "agent")) (include "relayd.name" (list . "gateway")) -}}
{{- $problems = append $problems "agent.name: agent and gateway have the same name. Give them different ones" -}}
{{- end -}}
{{- $problems = concat $problems (include "relayd.validate.sender" (dict "key" "agent" "values" $agent "own" (not $agent.endpoint) "upstream" (ternary .Values.jaeger .Values.gateway (eq .Values.gateway.kind "none"))) | fromJsonArray) -}}
{{- if and (not $agent.endpoint) (not .Values.gateway.endpoint) (ne .Values.jaeger.kind "none") -}}
{{- $config := ternary $agent.config .Values.gateway.config (eq .Values.gateway.kind "none") -}}
{{- $pipelines := dig "service" "pipelines" dict $config -}}
{{- range without $agent.signals "traces" -}}
{{- if not (hasKey $pipelines .) -}}
{{- $problems = append $problems (printf "agent.signals: %s would end at Jaeger, which takes traces only. Leave %s out, set gateway.endpoint, or give gateway.config a pipeline %s" . . .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{/* What holds for agent and gateway alike: {key, values, own: the endpoint is this chart's}. */}}
{{- define "relayd.validate.sender" -}}
{{- $problems := list -}}
{{- $values := .values -}}{{- $key := .key -}}
{{- if lt (int $values.terminationGracePeriodSeconds) (add 10 (trimSuffix "s" $values.shutdownTimeout | int) ($values.preStopSleepSeconds | default 0 | int) | int) -}}
{{- $problems = append $problems (printf "%s.terminationGracePeriodSeconds: %v leaves less than 10 s after %s.shutdownTimeout %s, and what is held would be killed. Raise it, or lower shutdownTimeout" $key $values.terminationGracePeriodSeconds $key $values.shutdownTimeout) -}}
{{- end -}}
{{- if not (dig "limits" "memory" "" $values.resources) -}}
{{- $problems = append $problems (printf "%s.resources.limits.memory: without it memoryLimitPercentage would be of the node's memory. Set a limit" $key) -}}
{{- end -}}
{{- $tls := $values.tls -}}
{{- if and (not $tls.enabled) (or $tls.caSecret $tls.clientSecret $tls.serverName $tls.insecureSkipVerify) -}}
{{- $problems = append $problems (printf "%s.tls: keys are set and %s.tls.enabled is false, so they would have no effect. Set %s.tls.enabled: true" $key $key $key) -}}
{{- end -}}
{{- if and $tls.enabled .own (not (dig "config" dict (.upstream | default dict))) -}}
{{- $problems = append $problems (printf "%s.tls.enabled: the gateway and Jaeger of this chart take plaintext. Set %s.endpoint, or have gateway.config or jaeger.config serve TLS" $key $key) -}}
{{- end -}}
{{- if and $tls.enabled (hasPrefix "http://" ($values.endpoint)) -}}
{{- $problems = append $problems (printf "%s.endpoint: http:// is plaintext, and %s.tls.enabled is true. Write https://, or leave the scheme out" $key $key) -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "relayd.validate.gateway" -}}
{{- $problems := list -}}
{{- $gateway := .Values.gateway -}}
{{- if eq $gateway.kind "none" -}}
{{- if $gateway.endpoint -}}
{{- $problems = append $problems "gateway.endpoint: there is no gateway (gateway.kind: none). Set agent.endpoint" -}}
{{- end -}}
{{- if $gateway.config -}}
{{- $problems = append $problems "gateway.config: there is no gateway (gateway.kind: none). Set agent.config, or another gateway.kind" -}}
{{- end -}}
{{- if $gateway.autoscaling.enabled -}}
{{- $problems = append $problems "gateway.autoscaling.enabled: there is no gateway (gateway.kind: none). Leave it out, or set another gateway.kind" -}}
{{- end -}}
{{- else -}}
{{- if and (not $gateway.endpoint) (eq .Values.jaeger.kind "none") -}}
{{- $problems = append $problems "gateway.endpoint: without Jaeger of this chart the gateway must be told where to send. Set gateway.endpoint to HOST:PORT of an OTLP/gRPC server" -}}
{{- end -}}
{{- if and $gateway.endpoint (ne .Values.jaeger.kind "none") -}}
{{- $problems = append $problems "gateway.endpoint: it passes by Jaeger of this chart, which nothing would reach. Set jaeger.kind: none, or leave gateway.endpoint out" -}}
{{- end -}}
{{- if $gateway.autoscaling.enabled -}}
{{- if gt (int $gateway.autoscaling.minReplicas) (int $gateway.autoscaling.maxReplicas) -}}
{{- $problems = append $problems (printf "gateway.autoscaling.minReplicas: %v is more than maxReplicas %v. Raise maxReplicas, or lower minReplicas" $gateway.autoscaling.minReplicas $gateway.autoscaling.maxReplicas) -}}
{{- end -}}
{{- if not (dig "requests" "cpu" "" $gateway.resources) -}}
{{- $problems = append $problems "gateway.resources.requests.cpu: the autoscaler measures against it. Set it" -}}
{{- end -}}
{{- end -}}
{{- if and $gateway.preStopSleepSeconds (semverCompare "<1.30-0" .Capabilities.KubeVersion.Version) -}}
{{- $problems = append $problems (printf "gateway.preStopSleepSeconds: Kubernetes %s cannot sleep before it stops a container, 1.30 can. Set it to 0" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- $least := ternary $gateway.autoscaling.minReplicas $gateway.replicas $gateway.autoscaling.enabled | int -}}
{{- if and $gateway.pdb.enabled (lt $least 2) -}}
{{- $problems = append $problems (printf "gateway.pdb.enabled: with %d gateway a disruption budget is of no use. Set gateway.pdb.enabled: false, or more replicas" $least) -}}
{{- end -}}
{{- $problems = concat $problems (include "relayd.validate.sender" (dict "key" "gateway" "values" $gateway "own" (not $gateway.endpoint) "upstream" .Values.jaeger) | fromJsonArray) -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "relayd.validate.storage" -}}
{{- $problems := list -}}
{{- $jaeger := .Values.jaeger -}}
{{- if and $jaeger.config (has $jaeger.kind (list "operator-v1" "none")) -}}
{{- $problems = append $problems (printf "jaeger.config: jaeger.kind %s has no configuration of this chart. Leave it out, or set jaeger.kind: deployment" $jaeger.kind) -}}
{{- end -}}
{{- if and (has $jaeger.kind (list "deployment" "operator")) (not (dig "limits" "memory" "" $jaeger.resources)) -}}
{{- $problems = append $problems "jaeger.resources.limits.memory: without it one wave of spans may take the node's memory. Set a limit" -}}
{{- end -}}
{{- if $jaeger.ingress.enabled -}}
{{- if ne $jaeger.kind "deployment" -}}
{{- $problems = append $problems (printf "jaeger.ingress.enabled: for jaeger.kind deployment, not %s. The operators make their own" $jaeger.kind) -}}
{{- end -}}
{{- if not $jaeger.ingress.host -}}
{{- $problems = append $problems "jaeger.ingress.host: an Ingress needs a name. Set it" -}}
{{- end -}}
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.queryFrom) -}}
{{- $problems = append $problems "networkPolicy.queryFrom: nobody may ask Jaeger, so the Ingress would lead nowhere. Name your ingress controller, as in [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ingress-nginx}}}]" -}}
{{- end -}}
{{- end -}}
{{- if .Values.openshift.route.enabled -}}
{{- if not .Values.openshift.enabled -}}
{{- $problems = append $problems "openshift.route.enabled: openshift.enabled is false. Set it, or use jaeger.ingress" -}}
{{- end -}}
{{- if ne $jaeger.kind "deployment" -}}
{{- $problems = append $problems (printf "openshift.route.enabled: for jaeger.kind deployment, not %s. The operators make their own" $jaeger.kind) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.monitoring.prometheusRule.enabled (not (.Files.Get "files/alerts.yaml")) -}}
{{- $problems = append $problems "monitoring.prometheusRule.enabled: the chart has no files/alerts.yaml. Run deploy/render --all" -}}
{{- end -}}
{{- if and .Values.monitoring.dashboard.enabled (not (.Files.Get "files/dashboard.json")) -}}
{{- $problems = append $problems "monitoring.dashboard.enabled: the chart has no files/dashboard.json. Run deploy/render --all" -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}
