//! `--output`: where a command writes.
//!
//! A file is never half written: what is to be in it is written beside it, under a name of its own, and put in its place when
//! it is complete. What is no file, such as a device or a pipe, is written into as it is.

use std::{
    ffi::OsStr,
    fs::{self, File, Metadata, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

/// How many links are followed, one to the next: as many as Linux follows.
const LINKS_MAX: usize = 40;

/// Where a command writes.
pub(super) enum Destination {
    /// Standard output, `-`; or a device, a pipe, or whatever else is no file.
    Stream(Box<dyn Write>),
    /// A file.
    File(Target),
}

/// A file that is to be written, and what is there now.
pub(super) struct Target {
    path: PathBuf,
    replaced: Option<Metadata>,
}

/// A file that is written beside the one that it is to replace. Removed when dropped, unless it was put in its place.
pub(super) struct Replacement {
    beside: NamedTempFile,
    path: PathBuf,
    replaced: Option<Metadata>,
}

impl Destination {
    /// Opens a path. For a pipe that waits for its reader, as a shell does.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if path == OsStr::new("-") {
            return Ok(Self::Stream(Box::new(io::stdout().lock())));
        }
        let replaced = match OpenOptions::new().write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            opened => {
                let opened = opened?;
                let metadata = opened.metadata()?;
                if !metadata.is_file() {
                    return Ok(Self::Stream(Box::new(opened)));
                }
                Some(metadata)
            }
        };
        Ok(Self::File(Target { path: follow_links(path)?, replaced }))
    }
}

impl Target {
    /// Begins to write the file. From now on a signal must not end the program before this is dropped.
    pub(super) fn begin(self) -> io::Result<Replacement> {
        let Self { path, replaced } = self;
        // Nobody may read more of it than of what it replaces; a new one is as any other file that the user makes.
        let mode = if replaced.is_some() { 0o600 } else { 0o666 };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".billing-").rand_bytes(16).permissions(Permissions::from_mode(mode));
        Ok(Replacement { beside: builder.tempfile_in(directory(&path))?, path, replaced })
    }
}

impl Replacement {
    pub(super) fn file(&self) -> &File {
        self.beside.as_file()
    }

    /// Puts the file in its place, on the disk, with the mode and the owner of the one that it replaces.
    pub(super) fn complete(self) -> io::Result<()> {
        let Self { beside, path, replaced } = self;
        if let Some(replaced) = replaced {
            let file = beside.as_file();
            let is = file.metadata()?;
            // The owner first, since a change of owner takes bits off the mode.
            if (is.uid(), is.gid()) != (replaced.uid(), replaced.gid()) {
                fchown(file, Some(replaced.uid()), Some(replaced.gid()))?;
            }
            file.set_permissions(Permissions::from_mode(replaced.mode() & 0o7777))?;
        }
        beside.as_file().sync_all()?;
        beside.persist(&path)?;
        match File::open(directory(&path)) {
            Ok(directory) => directory.sync_all(),
            Err(_) => Ok(()), // one that may be written to and not read; the file itself is on the disk
        }
    }
}

/// Where a path leads, also to what is not there yet.
fn follow_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        match fs::read_link(&path) {
            Ok(target) => path = directory(&path).join(target),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => {
                return Ok(path); // nothing, or no link
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::TooManyLinks.into())
}

fn directory(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}
