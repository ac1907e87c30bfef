//! Where the database is: a URL as psql takes it, checked whole before anything connects.
//!
//! It leads where psql would go with the same URL, or it is refused, and the refusal names what is not supported and what to do
//! instead. It differs where that is safer:
//!
//! * No connection is tried without a bound.
//! * Of several hosts only one that takes writes will do, unless the URL says otherwise: a read from a standby may miss what was
//!   just answered.
//! * An `sslrootcert` that would verify nothing is an error, and `prefer` does without TLS only where the server offers none.
//! * The URL is all: nothing comes from the variables and files of libpq (`PGPASSWORD`, `passfile`, `service`).

mod error;
mod settings;

use std::{fmt, fmt::Write as _, net::IpAddr, str::FromStr, time::Duration};

use tokio_postgres::{
    Config,
    config::{Host, LoadBalanceHosts, SslMode},
};
use tokio_postgres_rustls::MakeRustlsConnect;

pub use self::error::DatabaseUrlError;
use self::{error::DatabaseUrlError as Error, settings::Settings};
use super::tls::{self, Trust};

/// How long each address of a server has to answer.
pub(crate) const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
const PORT_DEFAULT: u16 = 5432;

/// Where the database is, and how to connect to it. Never shows the password.
#[derive(Clone)]
pub struct DatabaseUrl {
    /// One for each host, in order.
    pub(crate) servers: Vec<Config>,
    pub(crate) in_any_order: bool,
    pub(crate) tls: MakeRustlsConnect,
    /// The schemas in which sessions look for names, if not those of the role.
    pub(crate) search_path: Option<String>,
    /// Whether the tables are distributed: then plans are not made once and for all.
    pub(crate) is_distributed: bool,
    /// What the servers have in common.
    common: Box<Config>,
}

impl FromStr for DatabaseUrl {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self, Error> {
        let mut settings = settings::split(url)?;
        let [hosts, addresses, ports, ssl_mode, root, tcp_user_timeout] =
            ["host", "hostaddr", "port", "sslmode", "sslrootcert", "tcp_user_timeout"]
                .map(|key| settings.remove(key));
        let hosts = hosts.ok_or(Error::NoHost)?;
        if hosts.contains(',') {
            settings.entry("target_session_attrs".to_owned()).or_insert_with(|| "read-write".to_owned());
        }
        let mut common = driver_config(&settings)?;
        // In milliseconds for libpq, but in seconds for the driver.
        if let Some(text) = tcp_user_timeout {
            let millis = text.parse().map_err(|_| Error::Value("tcp_user_timeout".to_owned()))?;
            common.tcp_user_timeout(Duration::from_millis(millis));
        }
        common.connect_timeout(common.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT_DEFAULT));
        let (ssl_mode, trust) = encryption(&ssl_mode.unwrap_or_default(), root.as_deref())?;
        common.ssl_mode(ssl_mode);
        let servers = servers(&common, &hosts, addresses.as_deref(), ports.as_deref())?;
        let in_any_order = common.get_load_balance_hosts() == LoadBalanceHosts::Random;
        let tls = tls::connector(trust).map_err(Error::Tls)?;
        Ok(Self {
            servers,
            in_any_order,
            tls,
            search_path: None,
            is_distributed: false,
            common: common.into(),
        })
    }
}

impl DatabaseUrl {
    /// The same database, in which sessions look for names in these schemas: quoted, and separated by commas.
    pub(crate) fn with_search_path(&self, search_path: &str) -> Self {
        Self { search_path: Some(search_path.to_owned()), ..self.clone() }
    }

    /// The same database, of which tables are distributed over nodes.
    pub(crate) fn distributed(self) -> Self {
        Self { is_distributed: true, ..self }
    }

    /// The database of the same name on another server.
    pub(crate) fn at(&self, host: &str, port: u16) -> Self {
        let mut server = Config::clone(&self.common);
        server.host(host).port(port);
        Self { servers: vec![server], ..self.clone() }
    }
}

