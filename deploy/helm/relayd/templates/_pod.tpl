{{/* What the pods of agent, gateway, Jaeger and the test have in common. All but the agent's pass the pod security standard
     `restricted`; the agent's violates only "host namespaces" (or "hostPort"). */}}

{{/* Nothing here asks the API server for anything, so no pod has a token. */}}
{{- define "relayd.pod.identity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  {{- /* OpenShift gives each namespace a range of users and refuses others. */}}
  {{- if not .Values.openshift.enabled }}
  runAsUser: 10001
  runAsGroup: 10001
  {{- end }}
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "relayd.container.security" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{/* (a component's values) */}}
{{- define "relayd.pod.scheduling" -}}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The configuration, and what the values add: (list $ COMPONENT). The directory is mounted, not the file: only then does a change of
     the ConfigMap reach the pod. */}}
{{- define "relayd.pod.volumes" -}}
{{- $root := index . 0 -}}{{- $component := index . 1 -}}{{- $values := index $root.Values $component -}}
- name: config
  configMap:
    name: {{ include "relayd.configMapName" . }}
{{- include "relayd.tls.volumes" ($values.tls | default dict) }}
{{- with $values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "relayd.container.mounts" -}}
- name: config
  mountPath: /etc/relayd
  readOnly: true
{{- include "relayd.tls.mounts" (.tls | default dict) }}
{{- with .extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "relayd.tls.volumes" -}}
{{- if .caSecret }}
- name: tls-ca
  secret:
    secretName: {{ .caSecret }}
{{- end }}
{{- if .clientSecret }}
- name: tls-client
  secret:
    secretName: {{ .clientSecret }}
{{- end }}
{{- end -}}

{{- define "relayd.tls.mounts" -}}
{{- if .caSecret }}
- name: tls-ca
  mountPath: /etc/relayd-tls/ca
  readOnly: true
{{- end }}
{{- if .clientSecret }}
- name: tls-client
  mountPath: /etc/relayd-tls/client
  readOnly: true
{{- end }}
{{- end -}}

{{- define "relayd.env.field" -}}
- name: {{ index . 0 }}
  valueFrom:
    fieldRef:
      fieldPath: {{ index . 1 }}
{{- end -}}

{{/* For programs in Go: the garbage collector holds to four fifths of the memory limit, which may be in Mi or Gi. */}}
{{- define "relayd.env.gomemlimit" -}}
{{- $limit := .resources.limits.memory -}}
{{- $mebibytes := ternary (mul 1024 (trimSuffix "Gi" $limit | int)) (trimSuffix "Mi" $limit | int) (hasSuffix "Gi" $limit) -}}
- name: GOMEMLIMIT
  value: {{ div (mul $mebibytes 4) 5 }}MiB
{{- end -}}

{{/* HTTP probes of a component whose container declares the port `health`: (PATH). */}}
{{- define "relayd.probes.http" -}}
startupProbe:
  httpGet: {path: {{ . }}, port: health}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: {{ . }}, port: health}
  periodSeconds: 20
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: {{ . }}, port: health}
  periodSeconds: 5
  timeoutSeconds: 5
{{- end -}}
