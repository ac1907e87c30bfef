//! The grants that a batch of commands concerns: which they are, and the statements that read them.

use std::collections::{BTreeSet, HashSet};

use diesel::result::QueryResult;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::pointed::undone_by;
use crate::{
    accounting::{AccountId, Book, Command},
    database::pipeline::in_one_go,
    ledger::{
        LedgerError,
        grant_rows::{self, GrantRow},
        granted::Granted,
        statements::{ReadGrants, ReadOpenGrants},
        work::Part,
    },
};

/// Which grants to read.
#[derive(Default)]
pub(super) struct GrantsWanted {
    /// Of these accounts all of which something remains.
    account_ids: HashSet<AccountId>,
    /// Of these, which get one, all that have not expired.
    opening: HashSet<AccountId>,
    /// Others.
    named: BTreeSet<(AccountId, i64)>,
}

impl GrantsWanted {
    /// What is known before the accounts are locked.
    pub(super) fn at_first(account_ids: &[AccountId], commands: &[Command], granted: &Granted) -> Self {
        let opening = commands.iter().filter(|command| command.references().opens_grant);
        Self {
            account_ids: granted.among(account_ids),
            opening: opening.map(|command| command.account_id().clone()).collect(),
            named: BTreeSet::new(),
        }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.account_ids.is_empty() && self.opening.is_empty() && self.named.is_empty()
    }

    /// What a part needs beside: the grants of further accounts that have any, and those that commands bring money back into, or
    /// reverse, which may be spent or expired.
    pub(super) fn what_is_missing(&self, part: &Part, book: &Book) -> Self {
        let unread = |id: &AccountId| !self.account_ids.contains(id) && part.has(id);
        let with_grants = book.accounts().filter(|(id, account)| account.has_grants && unread(id));
        let account_ids = with_grants.map(|(id, _)| id.clone()).collect();
        let mut named = BTreeSet::new();
        for (account_id, sequence) in part.commands.iter().filter_map(|command| undone_by(command, book)) {
            let Some(original) = book.original(&account_id, sequence) else { continue };
            let drawn = original.entry.grant_moves.draws.iter().map(|share| share.sequence);
            let reversed =
                original.entry.reversed_sequence.and_then(|credit| book.original(&account_id, credit));
            let credits = [Some(original), reversed].into_iter().flatten();
            let grants = credits.filter(|credit| credit.entry.grant_expire_time.is_some());
            let sequences = drawn.chain(grants.map(|credit| credit.entry.sequence));
            named.extend(sequences.map(|sequence| (account_id.clone(), sequence)));
        }
        named.retain(|(account_id, sequence)| book.grants(account_id).get(*sequence).is_none());
        Self { account_ids, opening: HashSet::new(), named }
    }
}

/// Reads them, in one go.
pub(super) async fn read_grants(
    connection: &AsyncPgConnection,
    wanted: &GrantsWanted,
) -> QueryResult<Vec<GrantRow>> {
    let (mut open, others) = in_one_go!(read_open(connection, wanted), read_others(connection, wanted))?;
    open.extend(others);
    Ok(open)
}

async fn read_open(mut connection: &AsyncPgConnection, wanted: &GrantsWanted) -> QueryResult<Vec<GrantRow>> {
    if wanted.account_ids.is_empty() {
        return Ok(Vec::new());
    }
    let account_ids = wanted.account_ids.iter().map(AccountId::as_str).collect();
    ReadOpenGrants { account_ids }.load(&mut connection).await
}

async fn read_others(
    mut connection: &AsyncPgConnection,
    wanted: &GrantsWanted,
) -> QueryResult<Vec<GrantRow>> {
    if wanted.opening.is_empty() && wanted.named.is_empty() {
        return Ok(Vec::new());
    }
    let (named_account_ids, sequences) =
        wanted.named.iter().map(|(id, sequence)| (id.as_str(), *sequence)).unzip();
    let opening_account_ids = wanted.opening.iter().map(AccountId::as_str).collect();
    ReadGrants { opening_account_ids, named_account_ids, sequences }.load(&mut connection).await
}

pub(super) fn put_grants(rows: Vec<GrantRow>, book: &mut Book) -> Result<(), LedgerError> {
    for row in rows {
        let (account_id, grant) = grant_rows::grant(row)?;
        book.put_grant(&account_id, grant);
    }
    Ok(())
}
