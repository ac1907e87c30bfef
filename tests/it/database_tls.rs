//! TLS to PostgreSQL: what each `sslmode` encrypts and verifies, and what is said when it fails.

use std::{
    fs::{self, Permissions},
    net::TcpListener,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::PathBuf,
    process::Output,
};

use billing::{private_postgres::PrivatePostgres, schema};
use diesel_async::{AsyncConnection as _, AsyncPgConnection};

use crate::support::{
    authority::{Authority, Issued},
    book::number,
    dir::Dir,
    process::{Process, billing},
    waiting::{ended, run},
    *,
};

const PASSWORD: &str = "s3cret";

/// A free port may be taken before the server has it: then another one is tried.
const PORTS_TRIED: usize = 5;

/// A PostgreSQL that listens on TCP, and the files of its certificates.
struct Server {
    postgres: Option<PrivatePostgres>,
    dir: Dir,
    port: u16,
}

impl Server {
    fn start() -> Self {
        let dir = Dir::new();
        PrivatePostgres::start(&dir.path().join("data"), &[("fsync", "off")]).unwrap().stop().unwrap();
        Self { postgres: None, dir, port: 0 }
    }

    /// Where its data are.
    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Stops it, and starts it again with another certificate, or without TLS.
    fn restart(&mut self, certificate: Option<Issued>) {
        if let Some(postgres) = self.postgres.take() {
            postgres.stop().unwrap();
        }
        let files = ["server.crt", "server.key"].map(|name| self.data().join("cluster").join(name));
        let [certificate_file, key_file] = files.each_ref().map(|file| file.to_str().unwrap());
        let mut settings = vec![("fsync", "off"), ("listen_addresses", "127.0.0.1")];
        if let Some(Issued { certificate, key }) = certificate {
            let owner = fs::metadata(self.data().join("cluster")).unwrap();
            for (file, text) in files.iter().zip([certificate, key]) {
                fs::write(file, text).unwrap();
                fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
                chown(file, Some(owner.uid()), Some(owner.gid())).unwrap();
            }
            settings.extend([("ssl", "on"), ("ssl_cert_file", certificate_file), ("ssl_key_file", key_file)]);
        }
        let started = (0..PORTS_TRIED).find_map(|_| {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let text = port.to_string();
            let settings = [&settings[..], &[("port", text.as_str())]].concat();
            Some((PrivatePostgres::start(&self.data(), &settings).ok()?, port))
        });
        let (postgres, port) = started.expect("a port stays free for as long as a server takes to start");
        (self.postgres, self.port) = (Some(postgres), port);
    }

    /// Keeps an authority's certificate in a file, and returns its path.
    fn root_file(&self, name: &str, authority: &Authority) -> String {
        self.dir.write(&format!("{name}.crt"), &authority.pem())
    }

    fn url(&self, parameters: &str) -> String {
        format!("postgres://billing:{PASSWORD}@localhost:{}/billing?{parameters}", self.port)
    }

    /// Runs `billing migrate`, which needs no more than a connection.
    async fn migrate(&self, parameters: &str) -> Output {
        billing(&["migrate", "--database-url", &self.url(parameters)]).await
    }

    async fn accepts(&self, parameters: &str) {
        let output = self.migrate(parameters).await;
        assert!(output.status.success(), "{parameters}: {}", String::from_utf8_lossy(&output.stderr));
    }

    async fn refuses(&self, parameters: &str, why: &str) {
        let output = self.migrate(parameters).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{parameters}: {said}");
        assert!(said.contains(why) && said.contains("localhost"), "{parameters}: {said}");
        assert!(!said.contains(PASSWORD), "{said}");
    }

    /// How many sessions of the service are encrypted, and how many are not.
    async fn sessions(&self) -> (i64, i64) {
        let port = self.port;
        let url =
            format!("postgres://billing@/billing?host={}&port={port}", self.data().join("socket").display());
        let mut connection = AsyncPgConnection::establish(&url).await.unwrap();
        let count = |ssl: &str| {
            format!(
                "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                 WHERE client_addr IS NOT NULL AND application_name = 'billing' AND {ssl}"
            )
        };
        (number(&mut connection, &count("ssl")).await, number(&mut connection, &count("NOT ssl")).await)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sslmode_encrypts_and_verifies_what_it_says_and_a_failure_names_its_cause() {
    let mut server = Server::start();
    let (authority, foreign) = (Authority::new("ours"), Authority::new("foreign"));
    let (root, foreign_root) = (server.root_file("ours", &authority), server.root_file("foreign", &foreign));
    let full = format!("sslmode=verify-full&sslrootcert={root}");
    let issuer = format!("sslmode=verify-ca&sslrootcert={root}");

    server.restart(Some(authority.issue("localhost")));
    server.accepts(&full).await;
    server.accepts(&issuer).await;
    server.refuses(&format!("sslmode=verify-full&sslrootcert={foreign_root}"), "UnknownIssuer").await;
    server.refuses(&format!("sslmode=verify-ca&sslrootcert={foreign_root}"), "UnknownIssuer").await;
    server.refuses(&format!("sslmode=require&sslrootcert={foreign_root}"), "UnknownIssuer").await;
    for (parameters, encrypted) in
        [("sslmode=disable", false), ("", true), ("sslmode=require", true), (full.as_str(), true)]
    {
        let service = Process::serve(&["--database-url", &server.url(parameters)]);
        service.client().await.credit(deposit("ann", &format!("order-{parameters}"), 1)).await.answered();
        let (with_tls, without) = server.sessions().await;
        assert_eq!(
            (with_tls > 0, without > 0),
            (encrypted, !encrypted),
            "{parameters}: {with_tls} {without}"
        );
    }

    server.restart(Some(authority.issue("elsewhere.example")));
    server.refuses(&full, "not valid for name \"localhost\"").await;
    server.accepts(&issuer).await;
    server.accepts(&format!("sslmode=require&sslrootcert={root}")).await;

    server.restart(Some(authority.issue_expired("localhost")));
    server.refuses(&full, "certificate expired").await;
    server.refuses(&issuer, "certificate expired").await;
    server.accepts("sslmode=require").await;

    server.restart(None);
    server.refuses(&full, "server does not support TLS").await;
    server.refuses("sslmode=require", "server does not support TLS").await;
    server.accepts("").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_url_is_reported_with_all_else_that_is_wrong_and_without_its_password() {
    let url = format!("postgres://u:{PASSWORD}@h/d?sslmode=verify-full");
    for command in [vec!["serve", "--listen", "nowhere"], vec!["migrate"]] {
        let (_, said) = ended(run(Process::command().args(&command).args(["--database-url", &url])), 64);
        assert!(
            said.contains("--database-url has an sslmode") && said.contains("add sslrootcert=FILE"),
            "{said}"
        );
        assert_eq!(said.contains("--listen"), command[0] == "serve", "{said}");
        assert!(!said.contains(PASSWORD), "{said}");
    }
}

/// Else nobody would know which of several servers is down, and why.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_to_connect_names_every_server_and_its_cause() {
    let url = "postgres://u:s3cret@127.0.0.1:1,nowhere.invalid/d".parse().unwrap();
    let error = schema::pending_migrations(&url).await.unwrap_err();
    let error = format!("{:#}", anyhow::Error::from(error));
    assert!(error.contains("127.0.0.1:1: ") && error.contains("Connection refused"), "{error}");
    assert!(error.contains("nowhere.invalid:5432: ") && !error.contains(PASSWORD), "{error}");
}
