//! A root directory like the image's, in which the program runs as it would there: mounted read-only, without rights, and
//! with no file but those of the last stage, of the C library, and of a test.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use super::dockerfile::{Dockerfile, Stage};
use crate::support::{
    dir::Dir,
    waiting::{printed, run},
};

/// What distroless/cc has of a C library, by the names that programs ask for.
const LIBRARIES: [&str; 4] = ["libc.so.6", "libgcc_s.so.1", "libm.so.6", "ld-linux-x86-64.so.2"];

/// In a mount namespace of its own: `$1` becomes read-only.
const MAKE_READ_ONLY: &str = r#"mount --bind "$1" "$1" && mount -o remount,bind,ro "$1""#;
/// Then it is the root of `$3...`, which runs as `$2`.
const ENTER: &str = r#"
    root=$1 user=$2
    shift 2
    exec chroot --userspec="$user" --groups= "$root" "$@""#;

/// The root of the image.
pub struct Root {
    dir: Dir,
    dockerfile: Dockerfile,
}

impl Root {
    /// Makes one. None, with the reason printed, where nobody may.
    pub fn make() -> Option<Self> {
        let root = Self { dir: Dir::new(), dockerfile: Dockerfile::read() };
        if !root.may_be_entered() {
            println!(
                "skipped: only root may mount and change its root directory, and not in every container"
            );
            return None;
        }
        for (from, to) in root.image().copies() {
            assert_eq!(from, ["/out/billing"], "the test knows of no other file");
            root.copy(Path::new(env!("CARGO_BIN_EXE_billing")), to);
        }
        for library in libraries() {
            root.copy(&library, library.to_str().unwrap());
        }
        Some(root)
    }

    fn may_be_entered(&self) -> bool {
        let mut enter = Command::new("unshare");
        enter.args(["--mount", "sh", "-c", MAKE_READ_ONLY, "enter"]).arg(self.dir.path());
        run(&mut enter).status.success()
    }

    /// The stage that is the image.
    pub fn image(&self) -> &Stage {
        self.dockerfile.last()
    }

    /// Puts a file there, as Kubernetes mounts one.
    pub fn mount(&self, path: &str, text: &str) {
        let inside = self.inside(path);
        fs::write(&inside, text).unwrap();
        fs::set_permissions(inside, fs::Permissions::from_mode(0o444)).unwrap();
    }

    /// What runs when the image is given arguments, or none.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let image = self.image();
        let mut command = Command::new("unshare");
        let script = format!("{MAKE_READ_ONLY} || exit 125\n{ENTER}");
        command.args(["--mount", "sh", "-c", &script, "enter"]).arg(self.dir.path()).arg(image.one("USER"));
        command.args(image.words("ENTRYPOINT"));
        match arguments {
            [] => command.args(image.words("CMD")),
            arguments => command.args(arguments),
        };
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").envs(image.environment());
        command
    }

    fn copy(&self, from: &Path, to: &str) {
        fs::copy(from, self.inside(to)).unwrap();
    }

    /// Where a path of the image is, with the directories that it needs.
    fn inside(&self, path: &str) -> PathBuf {
        let inside = self.dir.path().join(path.strip_prefix('/').unwrap());
        fs::create_dir_all(inside.parent().unwrap()).unwrap();
        inside
    }
}

/// The libraries of the program, all of which distroless/cc has.
fn libraries() -> Vec<PathBuf> {
    let listed = printed(run(Command::new("ldd").arg(env!("CARGO_BIN_EXE_billing"))));
    let words = listed.split_whitespace();
    let libraries: Vec<PathBuf> = words.filter(|word| word.starts_with('/')).map(PathBuf::from).collect();
    assert!(libraries.len() > 1 && !listed.contains("not found"), "{listed}");
    for library in &libraries {
        let name = library.file_name().unwrap().to_str().unwrap();
        assert!(LIBRARIES.contains(&name), "distroless/cc has no {name}:\n{listed}");
    }
    libraries
}
