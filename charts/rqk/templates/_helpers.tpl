{{/* The chart's name, or what stands in for it. */}}
{{- define "rqk.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* How the release's objects begin: the release's name, with the chart's name unless it is in it already. */}}
{{- define "rqk.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "rqk.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "rqk.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "rqk.operatorName" -}}
{{- printf "%s-operator" (include "rqk.fullname" .) -}}
{{- end -}}

{{/* For what is not in a namespace: two releases of one name in two namespaces are two. */}}
{{- define "rqk.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "rqk.fullname" .) -}}
{{- end -}}

{{- define "rqk.serviceAccountName" -}}
{{- default (include "rqk.operatorName" .) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "rqk.leaseName" -}}
{{- default (include "rqk.operatorName" .) .Values.operator.leaderElection.leaseName -}}
{{- end -}}

{{/* Labels by which the pods of a component are found; they never change. Takes {root, component}. */}}
{{- define "rqk.selectorLabels" -}}
app.kubernetes.io/name: {{ include "rqk.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* All labels of an object. Takes {root, component}. */}}
{{- define "rqk.labels" -}}
{{ include "rqk.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: rqk
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels of a component's pods: none that an upgrade of the chart changes, since that would replace the pods. Takes {root, component}. */}}
{{- define "rqk.podLabels" -}}
{{ include "rqk.selectorLabels" . }}
app.kubernetes.io/part-of: rqk
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* An image's full name. Takes {root, image}. */}}
{{- define "rqk.image" -}}
{{- $registry := default .image.registry .root.Values.global.imageRegistry -}}
{{- $name := ternary .image.repository (printf "%s/%s" $registry .image.repository) (empty $registry) -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $name .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .root.Chart.AppVersion .image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "rqk.imagePullSecrets" -}}
{{- with concat .Values.global.imagePullSecrets .Values.imagePullSecrets | uniq }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Annotations for a Prometheus that has no operator. Takes {root, port}. */}}
{{- define "rqk.scrapeAnnotations" -}}
{{- if .root.Values.metrics.scrapeAnnotations -}}
prometheus.io/scrape: "true"
prometheus.io/port: {{ .port | quote }}
prometheus.io/path: /metrics
{{- end -}}
{{- end -}}

{{/* The URL of the development Valkey. */}}
{{- define "rqk.redisUrl" -}}
{{- $login := ternary (printf ":%s@" .Values.redis.password) "" (not (empty .Values.redis.password)) -}}
{{- printf "redis://%s%s-redis.%s:6379/0" $login (include "rqk.fullname" .) .Release.Namespace -}}
{{- end -}}

{{/* Where `helm test` makes its pool: here, unless only other namespaces are served. */}}
{{- define "rqk.testNamespace" -}}
{{- if or (empty .Values.namespaces) (has .Release.Namespace .Values.namespaces) -}}
{{- .Release.Namespace -}}
{{- else -}}
{{- first .Values.namespaces -}}
{{- end -}}
{{- end -}}

{{/* The rest of the chart's own pods (all but the operator's): what the restricted profile asks for. */}}
{{- define "rqk.restrictedPod" -}}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .uid }}
  runAsGroup: {{ .uid }}
  fsGroup: {{ .uid }}
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "rqk.restrictedContainer" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}
