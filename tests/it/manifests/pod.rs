//! A pod of a manifest as a process: the built program with the arguments and the environment of the pod's container, nothing
//! else in its environment, and probes as a kubelet makes them. Addresses are free ones and mounted files those of a test, since
//! this is one machine for all.

use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;
use tokio::time::timeout;
use tonic::transport::Endpoint;
use tonic_health::pb::{health_check_response::ServingStatus, health_client::HealthClient};

use super::rendered::{container, list, number, text};
use crate::support::{
    address::free_address,
    authority::{Authority, Issued},
    dir::Dir,
    health::request,
    process::{Process, new_token},
};

/// What is in each Secret (or config map) that README.md has an operator make: its name, a key, and what is under it.
pub struct Secrets(Vec<(&'static str, &'static str, String)>);

impl Secrets {
    pub fn with_database(url: &str) -> Self {
        let authority = Authority::new("ours");
        let Issued { certificate, key } = authority.issue("billing.internal");
        Self(vec![
            ("billing-database", "database-url", url.to_owned()),
            ("billing-migration", "database-url", url.to_owned()),
            ("billing-database-ca", "ca.pem", authority.pem()),
            ("billing-credentials", "credentials", new_token("checkout", "coordinator").1),
            ("billing-tls", "tls.crt", certificate),
            ("billing-tls", "tls.key", key),
        ])
    }

    /// Their names and keys.
    pub fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, key, _)| (*name, *key))
    }

    fn value(&self, name: &str, key: &str) -> &str {
        let found = self.0.iter().find(|secret| (secret.0, secret.1) == (name, key));
        &found.unwrap_or_else(|| panic!("no Secret {name} with {key}")).2
    }

    /// Writes all that one of them holds into a directory.
    fn mount(&self, name: &str, dir: &Path) {
        fs::create_dir(dir).unwrap();
        let files: Vec<_> = self.0.iter().filter(|secret| secret.0 == name).collect();
        assert!(!files.is_empty(), "no Secret or ConfigMap {name}");
        for (_, key, value) in files {
            fs::write(dir.join(key), value).unwrap();
        }
    }
}

/// A pod that may be run.
pub struct Pod<'a> {
    manifest: &'a Value,
    secrets: &'a Secrets,
    /// The real address of each port of the manifest.
    ports: HashMap<u16, SocketAddr>,
    /// What is mounted, each volume in a directory by its name.
    mounted: Dir,
}

impl<'a> Pod<'a> {
    pub fn new(manifest: &'a Value, secrets: &'a Secrets) -> Self {
        let ports = container(manifest)["ports"].as_array().into_iter().flatten();
        let ports = ports.map(|port| (port_number(&port["containerPort"]), free_address())).collect();
        let mounted = Dir::new();
        for volume in list(&manifest["spec"]["volumes"]) {
            let source = volume["secret"]["secretName"].as_str().or(volume["configMap"]["name"].as_str());
            secrets.mount(source.unwrap(), &mounted.path().join(text(&volume["name"])));
        }
        Self { manifest, secrets, ports, mounted }
    }

    /// What a kubelet would run.
    pub fn command(&self) -> Command {
        let container = container(self.manifest);
        let mut command = Process::command();
        command.env_clear().env("KUBERNETES_SERVICE_HOST", "10.96.0.1"); // as in every pod
        command.env("BILLING_ALLOW_UNSAFE_DATABASE", "true"); // the tests' own is
        command.args(list(&container["args"]).iter().map(text));
        for variable in list(&container["env"]) {
            command.env(text(&variable["name"]), self.value(variable));
        }
        command
    }

    /// Whether a probe of the manifest succeeds now, on a connection of its own and without TLS, as a kubelet asks.
    pub async fn passes(&self, probe: &str) -> bool {
        let probe = &container(self.manifest)[probe];
        let address = self.ports[&port_number(&probe["grpc"]["port"])];
        let patience = probe["timeoutSeconds"].as_u64().unwrap_or(1);
        let asked = async {
            let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
            let mut health = HealthClient::new(endpoint.connect().await.ok()?);
            let answer = health.check(request(text(&probe["grpc"]["service"]))).await.ok()?;
            Some(answer.into_inner().status())
        };
        timeout(Duration::from_secs(patience), asked).await == Ok(Some(ServingStatus::Serving))
    }

    /// Returns once a probe succeeds or fails, as expected. It may take as long as a kubelet would try.
    pub async fn waits_for(&self, probe: &str, expected: bool) {
        let settings = &container(self.manifest)[probe];
        let tries = number(&settings["periodSeconds"]) * number(&settings["failureThreshold"]) * 10;
        for _ in 0..tries {
            if self.passes(probe).await == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{probe} does not become {expected}");
    }

    fn value(&self, variable: &Value) -> String {
        if let Some(from) = variable["valueFrom"]["secretKeyRef"].as_object() {
            return self.secrets.value(text(&from["name"]), text(&from["key"])).to_owned();
        }
        let value = text(&variable["value"]);
        if let Ok(address) = value.parse::<SocketAddr>() {
            let real = self.ports.get(&address.port()).unwrap_or_else(|| panic!("{value}: no containerPort"));
            return real.to_string();
        }
        if value.starts_with('/') {
            return self.file(Path::new(value)).to_str().unwrap().to_owned();
        }
        value.to_owned()
    }

    /// A mounted file, where it is here.
    fn file(&self, path: &Path) -> PathBuf {
        let mounts = list(&container(self.manifest)["volumeMounts"]);
        let found = mounts.iter().find_map(|mount| {
            let inside = path.strip_prefix(text(&mount["mountPath"])).ok()?;
            Some(self.mounted.path().join(text(&mount["name"])).join(inside))
        });
        found.unwrap_or_else(|| panic!("nothing is mounted at {}", path.display()))
    }
}

fn port_number(value: &Value) -> u16 {
    number(value).try_into().unwrap()
}
