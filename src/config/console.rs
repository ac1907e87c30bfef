//! The flags of `billing console`, and what they come to.

use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;

use super::{ConfigError, problems::Problems, security::tls};
use crate::console::{ConsoleSettings, Keys, SECRET_BYTES_MIN, Scraped, Target};

/// Shorter, and nobody could fill in a form.
const IDLE_MIN: Duration = Duration::from_secs(1);

/// The flags, as they were given.
#[derive(Clone, Args)]
pub struct ConsoleFlags {
    /// URL of the service, such as `http://127.0.0.1:50051`. Every call goes there, with the token of whoever has signed in.
    #[arg(long, env = "BILLING_CONSOLE_TARGET", value_name = "URL")]
    target: String,
    /// Certificate authority of the service, PEM, for a URL with https.
    #[arg(long, env = "BILLING_CONSOLE_TARGET_CA", value_name = "FILE")]
    target_ca: Option<PathBuf>,
    /// Address to serve pages on. It must be a loopback address unless --tls-cert is set.
    #[arg(
        long,
        env = "BILLING_CONSOLE_LISTEN",
        default_value = "127.0.0.1:8088",
        value_name = "ADDRESS:PORT"
    )]
    listen: String,
    /// Certificate chain for browsers, PEM. Read again when it changes.
    #[arg(long, env = "BILLING_CONSOLE_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// Private key of the certificate, PEM.
    #[arg(long, env = "BILLING_CONSOLE_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// File of at least 32 random bytes that sessions are sealed with, for replicas that share them. Without it, sessions end with
    /// the process.
    #[arg(long, env = "BILLING_CONSOLE_SESSION_KEY", value_name = "FILE")]
    session_key: Option<PathBuf>,
    /// How long somebody may do nothing before they are signed out.
    #[arg(long, env = "BILLING_CONSOLE_IDLE_TIMEOUT", default_value = "15m", value_name = "DURATION")]
    idle_timeout: String,
    /// URL of the service's metrics, such as `http://127.0.0.1:9464/metrics`, for the overview.
    #[arg(long, env = "BILLING_CONSOLE_METRICS", value_name = "URL")]
    metrics: Option<String>,
}

/// The configuration of `billing console`.
#[derive(Debug)]
pub struct ConsoleConfig {
    /// The address to serve pages on.
    pub listen: SocketAddr,
    /// What the console is given.
    pub settings: ConsoleSettings,
}

impl ConsoleConfig {
    /// Checks the flags.
    ///
    /// # Errors
    /// With everything that is wrong, not just the first.
    pub fn parse(flags: &ConsoleFlags) -> Result<Self, ConfigError> {
        let mut problems = Problems::default();
        let listen = flags.listen(&mut problems);
        let idle = problems.duration("--idle-timeout", &flags.idle_timeout, IDLE_MIN);
        let tls = tls([&flags.tls_cert, &flags.tls_key, &None], &mut problems);
        let metrics =
            flags.metrics.as_deref().and_then(|url| problems.unless_wrong("--metrics", Scraped::new(url)));
        let (target, keys) = (flags.target(&mut problems), flags.keys(&mut problems));
        match (target, keys) {
            (Some(target), Some(keys)) => problems
                .none_in(Self { listen, settings: ConsoleSettings { target, keys, idle, tls, metrics } }),
            _ => Err(problems.into()),
        }
    }
}

impl ConsoleFlags {
    fn listen(&self, problems: &mut Problems) -> SocketAddr {
        let address = problems.address("--listen", &self.listen);
        if !address.ip().is_loopback() && self.tls_cert.is_none() {
            let why = "since there is no --tls-cert, and tokens would be sent in the clear";
            problems.add(format!("--listen must be a loopback address, {why}, not {}", self.listen));
        }
        address
    }

    fn target(&self, problems: &mut Problems) -> Option<Target> {
        let authority = self.target_ca.as_ref().map(fs::read).transpose();
        let authority = problems.unless_wrong("--target-ca", authority)?;
        problems.unless_wrong("--target", Target::new(&self.target, authority.as_deref()))
    }

    fn keys(&self, problems: &mut Problems) -> Option<Keys> {
        let Some(file) = &self.session_key else {
            return problems.unless_wrong("--session-key", Keys::random());
        };
        let secret = problems.unless_wrong("--session-key", fs::read(file))?;
        if secret.len() < SECRET_BYTES_MIN {
            problems.add(format!(
                "--session-key must be a file of at least {SECRET_BYTES_MIN} bytes, such as of openssl rand"
            ));
            return None;
        }
        Some(Keys::from_secret(&secret))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        flags: ConsoleFlags,
    }

    fn parse(flags: &[&str]) -> Result<ConsoleConfig, ConfigError> {
        use clap::{CommandFactory as _, FromArgMatches as _};
        let command = Program::command().mut_args(|arg| arg.env(None)).no_binary_name(true);
        let matches = command.try_get_matches_from(flags).unwrap();
        ConsoleConfig::parse(&Program::from_arg_matches(&matches).unwrap().flags)
    }

    #[test]
    fn the_defaults_are_for_one_machine() {
        let config = parse(&["--target", "http://127.0.0.1:50051"]).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8088");
        assert_eq!(config.settings.idle, Duration::from_secs(900));
        assert!(config.settings.tls.is_none() && config.settings.metrics.is_none());
    }

    #[test]
    fn all_that_is_wrong_is_reported_at_once() {
        let wrong = [
            ("--target", "127.0.0.1:50051"),
            ("--listen", "0.0.0.0:8088"),
            ("--tls-key", "/nowhere/key.pem"),
            ("--session-key", "/dev/null"),
            ("--idle-timeout", "soon"),
            ("--metrics", "https://h/metrics"),
        ];
        let error = parse(&wrong.map(|(flag, value)| [flag, value]).concat()).unwrap_err().to_string();
        for (flag, _) in wrong {
            assert!(
                error.contains(&format!("  {flag}")) || error.contains(&format!("and {flag}")),
                "{flag}: {error}"
            );
        }
    }
}
