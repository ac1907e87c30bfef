//! The configuration: every flag and environment variable, its default, and all that is wrong with them at once.

use std::{
    fmt::Display, net::SocketAddr, num::NonZero, path::PathBuf, thread::available_parallelism, time::Duration,
};

use clap::{Args, builder::BoolishValueParser};
use humantime::format_duration;

use crate::{
    access::Credentials,
    accounting::{Amount, Limits, MicroUsd, Ttl},
    committer::CommitterSettings,
    database::DatabaseUrl,
    grpc::{ConnectionSettings, ServerSettings, Tls},
    private_postgres,
    reload::{Made, Reloaded},
    telemetry::{OtlpEndpoint, SampleRatio, TraceSettings},
};

/// Shorter, and a connection would end before it is of use.
const CONNECTION_AGE_LEAST: Duration = Duration::from_secs(1);

/// The flags of `billing serve`, as they were given. Not `Debug`: a URL may hold a password.
#[derive(Clone, Args)]
pub struct ServeFlags {
    /// The PostgreSQL database. Without it, a private PostgreSQL is started from this machine's binaries.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// Serve on a database that may lose what it has committed, such as one with fsync off. For tests only.
    #[arg(long, env = "BILLING_ALLOW_UNSAFE_DATABASE", value_parser = BoolishValueParser::new())]
    pub allow_unsafe_database: bool,
    /// Where the private PostgreSQL keeps its data [default: /var/lib/billing for root, else ~/.local/state/billing].
    #[arg(long, env = "BILLING_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The address to serve gRPC on. Loopback only, unless there are credentials.
    #[arg(long, env = "BILLING_LISTEN", default_value = "127.0.0.1:50051", value_name = "ADDRESS:PORT")]
    pub listen: String,
    /// Where Prometheus scrapes /metrics, or `off`. Whoever can connect sees what is counted, which names no account.
    #[arg(
        long,
        env = "BILLING_METRICS_LISTEN",
        default_value = "127.0.0.1:9464",
        value_name = "ADDRESS:PORT"
    )]
    pub metrics_listen: String,
    /// One more address to serve on, health alone, without TLS and credentials: for a kubelet, which has neither.
    #[arg(long, env = "BILLING_HEALTH_LISTEN", value_name = "ADDRESS:PORT")]
    pub health_listen: Option<String>,
    /// Who may call: a file with a name, roles (reader, coordinator, admin) and a credential on each line, as `billing token
    /// new` makes them. Read again when it changes. Without it everybody may do everything.
    #[arg(long, env = "BILLING_CREDENTIALS", value_name = "FILE")]
    pub credentials: Option<PathBuf>,
    /// This server's certificate chain, in PEM form. Without it there is no TLS. Read again when it changes.
    #[arg(long, env = "BILLING_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// The key of the certificate, in PEM form.
    #[arg(long, env = "BILLING_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// The authorities of clients' certificates, in PEM form: with it, a certificate can be a caller's credential.
    #[arg(long, env = "BILLING_TLS_CLIENT_CA", value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,
    /// How many connections there may be from callers; further ones are closed at once.
    #[arg(long, env = "BILLING_CONNECTIONS_MAX", default_value = "16384", value_name = "COUNT")]
    pub connections_max: String,
    /// After how long a connection from a caller is asked to end, so that callers find new replicas. It is cut after twice
    /// as long.
    #[arg(long, env = "BILLING_CONNECTION_AGE_MAX", default_value = "10m", value_name = "DURATION")]
    pub connection_age_max: String,
    /// The collector that traces go to, over OTLP/gRPC without TLS. Without it there are none.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", hide_env_values = true, value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// How many of the traces that begin here are recorded, from 0 to 1. A caller that traces decides for its own calls.
    #[arg(long, env = "BILLING_OTLP_SAMPLE_RATIO", default_value = "1", value_name = "RATIO")]
    pub otlp_sample_ratio: String,
    /// The most that one AdminCredit may grant, in micro-USD.
    #[arg(long, env = "BILLING_ADMIN_CREDIT_MAX", default_value = "1000000000", value_name = "MICRO_USD")]
    pub admin_credit_max: String,
    /// The most that an account may owe through captures that allow debt, in micro-USD.
    #[arg(long, env = "BILLING_DEBT_MAX", default_value = "0", value_name = "MICRO_USD")]
    pub debt_max: String,
    /// How long a reservation lasts whose caller does not say.
    #[arg(long, env = "BILLING_LEASE_DEFAULT", default_value = "10m", value_name = "DURATION")]
    pub lease_default: String,
    /// How long a caller may ask a reservation to last.
    #[arg(long, env = "BILLING_LEASE_MAX", default_value = "24h", value_name = "DURATION")]
    pub lease_max: String,
    /// How often expiries are written down; 0s for never. Nothing but the journal depends on it.
    #[arg(long, env = "BILLING_SWEEP_INTERVAL", default_value = "1s", value_name = "DURATION")]
    pub sweep_interval: String,
    /// How many transactions run at once; each account belongs to one writer. By default one for each processor, at least 2.
    #[arg(long, env = "BILLING_WRITERS", default_value_t = writers_default(), value_name = "COUNT")]
    pub writers: String,
    /// How many connections serve reads.
    #[arg(long, env = "BILLING_READERS", default_value = "4", value_name = "COUNT")]
    pub readers: String,
    /// How many operations wait at most before further ones are refused.
    #[arg(long, env = "BILLING_QUEUE_MAX", default_value = "8192", value_name = "COUNT")]
    pub queue_max: String,
    /// How many operations go into one transaction at most.
    #[arg(long, env = "BILLING_BATCH_MAX", default_value = "512", value_name = "COUNT")]
    pub batch_max: String,
    /// After SIGTERM, SIGINT or SIGHUP: how long to go on serving while load balancers learn of it.
    #[arg(long, env = "BILLING_DRAIN_DELAY", default_value = "1s", value_name = "DURATION")]
    pub drain_delay: String,
    /// After that: how long calls under way may take to finish.
    #[arg(long, env = "BILLING_SHUTDOWN_GRACE", default_value = "20s", value_name = "DURATION")]
    pub shutdown_grace: String,
}

