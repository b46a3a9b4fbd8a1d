{{/* The names of all objects; as short as a label may be. */}}
{{- define "waystation.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "waystation.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains (include "waystation.name" .) .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "waystation.name" .) | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* What chooses the pod. It never changes: a StatefulSet's selector cannot. */}}
{{- define "waystation.selectorLabels" -}}
app.kubernetes.io/name: {{ include "waystation.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "waystation.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "waystation.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "waystation.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "waystation.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "waystation.secretName" -}}
{{- default (include "waystation.fullname" .) .Values.secret.existing }}
{{- end }}

{{/* A server that knows nobody would not start. Better to say so before the pod does. */}}
{{- define "waystation.requireCallers" -}}
{{- $knows := or .Values.secret.existing .Values.secret.values.JWT_SECRET .Values.settings.WAYSTATION_JWT_KEYS }}
{{- if not (or $knows (eq (toString .Values.settings.WAYSTATION_OPEN) "true")) }}
{{- fail "name a Secret with JWT_SECRET in secret.existing, or set secret.values.JWT_SECRET to at least 32 bytes" }}
{{- end }}
{{- end }}