/// The settings as the driver takes them.
fn driver_config(settings: &Settings) -> Result<Config, Error> {
    let (mut text, mut config) = (String::new(), Config::new());
    for (key, value) in settings {
        let driver_key = if key == "keepalives_count" { "keepalives_retries" } else { key };
        let quoted = value.replace('\\', "\\\\").replace('\'', "\\'");
        let _ = write!(text, "{driver_key}='{quoted}' "); // a String takes it all
        config = text.parse().map_err(|_| Error::Value(key.clone()))?;
    }
    Ok(config)
}

/// Whether to encrypt, and whom to trust. As for libpq, a file of certificates makes `require` verify who issued the server's.
fn encryption(ssl_mode: &str, root: Option<&str>) -> Result<(SslMode, Trust), Error> {
    let read = |file: &str| tls::read_roots(file.as_ref()).map_err(Error::Root);
    Ok(match (ssl_mode, root) {
        ("disable", None) => (SslMode::Disable, Trust::Anybody),
        ("prefer", None) => (SslMode::Prefer, Trust::Anybody),
        ("require", None) => (SslMode::Require, Trust::Anybody),
        ("require" | "verify-ca", Some(file)) => (SslMode::Require, Trust::Issuer(read(file)?)),
        ("verify-full", Some(file)) => (SslMode::Require, Trust::IssuerAndName(read(file)?)),
        ("verify-ca" | "verify-full", None) => return Err(Error::NoRoot),
        ("disable" | "prefer", Some(_)) => return Err(Error::UnusedRoot),
        _ => return Err(Error::Value("sslmode".to_owned())),
    })
}

/// One for each host.
fn servers(
    common: &Config,
    hosts: &str,
    addresses: Option<&str>,
    ports: Option<&str>,
) -> Result<Vec<Config>, Error> {
    let hosts: Vec<&str> = hosts.split(',').collect();
    let addresses = list::<IpAddr>("hostaddr", addresses, |text| text.parse().ok())?;
    let ports = list("port", ports, |text| match text {
        "" => Some(PORT_DEFAULT),
        text => text.parse().ok().filter(|port| *port > 0),
    })?;
    if hosts.contains(&"") {
        return Err(Error::NoHost);
    }
    if ![0, hosts.len()].contains(&addresses.len()) {
        return Err(Error::Uneven("hostaddr"));
    }
    if ![0, 1, hosts.len()].contains(&ports.len()) {
        return Err(Error::Uneven("port"));
    }
    let server = |(n, host): (usize, &&str)| {
        let mut server = common.clone();
        if host.starts_with('/') {
            server.host_path(host).ssl_mode(SslMode::Disable); // no TLS over a Unix socket
        } else {
            server.host(*host);
        }
        server.port(ports.get(n).or(ports.first()).copied().unwrap_or(PORT_DEFAULT));
        addresses.get(n).map(|address| server.hostaddr(*address));
        server
    };
    Ok(hosts.iter().enumerate().map(server).collect())
}