/// The configuration of `billing serve`.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which database.
    pub database: Database,
    /// Whether it may be one that loses what it has committed.
    pub allow_unsafe_database: bool,
    /// The address to serve gRPC on.
    pub listen: SocketAddr,
    /// Where Prometheus scrapes, if it does.
    pub metrics_listen: Option<SocketAddr>,
    /// The address to serve health alone on, if there is one.
    pub health_listen: Option<SocketAddr>,
    /// Which traces go where, if any do.
    pub traces: Option<TraceSettings>,
    /// Who may connect and call, and how.
    pub server: ServerSettings,
    /// The limits of the rules.
    pub limits: Limits,
    /// How much the committer takes on.
    pub committer: CommitterSettings,
    /// How many connections serve reads.
    pub readers: u32,
    /// How often expiries are written down; `None` for never.
    pub sweep_interval: Option<Duration>,
    /// How long to go on serving after a signal to stop.
    pub drain_delay: Duration,
    /// How long calls under way may take to finish after that.
    pub shutdown_grace: Duration,
}

/// Which database the book is in.
#[derive(Debug, Clone)]
pub enum Database {
    /// One that somebody else runs and migrates.
    Given(DatabaseUrl),
    /// A private one, with its data in this directory.
    Private(PathBuf),
}

/// All that is wrong with a configuration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration is wrong:\n  {}", .0.join("\n  "))]
pub struct ConfigError(Vec<String>);

