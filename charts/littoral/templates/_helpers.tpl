{{/* The release's name, which the names of all objects begin with; cut so that suffixes fit. */}}
{{- define "littoral.fullname" -}}
{{- if contains "littoral" .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-littoral" (.Release.Name | trunc 41 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{- define "littoral.selectorLabels" -}}
app.kubernetes.io/name: littoral
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{/* `managed-by` is Helm's here: the label's value `littoral` marks what the operator itself manages. */}}
{{- define "littoral.labels" -}}
{{ include "littoral.selectorLabels" . }}
app.kubernetes.io/part-of: littoral
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "littoral.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "littoral.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* The reference of an image: (dict "image" <values> "tag" <default tag>). */}}
{{- define "littoral.image" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" .image.repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" .image.repository (.image.tag | default .tag) -}}
{{- end -}}
{{- end -}}

{{/* The files that the operator reads: empty where it needs none. */}}
{{- define "littoral.files" -}}
{{- with .Values.agent.caBundle }}
ca.crt: |
  {{- . | trim | nindent 2 }}
{{- end }}
{{- with .Values.artifacts.sigstoreTrustedRoot }}
trusted_root.json: |
  {{- . | trim | nindent 2 }}
{{- end }}
{{- with .Values.hardware.table }}
devices.yaml: |
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The subject of every binding. */}}
{{- define "littoral.subjects" -}}
subjects:
- kind: ServiceAccount
  name: {{ include "littoral.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}
