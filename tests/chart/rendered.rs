//! What Helm makes of the chart, looked at as objects.
use crate::common::documented_permissions;
use crate::common::helm::{chart, helm, objects, ours, read, template, values_files};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn minimal() -> PathBuf {
    chart().join("ci/minimal-values.yaml")
}

/// Every object of every values file, with the file's name.
fn all() -> Vec<(String, Value)> {
    let of = |file: PathBuf| {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        objects(&file, &[]).into_iter().map(move |object| (name.clone(), object))
    };
    values_files().into_iter().flat_map(of).collect()
}

fn of_kind<'o>(objects: &'o [(String, Value)], kind: &str) -> Vec<(&'o str, &'o Value)> {
    objects.iter().filter(|(_, object)| object["kind"] == kind).map(|(file, object)| (file.as_str(), object)).collect()
}

/// The pods that would run: of DaemonSets, Deployments, and the tests.
fn pods(objects: &[(String, Value)]) -> Vec<(String, Value)> {
    let pod = |(file, object): &(String, Value)| match object["kind"].as_str().unwrap() {
        "DaemonSet" | "Deployment" => Some((file.clone(), object["spec"]["template"].clone())),
        "Pod" => Some((file.clone(), object.clone())),
        _ => None,
    };
    objects.iter().filter_map(pod).collect()
}

fn strings(value: &Value) -> BTreeMap<String, String> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn every_values_file_passes_lint() {
    let files = values_files();
    assert!(files.len() >= 6, "{files:?}");
    for file in files {
        let output = helm(["lint".as_ref(), "--strict".as_ref(), chart().as_os_str(), "--values".as_ref(), file.as_os_str()]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && !said.contains("[WARNING]") && !said.contains("[ERROR]"),
            "{}: {said}",
            file.display()
        );
    }
}

