//! What the chart gives, and the plain manifests, on the real API server: each values file server-side applied into namespaces that enforce
//! the restricted Pod Security Standard, with the real definitions of the Prometheus operator's kinds.
use crate::common::cluster::{Cluster, tool};
use crate::common::helm::{ours, read, template, values_files};
use serde_json::{Value, json};

/// The namespaces of all values files, which enforce what is shipped.
fn restricted(cluster: &Cluster) {
    for namespace in ["default", "batch", "guardprobe"] {
        let labels = json!({"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"});
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}});
        cluster.apply(&object.to_string());
    }
}

/// Server-side applies a text as a user would, and gives back what kubectl says on standard error.
#[track_caller]
fn apply(cluster: &Cluster, manager: &str, text: &str) -> String {
    let path = cluster.file("rendered.yaml", text);
    let manager = format!("--field-manager={manager}");
    let output = cluster.try_kubectl(&["apply", "--server-side", "--force-conflicts", &manager, "-f", &path]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{manager}: {said}");
    said
}

/// A pod as a controller would make it of a template: the API server judges it, and keeps nothing.
#[track_caller]
fn pod_is_admitted(cluster: &Cluster, object: &Value) {
    let mut pod = object["spec"]["template"].clone();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!("made-of-a-template");
    pod["metadata"]["namespace"] = object["metadata"]["namespace"].clone();
    if let Some(class) = pod["spec"]["priorityClassName"].as_str() {
        assert!(class.starts_with("system-"), "{class} is not in this cluster");
    }
    let path = cluster.file("pod.yaml", &pod.to_string());
    let output = cluster.try_kubectl(&["create", "--dry-run=server", "-f", &path]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{}: {said}", object["metadata"]["name"]);
}

#[test]
fn the_real_api_server_takes_every_values_file_without_a_warning() {
    let cluster = Cluster::with(&[], |_| {});
    restricted(&cluster);
    for kind in ["podmonitors", "prometheusrules"] {
        let path = tool(&format!("monitoring.coreos.com_{kind}.yaml"));
        cluster.kubectl(&["apply", "--server-side", "-f", path.to_str().unwrap()]);
        let name = format!("crd/{kind}.monitoring.coreos.com");
        cluster.kubectl(&["wait", "--for=condition=established", &name, "--timeout=30s"]);
    }
    for file in values_files() {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let text = template(&file, &[]);
        assert_eq!(apply(&cluster, "helm", &text), "", "{name}");
        let objects = read(&text);
        let workloads = objects.iter().filter(|object| object["kind"] == "DaemonSet" || object["kind"] == "Deployment");
        workloads.for_each(|object| pod_is_admitted(&cluster, object));
        let pods = objects.iter().filter(|object| object["kind"] == "Pod");
        for pod in pods {
            let (namespace, name) = (pod["metadata"]["namespace"].as_str().unwrap(), pod["metadata"]["name"].as_str().unwrap());
            cluster.kubectl(&["delete", "pod", "-n", namespace, name, "--force", "--grace-period=0"]);
        }
    } // The plain manifests, as the README tells; the chart's own objects of the same names are there already.
    let folder = ours("deploy/kustomize");
    let apply_k = ["apply", "--server-side", "--force-conflicts", "-k", folder.to_str().unwrap()];
    let output = cluster.try_kubectl(&apply_k);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    let image = ["get", "daemonset,deployment", "-A", "-l", "app.kubernetes.io/instance=guardprobe", "-o"];
    let images = cluster.kubectl(&[&image[..], &["jsonpath={.items[*].spec.template.spec.containers[*].image}"]].concat());
    assert!(images.split(' ').filter(|image| *image == "registry.example/guardprobe:0.1.0").count() >= 2, "{images}");
}
