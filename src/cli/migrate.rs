//! `billing migrate`: makes a ledger, or brings its schema up to date.

use anyhow::Context as _;
use clap::{Args, value_parser};

use super::{execution::carry_out, flags::DatabaseFlags, output};
use crate::schema::{self, BOOKS_MAX};

#[derive(Args)]
pub(super) struct MigrateFlags {
    #[command(flatten)]
    database: DatabaseFlags,
    /// How many books the accounts of a new ledger are spread over: 1 unless one machine is outgrown (docs/SCALE.md). Cannot be
    /// changed later. [default: 1, or as many as the ledger has]
    #[arg(long, value_name = "COUNT", value_parser = value_parser!(u8).range(1..=i64::from(BOOKS_MAX)))]
    books: Option<u8>,
    /// Distribute the books over the nodes of Citus, of which this database is the coordinator.
    #[arg(long)]
    citus: bool,
}

pub(super) fn migrate(flags: &MigrateFlags) -> anyhow::Result<()> {
    let database_url = flags.database.url()?;
    let migrated =
        async { Ok(schema::migrate(&database_url, flags.books.map(usize::from), flags.citus).await?) };
    let done = carry_out(migrated).context("cannot migrate")?;
    match done.as_slice() {
        [] => output::say("The schema is up to date."),
        done => output::say(format_args!("The schema is up to date now. Ran: {}", done.join(", "))),
    }
    .context("the schema is up to date")
}
