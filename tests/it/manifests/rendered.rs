//! What an overlay renders: its objects, as Kubernetes would be given them.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::support::waiting::{printed, run};

/// The overlays, by the names of their folders.
pub const OVERLAYS: [&str; 2] = ["development", "production"];

/// kubectl prints YAML only, and `make check` brings what reads it.
const RENDER: &str = r#"
    .tools/bin/kubectl kustomize "$1" | PYTHONPATH=.tools/python python3 -c '
import json, sys, yaml
json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)'"#;

/// The folder of the manifests.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes")
}

/// The objects of an overlay.
pub struct Rendered(Vec<Value>);

impl Rendered {
    pub fn of(overlay: &str) -> Self {
        let path = folder().join("overlays").join(overlay);
        let mut bash = Command::new("bash");
        bash.args(["-o", "pipefail", "-c", RENDER, "render"]).arg(path);
        let rendered = printed(run(bash.current_dir(env!("CARGO_MANIFEST_DIR"))));
        Self(serde_json::from_str(&rendered).unwrap())
    }

    /// All objects of a kind.
    pub fn all(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |object| object["kind"] == kind)
    }

    /// The only object of a kind.
    pub fn one(&self, kind: &str) -> &Value {
        let objects: Vec<&Value> = self.all(kind).collect();
        assert_eq!(objects.len(), 1, "{kind}");
        objects[0]
    }

    /// The pod that an object of a kind makes.
    pub fn pod(&self, kind: &str) -> &Value {
        &self.one(kind)["spec"]["template"]
    }
}

/// The only container of a pod.
pub fn container(pod: &Value) -> &Value {
    let containers = list(&pod["spec"]["containers"]);
    assert_eq!(containers.len(), 1);
    &containers[0]
}

/// The value of a container's variable.
pub fn variable<'a>(container: &'a Value, name: &str) -> &'a str {
    let variable = list(&container["env"]).iter().find(|variable| variable["name"] == name);
    text(&variable.unwrap_or_else(|| panic!("no {name}"))["value"])
}

pub fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

pub fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))
}
