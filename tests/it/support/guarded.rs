//! The program with TLS and one caller, who has a token.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{authority::Authority, process::Process};

/// The running program, and what its caller needs.
pub struct Guarded {
    /// The program.
    pub process: Process,
    /// The token of its one caller, a coordinator with the name `checkout`.
    pub token: String,
    /// The certificate of the authority that vouches for `localhost`, in PEM form.
    pub authority: String,
    /// The same, in a file.
    pub authority_file: PathBuf,
}

impl Guarded {
    /// The program on a database. `name` is that of a directory, which is kept for the next run.
    pub fn serve(name: &str, database_url: &str) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&dir).unwrap();
        let made = Process::command().args(["token", "new", "checkout", "coordinator"]).output().unwrap();
        let authority = Authority::new("an authority");
        let issued = authority.issue("localhost");
        let files = [
            ("credentials", made.stdout),
            ("certificate.pem", issued.certificate.into_bytes()),
            ("key.pem", issued.key.into_bytes()),
            ("authority.pem", authority.pem().into_bytes()),
        ];
        let paths = files.map(|(name, contents)| {
            let path = dir.join(name);
            fs::write(&path, contents).unwrap();
            path.to_str().unwrap().to_owned()
        });
        let [credentials, certificate, key, authority_file] = &paths;
        let who = ["--credentials", credentials, "--tls-cert", certificate, "--tls-key", key];
        let process = Process::serve(&[&["--database-url", database_url], &who[..]].concat());
        let token = String::from_utf8(made.stderr).unwrap().trim().to_owned();
        Self { process, token, authority: authority.pem(), authority_file: authority_file.into() }
    }

    /// Where it serves, by the name in its certificate.
    pub fn target(&self) -> String {
        self.process.address.replace("127.0.0.1", "localhost")
    }
}