impl Config {
    /// Checks the flags.
    ///
    /// # Errors
    /// With everything that is wrong, not just the first.
    pub fn parse(flags: &ServeFlags) -> Result<Self, ConfigError> {
        let mut wrong = Vec::new();
        let in_kubernetes = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some_and(|host| !host.is_empty());
        let database =
            database(flags.database_url.clone(), flags.data_dir.clone(), in_kubernetes, &mut wrong);
        let server = server(flags, &mut wrong);
        let listen = listen(&flags.listen, flags.credentials.is_some(), &mut wrong);
        let metrics_listen = metrics_listen(&flags.metrics_listen, &mut wrong);
        let health_listen = health_listen(flags.health_listen.as_deref(), &mut wrong);
        let traces = traces(flags, &mut wrong);
        let limits = limits(flags, &mut wrong);
        let writers = number("--writers", &flags.writers, 1, 64, &mut wrong);
        let readers = number("--readers", &flags.readers, 1, 64, &mut wrong);
        let queue_max = number("--queue-max", &flags.queue_max, 1, 1_000_000, &mut wrong);
        let batch_max = number("--batch-max", &flags.batch_max, 1, 5_000, &mut wrong);
        let sweep_interval = duration("--sweep-interval", &flags.sweep_interval, Duration::ZERO, &mut wrong);
        let drain_delay = duration("--drain-delay", &flags.drain_delay, Duration::ZERO, &mut wrong);
        let shutdown_grace = duration("--shutdown-grace", &flags.shutdown_grace, Duration::ZERO, &mut wrong);
        if !wrong.is_empty() {
            return Err(ConfigError(wrong));
        }
        Ok(Self {
            database,
            allow_unsafe_database: flags.allow_unsafe_database,
            listen,
            metrics_listen,
            health_listen,
            traces,
            server,
            limits,
            committer: CommitterSettings { writers, queue_max, batch_max },
            readers,
            sweep_interval: Some(sweep_interval).filter(|interval| !interval.is_zero()),
            drain_delay,
            shutdown_grace,
        })
    }
}

impl ConfigError {
    /// One thing that is wrong.
    pub fn of(wrong: impl Into<String>) -> Self {
        Self(vec![wrong.into()])
    }
}

/// Checks the URL of a database.
///
/// # Errors
/// With what is wrong with it.
pub fn given_database(flag: &str, url: &str) -> Result<DatabaseUrl, ConfigError> {
    url.parse().map_err(|error| ConfigError::of(format!("{flag} {error}")))
}

fn writers_default() -> String {
    available_parallelism().map_or(2, NonZero::get).clamp(2, 64).to_string()
}

fn database(
    url: Option<String>,
    data_dir: Option<PathBuf>,
    in_kubernetes: bool,
    wrong: &mut Vec<String>,
) -> Database {
    let Some(url) = url else {
        if in_kubernetes {
            wrong.push("--database-url is required in Kubernetes: a pod's disk is no place for money".into());
        }
        return Database::Private(data_dir.unwrap_or_else(private_postgres::default_data_dir));
    };
    if data_dir.is_some() {
        wrong.push("--data-dir is for the private PostgreSQL, but --database-url names another".into());
    }
    match given_database("--database-url", &url) {
        Ok(url) => Database::Given(url),
        Err(ConfigError(found)) => {
            wrong.extend(found);
            Database::Private(PathBuf::new())
        }
    }
}

fn limits(flags: &ServeFlags, wrong: &mut Vec<String>) -> Limits {
    let most = Amount::MAX.credited().get();
    let admin_credit_max = number("--admin-credit-max", &flags.admin_credit_max, 1, most, wrong);
    let debt_max = number("--debt-max", &flags.debt_max, 0, most, wrong);
    let lease_default = lease("--lease-default", &flags.lease_default, wrong);
    let lease_max = lease("--lease-max", &flags.lease_max, wrong);
    if lease_default > lease_max {
        wrong.push("--lease-default must not be longer than --lease-max".into());
    }
    Limits {
        admin_credit_max: MicroUsd::new(admin_credit_max),
        debt_max: MicroUsd::new(debt_max),
        lease_default,
        lease_max,
    }
}

fn lease(flag: &str, text: &str, wrong: &mut Vec<String>) -> Ttl {
    let lease = duration(flag, text, micros(Ttl::SHORTEST), wrong);
    i64::try_from(lease.as_micros()).ok().and_then(Ttl::from_micros).unwrap_or(Ttl::SHORTEST)
}

