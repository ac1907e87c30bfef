//! The manifests of `deploy/kubernetes`: that they fit the program, each other and PostgreSQL, and that what is misspelt is found.

mod pod;
mod rendered;

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{
    dir::Dir,
    process::Process,
    waiting::{ended, output, printed, run},
    wire::Wire,
    *,
};
use pod::{Pod, Secrets};
use rendered::{OVERLAYS, Rendered, container, folder, list, number, text, variable};

/// How many connections PostgreSQL has for all but superusers: `max_connections` by default, less what it reserves.
const POSTGRES_CONNECTIONS: u64 = 100 - 3;
/// What a shutdown takes beside the drain delay and the graces: farewells, and a slow machine.
const SHUTDOWN_SPARE: Duration = Duration::from_secs(4);

#[test]
fn each_argument_and_variable_of_the_manifests_is_one_of_the_program() {
    for overlay in OVERLAYS {
        let rendered = Rendered::of(overlay);
        for kind in ["Deployment", "Job"] {
            let container = container(rendered.pod(kind));
            let mut help = Process::command();
            help.env_clear().args(list(&container["args"]).iter().map(text)).arg("--help");
            let help = printed(run(&mut help));
            for variable in list(&container["env"]) {
                let name = text(&variable["name"]);
                let is_known = ["=", "]"].iter().any(|end| help.contains(&format!("[env: {name}{end}")));
                assert!(is_known, "{overlay}: {kind} sets {name}, which the program does not know");
            }
        }
    }
}

#[test]
fn each_port_that_is_listened_on_is_named_and_probed_and_selected_by_that_name() {
    for overlay in OVERLAYS {
        let rendered = Rendered::of(overlay);
        let container = container(rendered.pod("Deployment"));
        let port = |name: &str| {
            let found = list(&container["ports"]).iter().find(|port| port["name"] == name);
            number(&found.unwrap_or_else(|| panic!("no port {name}"))["containerPort"])
        };
        for (name, flag) in [
            ("grpc", "BILLING_LISTEN"),
            ("health", "BILLING_HEALTH_LISTEN"),
            ("metrics", "BILLING_METRICS_LISTEN"),
        ] {
            let address: SocketAddr = variable(container, flag).parse().unwrap();
            assert_eq!((port(name), address.ip().is_unspecified()), (address.port().into(), true), "{flag}");
        }
        for (probe, service) in
            [("startupProbe", "liveness"), ("livenessProbe", "liveness"), ("readinessProbe", "readiness")]
        {
            let asked = &container[probe]["grpc"];
            assert_eq!((number(&asked["port"]), text(&asked["service"])), (port("health"), service));
        }
        let served = list(&rendered.one("Service")["spec"]["ports"]);
        let served: Vec<_> = served.iter().map(|port| (text(&port["targetPort"]), &port["port"])).collect();
        assert_eq!(served, [("grpc", &port("grpc").into()), ("metrics", &port("metrics").into())]);
        for policy in rendered.all("NetworkPolicy").filter_map(|it| it["spec"]["ingress"].as_array()) {
            let open: Vec<_> = policy.iter().map(|rule| text(&rule["ports"][0]["port"])).collect();
            assert_eq!(open, ["grpc", "metrics"]);
        }
    }
}

#[test]
fn what_selects_pods_selects_those_of_the_service() {
    for overlay in OVERLAYS {
        let rendered = Rendered::of(overlay);
        let labels = &rendered.pod("Deployment")["metadata"]["labels"];
        let deployment = &rendered.one("Deployment")["spec"];
        let spread = list(&deployment["template"]["spec"]["topologySpreadConstraints"]);
        let mut selectors =
            vec![&deployment["selector"]["matchLabels"], &rendered.one("Service")["spec"]["selector"]];
        selectors.extend(spread.iter().map(|over| &over["labelSelector"]["matchLabels"]));
        selectors
            .extend(rendered.all("PodDisruptionBudget").map(|it| &it["spec"]["selector"]["matchLabels"]));
        let policies: Vec<_> =
            rendered.all("NetworkPolicy").map(|it| &it["spec"]["podSelector"]["matchLabels"]).collect();
        selectors.extend(&policies);
        assert!(selectors.into_iter().all(|selector| selects(selector, labels)), "{overlay}");

        let migration = &rendered.pod("Job")["metadata"]["labels"];
        assert!(policies.into_iter().all(|selector| selects(selector, migration)), "{overlay}");
        assert!(!selects(&rendered.one("Service")["spec"]["selector"], migration), "it serves nothing");
    }
}

