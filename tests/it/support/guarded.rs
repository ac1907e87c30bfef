//! The program with TLS and one caller, who has a token.

use std::{fs, path::PathBuf};

use super::{authority::Authority, dir::Dir, process::Process, waiting::run};

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
    _dir: Dir,
}

impl Guarded {
    /// The program on a database, at an address that `localhost` leads to.
    pub fn serve(database_url: &str) -> Self {
        let dir = Dir::new();
        let made = run(Process::command().args(["token", "new", "checkout", "coordinator"]));
        let authority = Authority::new("an authority");
        let issued = authority.issue("localhost");
        let files = [
            ("credentials", made.stdout),
            ("certificate.pem", issued.certificate.into_bytes()),
            ("key.pem", issued.key.into_bytes()),
            ("authority.pem", authority.pem().into_bytes()),
        ];
        let paths = files.map(|(name, contents)| {
            let path = dir.path().join(name);
            fs::write(&path, contents).unwrap();
            path.to_str().unwrap().to_owned()
        });
        let [credentials, certificate, key, authority_file] = &paths;
        let who = ["--credentials", credentials, "--tls-cert", certificate, "--tls-key", key];
        let process = Process::serve(
            &[&["--database-url", database_url, "--listen", "127.0.0.1:0"], &who[..]].concat(),
        );
        let token = String::from_utf8(made.stderr).unwrap().trim().to_owned();
        Self { process, token, authority: authority.pem(), authority_file: authority_file.into(), _dir: dir }
    }

    /// Where it serves, by the name in its certificate.
    pub fn target(&self) -> String {
        self.process.address.replace("127.0.0.1", "localhost")
    }
}
