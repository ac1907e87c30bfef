//! The client for Node of `docs/CLIENTS.md`: run as it stands there, it prints what stands there.

use std::{fs, path::PathBuf, process::Command};

use crate::support::{
    installed::{self, installed},
    on_a_book,
    process::Process,
    shell,
    waiting::run,
};

const PAGE: &str = include_str!("../../docs/CLIENTS.md");
const PACKAGES: [&str; 2] = ["@grpc/grpc-js@1.14.7", "@grpc/proto-loader@0.8.1"];

/// A directory with the packages. Or why they cannot be had.
fn packages() -> Result<PathBuf, String> {
    if let Some(missing) = shell::missing(&["node", "npm"]) {
        return Err(format!("{missing} is missing"));
    }
    installed("node-client", &PACKAGES.concat(), |dir| {
        let arguments = ["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"];
        installed::run(Command::new("npm").args(arguments).args(PACKAGES).arg("--prefix").arg(dir))
    })
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
