//! Compiles the contract with protox, so that building needs no protoc, and tells the program its version.

use std::{env, fs, path::Path, process::Command};

use anyhow::Context as _;
use prost::Message;

/// Names the commit where there is no git, as in the build of an image.
const COMMIT_VARIABLE: &str = "BILLING_COMMIT";
/// How many digits of a commit are shown.
const COMMIT_DIGITS: usize = 7;
/// What changes in git's directory when another commit is checked out. The log of HEAD changes with each commit.
const HEAD_FILES: [&str; 2] = ["HEAD", "logs/HEAD"];

fn main() -> anyhow::Result<()> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=migrations");
    compile_contract()?;
    let version = format!("{} (commit {}, schema {})", env::var("CARGO_PKG_VERSION")?, commit(), schema()?);
    println!("cargo:rustc-env=BILLING_VERSION={version}");
    Ok(())
}

fn compile_contract() -> anyhow::Result<()> {
    let descriptors = protox::compile(["billing/v1/billing.proto"], ["proto"])?;
    let out_dir = env::var("OUT_DIR")?;
    fs::write(Path::new(&out_dir).join("billing_descriptor.bin"), descriptors.encode_to_vec())?;
    // Ordered maps make an answer the same bytes every time it is given.
    tonic_prost_build::configure()
        .btree_map(".")
        .build_transport(false)
        .extern_path(".google.rpc", "::tonic_types::pb")
        .codec_path("crate::grpc::codec::SmallMessages")
        .compile_fds(descriptors)?;
    Ok(())
}

/// The commit that is built: by the environment, else by git, else unknown.
fn commit() -> String {
    println!("cargo:rerun-if-env-changed={COMMIT_VARIABLE}");
    let named = env::var(COMMIT_VARIABLE).ok().filter(|commit| !commit.is_empty());
    let commit = named.or_else(checked_out_commit).unwrap_or_else(|| "unknown".into());
    commit.chars().take(COMMIT_DIGITS).collect()
}

/// The commit of this checkout, also of a worktree. Sources in a checkout of something else have none.
fn checked_out_commit() -> Option<String> {
    if !Path::new(".git").exists() {
        return None;
    }
    for file in HEAD_FILES {
        let path = git(&["rev-parse", "--git-path", file])?;
        if Path::new(&path).exists() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let printed = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| printed.trim().to_owned())
}

/// The version of the schema: that of the newest migration, as `billing migrate` prints it.
fn schema() -> anyhow::Result<String> {
    let mut newest = String::new();
    let kinds = ["migrations/shared", "migrations/book"].map(fs::read_dir);
    let entries = kinds.into_iter().collect::<Result<Vec<_>, _>>()?;
    for entry in entries.into_iter().flatten() {
        let name = entry?.file_name().into_string().ok().context("a migration's name is not UTF-8")?;
        if let Some((version, _)) = name.split_once('_') {
            newest = newest.max(version.replace('-', ""));
        }
    }
    Ok(newest)
}
