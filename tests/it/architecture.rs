//! The rules of the architecture, as a test: who may know whom, and who may name which crate.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// From the edge to the rules, and what stands beside them: each, and all that it may import.
const LAYERS: [(&str, &[&str]); 14] = [
    ("grpc", &["access", "accounting", "committer", "ledger", "reload", "telemetry"]),
    ("access", &["accounting"]),
    ("committer", &["accounting", "ledger", "telemetry"]),
    ("history", &["accounting", "database", "json", "ledger", "schema"]),
    ("snapshot", &["accounting", "audit", "database", "ledger"]),
    ("ledger", &["accounting", "database", "schema", "telemetry"]),
    ("schema", &["database"]),
    ("database", &["telemetry"]),
    ("audit", &["accounting", "json"]),
    ("export", &["accounting", "json"]),
    ("accounting", &[]),
    ("json", &[]),
    ("reload", &[]),
    ("telemetry", &[]),
];
/// What wires the layers, or is used by none of them.
const OTHERS: [&str; 6] = ["app", "cli", "config", "file_limit", "private_postgres", "sweeper"];

/// Each crate, and the only modules that may name it.
const CRATES: [(&str, &[&str]); 24] = [
    ("diesel", &["database", "history", "ledger", "schema", "snapshot"]),
    ("diesel_async", &["database", "ledger", "schema", "snapshot"]),
    ("bb8", &["database"]),
    ("bytes", &["grpc", "history"]),
    ("tokio_postgres", &["database", "history", "ledger", "schema"]),
    ("tokio_postgres_rustls", &["database"]),
    ("percent_encoding", &["database"]),
    ("tonic", &["grpc"]),
    ("prost", &["grpc"]),
    ("tower", &["grpc"]),
    ("rustls", &["grpc", "database"]),
    ("getrandom", &["access"]),
    (
        "tokio",
        &[
            "grpc",
            "committer",
            "database",
            "history",
            "ledger",
            "app",
            "cli",
            "reload",
            "sweeper",
            "telemetry",
        ],
    ),
    ("clap", &["cli", "config"]),
    ("axum", &["telemetry"]),
    ("prometheus_client", &["telemetry"]),
    ("tracing_subscriber", &["telemetry"]),
    ("tracing_opentelemetry", &["telemetry"]),
    ("opentelemetry", &["telemetry"]),
    ("opentelemetry_otlp", &["telemetry"]),
    ("opentelemetry_sdk", &["telemetry"]),
    ("csv", &["export"]),
    ("indicatif", &["cli"]),
    ("jiff", &["accounting"]),
];

/// What waits for a process without a bound, or is a port that somebody else may have; and the files of `tests/it` that may
/// name it. `support/waiting.rs` has what waits with a bound, and `Process` does not use the default ports.
const NOT_IN_TESTS: [(&str, &[&str]); 10] = [
    (".output()", &[]),
    (".status().unwrap()", &[]),
    (".wait()", &["configurations.rs", "idempotency.rs", "metrics.rs", "support/process.rs"]), // for a barrier; after SIGKILL
    (".wait_with_output()", &["support/waiting.rs"]),
    (".recv()", &[]),
    ("read_to_string(&mut", &[]),
    ("50051", &["operator.rs", "support/shell.rs"]), // which replace the address of a page
    ("9464", &["operator.rs", "support/shell.rs"]),
    (
        "env!(\"CARGO_BIN_EXE_billing\")",
        &["support/process.rs", "support/shell.rs", "image/root.rs", "program.rs"],
    ),
    ("env!(\"CARGO_TARGET_TMPDIR\")", &["go_client.rs", "node_client.rs", "python_client.rs"]), // what is installed once
];

/// The module of each source file, and its lines without comments.
fn sources() -> Vec<(String, PathBuf, Vec<String>)> {
    let files = files("src");
    assert!(files.len() > 30, "only {} files", files.len());
    files.into_iter().map(|path| (module(&path), path.clone(), code(&path))).collect()
}

/// The files below a directory of the repository.
fn files(dir: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut dirs = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(dir)];
    while let Some(dir) = dirs.pop() {
        for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                dirs.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files
}

fn module(path: &Path) -> String {
    let inside = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

fn code(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).map(str::to_owned).collect()
}

/// The modules of this crate that some lines import: by `crate::name`, or in a group below `use crate::{`.
fn imports(lines: &[String]) -> Vec<String> {
    let mut imported = Vec::new();
    let mut in_group = false;
    for line in lines {
        in_group |= line.starts_with("use crate::{");
        for name in LAYERS.into_iter().map(|(name, _)| name).chain(OTHERS) {
            let grouped = [format!(" {name}::"), format!("{{{name}::"), format!(" {name},")];
            if line.contains(&format!("crate::{name}"))
                || (in_group && grouped.iter().any(|form| line.contains(form)))
            {
                imported.push(name.to_owned());
            }
        }
        in_group &= !line.ends_with("};");
    }
    imported
}

#[test]
fn each_layer_imports_only_what_stands_to_its_right() {
    let mut seen = 0;
    for (module, path, lines) in sources() {
        let Some((_, may)) = LAYERS.into_iter().find(|(name, _)| *name == module) else { continue };
        for import in imports(&lines) {
            let is_own = import == module;
            assert!(is_own || may.contains(&import.as_str()), "{} imports {import}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 15, "only {seen} imports were understood");
}

#[test]
fn each_crate_is_named_only_where_it_belongs() {
    for (module, path, lines) in sources() {
        for (name, modules) in CRATES {
            let named = lines
                .iter()
                .any(|line| line.contains(&format!("{name}::")) && !line.contains(&format!("_{name}::")));
            assert!(!named || modules.contains(&module.as_str()), "{} names {name}", path.display());
        }
    }
}

#[test]
fn no_float_touches_money() {
    // Metrics measure seconds as floats, and add up money in whole micro-USD.
    for (_, path, lines) in sources().into_iter().filter(|(module, ..)| module != "telemetry") {
        for line in lines {
            let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric()).collect();
            assert!(!words.contains(&"f32") && !words.contains(&"f64"), "{}: {line}", path.display());
        }
    }
}

#[test]
fn each_file_says_its_one_job() {
    for (_, path, _) in sources() {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//! "), "{}", path.display());
    }
}

#[test]
fn no_test_waits_for_a_process_without_a_bound_or_takes_a_port_of_others() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let is_source = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    for path in files("tests/it").into_iter().filter(is_source) {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
        let lines = if name == "architecture.rs" { Vec::new() } else { code(&path) };
        for (what, may) in NOT_IN_TESTS {
            let found = lines.iter().find(|line| line.contains(what)).filter(|_| !may.contains(&name));
            assert!(found.is_none(), "{name}: {}", found.unwrap());
        }
    }
}
