//! `billing migrate`: brings the schema of a database up to date.

use anyhow::Context as _;

use super::{execution::carry_out, flags::DatabaseFlags, output};
use crate::schema;

pub(super) fn migrate(flags: &DatabaseFlags) -> anyhow::Result<()> {
    let database_url = flags.url()?;
    let migrated = async { Ok(schema::migrate(&database_url).await?) };
    let done = carry_out(migrated).context("cannot migrate")?;
    match done.as_slice() {
        [] => output::say("The schema is up to date."),
        done => output::say(format_args!("The schema is up to date now. Ran: {}", done.join(", "))),
    }
    .context("the schema is up to date")
}