fn list<T>(key: &str, text: Option<&str>, parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, Error> {
    let parsed = text.into_iter().flat_map(|text| text.split(',')).map(parse).collect::<Option<_>>();
    parsed.ok_or_else(|| Error::Value(key.to_owned()))
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.servers.first() else { return Ok(()) };
        let hosts: Vec<String> = self.servers.iter().map(server_name).collect();
        let (hosts, database) = (hosts.join(","), first.get_dbname().unwrap_or_default());
        match first.get_user() {
            Some(user) => write!(f, "postgres://{user}@{hosts}/{database}"),
            None => write!(f, "postgres://{hosts}/{database}"),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

/// The host and port of a server.
pub(crate) fn server_name(server: &Config) -> String {
    let port = server.get_ports().first().copied().unwrap_or(PORT_DEFAULT);
    match server.get_hosts().first() {
        Some(Host::Tcp(host)) => format!("{host}:{port}"),
        Some(Host::Unix(dir)) => format!("{}:{port}", dir.display()),
        None => format!(":{port}"),
    }
}

#[cfg(test)]
mod tests {
    use tokio_postgres::config::TargetSessionAttrs;

    use super::*;

    fn error(url: &str) -> String {
        url.parse::<DatabaseUrl>().expect_err(url).to_string()
    }

    #[test]
    fn a_url_says_where_the_database_is_and_shows_no_password() {
        for (url, shown) in [
            ("postgres://u@h/d", "postgres://u@h:5432/d"),
            ("postgresql://u:s3cret@h:6432/d", "postgres://u@h:6432/d"),
            ("postgres://u:s3%40%2F%3Fcret@[::1]:6432/d?sslmode=disable", "postgres://u@::1:6432/d"),
            ("postgres://u@/d?host=%2Frun%2Fpg&port=6432", "postgres://u@/run/pg:6432/d"),
            ("postgres://u@a,b:6432,c/d?load_balance_hosts=random", "postgres://u@a:5432,b:6432,c:5432/d"),
            ("postgres:///d?user=u&password=s3cret&host=a,/run/pg&port=1,2", "postgres://u@a:1,/run/pg:2/d"),
            ("postgres://a,b?hostaddr=127.0.0.1,127.0.0.2", "postgres://a:5432,b:5432/"),
        ] {
            let url: DatabaseUrl = url.parse().expect(url);
            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?} {url}").contains("s3"), "{url:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_url() {
        let root = "sslrootcert=/dev/null";
        for (url, said) in [
            ("mysql://u:s3cret@h/d", "must begin with"),
            ("u:s3cret@h/d", "must begin with"),
            ("postgres://u:s3/cret@h/d", "has an @, / or ?"),
            ("postgres://u:s3?cret@h/d", "has an @, / or ?"),
            ("postgres://u:s3@s3cret@h/d", "has an @, / or ?"),
            ("postgres://u:s3@cret?s3=s3@h/d", "has an @, / or ?"),
            ("postgres://u:s3cret@h:port/d", "has a value for port that it cannot have"),
            ("postgres://u:s3cret@h:70000/d", "has a value for port that it cannot have"),
            ("postgres://u:s3cret@[::1/d", "has a malformed host"),
            ("postgres://u%FF:s3cret@h/d", "has a value for user that it cannot have"),
            ("postgres://h/d?connect_timeout=1&s3cret=1", "malformed parameter, number 2"),
            ("postgres://h/d?s3cret", "malformed parameter, number 1"),
            ("postgres://h/d?password=s3cret&tail=s3", "after its password parameter"),
            ("postgres://h/d?p%61ssword=s3cret&tail=s3", "after its password parameter"),
            ("postgres://h/d?password=s3cret&with", "malformed parameter, number 2"),
            ("postgres://h/d?options=-cs3=s3", "malformed parameter, number 1"),
            ("postgres://h/d?%s3cret=1", "malformed parameter, number 1"),
            ("postgres://h/d?tail=s3cret", "has the unknown parameter tail"),
            ("postgres://h/d?tail=", "has the unknown parameter tail"),
            ("postgres://h/d?passfile=s3cret", "has the parameter passfile, which is not supported: write"),
            ("postgres://h/d?service=s3cret", "has the parameter service, which is not supported: write"),
            ("postgres://h/d?connect_timeout=s3cret", "has a value for connect_timeout that it cannot have"),
            (
                "postgres://h/d?tcp_user_timeout=s3cret",
                "has a value for tcp_user_timeout that it cannot have",
            ),
            (
                "postgres://h/d?target_session_attrs=s3cret",
                "that it cannot have: use any, read-write or read-only",
            ),
            (
                "postgres://h/d?sslmode=s3cret",
                "has a value for sslmode that it cannot have: use disable, prefer",
            ),
            ("postgres://h/d?sslmode=require&sslmode=", "has a value for sslmode that it cannot have"),
            ("postgres://h/d?sslmode=allow", "has a value for sslmode that it cannot have"),
            ("postgres://u:s3cret@/d", "names no host"),
            ("postgres://u:s3cret@:5432/d", "names no host"),
            ("postgres://a,b/d?hostaddr=127.0.0.1", "does not have one hostaddr for each host"),
            ("postgres:///d?host=a,b,c&port=1,2", "does not have one port for each host"),
            ("postgres://u:s3cret@h/d?sslmode=verify-full", "add sslrootcert=FILE"),
            ("postgres://u:s3cret@h/d?sslmode=verify-ca", "add sslrootcert=FILE"),
            (&format!("postgres://u:s3cret@h/d?{root}"), "add sslmode=verify-full"),
            (&format!("postgres://u:s3cret@h/d?sslmode=disable&{root}"), "add sslmode=verify-full"),
            (&format!("postgres://u:s3cret@h/d?sslmode=require&{root}"), "has no certificate in it"),
            (
                "postgres://h/d?sslmode=verify-full&sslrootcert=/s3cret",
                "has an sslrootcert that cannot be read",
            ),
        ] {
            let error = error(url);
            assert!(error.contains(said) && !error.contains("s3"), "{url}: {error}");
        }
    }

    #[test]
    fn what_a_url_does_not_say_is_bounded_and_it_has_the_last_word() {
        let url = "postgres://h/d".parse::<DatabaseUrl>().unwrap();
        let server = &url.servers[0];
        assert_eq!(server.get_connect_timeout(), Some(&Duration::from_secs(5)));
        assert_eq!(server.get_tcp_user_timeout(), Some(&Duration::from_secs(20)));
        assert_eq!((server.get_keepalives(), server.get_keepalives_idle().as_secs()), (true, 30));
        assert_eq!(server.get_application_name(), Some("billing"));
        assert_eq!(server.get_target_session_attrs(), TargetSessionAttrs::Any);

        let said = "connect_timeout=7&tcp_user_timeout=1500&keepalives_idle=9&keepalives_count=2&application_name=me";
        let url = format!("postgres://h/d?{said}").parse::<DatabaseUrl>().unwrap();
        let server = &url.servers[0];
        assert_eq!(server.get_connect_timeout(), Some(&Duration::from_secs(7)));
        assert_eq!(server.get_tcp_user_timeout(), Some(&Duration::from_millis(1_500)));
        assert_eq!((server.get_keepalives_idle().as_secs(), server.get_keepalives_retries()), (9, Some(2)));
        assert_eq!(server.get_application_name(), Some("me"));
    }

    #[test]
    fn of_several_hosts_only_one_that_takes_writes_will_do_unless_the_url_says_otherwise() {
        for (parameter, expected) in [
            ("", TargetSessionAttrs::ReadWrite),
            ("?target_session_attrs=any", TargetSessionAttrs::Any),
            ("?target_session_attrs=read-only", TargetSessionAttrs::ReadOnly),
        ] {
            let url = format!("postgres://a,b/d{parameter}").parse::<DatabaseUrl>().unwrap();
            assert!(url.servers.iter().all(|server| server.get_target_session_attrs() == expected));
        }
    }

    #[test]
    fn a_unix_socket_has_no_tls() {
        use tokio_postgres::config::SslMode::{Disable, Prefer, Require};
        for (parameter, of_tcp) in [("disable", Disable), ("prefer", Prefer), ("require", Require)] {
            let url = format!("postgres:///d?host=/run/pg,h&sslmode={parameter}");
            let modes = url
                .parse::<DatabaseUrl>()
                .unwrap()
                .servers
                .iter()
                .map(Config::get_ssl_mode)
                .collect::<Vec<_>>();
            assert_eq!(modes, [Disable, of_tcp]);
        }
        assert_eq!("postgres://h/d".parse::<DatabaseUrl>().unwrap().servers[0].get_ssl_mode(), Prefer);
    }
}
