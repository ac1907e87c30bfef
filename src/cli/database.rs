//! `--database-url`: the database that a command works on.

use clap::Args;

use crate::{
    config::{self, ConfigError},
    database::DatabaseUrl,
};

/// Not `Debug`: a URL may hold a password.
#[derive(Args)]
pub(super) struct DatabaseFlags {
    /// URL of the PostgreSQL database. Commands that only read can use a standby.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: String,
}

impl DatabaseFlags {
    /// Checks the URL.
    pub(super) fn url(&self) -> Result<DatabaseUrl, ConfigError> {
        config::given_database("--database-url", &self.database_url)
    }
}