#[test]
fn metrics_are_scraped_from_the_port_of_the_service_that_has_them() {
    let production = Rendered::of("production");
    let (monitor, service) = (production.one("ServiceMonitor"), production.one("Service"));
    assert!(selects(&monitor["spec"]["selector"]["matchLabels"], &service["metadata"]["labels"]));
    let endpoint = &monitor["spec"]["endpoints"][0];
    assert!(list(&service["spec"]["ports"]).iter().any(|port| port["name"] == endpoint["port"]));
    assert_eq!(endpoint["path"], "/metrics");
}

/// Whether labels have all that a selector asks for.
fn selects(selector: &Value, labels: &Value) -> bool {
    let asked = selector.as_object().unwrap();
    !asked.is_empty() && asked.iter().all(|(name, value)| labels[name] == *value)
}

#[test]
fn the_most_pods_that_there_can_be_have_no_more_connections_than_postgres_has() {
    let production = Rendered::of("production");
    let scaler = &production.one("HorizontalPodAutoscaler")["spec"];
    let target = [&scaler["scaleTargetRef"]["kind"], &scaler["scaleTargetRef"]["name"]];
    assert_eq!(target, ["Deployment", text(&production.one("Deployment")["metadata"]["name"])]);
    let container = container(production.pod("Deployment"));
    let count = |name| variable(container, name).parse::<u64>().unwrap();
    let of_a_pod = count("BILLING_WRITERS") + 1 + count("BILLING_READERS");
    let (old_and_new, migration) = (2, 1);
    let most = number(&scaler["maxReplicas"]) * old_and_new * of_a_pod + migration;
    assert!(most <= POSTGRES_CONNECTIONS, "{most} connections");
}

#[test]
fn a_pod_is_not_killed_before_its_shutdown_is_over() {
    for overlay in OVERLAYS {
        let rendered = Rendered::of(overlay);
        let container = container(rendered.pod("Deployment"));
        let drain = duration(container, "BILLING_DRAIN_DELAY");
        let longest = drain + 2 * duration(container, "BILLING_SHUTDOWN_GRACE");
        assert!(longest + SHUTDOWN_SPARE <= patience(&rendered), "{overlay}: {longest:?}");
    }
}

fn duration(container: &Value, name: &str) -> Duration {
    humantime::parse_duration(variable(container, name)).unwrap()
}

/// How long a pod of the service has from SIGTERM to SIGKILL.
fn patience(rendered: &Rendered) -> Duration {
    Duration::from_secs(number(&rendered.pod("Deployment")["spec"]["terminationGracePeriodSeconds"]))
}

