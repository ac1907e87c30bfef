//! Values built from files, and rebuilt when the files change.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

/// How often the files are read. Contents are compared: modification times do not show the change of a mounted secret.
/// A change counts once it has been seen twice in a row, so that a file which an editor is still writing is not used.
const INTERVAL: Duration = Duration::from_millis(500);

/// What was built from files.
#[derive(Debug)]
pub enum Made<T> {
    /// Everything in them is valid.
    Whole(T),
    /// A part is valid; the reason why the rest is not.
    Part(T, String),
    /// Nothing is valid, and why.
    Nothing(String),
}

/// Builds a value from the contents of files, in order; `None` means that they are gone.
type Make<T> = dyn Fn(Option<&[Vec<u8>]>) -> Made<T> + Send + Sync;

/// A value built from files: the newest version that is valid.
pub struct Reloaded<T> {
    current: Arc<RwLock<Arc<T>>>,
    files: Arc<Files<T>>,
}

struct Files<T> {
    paths: Vec<PathBuf>,
    first: Vec<Vec<u8>>,
    make: Box<Make<T>>,
}

/// Why files cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Unread {
    /// A file does not exist, or may not be read.
    Gone(String),
    /// The operating system failed: a disk error, say, or no file descriptors left.
    Unknown(String),
}

impl<T> Reloaded<T> {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// When a file cannot be read, or is not entirely valid.
    pub fn load(
        paths: Vec<PathBuf>,
        make: impl Fn(Option<&[Vec<u8>]>) -> Made<T> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let first = read(&paths).map_err(|(Unread::Gone(why) | Unread::Unknown(why))| why)?;
        let current = match make(Some(&first)) {
            Made::Whole(whole) => whole,
            Made::Part(_, why) | Made::Nothing(why) => return Err(format!("{}: {why}", list(&paths))),
        };
        let files = Files { paths, first, make: Box::new(make) };
        Ok(Self { current: Arc::new(RwLock::new(Arc::new(current))), files: Arc::new(files) })
    }

    /// The newest.
    #[must_use]
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Watches the files forever. Calls `tell` at the start and after each change with the value in use, and whether it is
    /// everything that the files contain.
    pub async fn keep_current(self, tell: impl Fn(&T, bool)) {
        let mut used = Ok(self.files.first.clone());
        let mut seen = used.clone();
        tell(&self.current(), true);
        loop {
            tokio::time::sleep(INTERVAL).await;
            let now = read(&self.files.paths);
            if now != used && now == seen {
                let is_whole = self.change_to(&now);
                tell(&self.current(), is_whole);
                used.clone_from(&now);
            }
            seen = now;
        }
    }

    /// Puts what is valid into use. Returns whether that is everything.
    fn change_to(&self, contents: &Result<Vec<Vec<u8>>, Unread>) -> bool {
        let files = list(&self.files.paths);
        let made = match contents {
            Ok(contents) => (self.files.make)(Some(contents)),
            Err(Unread::Gone(why)) => {
                tracing::error!(why, "a file is gone");
                (self.files.make)(None)
            }
            Err(Unread::Unknown(why)) => Made::Nothing(why.clone()),
        };
        match made {
            Made::Whole(made) => {
                self.set(made);
                tracing::info!(files, "read again, since they have changed");
                true
            }
            Made::Part(made, why) => {
                self.set(made);
                tracing::error!(files, why, "read again, since they have changed, but not all can be used");
                false
            }
            Made::Nothing(why) => {
                tracing::error!(files, why, "cannot be used as they are now: what they were before stays");
                false
            }
        }
    }

    fn set(&self, made: T) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(made);
    }
}

impl<T> Clone for Reloaded<T> {
    fn clone(&self) -> Self {
        Self { current: Arc::clone(&self.current), files: Arc::clone(&self.files) }
    }
}

impl<T> fmt::Debug for Reloaded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reloaded").field(&self.files.paths).finish()
    }
}

/// The contents of the files: few and small, on a local disk or in memory.
fn read(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, Unread> {
    let unread = |path: &Path, error: &io::Error| {
        use io::ErrorKind::{IsADirectory, NotADirectory, NotFound, PermissionDenied};
        let why = format!("cannot read {}: {error}", path.display());
        if [IsADirectory, NotADirectory, NotFound, PermissionDenied].contains(&error.kind()) {
            Unread::Gone(why)
        } else {
            Unread::Unknown(why)
        }
    };
    let read = |path: &PathBuf| {
        // A pipe can be read only once, and blocks its reader.
        if !std::fs::metadata(path).map_err(|error| unread(path, &error))?.is_file() {
            return Err(Unread::Gone(format!("cannot read {}: it is no regular file", path.display())));
        }
        std::fs::read(path).map_err(|error| unread(path, &error))
    };
    paths.iter().map(read).collect()
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
