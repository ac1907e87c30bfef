//! The flags about the database, and the check of a database's URL.

use std::path::PathBuf;

use clap::{Args, builder::BoolishValueParser};

use super::problems::{ConfigError, Problems};
use crate::{database::DatabaseUrl, private_postgres};

/// Not `Debug`: a URL may hold a password.
#[derive(Clone, Args)]
#[command(next_help_heading = "Database")]
pub(super) struct DatabaseFlags {
    /// URL of the PostgreSQL database. Without it, billing starts a private PostgreSQL from this machine's binaries. Prefer the
    /// variable: other users of the machine can see flags.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<String>,
    /// Data directory of the private PostgreSQL: new, empty, or its own from an earlier run. [default: /var/lib/billing for
    /// root, else ~/.local/state/billing]
    #[arg(long, env = "BILLING_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Serve on a database that may lose what it has committed, such as one with fsync off. For tests, and for storage that is
    /// durable without it (docs/OPERATIONS.md).
    #[arg(long, env = "BILLING_ALLOW_UNSAFE_DATABASE", value_parser = BoolishValueParser::new())]
    pub(super) allow_unsafe_database: bool,
}

/// Which database the book is in.
#[derive(Debug, Clone)]
pub enum Database {
    /// One that somebody else runs and migrates.
    Given(DatabaseUrl),
    /// A private one, with its data in this directory.
    Private(PathBuf),
}

impl DatabaseFlags {
    pub(super) fn database(&self, in_kubernetes: bool, problems: &mut Problems) -> Database {
        let Some(url) = &self.database_url else {
            if in_kubernetes {
                problems.add("--database-url is required in Kubernetes: a pod's disk is no place for money");
            }
            return Database::Private(
                self.data_dir.clone().unwrap_or_else(private_postgres::default_data_dir),
            );
        };
        if self.data_dir.is_some() {
            problems.add("--data-dir is for the private PostgreSQL, but --database-url names another");
        }
        match url.parse() {
            Ok(url) => Database::Given(url),
            Err(error) => {
                problems.add(format!("--database-url {error}"));
                Database::Private(PathBuf::new())
            }
        }
    }
}

/// Checks the URL of a database.
///
/// # Errors
/// With what is wrong with it.
pub fn given_database(flag: &str, url: &str) -> Result<DatabaseUrl, ConfigError> {
    url.parse().map_err(|error| ConfigError::of(format!("{flag} {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_database_is_refused_in_kubernetes() {
        let mut problems = Problems::default();
        let flags = DatabaseFlags { database_url: None, data_dir: None, allow_unsafe_database: false };
        flags.database(true, &mut problems);
        assert!(problems.none_in(()).unwrap_err().to_string().contains("--database-url is required"));
    }
}
