//! Where the database is: a URL as psql takes it, checked whole before anything connects.
//!
//! It is split as libpq does it: each part and parameter becomes a setting, a later one replaces an earlier one, and an empty
//! one is none. The driver judges the settings, all but a few. So it leads where psql would go with the same URL, or it is
//! refused, and the refusal names what is not understood. It differs where that is safer:
//!
//! * No connection is tried without a bound.
//! * Of several hosts only one that takes writes will do, unless the URL says otherwise: a read from a standby may miss what was
//!   just answered.
//! * An `sslrootcert` that would verify nothing is an error, and `prefer` does without TLS only where the server offers none.
//! * The URL is all: nothing comes from the variables and files of libpq (`PGPASSWORD`, `passfile`, `service`).

use std::{
    collections::BTreeMap, error::Error as _, fmt, fmt::Write as _, io, net::IpAddr, path::PathBuf,
    str::FromStr, time::Duration,
};

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
    "application_name=billing keepalives_idle=30 keepalives_interval=10 keepalives_retries=3 ";
/// And within this time by one that has sent something.
const TCP_USER_TIMEOUT_DEFAULT: Duration = Duration::from_secs(20);
/// How long each address of a server has to answer.
pub(crate) const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
const PORT_DEFAULT: u16 = 5432;

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
    /// An address of IPv6 has no end, or something behind it.
    #[error("has a malformed host")]
    Host,
    /// A parameter is none, by its number.
    #[error("has a parameter that has no value or cannot be one: its number {0}")]
    Parameter(usize),
    /// A part or parameter has a value that it cannot have.
    #[error("has a value for {0} that it cannot have")]
    Value(String),
    /// The driver does not take a parameter, which it names.
    #[error("has an {0}")]
    Driver(String),
    /// The driver does not take a parameter, whose name may be part of a password that was not encoded.
    #[error(
        "has an unknown option or an invalid value beside its password parameter: write %26 for an & in it"
    )]
    BesidePassword,
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
    pub(crate) servers: Vec<Config>,
    pub(crate) in_any_order: bool,
    pub(crate) tls: MakeRustlsConnect,
}

impl FromStr for DatabaseUrl {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self, Error> {
        let mut settings = Settings::split(url)?;
        let [hosts, addresses, ports] = ["host", "hostaddr", "port"].map(|key| settings.values.remove(key));
        let ssl_mode = settings.take("sslmode", SslMode::parse)?.unwrap_or(SslMode::Prefer);
        let root = settings.take("sslrootcert", |file| Some(PathBuf::from(file)))?;
        let says_target = settings.values.contains_key("target_session_attrs");
        // In milliseconds for libpq, but in seconds for the driver.
        let millis = |text: &str| text.parse().ok().map(Duration::from_millis);
        let tcp_user_timeout = settings.take("tcp_user_timeout", millis)?;
        let tls = tls::connector(trust(ssl_mode, root)?).map_err(Error::Tls)?;

        let mut common = settings.driver_config()?;
        common.ssl_mode(ssl_mode.negotiated());
        common.tcp_user_timeout(tcp_user_timeout.unwrap_or(TCP_USER_TIMEOUT_DEFAULT));
        common.connect_timeout(common.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT_DEFAULT));
        let hosts = hosts.ok_or(Error::NoHost)?;
        if hosts.contains(',') && !says_target {
            common.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        let servers = servers(&common, &hosts, addresses.as_deref(), ports.as_deref())?;
        Ok(Self { servers, in_any_order: common.get_load_balance_hosts() == LoadBalanceHosts::Random, tls })
    }
}

/// The settings that a URL makes, by their names.
struct Settings {
    values: BTreeMap<String, String>,
    has_password_parameter: bool,
}

