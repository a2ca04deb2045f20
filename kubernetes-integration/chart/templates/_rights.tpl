{{- /*
What the server may do, by target. Each right here is used by tests/k8s/tests/rights.rs, and none is missing there: whoever adds a request
to an executor adds the right, or that test fails.
*/}}

{{- /* Adds verbs to what is granted: [all, namespace, group, resource, name, verbs]. No name is any, and no namespace is the cluster. */}}
{{- define "backstay.grant" -}}
{{- $all := index . 0 }}
{{- $key := printf "%s|%s|%s" (index . 2) (index . 3) (index . 4) }}
{{- $granted := get $all (index . 1) | default dict }}
{{- $verbs := get $granted $key | default dict }}
{{- range index . 5 | splitList " " }}{{ $_ := set $verbs . true }}{{ end }}
{{- $_ := set $granted $key $verbs }}
{{- $_ := set $all (index . 1) $granted }}
{{- end }}

{{- /* Adds what one target takes: [all, name, target, the root]. */}}
{{- define "backstay.rights" -}}
{{- $all := index . 0 }}
{{- $target := index . 2 }}
{{- $root := index . 3 }}
{{- $values := $root.Values }}
{{- $name := $target.name | default (index . 1) }}
{{- $space := $target.namespace }}
{{- $heals := include "backstay.playbooks" $target | splitList " " }}
{{- $is := $target.kind }}

{{- /* What it is, and the way home. */}}
{{- if eq $is "Rollout" }}
{{- include "backstay.grant" (list $all $space "argoproj.io" "rollouts" $name "get patch") }}
{{- include "backstay.grant" (list $all $space "argoproj.io" "rollouts/status" $name "patch") }}
{{- with $target.workloadRef }}{{ include "backstay.grant" (list $all $space "apps" "deployments" . "get patch") }}{{ end }}
{{- else if eq $is "Deployment" }}
{{- include "backstay.grant" (list $all $space "apps" "deployments" $name "get patch") }}
{{- else }}
{{- /* Helm keeps its records in Secrets, and lists them by labels: so no names can be said, and it may read all of the namespace's. */}}
{{- include "backstay.grant" (list $all $space "" "secrets" "" "get list create update") }}
{{- include "backstay.grant" (list $all $space "coordination.k8s.io" "leases" "" "create") }}
{{- include "backstay.grant" (list $all $space "coordination.k8s.io" "leases" (printf "backstay-helm-%s" $name) "get patch") }}
{{- $three := eq (int $values.image.helm) 3 }}
{{- /* Helm 4 waits by watches, which older servers have only together with a list; and it makes objects by applying them. */}}
{{- $waits := ternary "watch" "list watch" (semverCompare ">=1.34-0" $root.Capabilities.KubeVersion.Version) }}
{{- range $target.objects }}
{{- $parts := splitn "." 2 . }}
{{- $verbs := ternary "get create patch delete" (printf "get create patch delete %s" $waits) $three }}
{{- include "backstay.grant" (list $all $space ($parts._1 | default "") $parts._0 "" $verbs) }}
{{- end }}
{{- range $target.hooks | default list }}
{{- $parts := splitn "." 2 . }}
{{- $verbs := ternary "get create delete watch" (printf "create patch delete %s" $waits) $three }}
{{- include "backstay.grant" (list $all $space ($parts._1 | default "") $parts._0 "" $verbs) }}
{{- end }}
{{- /* Where it finds nothing, it looks whether the namespace is there: of what it is to make (Helm 3), and of what it is to delete (both), which
somebody may have deleted before, or a helm that was killed never made. */}}
{{- include "backstay.grant" (list $all $space "" "namespaces" $space "get") }}
{{- /* Of a Deployment it waits for the newest ReplicaSet; Helm 4 for pods as well. */}}
{{- if has "deployments.apps" $target.objects }}{{ include "backstay.grant" (list $all $space "apps" "replicasets" "" "list") }}{{ end }}
{{- if and (not $three) (or (has "deployments.apps" $target.objects) (has "statefulsets.apps" $target.objects)) }}
{{- include "backstay.grant" (list $all $space "" "pods" "" "list") }}
{{- end }}
{{- end }}

