//! The flags that several commands have: how to log, which database to work on, and which accounts they are about.
//!
//! Those with a URL are not `Debug`: it may hold a password.

use anyhow::bail;
use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser as _},
};
use tracing::level_filters::LevelFilter;

use crate::{
    accounting::AccountId,
    config::{self, ConfigError},
    database::DatabaseUrl,
    snapshot::Snapshot,
    telemetry::LogFormat,
};

/// Not the numbers, which the parser of levels would take as well.
const LOG_LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

#[derive(Clone, Copy, Args)]
#[command(next_help_heading = "Log")]
pub(super) struct LogFlags {
    /// Least severe level to log. `debug` adds the calls that fail by their caller's fault.
    #[arg(
        long,
        env = "BILLING_LOG_LEVEL",
        default_value = "info",
        global = true,
        value_name = "LEVEL",
        ignore_case = true,
        value_parser = PossibleValuesParser::new(LOG_LEVELS).try_map(|level| level.parse::<LevelFilter>())
    )]
    pub(super) log_level: LevelFilter,
    /// Format of the log: human, json, or auto, which is human on a terminal and json elsewhere.
    #[arg(long, env = "BILLING_LOG_FORMAT", default_value = "auto", global = true, value_name = "FORMAT")]
    pub(super) log_format: LogFormat,
}

#[derive(Args)]
pub(super) struct DatabaseFlags {
    /// URL of the PostgreSQL database. Commands that only read can use a standby.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: String,
}

impl DatabaseFlags {
    pub(super) fn url(&self) -> Result<DatabaseUrl, ConfigError> {
        config::given_database("--database-url", &self.database_url)
    }
}

#[derive(Args)]
pub(super) struct SourceFlags {
    /// URL of the replaced system's PostgreSQL database, primary or standby. It is only read.
    #[arg(long, env = "BILLING_SOURCE_URL", hide_env_values = true, value_name = "URL")]
    source: String,
}

impl SourceFlags {
    pub(super) fn url(&self) -> Result<DatabaseUrl, ConfigError> {
        config::given_database("--source", &self.source)
    }
}

#[derive(Debug, Args)]
pub(super) struct AccountFlags {
    /// Only these accounts.
    #[arg(long = "account", value_name = "ID", num_args = 1.., value_parser = account_id)]
    pub(super) ids: Vec<AccountId>,
}

impl AccountFlags {
    /// Fails unless the book knows all of them: of a mistyped one there would be nothing to find.
    pub(super) async fn must_be_known(&self, snapshot: &mut Snapshot) -> anyhow::Result<()> {
        let unknown = snapshot.unknown_accounts(&self.ids).await?;
        if !unknown.is_empty() {
            bail!("the book has no account {}", unknown.join(", "));
        }
        Ok(())
    }
}

fn account_id(text: &str) -> Result<AccountId, String> {
    AccountId::parse("the account id", text).map_err(|invalid| invalid.to_string())
}
