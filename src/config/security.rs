//! The flags about who may call, and about TLS.

use std::path::PathBuf;

use clap::Args;

use super::problems::Problems;
use crate::{
    access::Credentials,
    grpc::Tls,
    reload::{Made, Reloaded},
};

#[derive(Clone, Args)]
#[command(next_help_heading = "Security")]
pub(super) struct SecurityFlags {
    /// File that names the callers: on each line a name, roles (reader, coordinator, admin) and a credential, as `billing token
    /// new` prints them. Read again when it changes. Without it, everybody may do everything.
    #[arg(long, env = "BILLING_CREDENTIALS", value_name = "FILE")]
    credentials: Option<PathBuf>,
    /// Certificate chain of this server, PEM. Read again when it changes. Without it, there is no TLS: set it unless a mesh
    /// encrypts.
    #[arg(long, env = "BILLING_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// Private key of the certificate, PEM.
    #[arg(long, env = "BILLING_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Certificate authorities of clients, PEM. With it, a client certificate can be a caller's credential.
    #[arg(long, env = "BILLING_TLS_CLIENT_CA", value_name = "FILE")]
    tls_client_ca: Option<PathBuf>,
}

impl SecurityFlags {
    pub(super) fn has_credentials(&self) -> bool {
        self.credentials.is_some()
    }

    pub(super) fn credentials(&self, problems: &mut Problems) -> Option<Reloaded<Credentials>> {
        let loaded = Reloaded::load(vec![self.credentials.clone()?], |files| {
            let Some(files) = files else {
                return Made::Part(Credentials::default(), "nobody may call while there is no file".into());
            };
            match Credentials::parse(&files[0]) {
                (credentials, None) => Made::Whole(credentials),
                (credentials, Some(wrong)) => Made::Part(credentials, wrong.to_string()),
            }
        });
        problems.unless_wrong("--credentials", loaded)
    }

    pub(super) fn tls(&self, problems: &mut Problems) -> Option<Reloaded<Tls>> {
        if self.tls_client_ca.is_some() && (self.tls_cert.is_none() || self.credentials.is_none()) {
            let why = "needs --tls-cert, and --credentials to tell who has which certificate";
            problems.add(format!("--tls-client-ca {why}"));
        }
        tls([&self.tls_cert, &self.tls_key, &self.tls_client_ca], problems)
    }
}

/// TLS by a certificate and its key, and by the authorities of clients, if these are to have certificates, too.
pub(super) fn tls(files: [&Option<PathBuf>; 3], problems: &mut Problems) -> Option<Reloaded<Tls>> {
    let [cert, key, _] = files;
    if cert.is_some() != key.is_some() {
        problems.add("--tls-cert and --tls-key need each other");
    }
    if cert.is_none() || key.is_none() {
        return None;
    }
    let loaded = Reloaded::load(files.into_iter().flatten().cloned().collect(), |files| {
        let Some(files) = files else { return Made::Nothing("a server needs its certificate".into()) };
        Tls::from_pem(&files[0], &files[1], files.get(2).map(Vec::as_slice))
            .map_or_else(Made::Nothing, Made::Whole)
    });
    problems.unless_wrong("--tls-cert", loaded)
}