#[test]
fn pods_can_do_nothing_but_run_the_program() {
    for overlay in OVERLAYS {
        let rendered = Rendered::of(overlay);
        for pod in ["Deployment", "Job"].map(|kind| rendered.pod(kind)) {
            let (pod, container) = (&pod["spec"], &container(pod)["securityContext"]);
            assert_eq!(pod["automountServiceAccountToken"], false);
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
            assert_eq!(pod["securityContext"]["runAsUser"], 65532);
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
            assert_eq!(container["readOnlyRootFilesystem"], true);
            assert_eq!(container["allowPrivilegeEscalation"], false);
            assert_eq!(container["capabilities"]["drop"][0], "ALL");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_database_is_there_and_migrated_no_pod_starts_and_the_migration_is_what_it_takes() {
    let book = TestBook::create_empty().await;
    let rendered = Rendered::of("production");
    for (url, why) in [
        ("postgres://billing@127.0.0.1:1/billing", "cannot connect to the database"),
        (book.url.as_str(), "run `billing migrate` first"),
    ] {
        let secrets = Secrets::with_database(url);
        let pod = Pod::new(rendered.pod("Deployment"), &secrets);
        let (_, said) = ended(output(pod.command()).await, 1);
        assert!(said.contains(why), "{said}");
        assert!(!pod.passes("startupProbe").await);
    }
    let secrets = Secrets::with_database(&book.url);
    let migration = Pod::new(rendered.pod("Job"), &secrets);
    for said in ["is up to date now. Ran: ", "is up to date."] {
        let printed = printed(output(migration.command()).await);
        assert!(printed.contains(said), "{printed}");
    }
    let pod = Pod::new(rendered.pod("Deployment"), &secrets);
    let _process = start(&pod);
    pod.waits_for("startupProbe", true).await;
    pod.waits_for("readinessProbe", true).await;
}

fn start(pod: &Pod) -> Process {
    Process::start(pod.command()).unwrap_or_else(|log| panic!("it ended at its start: {log:#?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_answers_its_kubelet_while_it_starts_loses_its_database_and_is_stopped() {
    on_a_book(async |book| {
        for overlay in OVERLAYS {
            let rendered = Rendered::of(overlay);
            let wire = Wire::open(&book.url).await;
            let secrets = Secrets::with_database(&wire.url);
            let pod = Pod::new(rendered.pod("Deployment"), &secrets);
            assert!(!pod.passes("startupProbe").await, "nobody is there yet");

            let process = start(&pod);
            pod.waits_for("startupProbe", true).await;
            pod.waits_for("readinessProbe", true).await;
            assert!(pod.passes("livenessProbe").await);

            wire.stall(true);
            pod.waits_for("readinessProbe", false).await;
            assert!(pod.passes("livenessProbe").await, "a restart would not mend the database");
            wire.stall(false);
            pod.waits_for("readinessProbe", true).await;

            let began = Instant::now();
            let exit = tokio::task::spawn_blocking(move || process.terminate());
            pod.waits_for("readinessProbe", false).await;
            assert!(exit.await.unwrap().success());
            let took = began.elapsed();
            let drain = duration(container(rendered.pod("Deployment")), "BILLING_DRAIN_DELAY");
            assert!(!drain.is_zero() && drain <= took, "{overlay}: endpoints learn of it in no time");
            assert!(took < patience(&rendered), "{overlay}: {took:?}");
        }
    })
    .await;
}

#[test]
fn the_readme_names_each_secret_that_an_operator_has_to_make() {
    let readme = fs::read_to_string(folder().join("README.md")).unwrap();
    for (name, key) in Secrets::with_database("").names() {
        assert!(
            readme.contains(&format!("`{name}`")) && readme.contains(&format!("`{key}`")),
            "{name}: {key}"
        );
    }
}

#[test]
fn the_check_of_the_manifests_finds_what_is_misspelt() {
    printed(check(|_| ()));
    for (file, right, wrong) in [
        ("base/deployment.yaml", "minReadySeconds:", "minReadySecond:"),
        ("base/deployment.yaml", "allowPrivilegeEscalation:", "allowPrivilegesEscalation:"),
        ("base/serviceaccount.yaml", "ServiceAccount", "ServceAccount"),
        ("base/kustomization.yaml", "resources:", "resource:"),
        ("base/migration.yaml", "backoffLimit: 3", "backoffLimit:  3"),
    ] {
        let output = check(|folder| {
            let file = folder.join(file);
            let text = fs::read_to_string(&file).unwrap();
            assert!(text.contains(right), "{right}");
            fs::write(file, text.replacen(right, wrong, 1)).unwrap();
        });
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{wrong} was not found");
        let named = if wrong.contains("  ") { "too many spaces" } else { wrong.trim_end_matches(':') };
        assert!(said.contains(named), "{named}: {said}");
    }
}

/// Runs the check of `make check` on a copy of the manifests that something is done to.
fn check(change: impl FnOnce(&Path)) -> Output {
    let dir = Dir::new();
    let copy = dir.path().join("kubernetes");
    printed(run(Command::new("cp").arg("-r").args([&folder(), &copy])));
    change(&copy);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/check-manifests");
    run(Command::new(script).arg(&copy))
}