fn server(flags: &ServeFlags, wrong: &mut Vec<String>) -> ServerSettings {
    let age_max = duration("--connection-age-max", &flags.connection_age_max, CONNECTION_AGE_LEAST, wrong);
    let connections_max = number("--connections-max", &flags.connections_max, 1, 1_000_000, wrong);
    ServerSettings {
        connections: ConnectionSettings { connections_max, age_max },
        credentials: credentials(flags, wrong),
        tls: tls(flags, wrong),
    }
}

fn credentials(flags: &ServeFlags, wrong: &mut Vec<String>) -> Option<Reloaded<Credentials>> {
    let loaded = Reloaded::load(vec![flags.credentials.clone()?], |files| {
        let Some(files) = files else {
            return Made::Part(Credentials::default(), "nobody may call while there is no file".into());
        };
        match Credentials::parse(&files[0]) {
            (credentials, None) => Made::Whole(credentials),
            (credentials, Some(wrong)) => Made::Part(credentials, wrong.to_string()),
        }
    });
    unless_wrong("--credentials", loaded, wrong)
}

fn tls(flags: &ServeFlags, wrong: &mut Vec<String>) -> Option<Reloaded<Tls>> {
    if flags.tls_client_ca.is_some() && (flags.tls_cert.is_none() || flags.credentials.is_none()) {
        let why = "needs --tls-cert, and --credentials to tell who has which certificate";
        wrong.push(format!("--tls-client-ca {why}"));
    }
    let (Some(cert), Some(key)) = (&flags.tls_cert, &flags.tls_key) else {
        if flags.tls_cert.is_some() || flags.tls_key.is_some() {
            wrong.push("--tls-cert and --tls-key need each other".into());
        }
        return None;
    };
    let paths =
        [Some(cert), Some(key), flags.tls_client_ca.as_ref()].into_iter().flatten().cloned().collect();
    let loaded = Reloaded::load(paths, |files| {
        let Some(files) = files else { return Made::Nothing("a server needs its certificate".into()) };
        Tls::from_pem(&files[0], &files[1], files.get(2).map(Vec::as_slice))
            .map_or_else(Made::Nothing, Made::Whole)
    });
    unless_wrong("--tls-cert", loaded, wrong)
}

fn unless_wrong<T>(flag: &str, loaded: Result<T, impl Display>, wrong: &mut Vec<String>) -> Option<T> {
    loaded.map_err(|why| wrong.push(format!("{flag}: {why}"))).ok()
}

fn listen(text: &str, has_credentials: bool, wrong: &mut Vec<String>) -> SocketAddr {
    let address = address("--listen", text, wrong);
    if !address.ip().is_loopback() && !has_credentials {
        let why = "since there are no --credentials";
        wrong.push(format!("--listen must be a loopback address, {why}, not {text}"));
    }
    address
}

fn metrics_listen(text: &str, wrong: &mut Vec<String>) -> Option<SocketAddr> {
    (text != "off").then(|| address("--metrics-listen", text, wrong))
}

/// Any address will do: health is open to everybody on the main port, too.
fn health_listen(text: Option<&str>, wrong: &mut Vec<String>) -> Option<SocketAddr> {
    text.map(|text| address("--health-listen", text, wrong))
}

fn traces(flags: &ServeFlags, wrong: &mut Vec<String>) -> Option<TraceSettings> {
    let endpoint = flags.otlp_endpoint.as_deref()?;
    let endpoint = unless_wrong("--otlp-endpoint", endpoint.parse::<OtlpEndpoint>(), wrong);
    let sample_ratio =
        unless_wrong("--otlp-sample-ratio", flags.otlp_sample_ratio.parse::<SampleRatio>(), wrong);
    Some(TraceSettings { endpoint: endpoint?, sample_ratio: sample_ratio? })
}

fn address(flag: &str, text: &str, wrong: &mut Vec<String>) -> SocketAddr {
    text.parse().unwrap_or_else(|_| {
        wrong.push(format!("{flag} must be an address and a port, such as 127.0.0.1:50051, not {text:?}"));
        SocketAddr::from(([127, 0, 0, 1], 0))
    })
}

