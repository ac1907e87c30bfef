//! Writes what is added to accounts of a book, in a transaction that has locked them.

use std::{collections::HashSet, mem, pin::pin};

use tokio_postgres::{
    Error, Transaction,
    binary_copy::BinaryCopyInWriter,
    types::{Json, ToSql, Type},
};

use super::{
    rules::{AccountImport, Claim},
    time::PgTime,
};
use crate::{
    accounting::{Actor, ExternalId, Reason},
    ledger::rows,
};

/// The columns of an imported entry, and what is sent for each.
const COPY: &str = "\
    COPY ledger_entries (account_id, sequence, entry_type, amount_micro_usd, held_delta_micro_usd, posted_after, \
        held_after, create_time, external_ids, reference, metadata, actor, reason, withdrawable_delta_micro_usd, \
        withdrawable_after, granted_after) FROM STDIN (FORMAT binary)";
const COPY_TYPES: [Type; 16] = [
    Type::TEXT,
    Type::INT8,
    Type::INT2,
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::TIMESTAMPTZ,
    Type::TEXT_ARRAY,
    Type::TEXT,
    Type::JSONB,
    Type::TEXT,
    Type::TEXT,
    Type::INT8,
    Type::INT8,
    Type::INT8,
];

const UPDATE_ACCOUNTS: &str = "\
    UPDATE accounts a SET posted_micro_usd = n.posted, last_sequence = n.last_sequence, \
        create_time = n.create_time, update_time = n.update_time, \
        facts = CASE WHEN n.withdrawable = 0 AND a.facts IS NULL THEN NULL ELSE \
            ROW(coalesce((a.facts).state, 1), (a.facts).debt_limit_micro_usd, n.withdrawable, \
                (a.facts).granted_micro_usd)::facts END \
    FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::timestamptz[], $5::timestamptz[], $6::bigint[]) \
        AS n(account_id, posted, last_sequence, create_time, update_time, withdrawable) \
    WHERE a.account_id = n.account_id";

const WRITE_IMPORTED: &str = "\
    INSERT INTO imported_accounts (account_id, rows, amount_micro_usd, adjustment_micro_usd, \
        withdrawable_micro_usd, last_create_time, last_id) \
    SELECT account_id, rows, amount::numeric, adjustment::numeric, withdrawable, last_create_time, last_id \
    FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::timestamptz[], $7::bigint[]) \
        AS n(account_id, rows, amount, adjustment, withdrawable, last_create_time, last_id) \
    ON CONFLICT (account_id) DO UPDATE SET rows = excluded.rows, amount_micro_usd = excluded.amount_micro_usd, \
        adjustment_micro_usd = excluded.adjustment_micro_usd, \
        withdrawable_micro_usd = excluded.withdrawable_micro_usd, \
        last_create_time = excluded.last_create_time, last_id = excluded.last_id";

/// In the bytewise order of the payments, as the service does: two transactions never wait for each other.
const CLAIM_PAYMENTS: &str = "\
    INSERT INTO payments (external_id, account_id, sequence) \
    SELECT n.* FROM unnest($1::text[], $2::text[], $3::bigint[]) AS n(external_id, account_id, sequence) \
    ORDER BY n.external_id COLLATE \"C\" \
    ON CONFLICT (external_id) DO NOTHING RETURNING account_id::text, sequence::bigint";

/// Writes the entries, the balances, how far the accounts are, and the claims of payments.
pub(super) async fn write(
    transaction: &Transaction<'_>,
    mut added: Vec<&mut AccountImport>,
) -> Result<(), Error> {
    copy_entries(transaction, &added).await?;
    update_accounts(transaction, &added).await?;
    write_imported(transaction, &added).await?;
    claim_payments(transaction, &mut added).await
}

