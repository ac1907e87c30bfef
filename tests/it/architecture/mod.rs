//! The rules of the architecture, as a test: who may know whom, and who may name which crate.

mod imports;

use std::{
    fs,
    path::{Path, PathBuf},
};

use imports::{Crate, Module};

/// The rooms of the house, from the program down to what knows nothing, and what each may import beside itself: only what
/// stands below it. The room of a file is the longest of these names that its own begins with.
const ROOMS: [(&str, &[&str]); 35] = [
    (
        "cli",
        &[
            "access",
            "accounting",
            "app",
            "audit",
            "config",
            "console",
            "database",
            "export",
            "file_limit",
            "grpc::connection",
            "history",
            "history::rules",
            "private_postgres",
            "schema",
            "snapshot",
            "split",
            "telemetry",
        ],
    ),
    (
        "app",
        &[
            "committer",
            "config",
            "database",
            "grpc::connection",
            "grpc::health",
            "grpc::server",
            "heap",
            "ledger",
            "sweeper",
            "telemetry",
        ],
    ),
    (
        "config",
        &[
            "access",
            "accounting",
            "committer",
            "console",
            "database",
            "grpc::connection",
            "grpc::server",
            "private_postgres",
            "reload",
            "telemetry",
        ],
    ),
    ("console", &["access", "accounting", "export", "grpc::connection", "grpc::proto", "reload"]),
    (
        "grpc::server",
        &[
            "access",
            "committer",
            "grpc::connection",
            "grpc::health",
            "grpc::layers",
            "grpc::proto",
            "grpc::service",
            "ledger",
            "reload",
            "telemetry",
        ],
    ),
    ("grpc::health", &["grpc::connection", "grpc::failure", "grpc::layers", "ledger", "telemetry"]),
    (
        "grpc::layers",
        &[
            "access",
            "accounting",
            "grpc::connection",
            "grpc::failure",
            "grpc::methods",
            "grpc::places",
            "grpc::status",
            "reload",
            "telemetry",
        ],
    ),
    (
        "grpc::service",
        &[
            "access",
            "accounting",
            "committer",
            "grpc::methods",
            "grpc::places",
            "grpc::proto",
            "grpc::failure",
            "ledger",
            "telemetry",
        ],
    ),
    ("grpc::places", &["grpc::failure"]),
    ("grpc::status", &["accounting", "committer", "grpc::connection", "grpc::failure", "ledger"]),
    ("grpc::failure", &["access", "accounting", "committer", "ledger"]),
    ("grpc::connection", &["access", "reload"]),
    ("grpc::methods", &["access", "telemetry"]),
    ("grpc::proto", &[]),
    ("grpc::codec", &[]),
    ("grpc", &[]),
    ("committer", &["accounting", "ledger", "telemetry"]),
    ("sweeper", &["accounting", "ledger", "telemetry"]),
    ("history", &["accounting", "database", "history::rules", "ledger", "schema"]),
    ("history::rules", &["accounting", "json"]),
    ("snapshot", &["accounting", "audit", "database", "ledger", "schema"]),
    ("split", &["database", "ledger", "schema"]),
    ("audit", &["accounting", "json"]),
    ("export", &["accounting", "json"]),
    ("ledger", &["accounting", "database", "schema", "telemetry"]),
    ("schema", &["database"]),
    ("database", &["telemetry"]),
    ("access", &["accounting"]),
    ("accounting", &[]),
    ("telemetry", &[]),
    ("private_postgres", &[]),
    ("file_limit", &[]),
    ("heap", &[]),
    ("reload", &[]),
    ("json", &[]),
];

