//! What can go wrong with the private PostgreSQL.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitStatus,
};

/// Why the private PostgreSQL did not start or stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrivatePostgresError {
    /// No binaries of this version are installed.
    #[error(
        "found no PostgreSQL {0} in $PG_BIN_DIR, or if unset in $PATH and where Debian and Homebrew put it; \
         install it by `apt-get install postgresql` (Debian, Ubuntu) or `brew install postgresql@17` (macOS)"
    )]
    BinariesNotFound(String),
    /// Another service uses this data directory.
    #[error("another service is using the data directory {dir}", dir = .0.display())]
    InUse(PathBuf),
    /// The server of a killed service still runs on this cluster.
    #[error("an earlier server is still running; stop it with `pg_ctl stop -D {dir}`", dir = .0.display())]
    PredecessorRunning(PathBuf),
    /// The directory contains something that is not this service's.
    #[error(
        "{dir} is not a data directory of this service, since it holds {path}; use a new or an empty directory",
        dir = .0.display(),
        path = .1.display()
    )]
    NotOurs(PathBuf, PathBuf),
    /// A part of the data directory, or of the path to it, belongs to another user.
    #[error(
        "{path} belongs to uid {1}, not to uid {2}; use another data directory, or `chown` it if it is yours",
        path = .0.display()
    )]
    Foreign(PathBuf, u32, u32),
    /// Other users could change or replace the data directory.
    #[error(
        "others may write to {path}; `chmod go-w` it, or use another data directory",
        path = .0.display()
    )]
    WritableByOthers(PathBuf),
    /// A symbolic link may lead to files that are not this service's.
    #[error(
        "{path} is a symbolic link; name the directory itself, and keep everything in it",
        path = .0.display()
    )]
    Linked(PathBuf),
    /// The server ended while it was in use.
    #[error("the PostgreSQL server has ended with {0}; the log ends with:\n{1}")]
    Died(ExitStatus, String),
    /// PostgreSQL refuses to run as root, and there is no other user to run as.
    #[error(
        "PostgreSQL cannot run as root, and there is no user `postgres` or `nobody` that it could run as"
    )]
    NoAccount,
    /// The path to the data contains a directory that the server's user may not enter.
    #[error(
        "the server's user (uid {1}) may not enter {dir}; `chmod o+x` it or use another data directory",
        dir = .0.display()
    )]
    NotTraversable(PathBuf, u32),
    /// A PostgreSQL program failed, with its status and the end of the log.
    #[error("{program} ended with {1}; the log ends with:\n{2}", program = .0.display())]
    Failed(PathBuf, ExitStatus, String),
    /// The server did not stop, not even after an immediate shutdown.
    #[error("the PostgreSQL server does not stop")]
    NotStopped,
    /// The operating system refused an action on a file, directory or program.
    #[error("cannot {0} {path}", path = .1.display())]
    Io(&'static str, PathBuf, #[source] io::Error),
}

pub(super) use PrivatePostgresError as Error;
pub(super) type Result<T, E = Error> = std::result::Result<T, E>;

/// Wraps an error of the operating system with the action and the path.
pub(super) fn refused(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::Io(action, path.clone(), source)
}
