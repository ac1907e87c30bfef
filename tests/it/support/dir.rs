//! A directory of a test's own, with files that change as a whole.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

/// The directory. Removed when dropped.
pub struct Dir(PathBuf);

impl Dir {
    /// A new, empty one.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = env::temp_dir().join(format!("billing-dir-{}-{count}", process::id()));
        fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file as a whole, and returns its path.
    pub fn write(&self, name: &str, text: &str) -> String {
        let (path, unfinished) = (self.0.join(name), self.0.join("unfinished"));
        fs::write(&unfinished, text).unwrap();
        fs::rename(unfinished, &path).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}