/// Each crate, and the only modules that may name it.
const CRATES: [(&str, &[&str]); 28] = [
    ("diesel", &["database", "history", "ledger", "schema", "snapshot"]),
    ("diesel_async", &["database", "ledger", "schema", "snapshot"]),
    ("bb8", &["database"]),
    ("bytes", &["history", "split"]),
    ("tokio_postgres", &["database", "history", "ledger", "schema", "split"]),
    ("tokio_postgres_rustls", &["database"]),
    ("percent_encoding", &["console", "database", "private_postgres"]),
    ("tonic", &["console", "grpc"]),
    ("prost", &["grpc"]),
    ("tower", &["grpc"]),
    ("rustls", &["grpc", "database"]),
    ("getrandom", &["access"]),
    (
        "tokio",
        &[
            "grpc",
            "committer",
            "console",
            "database",
            "heap",
            "history",
            "ledger",
            "app",
            "cli",
            "reload",
            "snapshot",
            "sweeper",
            "telemetry",
        ],
    ),
    ("clap", &["cli", "config"]),
    ("axum", &["console", "telemetry"]),
    ("maud", &["console"]),
    ("hyper", &["console"]),
    ("hyper_util", &["console"]),
    ("prometheus_client", &["telemetry"]),
    ("tracing_subscriber", &["telemetry"]),
    ("tracing_opentelemetry", &["telemetry"]),
    ("opentelemetry", &["telemetry"]),
    ("opentelemetry_otlp", &["telemetry"]),
    ("opentelemetry_sdk", &["telemetry"]),
    ("csv", &["export"]),
    ("indicatif", &["cli"]),
    ("libc", &["heap"]),
    ("jiff", &["accounting"]),
];

/// What waits for a process without a bound, or is a port that somebody else may have; and the files of `tests/it` that may
/// name it. `support/waiting.rs` has what waits with a bound, and `Process` does not use the default ports.
const NOT_IN_TESTS: [(&str, &[&str]); 11] = [
    (".join()", &["support/waiting.rs"]), // of a thread
    (".output()", &[]),
    (".status().unwrap()", &[]),
    (
        ".wait()",
        &["console/browser.rs", "idempotency.rs", "metrics.rs", "support/calls.rs", "support/process.rs"],
    ), // for a barrier; after SIGKILL
    (".wait_with_output()", &["support/waiting.rs"]),
    (".recv()", &[]),
    ("read_to_string(&mut", &[]),
    ("50051", &["operator.rs", "support/shell.rs"]), // which replace the address of a page
    ("9464", &["operator.rs", "support/shell.rs"]),
    (
        "env!(\"CARGO_BIN_EXE_billing\")",
        &["support/process.rs", "support/shell.rs", "image/root.rs", "program.rs"],
    ),
    ("env!(\"CARGO_TARGET_TMPDIR\")", &["go_client.rs", "support/installed.rs"]), // what is installed once
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn house() -> Crate {
    let house = Crate::read(&root().join("src"));
    assert!(house.modules().count() > 60, "few files were found");
    house
}

/// The files below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut dirs = vec![dir.to_owned()];
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

/// The files of Rust below a directory.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let is_source = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    files(dir).into_iter().filter(is_source).collect()
}

/// The lines of a file without comments.
fn code(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).map(str::to_owned).collect()
}

/// The place of a module's room in the table.
fn room(module: &Module) -> Option<usize> {
    let name = module.join("::");
    let is_in =
        |room: &str| name.strip_prefix(room).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    let rooms = ROOMS.iter().enumerate().filter(|(_, (room, _))| is_in(room));
    rooms.max_by_key(|(_, (room, _))| room.len()).map(|(place, _)| place)
}

/// The imports into rooms that may not be imported from where they are.
fn forbidden(house: &Crate) -> Vec<String> {
    let mut forbidden = Vec::new();
    for module in house.modules().filter(|module| !module.is_empty() && module[0] != "main") {
        let from = room(module).unwrap_or_else(|| panic!("{module:?} is in no room"));
        for imported in house.imports(module) {
            let to = room(&imported).unwrap_or_else(|| panic!("{imported:?} is in no room"));
            let (may, name) = (ROOMS[from].1, ROOMS[to].0);
            if from != to && !may.contains(&name) {
                forbidden.push(format!("{} imports {}", module.join("::"), imported.join("::")));
            }
        }
    }
    forbidden
}

#[test]
fn each_room_imports_only_rooms_below_it_that_it_is_allowed() {
    assert_eq!(forbidden(&house()), [""; 0]);
    for (place, (room, may)) in ROOMS.into_iter().enumerate() {
        for name in may {
            let below = ROOMS[place + 1..].iter().any(|(below, _)| below == name);
            assert!(below, "{name} does not stand below {room}");
        }
    }
}

