{{/* The name of everything in the release. */}}
{{- define "platform.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What selects the pods of a component: never the version. Takes root and component. */}}
{{- define "platform.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "platform.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{ include "platform.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: event-platform
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end -}}

{{/* The image of a program. Takes root, program and digest. */}}
{{- define "platform.image" -}}
{{- $image := .root.Values.image -}}
{{- $name := printf "%s/%s/%s" $image.registry $image.repository .program -}}
{{- if .digest -}}
{{- printf "%s@%s" $name .digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .root.Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Where the stores are: those of the release, or those that the values name. */}}
{{- define "platform.scyllaNodes" -}}
{{- if .Values.backends.scylla.enabled -}}
{{- printf "%s-scylla:9042" (include "platform.fullname" .) -}}
{{- else -}}
{{- join "," .Values.scylla.nodes -}}
{{- end -}}
{{- end -}}

{{- define "platform.brokers" -}}
{{- if .Values.backends.redpanda.enabled -}}
{{- printf "%s-redpanda:9092" (include "platform.fullname" .) -}}
{{- else -}}
{{- join "," .Values.kafka.brokers -}}
{{- end -}}
{{- end -}}

{{/* A value as a process reads it from its environment: whole numbers without a point. */}}
{{- define "platform.value" -}}
{{- if kindIs "slice" . -}}
{{- join "," . -}}
{{- else if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- int64 . -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end -}}

{{/* Whether a program connects to the brokers. Those that are no process of the values do: the operator's command
line and the test. Takes root and program. */}}
{{- define "platform.usesKafka" -}}
{{- if or (not (hasKey .root.Values.processes .program)) (dig .program "kafka" false .root.Values.processes) -}}
true
{{- end -}}
{{- end -}}

{{/* Whether a program serves clients. Takes root and program. */}}
{{- define "platform.isApi" -}}
{{- if eq (dig .program "kind" "" .root.Values.processes) "api" -}}
true
{{- end -}}
{{- end -}}

{{/* The environment of a process as YAML. Takes root, program, config, and what is not the config's to say. */}}
{{- define "platform.environment" -}}
{{- $environment := dict
  "APP__SCYLLA__NODES" (include "platform.scyllaNodes" .root)
  "APP__SCYLLA__KEYSPACE" .root.Values.scylla.keyspace
-}}
{{- if .root.Values.scylla.existingSecret -}}
{{- $_ := set $environment "APP__SCYLLA__USERNAME_FILE" "/run/secrets/scylla/username" -}}
{{- $_ := set $environment "APP__SCYLLA__PASSWORD_FILE" "/run/secrets/scylla/password" -}}
{{- end -}}
{{- if .root.Values.scylla.tls.enabled -}}
{{- $_ := set $environment "APP__SCYLLA__TLS" "true" -}}
{{- $_ := set $environment "APP__SCYLLA__TLS_CA_FILE" "/run/secrets/scylla-tls/ca.crt" -}}
{{- if .root.Values.scylla.tls.clientCertificate -}}
{{- $_ := set $environment "APP__SCYLLA__TLS_CERT_FILE" "/run/secrets/scylla-tls/tls.crt" -}}
{{- $_ := set $environment "APP__SCYLLA__TLS_KEY_FILE" "/run/secrets/scylla-tls/tls.key" -}}
{{- end -}}
{{- end -}}
{{- with .root.Values.tracing.endpoint -}}
{{- $_ := set $environment "OTEL_EXPORTER_OTLP_ENDPOINT" . -}}
{{- end -}}
{{- if include "platform.usesKafka" . -}}
{{- $kafka := .root.Values.kafka -}}
{{- $_ := set $environment "APP__KAFKA__BROKERS" (include "platform.brokers" .root) -}}
{{- if $kafka.existingSecret -}}
{{- $_ := set $environment "APP__KAFKA__USERNAME_FILE" "/run/secrets/kafka/username" -}}
{{- $_ := set $environment "APP__KAFKA__PASSWORD_FILE" "/run/secrets/kafka/password" -}}
{{- $_ := set $environment "APP__KAFKA__SASL_MECHANISM" $kafka.saslMechanism -}}
{{- end -}}
{{- if $kafka.tls.enabled -}}
{{- $_ := set $environment "APP__KAFKA__TLS" "true" -}}
{{- $_ := set $environment "APP__KAFKA__TLS_CA_FILE" "/run/secrets/kafka-tls/ca.crt" -}}
{{- if $kafka.tls.clientCertificate -}}
{{- $_ := set $environment "APP__KAFKA__TLS_CERT_FILE" "/run/secrets/kafka-tls/tls.crt" -}}
{{- $_ := set $environment "APP__KAFKA__TLS_KEY_FILE" "/run/secrets/kafka-tls/tls.key" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (include "platform.isApi" .) .root.Values.http.tls.enabled -}}
{{- $_ := set $environment "APP__HTTP__TLS_CERT_FILE" "/run/secrets/http/tls.crt" -}}
{{- $_ := set $environment "APP__HTTP__TLS_KEY_FILE" "/run/secrets/http/tls.key" -}}
{{- if .root.Values.http.tls.clientCertificates -}}
{{- $_ := set $environment "APP__HTTP__CLIENT_CA_FILE" "/run/secrets/http/ca.crt" -}}
{{- end -}}
{{- end -}}
{{- if and (hasKey .root.Values.processes .program) .root.Values.admin.tls.enabled -}}
{{- $_ := set $environment "APP__ADMIN__TLS_CERT_FILE" "/run/secrets/admin/tls.crt" -}}
{{- $_ := set $environment "APP__ADMIN__TLS_KEY_FILE" "/run/secrets/admin/tls.key" -}}
{{- end -}}
{{- /* Later ones win. `merge` would take a process's false, 0 and "" for nothing said. */ -}}
{{- range list .root.Values.config .config .fixed -}}
{{- range $key, $value := . -}}
{{- $name := printf "APP__%s" ($key | replace "." "__" | upper) -}}
{{- $_ := set $environment $name (include "platform.value" $value) -}}
{{- end -}}
{{- end -}}
{{- range $name, $value := $environment }}
{{ $name }}: {{ $value | quote }}
{{- end -}}
{{- end -}}

{{- define "platform.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "platform.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* What the pods of this release have in common. Takes the root. */}}
{{- define "platform.pod" -}}
automountServiceAccountToken: false
securityContext: {{- include "platform.podSecurity" . | nindent 2 }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* The secrets that a program reads, as a list of dicts with name, secret and path. Takes root and program. */}}
{{- define "platform.secrets" -}}
{{- $kafka := .root.Values.kafka -}}
{{- if .root.Values.scylla.existingSecret }}
- {name: scylla-credentials, secret: {{ .root.Values.scylla.existingSecret | quote }}, path: /run/secrets/scylla}
{{- end }}
{{- if .root.Values.scylla.tls.enabled }}
- {name: scylla-tls, secret: {{ required "scylla.tls.enabled needs scylla.tls.existingSecret" .root.Values.scylla.tls.existingSecret | quote }}, path: /run/secrets/scylla-tls}
{{- end }}
{{- if and (include "platform.isApi" .) .root.Values.http.tls.enabled }}
- {name: http-tls, secret: {{ required "http.tls.enabled needs http.tls.existingSecret" .root.Values.http.tls.existingSecret | quote }}, path: /run/secrets/http}
{{- end }}
{{- if and (hasKey .root.Values.processes .program) .root.Values.admin.tls.enabled }}
- {name: admin-tls, secret: {{ required "admin.tls.enabled needs admin.tls.existingSecret" .root.Values.admin.tls.existingSecret | quote }}, path: /run/secrets/admin}
{{- end }}
{{- if and (eq .program "dev-stack") .root.Values.http.tls.enabled }}
- {name: http-client-tls, secret: {{ required "http.tls.enabled needs tests.tls.existingSecret, or tests.enabled=false" .root.Values.tests.tls.existingSecret | quote }}, path: /run/secrets/http}
{{- end }}
{{- if include "platform.usesKafka" . }}
{{- if $kafka.existingSecret }}
- {name: kafka-credentials, secret: {{ $kafka.existingSecret | quote }}, path: /run/secrets/kafka}
{{- end }}
{{- if $kafka.tls.enabled }}
- {name: kafka-tls, secret: {{ required "kafka.tls.enabled needs kafka.tls.existingSecret" $kafka.tls.existingSecret | quote }}, path: /run/secrets/kafka-tls}
{{- end }}
{{- end }}
{{- end -}}

{{- define "platform.secretMounts" -}}
{{- range (include "platform.secrets" . | fromYamlArray) }}
- {name: {{ .name }}, mountPath: {{ .path }}, readOnly: true}
{{- end -}}
{{- end -}}

{{- define "platform.secretVolumes" -}}
{{- range (include "platform.secrets" . | fromYamlArray) }}
- name: {{ .name }}
  secret: {secretName: {{ .secret | quote }}, defaultMode: 0440}
{{- end -}}
{{- end -}}
