{{- define "guardprobe.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "guardprobe.fullname" -}}
{{- $name := include "guardprobe.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* What an object is selected by: (root, component). */}}
{{- define "guardprobe.selector" -}}
app.kubernetes.io/name: {{ include "guardprobe.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* The labels of an object: (root, component). */}}
{{- define "guardprobe.labels" -}}
{{ include "guardprobe.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: guardprobe
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "guardprobe.image" -}}
{{- $image := .Values.image -}}
{{- if not $image.repository -}}
{{- fail "image.repository is empty. guardprobe is not published in any registry yet: build the image with deploy/image/build, push it to yours, and name it: --set image.registry=registry.example --set image.repository=guardprobe" -}}
{{- end -}}
{{- with default (.Values.global | default dict).imageRegistry $image.registry }}{{ . }}/{{ end }}{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ default .Chart.AppVersion $image.tag }}{{ end }}
{{- end -}}

{{/* The name of an object of a guard: (root, kind of object, guard). Names of pods must have no dots. */}}
{{- define "guardprobe.guardName" -}}
{{- $parts := list (include "guardprobe.fullname" .root) .what (.guard.name | replace "." "-") -}}
{{- join "-" (compact $parts) -}}
{{- end -}}

{{/* Refuses what cannot work, before anything is made of it. */}}
{{- define "guardprobe.check" -}}
{{- if not .Values.guards -}}
{{- fail "guards is empty. A guard is an egress policy that selects pods by their labels; guardprobe proves that it holds. Name at least one:\n\n  guards:\n    - name: deny-k8s-api-and-imds\n      namespace: default\n      labels: {egress: restricted}   # what the policy selects pods by\n" -}}
{{- end -}}
{{- $seen := dict -}}
{{- range $at, $guard := .Values.guards -}}
{{- $guard_name := printf "%s/%s" $guard.namespace $guard.name -}}
{{- if not $guard.labels -}}
{{- fail (printf "guards[%d] (%s) has no labels. The agent must wear what the policy selects pods by: without them it stands outside the guard, and would report every door as open. Take them from the policy's selector, such as labels: {egress: restricted}" $at $guard_name) -}}
{{- end -}}
{{- range $key, $_ := $guard.labels -}}
{{- if hasPrefix "guardprobe.dev/" $key -}}
{{- fail (printf "guards[%d] (%s) has the label %s. Labels of guardprobe.dev are how the reporter finds the agents, and guard nothing: name those that the policy selects pods by" $at $guard_name $key) -}}
{{- end -}}
{{- end -}}
{{- $objects := $guard_name | replace "." "-" -}}
{{- if hasKey $seen $objects -}}
{{- fail (printf "guards[%d] (%s) would make objects of the same names as another guard. Give each a name of its own in its namespace" $at $guard_name) -}}
{{- end -}}
{{- $_ := set $seen $objects true -}}
{{- end -}}
{{- if and (eq .Values.proof "witnessed") (not .Values.witness.enabled) -}}
{{- fail "proof is witnessed, but witness.enabled is false: nothing would ever be proved. Enable the witness, or ask for less" -}}
{{- end -}}
{{- end -}}

{{/* The namespaces with guards, each once, as JSON. */}}
{{- define "guardprobe.namespaces" -}}
{{- $all := list -}}
{{- range .Values.guards }}{{ $all = append $all .namespace }}{{ end -}}
{{- dict "list" ($all | uniq | sortAlpha) | toJson -}}
{{- end -}}

{{/* What an agent's pod wears: the guard's labels win over all but those that the reporter finds it by. (root, guard, role) */}}
{{- define "guardprobe.podLabels" -}}
{{- $found := dict "guardprobe.dev/guard" .guard.name "guardprobe.dev/role" .role -}}
{{- $own := dict "app.kubernetes.io/name" (include "guardprobe.name" .root) "app.kubernetes.io/instance" .root.Release.Name "app.kubernetes.io/component" .role -}}
{{- $mesh := dict "sidecar.istio.io/inject" "false" "istio.io/dataplane-mode" "none" -}}
{{- $guard := ternary .guard.labels (dict) (eq .role "agent") -}}
{{- toYaml (merge (dict) $found $guard $mesh $own) -}}
{{- end -}}

{{/* The configuration of a guard's agents. (root, guard) */}}
{{- define "guardprobe.agentConfig" -}}
{{- $values := .root.Values -}}
{{- $config := dict "guard" (printf "%s/%s" .guard.namespace .guard.name) -}}
{{- range $key := list "interval" "timeout" "sentinel" "startup" -}}
{{- $_ := set $config $key (index $values.agent $key | toString) -}}
{{- if hasKey $.guard $key }}{{ $_ := set $config $key (index $.guard $key | toString) }}{{ end -}}
{{- end -}}
{{- /* What a witness adds only the reporter knows: an agent alone can give no more than the others. */ -}}
{{- $_ := set $config "proof" (ternary "silence" $values.proof (eq $values.proof "witnessed")) -}}
{{- $targets := list -}}
{{- range default (list (dict "name" "imds" "kind" "imds") (dict "name" "kube-api" "kind" "kube-api")) .guard.targets -}}
{{- $target := deepCopy . -}}
{{- if eq .kind "kube-api" -}}
{{- $target = merge $target (dict "caFile" "/etc/guardprobe/ca/ca.crt") -}}
{{- if not .addresses }}{{ $target = merge $target (dict "endpointsFile" "/etc/guardprobe/endpoints/endpoints.json") }}{{ end -}}
{{- end -}}
{{- $targets = append $targets $target -}}
{{- end -}}
{{- $_ := set $config "targets" $targets -}}
{{- with .guard.controls }}{{ $_ := set $config "controls" . }}{{ end -}}
{{- toYaml $config -}}
{{- end -}}

{{- define "guardprobe.reporterConfig" -}}
{{- $guards := list -}}
{{- range .Values.guards }}{{ $guards = append $guards (dict "name" (printf "%s/%s" .namespace .name) "labels" .labels) }}{{ end -}}
{{- $config := dict "guards" $guards "proof" .Values.proof -}}
{{- toYaml (merge $config .Values.reporter.rules) -}}
{{- end -}}

{{/* host:port at which agents find the reporter. */}}
{{- define "guardprobe.reporterAddress" -}}
{{ include "guardprobe.fullname" . }}-reporter.{{ .Release.Namespace }}.svc:9798
{{- end -}}

{{/* The environment that every part takes from its own pod. */}}
{{- define "guardprobe.env" -}}
- {name: GUARDPROBE_POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: GUARDPROBE_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
- {name: GUARDPROBE_NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
{{- end -}}

{{/* What the program logs. (part of the values) */}}
{{- define "guardprobe.logEnv" -}}
- {name: GUARDPROBE_LOG_FORMAT, value: {{ .logFormat | quote }}}
{{- with .log }}
- {name: GUARDPROBE_LOG, value: {{ . | quote }}}
{{- end }}
{{- end -}}

{{/* Where an agent's container finds its files. (extra volumes' mounts) */}}
{{- define "guardprobe.mounts" -}}
- {name: config, mountPath: /etc/guardprobe/config, readOnly: true}
- {name: endpoints, mountPath: /etc/guardprobe/endpoints, readOnly: true}
- {name: ca, mountPath: /etc/guardprobe/ca, readOnly: true}
{{- with .Values.agent.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* (root, guard) */}}
{{- define "guardprobe.volumes" -}}
- name: config
  configMap: {name: {{ include "guardprobe.guardName" (dict "root" .root "what" "" "guard" .guard) }}}
- name: endpoints
  # The reporter keeps it. No file yet is "stale_addresses", never "blocked".
  configMap: {name: guardprobe-endpoints, optional: true}
- name: ca
  configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
{{- with .root.Values.agent.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The names of the guards, as JSON. */}}
{{- define "guardprobe.guardNames" -}}
{{- $all := list -}}
{{- range .Values.guards }}{{ $all = append $all .name }}{{ end -}}
{{- $all | uniq | sortAlpha | toJson -}}
{{- end -}}

{{/* The rules that are shipped, without the alerts that are switched off, and with runbooks where they are to be found. */}}
{{- define "guardprobe.rules" -}}
{{- $rules := .Files.Get "files/rules.yaml" | fromYaml -}}
{{- $off := .Values.prometheusRule.disabled -}}
{{- $prefix := .Values.prometheusRule.runbookUrlPrefix -}}
{{- $known := list -}}
{{- $groups := list -}}
{{- range $group := $rules.groups -}}
{{- $kept := list -}}
{{- range $rule := $group.rules -}}
{{- if hasKey $rule "alert" -}}
{{- $known = append $known $rule.alert -}}
{{- $_ := set $rule.annotations "runbook_url" (printf "%s%s" $prefix $rule.annotations.runbook_url) -}}
{{- end -}}
{{- if not (and (hasKey $rule "alert") (has $rule.alert $off)) }}{{ $kept = append $kept $rule }}{{ end -}}
{{- end -}}
{{- $groups = append $groups (merge (dict "rules" $kept) (omit $group "rules")) -}}
{{- end -}}
{{- range $name := $off -}}
{{- if not (has $name $known) -}}
{{- fail (printf "prometheusRule.disabled names %q, which is no alert of guardprobe. There are: %s" $name (join ", " $known)) -}}
{{- end -}}
{{- end -}}
{{- toYaml (dict "groups" $groups) -}}
{{- end -}}
