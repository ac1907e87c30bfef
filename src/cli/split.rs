//! `billing split`: copies a ledger with one book into one with several, while the old one serves.

use anyhow::Context as _;
use clap::Args;

use super::{execution::carry_out, flags::DatabaseFlags, output};
use crate::{
    config,
    split::{Copied, Split, SplitEvent},
};

pub(super) const AFTER_HELP: &str = "\
The new ledger is made by `billing migrate --books COUNT`. Run this as often as you like, while the old one serves: each run copies what
is missing, and goes on where a killed one stopped. Then run it with --close: it holds the writers of the old ledger back for the last
rows, closes the old ledger for good, and compares both. Point the service to the new one. docs/SCALE.md has every step.

Exit status:
  0   the copy has what the old ledger had when the last pass began; with --close, all of it
  1   a database failed, or the copy is not what it should be: nothing is lost, run it again
  64  wrong usage

Examples:
  billing split --from postgres://owner@old/billing           into the ledger of DATABASE_URL
  billing split --from postgres://owner@old/billing --close";

#[derive(Args)]
pub(super) struct SplitFlags {
    /// URL of the old ledger's database. With --close, of its primary and by the owner of its tables.
    #[arg(long, env = "BILLING_OLD_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    from: String,
    #[command(flatten)]
    database: DatabaseFlags,
    /// Close the old ledger for good, once the rest is copied.
    #[arg(long)]
    close: bool,
}

pub(super) fn split(flags: &SplitFlags) -> anyhow::Result<()> {
    carry_out(split_ledger(flags)).context("cannot split")
}

async fn split_ledger(flags: &SplitFlags) -> anyhow::Result<()> {
    let (old_url, new_url) = (config::given_database("--from", &flags.from)?, flags.database.url()?);
    let split = Split::open(&old_url, &new_url).await?;
    let mut said = Ok(());
    split
        .run(flags.close, &mut |event| {
            if said.is_ok() {
                said = say(&event);
            }
        })
        .await?;
    said.context("cannot write the report")
}

fn say(event: &SplitEvent) -> anyhow::Result<()> {
    match event {
        SplitEvent::Pass(number, Copied { accounts, entries, others }, millis) => output::say(format_args!(
            "pass {number}: {accounts} accounts, {entries} entries, {others} other rows in {millis} ms"
        )),
        SplitEvent::Closed(millis) => output::say(format_args!(
            "closed: the old ledger takes nothing any more; its writers were held back for {millis} ms"
        )),
    }
}
