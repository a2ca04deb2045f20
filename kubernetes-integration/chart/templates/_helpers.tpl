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

{{- /* Releases of Helm take an image that has Helm in it; nobody else gets a shell. */}}
{{- define "backstay.image" -}}
{{- $more := "" }}
{{- range .Values.targets }}{{ if eq .kind "Helm" }}{{ $more = printf "-helm%d" (int $.Values.image.helm) }}{{ end }}{{ end -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default (printf "%s%s" .Chart.AppVersion $more) }}
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

{{- /* Where what stands in the configuration is: in the pod, or on the machine beside the cluster that has the server. JSON. */}}
{{- define "backstay.places" -}}
{{- $account := "/var/run/secrets/kubernetes.io/serviceaccount" }}
{{- $pod := dict "address" "https://kubernetes.default.svc" "listen" "0.0.0.0:8440" "etc" "/etc/backstay" "share" "/usr/share/backstay" "bin" "/usr/bin"
      "ca" (printf "%s/ca.crt" $account) "token" (printf "%s/token" $account)
      "helm" "KUBERNETES_SERVICE_HOST = \"kubernetes.default.svc\", KUBERNETES_SERVICE_PORT = \"443\"" }}
{{- if .Values.beside }}
{{- $at := merge dict .Values.beside (dict "listen" "127.0.0.1:8440" "state" "/var/lib/backstay-server") (pick $pod "etc" "share" "bin") }}
{{- $_ := set $at "ca" (printf "%s/ca.crt" $at.etc) }}
{{- $_ := set $at "token" (printf "%s/token" $at.etc) }}
{{- $_ := set $at "helm" (printf "KUBECONFIG = \"%s/helm.kubeconfig\"" $at.etc) }}
{{- toJson $at }}
{{- else }}
{{- toJson $pod }}
{{- end }}
{{- end }}
