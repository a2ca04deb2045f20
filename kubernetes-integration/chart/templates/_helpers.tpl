{{- define "backstay.labels" -}}
app.kubernetes.io/name: backstay
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "backstay.selector" -}}
app.kubernetes.io/name: backstay
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "backstay.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- /* What its rights are called in other namespaces, where another server's may be, too. */}}
{{- define "backstay.account" -}}
{{ .Release.Namespace }}-{{ .Release.Name }}
{{- end }}

{{- /* A value as TOML has it. JSON's texts, numbers, words and lists are TOML's as well. */}}
{{- define "backstay.table" -}}
{ {{ range $at, $key := keys . | sortAlpha }}{{ if $at }}, {{ end }}{{ $key }} = {{ get $ $key | toJson }}{{ end }} }
{{- end }}

{{- /* The playbooks of a target, as texts. */}}
{{- define "backstay.playbooks" -}}
{{- range .heals | default list }}{{ if kindIs "map" . }}{{ .name }}{{ else }}{{ . }}{{ end }} {{ end -}}
{{- end }}

{{- /* How the kubelet sees whether the server answers. Nobody has to show a token for it. */}}
{{- define "backstay.healthz" -}}
{ path: /healthz, port: api, scheme: {{ ternary "HTTPS" "HTTP" .Values.keys.tls }} }
{{- end }}
