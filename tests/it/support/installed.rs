//! What the clients of other languages need: installed by the first test that asks, and kept for the next run.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::waiting::run_within;

/// How long one command may take that fetches or builds something.
const PATIENCE: Duration = Duration::from_secs(150);

/// The directory of what has been installed under a name, or why it cannot be had. `wanted` describes what it is made of: when
/// that changes, it is made again. Each test is a process; of those that ask at once one installs, and the others wait for it.
pub fn installed(
    name: &str,
    wanted: &str,
    install: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (dir, description) = (kept.join(name), kept.join(format!("{name}.installed")));
    let lock = File::create(kept.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap(); // whoever has it runs commands that have a bound
    if fs::read_to_string(&description).ok().as_deref() != Some(wanted) || !dir.exists() {
        let _ = fs::remove_file(&description); // may not be there
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        install(&dir)?;
        fs::write(description, wanted).unwrap();
    }
    Ok(dir)
}

/// Runs a command of an installation.
pub fn run(command: &mut Command) -> Result<(), String> {
    let output = run_within(PATIENCE, command);
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {said}")) }
}