{{- /* Looking: its pods, its revisions, and the nodes that they are on. */}}
{{- if or (ne $is "Helm") $target.workload }}
{{- include "backstay.grant" (list $all $space "" "pods" "" "list") }}
{{- include "backstay.grant" (list $all $space "" "events" "" "list") }}
{{- if ne $is "Helm" }}
{{- include "backstay.grant" (list $all $space "apps" "replicasets" "" "get list") }}
{{- else }}
{{- $kinds := dict "deployment" "apps/deployments" "statefulset" "apps/statefulsets" "daemonset" "apps/daemonsets" "rollout" "argoproj.io/rollouts" }}
{{- $parts := splitn "/" 2 $target.workload }}
{{- $kind := get $kinds $parts._0 | splitn "/" 2 }}
{{- include "backstay.grant" (list $all $space $kind._0 $kind._1 $parts._1 "get") }}
{{- $revisions := ternary "controllerrevisions" "replicasets" (eq $parts._0 "statefulset") }}
{{- include "backstay.grant" (list $all $space "apps" $revisions "" "list") }}
{{- end }}
{{- if ne (get ($target.settings | default dict) "look-nodes" | toString) "0" }}
{{- include "backstay.grant" (list $all "" "" "nodes" "" "get") }}
{{- end }}
{{- end }}

{{- /* What its playbooks change. */}}
{{- if or (has "restart" $heals) (has "drain" $heals) }}
{{- include "backstay.grant" (list $all $space "" "pods" "" "get") }}
{{- include "backstay.grant" (list $all $space "" "pods/eviction" "" "create") }}
{{- end }}
{{- if has "resize" $heals }}
{{- include "backstay.grant" (list $all $space "" "pods" "" "get patch") }}
{{- include "backstay.grant" (list $all $space "" "pods/resize" "" "patch") }}
{{- end }}
{{- if has "scale" $heals }}
{{- include "backstay.grant" (list $all $space "autoscaling" "horizontalpodautoscalers" $target.autoscaler "get patch") }}
{{- end }}
{{- if or (has "drain" $heals) (has "undrain" $heals) }}
{{- include "backstay.grant" (list $all "" "" "nodes" "" "get list patch") }}
{{- end }}
{{- if and (has "drain" $heals) $target.drainWholeNode }}
{{- include "backstay.grant" (list $all "" "" "pods" "" "get list") }}
{{- include "backstay.grant" (list $all "" "" "pods/eviction" "" "create") }}
{{- end }}
{{- if or (has "outliers" $heals) (has "outliers-off" $heals) }}
{{- include "backstay.grant" (list $all $space "networking.istio.io" "destinationrules" $target.destinationRule "get patch") }}
{{- end }}
{{- if has "lkg" $heals }}
{{- range $target.configMaps | default list }}{{ include "backstay.grant" (list $all $space "" "configmaps" . "get patch") }}{{ end }}
{{- with $target.configMaps }}{{ include "backstay.grant" (list $all $space "" "configmaps" "" "create") }}{{ end }}
{{- range $target.secrets | default list }}{{ include "backstay.grant" (list $all $space "" "secrets" . "get patch") }}{{ end }}
{{- end }}

{{- /* Who writes it from Git, each in a namespace of its own. */}}
{{- $owners := dict "applications" "argoproj.io" "kustomizations" "kustomize.toolkit.fluxcd.io" "helmReleases" "helm.toolkit.fluxcd.io" }}
{{- range $kind, $group := $owners }}
{{- range get ($target.owners | default dict) $kind | default list }}
{{- $parts := splitn "/" 2 . }}
{{- include "backstay.grant" (list $all $parts._0 $group (lower $kind) $parts._1 "get patch") }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Rules, as a Role has them, of what is granted in one namespace, or in the cluster: [granted, everywhere]. What is granted for any name
or everywhere isn't granted once more. */}}
{{- define "backstay.rules" -}}
{{- $granted := index . 0 }}
{{- $everywhere := index . 1 }}
{{- range $key := keys $granted | sortAlpha }}
{{- $parts := splitn "|" 3 $key }}
{{- $any := printf "%s|%s|" $parts._0 $parts._1 }}
{{- $more := get $everywhere $any | default dict }}
{{- if $parts._2 }}{{ $more = merge dict $more (get $granted $any | default dict) }}{{ end }}
{{- $verbs := list }}
{{- range $verb := keys (get $granted $key) | sortAlpha }}
{{- if not (hasKey $more $verb) }}{{ $verbs = append $verbs $verb }}{{ end }}
{{- end }}
{{- with $verbs }}
- { apiGroups: [{{ $parts._0 | quote }}], resources: [{{ $parts._1 }}]{{ with $parts._2 }}, resourceNames: [{{ . | quote }}]{{ end }}, verbs: [{{ join ", " . }}] }
{{- end }}
{{- end }}
{{- end }}
