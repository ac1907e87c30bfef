//! Where the database is: a URL as libpq has it, checked whole before anything connects.
//!
//! It differs from libpq where that is safer: no connection is tried without a bound; of several hosts only one that
//! takes writes will do, unless the URL says otherwise, since a read from a standby may miss what was just answered; an
//! `sslrootcert` that would verify nothing is an error; and `prefer` does without TLS only where the server offers none.
//! Nothing comes from libpq's own files and variables.

use std::{fmt, io, net::IpAddr, path::PathBuf, str::FromStr, time::Duration};

use percent_encoding::percent_decode_str;
use tokio_postgres::{
    Config,
    config::{Host, LoadBalanceHosts, TargetSessionAttrs},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::tls::{self, SslMode, Trust};

const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];
/// What holds unless a URL says otherwise. A server that went away without a word is noticed within a minute by a
/// connection that only waits.
const DEFAULTS: &str =
    "application_name=billing&keepalives_idle=30&keepalives_interval=10&keepalives_retries=3&";
/// And within this time by one that has sent something.
const TCP_USER_TIMEOUT_DEFAULT: Duration = Duration::from_secs(20);
/// How long each address of a server has to answer.
pub(super) const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// The parameters that are left to the driver, other than those of an address.
const PASSED_ON: [&str; 13] = [
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "load_balance_hosts",
    "options",
    "password",
    TARGET,
    "user",
];
const TARGET: &str = "target_session_attrs";

