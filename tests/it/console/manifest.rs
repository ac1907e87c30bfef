//! The console's manifests: that they fit the program and the service, and let it do nothing else.

use std::{path::Path, process::Command};

use serde_json::Value;

use crate::support::{
    process::Process,
    waiting::{printed, run},
};

/// The objects of the overlay that has the console, by kind and name.
fn object(kind: &str, name: &str) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let render = r"
        .tools/bin/kubectl kustomize deploy/kubernetes/overlays/production-with-console | PYTHONPATH=.tools/python python3 -c '
import json, sys, yaml
json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)'";
    let rendered =
        printed(run(Command::new("bash").args(["-o", "pipefail", "-c", render]).current_dir(root)));
    let objects: Vec<Value> = serde_json::from_str(&rendered).unwrap();
    let is_wanted = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
    objects.iter().find(is_wanted).unwrap_or_else(|| panic!("no {kind} {name}")).clone()
}

fn variables(container: &Value) -> Vec<(&str, &str)> {
    let variables = container["env"].as_array().unwrap().iter();
    variables
        .map(|variable| (variable["name"].as_str().unwrap(), variable["value"].as_str().unwrap()))
        .collect()
}

#[test]
fn the_program_knows_what_its_pod_is_given_and_what_it_is_given_is_mounted() {
    let pod = &object("Deployment", "billing-console")["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(
        (&container["args"], pod["containers"].as_array().unwrap().len()),
        (&serde_json::json!(["console"]), 1)
    );
    let help = printed(run(Process::command().args(["console", "--help"])));
    let mounts: Vec<&str> = container["volumeMounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["mountPath"].as_str().unwrap())
        .collect();
    for (name, value) in variables(container) {
        assert!(help.contains(&format!("[env: {name}=")), "{name}");
        let is_mounted = mounts.iter().any(|mount| value.starts_with(mount));
        assert!(is_mounted || !value.starts_with('/'), "{name}: {value} is not mounted");
    }
}

#[test]
fn its_pods_can_do_nothing_but_run_the_program_and_reach_the_service() {
    let (console, service) = (object("Deployment", "billing-console"), object("Deployment", "billing"));
    let pod = &console["spec"]["template"]["spec"];
    let container = &pod["containers"][0]["securityContext"];
    assert_eq!(
        (&pod["automountServiceAccountToken"], &pod["securityContext"]["runAsNonRoot"]),
        (&false.into(), &true.into())
    );
    assert_eq!(
        (&container["readOnlyRootFilesystem"], &container["allowPrivilegeEscalation"]),
        (&true.into(), &false.into())
    );
    assert_eq!(container["capabilities"]["drop"][0], "ALL");

    let labels = &console["spec"]["template"]["metadata"]["labels"];
    for (kind, path) in [("Service", "/spec/selector"), ("NetworkPolicy", "/spec/podSelector/matchLabels")] {
        let name = if kind == "Service" { "billing" } else { "billing-egress" };
        let of_service = object(kind, name);
        assert!(!selects(of_service.pointer(path).unwrap(), labels), "{name} is of the service alone");
        let own = object(kind, "billing-console");
        assert!(selects(own.pointer(path).unwrap(), labels), "{kind}");
    }
    let ingress = object("NetworkPolicy", "billing-ingress");
    let may_call = ingress.pointer("/spec/ingress/0/from/0/podSelector/matchLabels").unwrap();
    assert!(selects(may_call, labels), "the service lets it in");
    let egress = object("NetworkPolicy", "billing-console")["spec"]["egress"].clone();
    let reached = egress[1].pointer("/to/0/podSelector/matchLabels").unwrap();
    assert!(selects(reached, &service["spec"]["template"]["metadata"]["labels"]), "it may reach the service");
    assert_eq!(egress.as_array().unwrap().len(), 2, "names and the service, and nothing else");
}

fn selects(selector: &Value, labels: &Value) -> bool {
    let asked = selector.as_object().unwrap();
    !asked.is_empty() && asked.iter().all(|(name, value)| labels[name] == *value)
}
