//! The client for Node of `docs/CLIENTS.md`: run as it stands there, it prints what stands there.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::support::{
    on_a_book,
    process::Process,
    shell,
    waiting::{run, run_within},
};

const PAGE: &str = include_str!("../../docs/CLIENTS.md");
const PACKAGES: [&str; 2] = ["@grpc/grpc-js@1.14.7", "@grpc/proto-loader@0.8.1"];
/// How long it may take to fetch the packages.
const INSTALL_PATIENCE: Duration = Duration::from_secs(120);

/// A directory with the packages, kept for the next run. Or why they cannot be had.
fn packages() -> Result<PathBuf, String> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("node-client");
    if let Some(missing) = shell::missing(&["node", "npm"]) {
        return Err(format!("{missing} is missing"));
    }
    fs::create_dir_all(&dir).unwrap();
    let mut install = Command::new("npm");
    install.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"]);
    install.args(PACKAGES).arg("--prefix").arg(&dir);
    let output = run_within(INSTALL_PATIENCE, &mut install);
    if output.status.success() { Ok(dir) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// The first block of a language in a part of the page, and what follows it.
fn block<'a>(page: &'a str, language: &str) -> (&'a str, &'a str) {
    page.split_once(&format!("```{language}\n")).unwrap().1.split_once("```").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_what_its_client_prints() {
    let dir = match packages() {
        Ok(dir) => dir,
        Err(why) => return println!("skipped: {why}"),
    };
    on_a_book(async |book| {
        let program = dir.join("client.js");
        let (source, rest) = block(PAGE, "js");
        let (expected, _) = block(rest, "text");
        fs::write(&program, source).unwrap();
        let service = Process::serve(&["--database-url", &book.url]);
        let mut node = Command::new("node");
        node.arg(&program).arg(&service.address).current_dir(env!("CARGO_MANIFEST_DIR"));
        let output = tokio::task::block_in_place(|| run(&mut node));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    })
    .await;
}
