//! The program with TLS and one caller, who has a token.

use super::{
    authority::Authority,
    dir::Dir,
    process::{Process, new_token},
};

/// The running program, and what its caller needs.
pub struct Guarded {
    /// The program.
    pub process: Process,
    /// The token of its one caller, a coordinator with the name `checkout`.
    pub token: String,
    /// The certificate of the authority that vouches for `localhost`, in PEM form.
    pub authority: String,
    /// The same, in a file.
    pub authority_file: String,
    _dir: Dir,
}

impl Guarded {
    /// The program on a database, at an address that `localhost` leads to.
    pub fn serve(database_url: &str) -> Self {
        let dir = Dir::new();
        let (token, line) = new_token("checkout", "coordinator");
        let authority = Authority::new("an authority");
        let issued = authority.issue("localhost");
        let process = Process::serve(&[
            "--database-url",
            database_url,
            "--listen",
            "127.0.0.1:0",
            "--credentials",
            &dir.write("credentials", &line),
            "--tls-cert",
            &dir.write("certificate.pem", &issued.certificate),
            "--tls-key",
            &dir.write("key.pem", &issued.key),
        ]);
        let authority_file = dir.write("authority.pem", &authority.pem());
        Self { process, token, authority: authority.pem(), authority_file, _dir: dir }
    }

    /// Where it serves, by the name in its certificate.
    pub fn target(&self) -> String {
        self.process.address.replace("127.0.0.1", "localhost")
    }
}