#[test]
fn it_refuses_what_cannot_work_and_says_why() {
    let guard = "{name: g, namespace: default, labels: {egress: restricted}}";
    let image = "image: {repository: guardprobe}";
    for (values, why) in [
        (image.to_owned(), "guards is empty. A guard is an egress policy"),
        (
            format!("{image}\nguards: [{{name: g, namespace: default}}]"),
            "guards[0] (default/g) has no labels. The agent must wear",
        ),
        (format!("{image}\nguards: [{{name: g, namespace: default, labels: {{}}}}]"), "guards[0] (default/g) has no labels"),
        (
            format!("{image}\nguards: [{{name: g, namespace: default, labels: {{guardprobe.dev/role: agent}}}}]"),
            "Labels of guardprobe.dev are how the reporter finds the agents",
        ),
        (format!("{image}\nguards: [{guard}, {guard}]"), "guards[1] (default/g) would make objects of the same names"),
        (format!("guards: [{guard}]"), "image.repository is empty. guardprobe is not published"),
        (format!("{image}\nproof: witnessed\nguards: [{guard}]"), "proof is witnessed, but witness.enabled is false"),
        (format!("{image}\nguards: [{{name: Big, namespace: default, labels: {{a: b}}}}]"), "'/guards/0/name'"),
        (
            format!("{image}\nguards: [{{name: g, namespace: default, label: {{a: b}}}}]"),
            "additional properties 'label' not allowed",
        ),
        (
            format!("{image}\nguards: [{{name: g, namespace: d, labels: {{a: b}}, targets: [{{name: i, kind: imsd}}]}}]"),
            "'/guards/0/targets/0/kind'",
        ),
        (format!("{image}\nguards: [{guard}]\nhostNetwork: true"), "additional properties 'hostNetwork' not allowed"),
        (
            format!("{image}\nguards: [{guard}]\nprometheusRule: {{enabled: true, disabled: [GuardprobeBreach]}}"),
            "names \"GuardprobeBreach\", which is no alert of guardprobe. There are: GuardprobeBreached,",
        ),
        (format!("{image}\nguards: [{guard}]\nagent: {{interval: 15}}"), "'/agent/interval'"),
        (format!("{image}\nguards: [{guard}]\nreporter: {{rules: {{grace: 10}}}}"), "'/reporter/rules/grace'"),
        (format!("{image}\nguards: [{guard}]\nreporter: {{rules: {{manyPercent: 101}}}}"), "'/reporter/rules/manyPercent'"),
        (
            format!("{image}\nguards: [{guard}]\nnetworkPolicy: {{prometheus: [{{ip: 10.0.0.1}}]}}"),
            "additional properties 'ip' not allowed",
        ),
    ] {
        let file = std::env::temp_dir().join(format!("gpt{}-values.yaml", std::process::id()));
        fs::write(&file, &values).unwrap();
        let output = helm(["template".as_ref(), chart().as_os_str(), "--values".as_ref(), file.as_os_str()]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        fs::remove_file(&file).unwrap();
        assert!(!output.status.success() && said.contains(why), "{values}\nexpected {why:?} in\n{said}");
    }
}

#[test]
fn the_image_comes_from_its_registry_or_from_the_one_of_all_charts() {
    let image = |more: &[&str]| {
        let set = objects(&minimal(), more).into_iter().find(|object| object["kind"] == "DaemonSet").unwrap();
        set["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
    };
    let own = ["--set", "image.registry=own.example"];
    let of_all = ["--set", "global.imageRegistry=all.example"];
    assert!(image(&[&of_all[..], &["--set", "image.registry="]].concat()).starts_with("all.example/guardprobe:"));
    assert!(image(&[own, of_all].concat()).starts_with("own.example/guardprobe:"));
}

#[test]
fn an_agent_wears_the_labels_of_its_guard_and_a_witness_none_of_them() {
    for file in values_files() {
        let values = &read(&fs::read_to_string(&file).unwrap())[0];
        let sets = objects(&file, &[]).into_iter().filter(|object| object["kind"] == "DaemonSet").collect::<Vec<_>>();
        let guards = values["guards"].as_array().unwrap();
        let roles = if values["witness"]["enabled"] == true { 2 } else { 1 };
        assert_eq!(sets.len(), guards.len() * roles, "{}", file.display());
        for set in &sets {
            let name = &set["metadata"]["labels"]["guardprobe.dev/guard"];
            let guard = guards.iter().find(|guard| guard["name"] == *name).unwrap();
            let worn = strings(&set["spec"]["template"]["metadata"]["labels"]);
            let wanted = strings(&guard["labels"]);
            assert_eq!(set["metadata"]["namespace"], guard["namespace"]);
            let wears = wanted.iter().all(|(key, value)| worn.get(key) == Some(value));
            let role = set["metadata"]["labels"]["guardprobe.dev/role"].as_str().unwrap();
            assert_eq!(wears, role == "agent", "{}: {role} {worn:?}", file.display());
            let selector = strings(&set["spec"]["selector"]["matchLabels"]);
            assert!(selector.iter().all(|(key, value)| worn.get(key) == Some(value)), "{selector:?} {worn:?}");
        }
    }
}

/// `helm test` verifies with the permissions that docs/verify.md has, which a test applies, and makes none where it is not to.
#[test]
fn the_test_that_verifies_may_do_what_the_page_says_and_nothing_else() {
    let documented = read(&documented_permissions());
    let documented = documented.iter().find(|object| object["kind"] == "Role").unwrap();
    let roles = |more: &[&str]| {
        let all = objects(&minimal(), &[&["--set", "tests.verify.enabled=true"], more].concat());
        let ours = |object: &Value| object["metadata"]["name"].as_str().is_some_and(|name| name.ends_with("-verify-test"));
        all.into_iter().filter(ours).filter(|object| object["kind"] != "ServiceAccount").collect::<Vec<_>>()
    };
    let all = roles(&[]);
    let kinds: BTreeSet<&str> = all.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Pod", "Role", "RoleBinding"].into());
    let role = all.iter().find(|object| object["kind"] == "Role").unwrap();
    assert_eq!(role["rules"], documented["rules"]);
    let without = roles(&["--set", "rbac.create=false"]);
    assert!(without.len() == 1 && without[0]["kind"] == "Pod", "{without:?}");
}

#[test]
fn every_pod_is_as_little_as_it_can_be() {
    let all = all();
    let pods = pods(&all);
    assert!(pods.len() > 15, "{}", pods.len());
    for (file, pod) in &pods {
        let (spec, labels, notes) = (&pod["spec"], &pod["metadata"]["labels"], &pod["metadata"]["annotations"]);
        let component = &labels["app.kubernetes.io/component"];
        let asks_the_api = component == "reporter" || component == "verify";
        assert_eq!(spec["automountServiceAccountToken"], asks_the_api, "{file}: {pod}");
        assert_eq!(spec["enableServiceLinks"], false);
        for key in ["hostNetwork", "hostPID", "hostIPC", "initContainers", "shareProcessNamespace"] {
            assert!(spec.get(key).is_none(), "{file}: {key}");
        }
        let of_pod = &spec["securityContext"];
        assert_eq!((&of_pod["runAsNonRoot"], &of_pod["seccompProfile"]["type"]), (&json!(true), &json!("RuntimeDefault")));
        let user = if file.starts_with("openshift") { Value::Null } else { json!(65532) };
        assert_eq!(of_pod["runAsUser"], user, "{file}");
        assert_eq!(spec["containers"].as_array().unwrap().len(), 1);
        let container = &spec["containers"][0];
        let context =
            json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}});
        assert_eq!(container["securityContext"], context);
        for volume in spec["volumes"].as_array().into_iter().flatten() {
            assert!(volume.get("configMap").is_some(), "{file}: {volume}");
        }
        assert_eq!(labels["sidecar.istio.io/inject"], "false");
        assert_eq!((&labels["istio.io/dataplane-mode"], &notes["linkerd.io/inject"]), (&json!("none"), &json!("disabled")));
        assert!(container["resources"]["limits"]["memory"].is_string() && container["resources"]["limits"].get("cpu").is_none());
    }
}

