//! Finds the PostgreSQL that is installed on this machine.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::{Error, Result};

const OLDEST_VERSION: u32 = 15;

/// The programs of the cluster's version, or without a cluster the first that are new enough.
pub(super) fn find_bin_dir(cluster: &Path) -> Result<PathBuf> {
    let made_by: Option<u32> =
        fs::read_to_string(cluster.join("PG_VERSION")).ok().and_then(|version| version.trim().parse().ok());
    let fits = |version| made_by.map_or(version >= OLDEST_VERSION, |made_by| version == made_by);
    let candidates = env::var_os("PG_BIN_DIR")
        .filter(|dir| !dir.is_empty())
        .map_or_else(usual_bin_dirs, |dir| vec![PathBuf::from(dir)]);
    let mut bin_dirs = candidates.iter().filter_map(|dir| resolve_bin_dir(dir));
    bin_dirs.find(|dir| version_of(dir).is_some_and(fits)).ok_or_else(|| {
        let wanted = made_by.map_or(format!("{OLDEST_VERSION} or newer"), |version| version.to_string());
        Error::BinariesNotFound(wanted)
    })
}

/// Follows a link to the server's program: the other programs are next to its target.
fn resolve_bin_dir(dir: &Path) -> Option<PathBuf> {
    let program = dir.join("postgres").canonicalize().ok()?;
    program.parent().filter(|dir| dir.join("initdb").exists()).map(Path::to_owned)
}

fn usual_bin_dirs() -> Vec<PathBuf> {
    let mut dirs: Vec<_> = env::var_os("PATH").iter().flat_map(env::split_paths).collect();
    for prefix in ["/usr/lib/postgresql/", "/opt/homebrew/opt/postgresql@", "/usr/local/opt/postgresql@"] {
        let versions = (OLDEST_VERSION..100).rev();
        dirs.extend(versions.map(|version| PathBuf::from(format!("{prefix}{version}/bin"))));
    }
    dirs
}

/// The major version, from a line such as `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
fn version_of(bin_dir: &Path) -> Option<u32> {
    let line = output_of(Command::new(bin_dir.join("postgres")).arg("--version"))?;
    let version = line.split_whitespace().nth(2)?;
    version.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
}

pub(super) fn output_of(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}