impl Settings {
    fn split(url: &str) -> Result<Self, Error> {
        let rest = SCHEMES.iter().find_map(|scheme| url.strip_prefix(scheme)).ok_or(Error::Scheme)?;
        let (credentials, rest) = rest.split_once('@').unwrap_or(("", rest));
        if credentials.contains(['/', '?']) || rest.contains('@') {
            return Err(Error::Reserved);
        }
        let (before, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (hosts, database) = before.split_once('/').unwrap_or((before, ""));
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        let (hosts, ports) = split_hosts(hosts)?;
        let mut settings = BTreeMap::new();
        for (key, value) in
            [("user", user), ("password", password), ("host", &hosts), ("port", &ports), ("dbname", database)]
        {
            settings.insert(key.to_owned(), decoded(key, value)?);
        }
        let is_name = |key: &str| key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        for (number, parameter) in (1..).zip(parameters.split('&')).filter(|(_, text)| !text.is_empty()) {
            let key_and_value =
                parameter.split_once('=').filter(|(key, value)| is_name(key) && !value.contains('='));
            let (key, value) = key_and_value.ok_or(Error::Parameter(number))?;
            let driver_key = if key == "keepalives_count" { "keepalives_retries" } else { key };
            settings.insert(driver_key.to_owned(), decoded(key, value)?);
        }
        settings.retain(|_, value| !value.is_empty());
        Ok(Self { values: settings, has_password_parameter: parameters.contains("password=") })
    }

    /// Takes one of this program's own settings out.
    fn take<T>(&mut self, key: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Error> {
        let text = self.values.remove(key);
        text.map(|text| parse(&text).ok_or_else(|| Error::Value(key.to_owned()))).transpose()
    }

    /// The others, as the driver takes them.
    fn driver_config(&self) -> Result<Config, Error> {
        let mut text = DEFAULTS.to_owned();
        for (key, value) in &self.values {
            let quoted = value.replace('\\', "\\\\").replace('\'', "\\'");
            let _ = write!(text, "{key}='{quoted}' "); // a String takes it all
        }
        text.parse().map_err(|error: tokio_postgres::Error| match error.source() {
            Some(cause) if !self.has_password_parameter => Error::Driver(cause.to_string()), // a key, never a value
            Some(_) | None => Error::BesidePassword,
        })
    }
}

/// Cuts `[host]:port,host` into the hosts and the ports.
fn split_hosts(text: &str) -> Result<(String, String), Error> {
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for entry in text.split(',') {
        let (host, port) = match entry.strip_prefix('[').map(|rest| rest.split_once(']')) {
            None => entry.split_once(':').unwrap_or((entry, "")),
            Some(Some((host, ""))) => (host, ""),
            Some(Some((host, port))) => (host, port.strip_prefix(':').ok_or(Error::Host)?),
            Some(None) => return Err(Error::Host),
        };
        hosts.push(host);
        ports.push(port);
    }
    Ok((hosts.join(","), ports.join(",")))
}

fn decoded(key: &str, value: &str) -> Result<String, Error> {
    let is_encoded =
        |text: &str| text.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    let text = percent_decode_str(value).decode_utf8().ok();
    let text = text.filter(|text| value.split('%').skip(1).all(is_encoded) && !text.contains('\0'));
    text.map(String::from).ok_or_else(|| Error::Value(key.to_owned()))
}

/// As for libpq, a file of certificates makes `require` verify who issued the server's.
fn trust(ssl_mode: SslMode, root: Option<PathBuf>) -> Result<Trust, Error> {
    match (ssl_mode, root) {
        (SslMode::Disable | SslMode::Prefer | SslMode::Require, None) => Ok(Trust::Anybody),
        (SslMode::VerifyCa | SslMode::VerifyFull, None) => Err(Error::NoRoot),
        (SslMode::Disable | SslMode::Prefer, Some(_)) => Err(Error::UnusedRoot),
        (SslMode::Require | SslMode::VerifyCa, Some(file)) => {
            tls::read_roots(&file).map(Trust::Issuer).map_err(Error::Root)
        }
        (SslMode::VerifyFull, Some(file)) => {
            tls::read_roots(&file).map(Trust::IssuerAndName).map_err(Error::Root)
        }
    }
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
            server.host_path(host).ssl_mode(SslMode::Disable.negotiated()); // no TLS over a Unix socket
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
            ("postgres://h/d?connect_timeout=1&s3cret=1", "cannot be one: its number 2"),
            ("postgres://h/d?s3cret", "has a parameter that has no value or cannot be one: its number 1"),
            ("postgres://h/d?password=s3cret&tail=s3", "beside its password parameter"),
            ("postgres://h/d?password=s3cret&with", "cannot be one: its number 2"),
            ("postgres://h/d?options=-cs3=s3", "cannot be one: its number 1"),
            ("postgres://h/d?passfile=s3cret", "has an unknown option `passfile`"),
            ("postgres://h/d?service=s3cret", "has an unknown option `service`"),
            ("postgres://h/d?connect_timeout=s3cret", "has an invalid value for option `connect_timeout`"),
            (
                "postgres://h/d?tcp_user_timeout=s3cret",
                "has a value for tcp_user_timeout that it cannot have",
            ),
            (
                "postgres://h/d?target_session_attrs=s3cret",
                "has an invalid value for option `target_session_attrs`",
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
