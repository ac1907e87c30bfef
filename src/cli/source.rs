//! `--source`: the database of the replaced system.

use clap::Args;

use crate::{
    config::{self, ConfigError},
    database::DatabaseUrl,
};

/// Not `Debug`: a URL may hold a password.
#[derive(Args)]
pub(super) struct SourceFlags {
    /// URL of the replaced system's PostgreSQL database, primary or standby. It is only read.
    #[arg(long, env = "BILLING_SOURCE_URL", hide_env_values = true, value_name = "URL")]
    source: String,
}

impl SourceFlags {
    /// Checks the URL.
    pub(super) fn url(&self) -> Result<DatabaseUrl, ConfigError> {
        config::given_database("--source", &self.source)
    }
}