async fn copy_entries(transaction: &Transaction<'_>, added: &[&mut AccountImport]) -> Result<(), Error> {
    let mut writer = pin!(BinaryCopyInWriter::new(transaction.copy_in(COPY).await?, &COPY_TYPES));
    for entry in added.iter().flat_map(|import| &import.entries) {
        let external_ids: Vec<&str> = entry.external_ids.iter().map(ExternalId::as_str).collect();
        let balance = entry.balance_after;
        let values: [&(dyn ToSql + Sync); 16] = [
            &entry.account_id.as_str(),
            &entry.sequence,
            &entry.entry_type.number(),
            &entry.amount.get(),
            &entry.held_delta.get(),
            &balance.posted().get(),
            &balance.held().get(),
            &PgTime(entry.create_time),
            &Some(external_ids).filter(|ids| !ids.is_empty()),
            &entry.note.reference.as_str(),
            &Json(&entry.note.metadata),
            &entry.actor.as_ref().map(Actor::as_str),
            &entry.reason.as_ref().map(Reason::as_str),
            &rows::nonzero(entry.withdrawable_delta),
            &rows::nonzero(balance.withdrawable_posted()),
            &rows::nonzero(balance.granted()),
        ];
        writer.as_mut().write(&values).await?;
    }
    writer.finish().await?;
    Ok(())
}

async fn update_accounts(transaction: &Transaction<'_>, added: &[&mut AccountImport]) -> Result<(), Error> {
    let changed = || added.iter().filter(|import| !import.entries.is_empty());
    let account_ids: Vec<&str> = changed().map(|import| import.account_id.as_str()).collect();
    let posted: Vec<i64> = changed().map(|import| import.standing.balance.posted().get()).collect();
    let last_sequences: Vec<i64> = changed().map(|import| import.standing.last_sequence).collect();
    let create_times: Vec<PgTime> = changed().map(|import| PgTime(import.standing.create_time)).collect();
    let update_times: Vec<PgTime> = changed().map(|import| PgTime(import.standing.update_time)).collect();
    let withdrawable: Vec<i64> =
        changed().map(|import| import.standing.balance.withdrawable_posted().get()).collect();
    let columns: [&(dyn ToSql + Sync); 6] =
        [&account_ids, &posted, &last_sequences, &create_times, &update_times, &withdrawable];
    transaction.execute(UPDATE_ACCOUNTS, &columns).await?;
    Ok(())
}

async fn write_imported(transaction: &Transaction<'_>, added: &[&mut AccountImport]) -> Result<(), Error> {
    let all = || added.iter().map(|import| &import.imported);
    let account_ids: Vec<&str> = added.iter().map(|import| import.account_id.as_str()).collect();
    let rows: Vec<i64> = all().map(|imported| imported.rows).collect();
    let amounts: Vec<String> = all().map(|imported| imported.amount.to_string()).collect();
    let adjustments: Vec<String> = all().map(|imported| imported.adjustment.to_string()).collect();
    let withdrawable: Vec<i64> = all().map(|imported| imported.withdrawable).collect();
    let last_create_times: Vec<Option<PgTime>> =
        all().map(|imported| imported.last.map(|last| PgTime(last.create_time))).collect();
    let last_ids: Vec<Option<i64>> = all().map(|imported| imported.last.map(|last| last.id)).collect();
    transaction
        .execute(
            WRITE_IMPORTED,
            &[&account_ids, &rows, &amounts, &adjustments, &withdrawable, &last_create_times, &last_ids],
        )
        .await?;
    Ok(())
}

/// Claims the payments that were credited first here. Those that the service has credited in the meantime were not.
async fn claim_payments(
    transaction: &Transaction<'_>,
    added: &mut [&mut AccountImport],
) -> Result<(), Error> {
    let (mut external_ids, mut account_ids, mut sequences) = (Vec::new(), Vec::new(), Vec::new());
    for import in added.iter() {
        for claim in &import.claims {
            external_ids.push(claim.external_id.as_str());
            account_ids.push(import.account_id.as_str());
            sequences.push(claim.sequence);
        }
    }
    if external_ids.is_empty() {
        return Ok(());
    }
    let parameters: [&(dyn ToSql + Sync); 3] = [&external_ids, &account_ids, &sequences];
    let claimed = transaction.query(CLAIM_PAYMENTS, &parameters).await?;
    let claimed = claimed.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
    let claimed: HashSet<(String, i64)> = claimed.collect::<Result<_, _>>()?;
    for import in added {
        for Claim { external_id, sequence, amount } in mem::take(&mut import.claims) {
            if !claimed.contains(&(import.account_id.to_string(), sequence)) {
                import.found_repeated_payment(&external_id, sequence, amount);
            }
        }
    }
    Ok(())
}
