//! `--account`: which accounts a command is about.

use anyhow::bail;
use clap::Args;

use crate::{accounting::AccountId, snapshot::Snapshot};

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
