//! The user that the server runs as, since PostgreSQL refuses to run as root.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use rustix::process::geteuid;

use super::{
    binaries::output_of,
    error::{Error, Result, refused},
};

/// The user that the server runs as when this process runs as root.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Account {
    pub(super) fn for_cluster(cluster: &Path) -> Result<Option<Self>> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let owner = fs::metadata(cluster)
            .ok()
            .filter(|cluster| cluster.uid() != 0)
            .map(|cluster| Self { uid: cluster.uid(), gid: cluster.gid() });
        let account = owner.or_else(|| Self::named("postgres")).or_else(|| Self::named("nobody"));
        account.map(Some).ok_or(Error::NoAccount)
    }

    fn named(user: &str) -> Option<Self> {
        let id = |option| output_of(Command::new("id").args([option, user]))?.trim().parse().ok();
        Some(Self { uid: id("-u")?, gid: id("-g")? })
    }

    pub(super) fn check_may_enter(&self, dir: &Path) -> Result<()> {
        for dir in dir.ancestors() {
            let metadata = fs::metadata(dir).map_err(refused("examine", dir))?;
            let permission = match (metadata.uid() == self.uid, metadata.gid() == self.gid) {
                (true, _) => 0o100,
                (false, true) => 0o010,
                (false, false) => 0o001,
            };
            if metadata.mode() & permission == 0 {
                return Err(Error::NotTraversable(dir.to_owned(), self.uid));
            }
        }
        Ok(())
    }
}