fn number<N>(flag: &str, text: &str, min: N, max: N, wrong: &mut Vec<String>) -> N
where
    N: std::str::FromStr + PartialOrd + std::fmt::Display + Copy,
{
    match text.parse::<N>() {
        Ok(number) if (min..=max).contains(&number) => number,
        Ok(_) | Err(_) => {
            wrong.push(format!("{flag} must be a whole number from {min} to {max}, not {text:?}"));
            min
        }
    }
}

/// A duration from `min` to a hundred years: a longer one leads out of the calendar, and clocks cannot count it.
fn duration(flag: &str, text: &str, min: Duration, wrong: &mut Vec<String>) -> Duration {
    const MAX: Duration = micros(Ttl::LONGEST);
    match humantime::parse_duration(text) {
        Ok(duration) if (min..=MAX).contains(&duration) => duration,
        Ok(_) | Err(_) => {
            let range = format!("from {} to {}", format_duration(min), format_duration(MAX));
            wrong.push(format!("{flag} must be a duration such as 500ms, 20s or 1h, {range}, not {text:?}"));
            min
        }
    }
}

const fn micros(ttl: Ttl) -> Duration {
    Duration::from_micros(ttl.micros().unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags() -> ServeFlags {
        ServeFlags {
            database_url: Some("postgres://u@h/d".into()),
            allow_unsafe_database: false,
            data_dir: None,
            listen: "127.0.0.1:50051".into(),
            metrics_listen: "127.0.0.1:9464".into(),
            health_listen: None,
            otlp_endpoint: None,
            otlp_sample_ratio: "1".into(),
            credentials: None,
            tls_cert: None,
            tls_key: None,
            tls_client_ca: None,
            connections_max: "16384".into(),
            connection_age_max: "10m".into(),
            admin_credit_max: "1000000000".into(),
            debt_max: "0".into(),
            lease_default: "10m".into(),
            lease_max: "24h".into(),
            sweep_interval: "1s".into(),
            writers: "4".into(),
            readers: "4".into(),
            queue_max: "8192".into(),
            batch_max: "512".into(),
            drain_delay: "1s".into(),
            shutdown_grace: "20s".into(),
        }
    }

    #[test]
    fn all_that_is_wrong_is_reported_at_once() {
        let error = Config::parse(&ServeFlags {
            listen: "0.0.0.0:50051".into(),
            metrics_listen: "here".into(),
            health_listen: Some("50052".into()),
            writers: "0".into(),
            queue_max: "many".into(),
            drain_delay: "soon".into(),
            lease_default: "25h".into(),
            sweep_interval: "often".into(),
            otlp_endpoint: Some("https://h".into()),
            otlp_sample_ratio: "most".into(),
            data_dir: Some("/d".into()),
            database_url: Some("postgres://u:s3cret@h/d?sslmode=verify-full".into()),
            ..flags()
        })
        .unwrap_err();
        for flag in [
            "--listen",
            "--metrics-listen",
            "--health-listen",
            "--writers",
            "--queue-max",
            "--drain-delay",
            "--data-dir",
            "--database-url",
            "--lease-default",
            "--sweep-interval",
            "--otlp-endpoint",
            "--otlp-sample-ratio",
        ] {
            assert_eq!(error.0.iter().filter(|line| line.starts_with(flag)).count(), 1, "{flag}: {error}");
        }
        assert_eq!(error.0.len(), 12, "{error}");
    }

    #[test]
    fn a_private_database_is_refused_in_kubernetes() {
        let mut wrong = Vec::new();
        database(None, None, true, &mut wrong);
        assert_eq!(wrong.len(), 1);
    }

    #[test]
    fn the_defaults_are_right() {
        let config = Config::parse(&flags()).unwrap();
        assert!(
            matches!(&config.database, Database::Given(url) if url.to_string() == "postgres://u@h:5432/d")
        );
        assert_eq!(config.health_listen, None);
        assert_eq!(config.limits.admin_credit_max.get(), 1_000_000_000);
        assert_eq!(config.limits.lease_default.micros(), 600_000_000);
        assert_eq!(config.sweep_interval, Some(Duration::from_secs(1)));
        assert_eq!(config.drain_delay, Duration::from_secs(1));
    }
}
