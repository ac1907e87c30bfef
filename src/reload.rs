//! Something made of files, made anew whenever they change.

use std::{
    fmt, io,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

/// How often the files are looked at. By their contents: times of files do not tell of a mounted secret's change.
const INTERVAL: Duration = Duration::from_secs(1);

/// Makes something of the contents of files, in their order.
type Make<T> = dyn Fn(&[Vec<u8>]) -> Result<T, String> + Send + Sync;

/// Something made of files, as they were when they could last be understood.
pub struct Reloaded<T> {
    current: Arc<RwLock<Arc<T>>>,
    files: Arc<Files<T>>,
}

struct Files<T> {
    paths: Vec<PathBuf>,
    first: Vec<Vec<u8>>,
    make: Box<Make<T>>,
}

impl<T> Reloaded<T> {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// When one cannot be read, or cannot be understood.
    pub fn load(
        paths: Vec<PathBuf>,
        make: impl Fn(&[Vec<u8>]) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let first = read(&paths)?;
        let current = make(&first).map_err(|why| format!("{}: {why}", list(&paths)))?;
        let files = Files { paths, first, make: Box::new(make) };
        Ok(Self { current: Arc::new(RwLock::new(Arc::new(current))), files: Arc::new(files) })
    }

    /// The newest.
    #[must_use]
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at the files again and again, for ever. Files that cannot be read or understood change nothing, which is
    /// logged once for each change of theirs.
    pub async fn keep_current(self) {
        let mut seen = Ok(self.files.first.clone());
        loop {
            tokio::time::sleep(INTERVAL).await;
            let now = read(&self.files.paths);
            if now != seen {
                self.change_to(&now);
                seen = now;
            }
        }
    }

    fn change_to(&self, contents: &Result<Vec<Vec<u8>>, String>) {
        let made = contents.as_ref().map_err(Clone::clone).and_then(|contents| (self.files.make)(contents));
        let files = list(&self.files.paths);
        match made {
            Ok(made) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(made);
                tracing::info!(files, "read again, since they have changed");
            }
            Err(why) => {
                tracing::error!(files, why, "cannot be used as they are now: what they were before stays");
            }
        }
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

/// The contents of the files. They are few and small, and read from a local disk or memory.
fn read(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, String> {
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|error: io::Error| format!("cannot read {}: {error}", path.display()))
    };
    paths.iter().map(read).collect()
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