#[test]
fn agents_go_everywhere_and_the_new_one_is_there_before_the_old_one_goes() {
    let all = all();
    for (file, set) in of_kind(&all, "DaemonSet") {
        let (update, spec) = (&set["spec"]["updateStrategy"]["rollingUpdate"], &set["spec"]["template"]["spec"]);
        assert_eq!(*update, json!({"maxSurge": "10%", "maxUnavailable": 0}), "{file}");
        assert_eq!(spec["terminationGracePeriodSeconds"], 5);
        assert_eq!(spec["tolerations"], json!([{"operator": "Exists"}]));
        let probe = &spec["containers"][0]["readinessProbe"]["httpGet"];
        assert_eq!(*probe, json!({"path": "/readyz", "port": "metrics"}));
    }
}

#[test]
fn no_policy_is_of_egress() {
    let all = all();
    let policies = of_kind(&all, "NetworkPolicy");
    assert!(policies.len() > 5);
    for (file, policy) in policies {
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress"]), "{file}");
        assert!(policy["spec"].get("egress").is_none(), "{file}");
    }
}

/// The hash of the configuration in the pods of a rendering with more arguments.
fn checksums(more: &[&str]) -> BTreeSet<String> {
    let objects = objects(&minimal(), more).into_iter().map(|object| (String::new(), object)).collect::<Vec<_>>();
    let sum = |(_, pod): (String, Value)| pod["metadata"]["annotations"]["checksum/config"].as_str().map(str::to_owned);
    pods(&objects).into_iter().filter_map(sum).collect()
}

#[test]
fn another_configuration_is_another_pod_and_nothing_else_is() {
    assert_eq!(checksums(&[]), checksums(&["--set", "image.tag=other"]));
    assert!(checksums(&[]).is_disjoint(&checksums(&["--set", "agent.interval=20s", "--set", "reporter.rules.grace=5m"])));
    assert!(!template(&minimal(), &[]).contains("endpoints.json: "), "the endpoints are the reporter's, and roll nothing");
}

#[test]
fn the_configurations_that_it_makes_are_read_by_the_program() {
    let mut read = 0;
    for (file, map) in of_kind(&all(), "ConfigMap") {
        let Some(data) = map["data"].as_object() else { continue }; // the reporter's
        if let Some(text) = data.get("guardprobe.yaml") {
            let parsed = guardprobe_core::parse::config::parse(text.as_str().unwrap(), "default");
            let config = parsed.unwrap_or_else(|problems| panic!("{file}: {problems:?}\n{text}"));
            assert!(config.guard.starts_with(map["metadata"]["namespace"].as_str().unwrap()), "{}", config.guard);
            let api = config.targets.iter().find(|target| target.name == "kube-api");
            assert!(api.is_none_or(|api| api.endpoints_file.is_some() && api.ca_file.is_some()));
            read += 1;
        }
        if let Some(text) = data.get("reporter.yaml") {
            let parsed = guardprobe_core::parse::reporter::parse_bytes(text.as_str().unwrap().as_bytes());
            let settings = parsed.unwrap_or_else(|problems| panic!("{file}: {problems:?}\n{text}"));
            assert!(settings.guards.iter().all(|guard| !guard.labels.is_empty()));
            read += 1;
        }
    }
    assert!(read > 12, "{read}");
}

/// What a manifest says, and what it does not need without Helm.
fn plain() -> String {
    let made = template(&ours("deploy/kustomize/values.yaml"), &["--no-hooks"]);
    let helms_own = ["app.kubernetes.io/managed-by: Helm", "helm.sh/chart: ", "# Source: "];
    let lines = made.lines().filter(|line| !helms_own.iter().any(|text| line.trim_start().starts_with(text)));
    let intro = "# Made from deploy/charts/guardprobe with the values beside this file: UPDATE=1 cargo test --test chart\n";
    intro.to_owned() + &lines.map(|line| line.to_owned() + "\n").collect::<String>()
}

#[test]
fn the_plain_manifests_are_what_the_chart_gives() {
    let (path, is) = (ours("deploy/kustomize/guardprobe.yaml"), plain());
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &is).unwrap();
    }
    let was = fs::read_to_string(&path).unwrap_or_default();
    assert!(was == is, "deploy/kustomize/guardprobe.yaml differs: run with UPDATE=1 and read the difference");
}

fn json_of(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn targets_and_controls_are_checked_as_the_program_does() {
    let path = chart().join("values.schema.json");
    let (mut schema, config) = (json_of(&path), json_of(&ours("deploy/config.schema.json")));
    for (name, of_the_program) in config["$defs"].as_object().unwrap() {
        schema["$defs"][name] = of_the_program.clone();
    }
    let is = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &is).unwrap();
    }
    assert!(fs::read_to_string(&path).unwrap() == is, "values.schema.json differs: run with UPDATE=1 and read the difference");
}

#[test]
fn the_chart_has_the_version_of_the_program() {
    let chart = &read(&fs::read_to_string(chart().join("Chart.yaml")).unwrap())[0];
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
}
