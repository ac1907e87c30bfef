//! Verifies that a data directory belongs to this service before anything in it is touched.
//!
//! Root may write everywhere, so a symbolic link, or a directory that another user could replace with one, would let others
//! choose what root creates, chowns and removes. Once the directory and, for root, the path to it are safe, nobody else can
//! change its contents.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use super::{
    account::Account,
    error::{Error, Result, refused},
};

/// Everything that this service puts into the directory.
const OURS: [&str; 6] = ["cluster", "cluster.new", "socket", "lock", "postgres.log", "postgres.log.old"];
const STICKY: u32 = 0o1000;
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The canonical path of the data directory, which is created if it does not exist.
pub(super) fn claim(dir: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(dir).map_err(refused("find", dir))?;
    let dir: PathBuf = absolute.components().collect(); // after a trailing slash, a link would be followed
    if geteuid().is_root() {
        if look_at(&dir)?.is_some_and(|found| found.is_symlink()) {
            return Err(Error::Linked(dir));
        }
        check_way(&dir)?;
    }
    if look_at(&dir)?.is_none() {
        create(&dir).map_err(refused("create", &dir))?;
    }
    let dir = dir.canonicalize().map_err(refused("find", &dir))?;
    let found = fs::metadata(&dir).map_err(refused("examine", &dir))?;
    check_owner(&dir, &found, &[geteuid().as_raw()])?;
    if found.mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(Error::WritableByOthers(dir));
    }
    check_content(&dir)?;
    Ok(dir)
}

/// For root: fails if another user could replace a directory of the path.
fn check_way(path: &Path) -> Result<()> {
    for step in path.ancestors() {
        let Some(found) = look_at(step)? else { continue };
        check_owner(step, &found, &[0])?;
        if found.is_symlink() {
            let target = fs::read_link(step).map_err(refused("follow", step))?;
            check_way(&step.parent().unwrap_or(step).join(target))?;
        } else if found.mode() & WRITABLE_BY_OTHERS != 0 && found.mode() & STICKY == 0 {
            return Err(Error::WritableByOthers(step.to_owned()));
        }
    }
    Ok(())
}

/// Fails if the directory exists by now. Whatever the umask, the server's user may enter it.
fn create(dir: &Path) -> io::Result<()> {
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent)?;
    }
    DirBuilder::new().mode(0o700).create(dir)?;
    fs::set_permissions(dir, Permissions::from_mode(0o711))
}

/// Fails if a file of this service is a link, or if there is something else but no cluster.
fn check_content(dir: &Path) -> Result<()> {
    let cluster = dir.join("cluster");
    let us = geteuid().as_raw();
    let is_ours = cluster.join("PG_VERSION").is_file();
    for entry in fs::read_dir(dir).map_err(refused("list", dir))? {
        let path = entry.map_err(refused("list", dir))?.path();
        let found = fs::symlink_metadata(&path).map_err(refused("examine", &path))?;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !OURS.contains(&name) && (is_ours || name == "lost+found") {
            continue; // put beside the book by whoever it belongs to, or by the file system
        }
        if found.is_symlink() {
            return Err(Error::Linked(path));
        }
        match name {
            "lock" | "postgres.log" | "postgres.log.old" if found.is_file() => {
                check_owner(&path, &found, &[us])?;
            }
            "cluster" if found.is_dir() && is_ours => {
                check_owner(&path, &found, &[server_uid(&cluster)?])?;
            }
            "cluster.new" | "socket" if found.is_dir() => {
                check_owner(&path, &found, &[server_uid(&cluster)?, us])?; // us: not given away yet
            }
            _ => return Err(Error::NotOurs(dir.to_owned(), path)),
        }
        if found.mode() & WRITABLE_BY_OTHERS != 0 {
            return Err(Error::WritableByOthers(path));
        }
    }
    Ok(())
}

fn server_uid(cluster: &Path) -> Result<u32> {
    Ok(Account::for_cluster(cluster)?.map_or(geteuid().as_raw(), |account| account.uid))
}

fn check_owner(path: &Path, found: &Metadata, wanted: &[u32]) -> Result<()> {
    if wanted.contains(&found.uid()) {
        return Ok(());
    }
    Err(Error::Foreign(path.to_owned(), found.uid(), wanted[0]))
}

/// The metadata of a path, without following a link.
fn look_at(path: &Path) -> Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(refused("examine", path)(error)),
    }
}