#[test]
fn no_room_is_allowed_to_import_what_it_does_not() {
    let house = house();
    for (place, (room_name, may)) in ROOMS.into_iter().enumerate() {
        let own = house.modules().filter(|module| room(module) == Some(place));
        let used: Vec<&str> = own
            .flat_map(|module| house.imports(module))
            .filter_map(|to| room(&to))
            .map(|to| ROOMS[to].0)
            .collect();
        for name in may {
            assert!(used.contains(name), "{room_name} imports nothing of {name}");
        }
    }
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    assert_eq!(house().circle(), None);
}

#[test]
fn a_circle_and_an_import_upward_would_be_found() {
    let house = |credit: &str, reserve: &str| {
        Crate::parse([
            ("lib.rs".to_owned(), "pub mod accounting; pub mod ledger;".to_owned()),
            ("accounting/mod.rs".to_owned(), "mod credit; mod reserve; pub use credit::Credit;".to_owned()),
            ("accounting/credit.rs".to_owned(), credit.to_owned()),
            ("accounting/reserve.rs".to_owned(), reserve.to_owned()),
            ("ledger/mod.rs".to_owned(), "use crate::accounting::Credit;".to_owned()),
        ])
    };
    let right = house("pub struct Credit;", "use super::Credit;");
    assert_eq!((right.circle(), forbidden(&right)), (None, Vec::new()));
    for back in [
        "use super::reserve::Reserve;",
        "pub struct Credit(crate::accounting::reserve::Reserve);",
        "fn credit() { assert!(super::reserve::is_open()); }",
        "macro_rules! credit { () => { crate::accounting::reserve::open() }; }",
    ] {
        let circle = house(back, "use super::Credit;").circle();
        assert_eq!(circle.map(|circle| circle.len()), Some(2), "{back}");
    }
    let tests = house("pub struct Credit; #[cfg(test)] mod tests { use crate::ledger::Ledger; }", "");
    assert_eq!(forbidden(&tests), [""; 0]);
    let upward = house("use crate::ledger::Ledger; pub struct Credit;", "");
    assert_eq!(forbidden(&upward), ["accounting::credit imports ledger"]);
}

#[test]
fn each_crate_is_named_only_where_it_belongs() {
    let house = house();
    for module in house.modules() {
        let named = house.crates(module);
        for (name, may) in CRATES {
            let is_allowed = module.first().is_some_and(|first| may.contains(&first.as_str()));
            assert!(!named.contains(name) || is_allowed, "{} names {name}", module.join("::"));
        }
    }
    for (name, may) in CRATES {
        for top in may {
            let of_top = house.modules().filter(|module| module.first().is_some_and(|first| first == top));
            assert!(
                of_top.into_iter().any(|module| house.crates(module).contains(name)),
                "{top} does not name {name}"
            );
        }
    }
}

#[test]
fn no_float_touches_money() {
    // Metrics measure seconds as floats, and add up money in whole micro-USD.
    let telemetry = root().join("src/telemetry");
    for path in sources(&root().join("src")).into_iter().filter(|path| !path.starts_with(&telemetry)) {
        for line in code(&path) {
            let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric()).collect();
            assert!(!words.contains(&"f32") && !words.contains(&"f64"), "{}: {line}", path.display());
        }
    }
}

#[test]
fn each_file_says_its_one_job() {
    for path in sources(&root().join("src")) {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//! "), "{}", path.display());
    }
}

#[test]
fn no_test_waits_for_a_process_without_a_bound_or_takes_a_port_of_others() {
    let tests = root().join("tests/it");
    for path in sources(&tests) {
        let name = path.strip_prefix(&tests).unwrap().to_str().unwrap();
        let lines = if name == "architecture/mod.rs" { Vec::new() } else { code(&path) };
        for (what, may) in NOT_IN_TESTS {
            let found = lines.iter().find(|line| line.contains(what)).filter(|_| !may.contains(&name));
            assert!(found.is_none(), "{name}: {}", found.unwrap());
        }
    }
}