/// What is wrong with the URL of a database. Never quotes it: it may hold a password, and where one was not encoded, part
/// of it may stand anywhere.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseUrlError {
    /// It is no such URL.
    #[error("must begin with postgres:// or postgresql://")]
    Scheme,
    /// Where the password ends cannot be told.
    #[error("has an @, / or ? in its user, password or parameters: write %40, %2F or %3F instead")]
    Reserved,
    /// What stands before the parameters is malformed.
    #[error("has a malformed user, host, port or database: {0}")]
    Malformed(String),
    /// A parameter is none, by its number.
    #[error("has a parameter that is not known or has no value: its number {0}")]
    Parameter(usize),
    /// A parameter has a value that it cannot have.
    #[error("has a value for {0} that it cannot have")]
    Value(&'static str),
    /// There is nothing to connect to.
    #[error("names no host, such as //localhost/billing or ///billing?host=/run/postgresql")]
    NoHost,
    /// Hosts, and their ports or addresses, do not go together.
    #[error("does not have one {0} for each host")]
    Uneven(&'static str),
    /// Nobody is trusted.
    #[error("has an sslmode that verifies the server, but not by whom: add sslrootcert=FILE")]
    NoRoot,
    /// Somebody is trusted, but for nothing.
    #[error("has an sslrootcert, but an sslmode that verifies nothing: add sslmode=verify-full")]
    UnusedRoot,
    /// The certificates of those who are trusted cannot be read.
    #[error("has an sslrootcert that cannot be read: {0}")]
    Root(#[source] io::Error),
    /// There can be no TLS.
    #[error("cannot have TLS: {0}")]
    Tls(#[source] rustls::Error),
}

use DatabaseUrlError as Error;

/// Where the database is, and how to connect to it. Never shows the password.
#[derive(Clone)]
pub struct DatabaseUrl {
    /// One for each host, in order.
    pub(super) servers: Vec<Config>,
    pub(super) in_any_order: bool,
    pub(super) tls: MakeRustlsConnect,
}

impl FromStr for DatabaseUrl {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self, Error> {
        let parts = Parts::split(url)?;
        let parameters = Parameters::parse(parts.parameters)?;
        let tls = tls::connector(parameters.trust()?).map_err(Error::Tls)?;
        let common = parameters.common(&parts)?;
        let in_any_order = common.get_load_balance_hosts() == LoadBalanceHosts::Random;
        Ok(Self { servers: parameters.servers(&parts, &common)?, in_any_order, tls })
    }
}

/// A URL, cut where it can be.
struct Parts<'a> {
    /// With the @ at their end.
    credentials: &'a str,
    hosts: &'a str,
    /// With the / at its beginning.
    database: &'a str,
    parameters: &'a str,
}

impl<'a> Parts<'a> {
    fn split(url: &'a str) -> Result<Self, Error> {
        let rest = SCHEMES.iter().find_map(|scheme| url.strip_prefix(scheme)).ok_or(Error::Scheme)?;
        let (credentials, rest) = rest.split_at(rest.find('@').map_or(0, |at| at + 1));
        if credentials.contains(['/', '?']) || rest.contains('@') {
            return Err(Error::Reserved);
        }
        let (before, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (hosts, database) = before.split_at(before.find('/').unwrap_or(before.len()));
        Ok(Self { credentials, hosts, database, parameters })
    }
}

/// The parameters of a URL: those that the driver does not know, or takes for something else, and as text those that it
/// takes as they are.
struct Parameters {
    ssl_mode: SslMode,
    root: Option<PathBuf>,
    tcp_user_timeout: Duration,
    says_target: bool,
    /// Where the hosts are.
    address: String,
    /// What holds for every host.
    other: String,
}

impl Parameters {
    fn parse(text: &str) -> Result<Self, Error> {
        let mut parameters = Self {
            ssl_mode: SslMode::Prefer,
            root: None,
            tcp_user_timeout: TCP_USER_TIMEOUT_DEFAULT,
            says_target: false,
            address: String::new(),
            other: DEFAULTS.to_owned(),
        };
        for (index, parameter) in text.split('&').enumerate().filter(|(_, parameter)| !parameter.is_empty()) {
            let (key, value) = parameter.split_once('=').ok_or(Error::Parameter(index + 1))?;
            parameters.set(index + 1, key, value)?;
        }
        Ok(parameters)
    }

    fn set(&mut self, number: usize, key: &str, value: &str) -> Result<(), Error> {
        match key {
            "sslmode" => decoded("sslmode", value, SslMode::parse).map(|mode| self.ssl_mode = mode),
            "sslrootcert" => {
                let path = |text: &str| Some(PathBuf::from(text));
                decoded("sslrootcert", value, path).map(|file| self.root = Some(file))
            }
            // In milliseconds for libpq, but in seconds for the driver.
            "tcp_user_timeout" => {
                let millis = |text: &str| text.parse().ok().map(Duration::from_millis);
                decoded("tcp_user_timeout", value, millis).map(|timeout| self.tcp_user_timeout = timeout)
            }
            "host" => value.split(',').try_for_each(|host| append(&mut self.address, "host", host)),
            "hostaddr" => append(&mut self.address, "hostaddr", value),
            "port" => append(&mut self.address, "port", value),
            "keepalives_count" => append(&mut self.other, "keepalives_retries", value),
            _ => {
                let known = PASSED_ON.into_iter().find(|known| *known == key);
                let key = known.ok_or(Error::Parameter(number))?;
                self.says_target |= key == TARGET;
                append(&mut self.other, key, value)
            }
        }
    }

    /// As for libpq, a file of certificates makes `require` verify who issued the server's.
    fn trust(&self) -> Result<Trust, Error> {
        let Some(file) = &self.root else {
            return match self.ssl_mode {
                SslMode::Disable | SslMode::Prefer | SslMode::Require => Ok(Trust::Anybody),
                SslMode::VerifyCa | SslMode::VerifyFull => Err(Error::NoRoot),
            };
        };
        match self.ssl_mode {
            SslMode::Disable | SslMode::Prefer => Err(Error::UnusedRoot),
            SslMode::Require | SslMode::VerifyCa => {
                tls::read_roots(file).map(Trust::Issuer).map_err(Error::Root)
            }
            SslMode::VerifyFull => tls::read_roots(file).map(Trust::IssuerAndName).map_err(Error::Root),
        }
    }

    /// What holds for every host.
    fn common(&self, parts: &Parts<'_>) -> Result<Config, Error> {
        let (credentials, database) = (parts.credentials, parts.database);
        let mut common = driver_config(&format!("{credentials}{database}?{}", self.other))?;
        common.ssl_mode(self.ssl_mode.negotiated()).tcp_user_timeout(self.tcp_user_timeout);
        common.connect_timeout(common.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT_DEFAULT));
        Ok(common)
    }

    /// One for each host.
    fn servers(&self, url: &Parts<'_>, common: &Config) -> Result<Vec<Config>, Error> {
        let all = driver_config(&format!("{}?{}", url.hosts, self.address))?;
        let (hosts, addresses, ports) = (all.get_hosts(), all.get_hostaddrs(), all.get_ports());
        if hosts.is_empty() || hosts.contains(&Host::Tcp(String::new())) {
            return Err(Error::NoHost);
        }
        if ![0, hosts.len()].contains(&addresses.len()) {
            return Err(Error::Uneven("hostaddr"));
        }
        if ![0, 1, hosts.len()].contains(&ports.len()) {
            return Err(Error::Uneven("port"));
        }
        let mut common = common.clone();
        if hosts.len() > 1 && !self.says_target {
            common.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        let address_and_port = |n| (addresses.get(n).copied(), ports.get(n).or(ports.first()).copied());
        Ok(hosts.iter().enumerate().map(|(n, host)| server(&common, host, address_and_port(n))).collect())
    }
}

/// One server. Over a Unix socket there is no TLS.
fn server(common: &Config, host: &Host, (address, port): (Option<IpAddr>, Option<u16>)) -> Config {
    let mut server = common.clone();
    match host {
        Host::Tcp(name) => server.host(name),
        Host::Unix(dir) => server.host_path(dir).ssl_mode(SslMode::Disable.negotiated()),
    };
    address.map(|address| server.hostaddr(address));
    port.map(|port| server.port(port));
    server
}

/// The value of one of this program's own parameters.
fn decoded<T>(key: &'static str, value: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, Error> {
    percent_decode_str(value).decode_utf8().ok().and_then(|text| parse(&text)).ok_or(Error::Value(key))
}

/// Appends a parameter that the driver takes with this value.
fn append(parameters: &mut String, key: &'static str, value: &str) -> Result<(), Error> {
    let parameter = format!("{key}={value}&");
    driver_config(&format!("?{parameter}")).map_err(|_| Error::Value(key))?;
    parameters.push_str(&parameter);
    Ok(())
}

/// The driver's own reading of a URL without its scheme. It quotes only the names of parameters, which are known here.
fn driver_config(url: &str) -> Result<Config, Error> {
    let config = format!("{}{url}", SCHEMES[0]).parse::<Config>();
    config.map_err(|error| {
        Error::Malformed(std::error::Error::source(&error).map_or_else(String::new, ToString::to_string))
    })
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
pub(super) fn server_name(server: &Config) -> String {
    let port = server.get_ports().first().copied().unwrap_or(5432);
    match server.get_hosts().first() {
        Some(Host::Tcp(host)) => format!("{host}:{port}"),
        Some(Host::Unix(dir)) => format!("{}:{port}", dir.display()),
        None => format!(":{port}"),
    }
}

#[cfg(test)]
mod tests {
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
            ("postgres://u:s3cret@h:port/d", "has a malformed user, host, port or database"),
            ("postgres://u:s3cret@h:70000/d", "has a malformed user, host, port or database"),
            ("postgres://u:s3cret@[::1/d", "has a malformed user, host, port or database"),
            ("postgres://u%FF:s3cret@h/d", "has a malformed user, host, port or database"),
            (
                "postgres://h/d?connect_timeout=1&s3cret=1",
                "has a parameter that is not known or has no value: its number 2",
            ),
            ("postgres://h/d?s3cret", "has a parameter that is not known or has no value: its number 1"),
            ("postgres://h/d?connect_timeout=s3cret", "has a value for connect_timeout that it cannot have"),
            (
                "postgres://h/d?tcp_user_timeout=s3cret",
                "has a value for tcp_user_timeout that it cannot have",
            ),
            (
                "postgres://h/d?target_session_attrs=s3cret",
                "has a value for target_session_attrs that it cannot have",
            ),
            ("postgres://h/d?sslmode=s3cret", "has a value for sslmode that it cannot have"),
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
