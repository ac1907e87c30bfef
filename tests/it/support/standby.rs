//! A streaming standby of a private PostgreSQL, and servers that are frozen.

use std::{
    fs,
    os::unix::{
        fs::{DirBuilderExt as _, MetadataExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
};

use billing::private_postgres::PrivatePostgres;
use rustix::process::{Pid, Signal, kill_process};

use super::{
    books::migrate,
    dir::Dir,
    waiting::{printed, run},
};

/// A server with a book in it, and its standby.
pub struct Pair {
    pub primary: PrivatePostgres,
    pub standby: PrivatePostgres,
    pub primary_dir: PathBuf,
    pub standby_dir: PathBuf,
    _dir: Dir,
}

impl Pair {
    /// Starts both.
    pub async fn start(of_primary: &[(&str, &str)], of_standby: &[(&str, &str)]) -> Self {
        let dir = Dir::new();
        let [primary_dir, standby_dir] = ["primary", "standby"].map(|name| dir.path().join(name));
        let primary = PrivatePostgres::start(&primary_dir, of_primary).unwrap();
        migrate(&primary.database_url("billing")).await;
        copy_server(&primary, &primary_dir, &standby_dir);
        let standby = PrivatePostgres::start(&standby_dir, of_standby).unwrap();
        Self { primary, standby, primary_dir, standby_dir, _dir: dir }
    }
}

/// Copies a running server, whose data is in `primary_dir`, into `dir`.
pub fn copy_server(primary: &PrivatePostgres, primary_dir: &Path, dir: &Path) {
    let owner = fs::metadata(primary_dir.join("cluster")).unwrap();
    let cluster = dir.join("cluster");
    fs::DirBuilder::new().recursive(true).mode(0o711).create(dir).unwrap();
    fs::DirBuilder::new().mode(0o700).create(&cluster).unwrap();
    chown(&cluster, Some(owner.uid()), Some(owner.gid())).unwrap();
    let mut backup = Command::new(primary.bin_dir().join("pg_basebackup"));
    backup.args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "-d", &primary.database_url("")]);
    backup.arg("-D").arg(&cluster).current_dir("/").uid(owner.uid()).gid(owner.gid());
    printed(run(&mut backup));
}

/// Sends a signal to every process of the server whose data is in `dir`.
pub fn signal_server(dir: &Path, signal: Signal) {
    let pid_file = fs::read_to_string(dir.join("cluster/postmaster.pid")).unwrap();
    let postmaster: i32 = pid_file.lines().next().unwrap().parse().unwrap();
    let children = fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).unwrap();
    let children = children.split_whitespace().map(|child| child.parse().unwrap());
    for process in std::iter::once(postmaster).chain(children) {
        let _ = kill_process(Pid::from_raw(process).unwrap(), signal); // it may have just ended
    }
}
