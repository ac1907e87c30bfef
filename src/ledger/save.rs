//! Writes the changes and commits: one statement for each table that has any, in each book that has any.

use std::mem;

use diesel::result::QueryResult;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::{
    grant_rows, rows,
    statements::{
        ChangeGrants, CloseAccounts, OpenGrants, WriteExternalReplays, WritePayments, WriteRefusals,
        WriteReservations,
    },
    work::Part,
    write_entries::{Rows, set_rare},
};
use crate::{
    accounting::{
        Account, AccountId, AccountSettings, Actor, CallerName, Changes, Entry, ExternalId, ExternalReplay,
        Fingerprint, Grant, IdempotencyKey, MicroUsd, Payment, Reason, Refused, Reservation,
        ReservationAfter,
    },
    database::pipeline::{execute, in_one_go},
};

/// Runs a statement, unless it has no rows to write.
macro_rules! unless_empty {
    ($connection:ident, $rows:expr, $statement:expr) => {
        async {
            if !$rows.is_empty() {
                $statement.load::<i64>(&mut &*$connection).await?;
            }
            QueryResult::Ok(())
        }
    };
}

/// Writes all changes, and commits. Accounts that were opened and got no entry are deleted again: until the commit, other
/// transactions wait for such an account's row; then they insert their own, and find the refusals.
pub(super) async fn write_and_commit(
    connection: &AsyncPgConnection,
    changes: Changes,
    opened: &[Vec<String>],
    parts: &[Part],
) -> QueryResult<()> {
    let is_in_vain = |id: &&String| !changes.accounts.iter().any(|(used, _)| used.as_str() == id.as_str());
    let in_vain: Vec<Vec<String>> =
        opened.iter().map(|opened| opened.iter().filter(is_in_vain).cloned().collect()).collect();
    match (parts, in_vain.as_slice()) {
        ([_], [in_vain]) if in_vain.is_empty() && changes.are_entries_and_grants_only() => {
            // Not one statement after the other: COMMIT is on its way while they are carried out.
            in_one_go!(
                write_entries(connection, &changes),
                write_grants(connection, &changes),
                execute(connection, "COMMIT")
            )?;
            return Ok(());
        }
        ([part], [in_vain]) => write(connection, part, &changes, in_vain).await?,
        (parts, in_vain) => write_across(connection, parts, changes, in_vain).await?,
    }
    // COMMIT waits until all are known to have succeeded: the others are not prepared beforehand.
    execute(connection, "COMMIT").await
}

/// Writes the changes in each of several books. The names of payments come last, all at once: they stand in none of the books, and
/// whoever inserts some does so in their order.
async fn write_across(
    connection: &AsyncPgConnection,
    parts: &[Part],
    mut changes: Changes,
    in_vain: &[Vec<String>],
) -> QueryResult<()> {
    let payments = mem::take(&mut changes.payments);
    let by_part = changes.divided(parts.len(), |account_id| {
        parts.iter().position(|part| part.has(account_id)).unwrap_or_default() // each is in one of them
    });
    for ((part, changes), in_vain) in parts.iter().zip(&by_part).zip(in_vain) {
        write(connection, part, changes, in_vain).await?;
    }
    unless_empty!(connection, payments, write_payments(&payments)).await
}

/// Writes changes in the book of a part, in one go.
async fn write(
    connection: &AsyncPgConnection,
    part: &Part,
    changes: &Changes,
    in_vain: &[String],
) -> QueryResult<()> {
    let close = || CloseAccounts { account_ids: in_vain.iter().map(String::as_str).collect() };
    let turn = part.turn();
    let turned = async {
        match &turn {
            Some(turn) => execute(connection, turn).await,
            None => Ok(()),
        }
    };
    in_one_go!(
        turned,
        write_entries(connection, changes),
        write_grants(connection, changes),
        unless_empty!(connection, changes.reservations, write_reservations(&changes.reservations)),
        unless_empty!(connection, changes.refusals, write_refusals(&changes.refusals)),
        unless_empty!(connection, changes.payments, write_payments(&changes.payments)),
        unless_empty!(
            connection,
            changes.external_replays,
            write_external_replays(&changes.external_replays)
        ),
        unless_empty!(connection, in_vain, close()),
    )?;
    Ok(())
}

async fn write_entries(connection: &AsyncPgConnection, changes: &Changes) -> QueryResult<()> {
    if changes.accounts.is_empty() { Ok(()) } else { collect(changes).write(connection).await }
}

async fn write_grants(connection: &AsyncPgConnection, changes: &Changes) -> QueryResult<()> {
    in_one_go!(
        unless_empty!(connection, changes.opened_grants, open_grants(&changes.opened_grants)),
        unless_empty!(connection, changes.changed_grants, change_grants(&changes.changed_grants)),
    )?;
    Ok(())
}

fn collect(changes: &Changes) -> Rows<'_> {
    let mut collected = Rows::default();
    for (row, (account_id, account)) in changes.accounts.iter().enumerate() {
        collected.add_account(row, account_id, account);
    }
    for (row, (entry, fingerprint)) in changes.entries.iter().enumerate() {
        collected.add_entry(row, entry, fingerprint);
    }
    collected
}

impl<'a> Rows<'a> {
    fn add_account(&mut self, row: usize, account_id: &'a AccountId, account: &Account) {
        let (columns, rare) = (&mut self.accounts, &mut self.rare_accounts);
        columns.account_id.push(account_id.as_str());
        columns.posted.push(account.balance.posted().get());
        columns.held.push(account.balance.held().get());
        columns.sequence.push(account.last_sequence);
        columns.time.push(rows::pg_timestamp(account.update_time));
        set_rare(&mut rare.next_expire_time, row, account.next_expire_time.map(rows::pg_timestamp));
        let Account { settings, balance, .. } = *account;
        let withdrawable = balance.withdrawable_posted();
        let has_facts =
            settings != AccountSettings::default() || withdrawable != MicroUsd::ZERO || account.has_grants;
        set_rare(&mut rare.state, row, has_facts.then_some(settings.state.number()));
        set_rare(&mut rare.debt_limit, row, settings.debt_limit.map(MicroUsd::get));
        set_rare(&mut rare.withdrawable, row, has_facts.then_some(withdrawable.get()));
        set_rare(&mut rare.granted, row, account.has_grants.then_some(balance.granted().get()));
    }

    fn add_entry(&mut self, row: usize, entry: &'a Entry, fingerprint: &'a Fingerprint) {
        let columns = &mut self.entries;
        columns.account_id.push(entry.account_id.as_str());
        columns.sequence.push(entry.sequence);
        columns.entry_type.push(entry.entry_type.number());
        columns.amount_micro_usd.push(entry.amount.get());
        columns.held_delta_micro_usd.push(entry.held_delta.get());
        columns.posted_after.push(entry.balance_after.posted().get());
        columns.held_after.push(entry.balance_after.held().get());
        columns.create_time.push(rows::pg_timestamp(entry.create_time));
        columns.refunded_sequence.push(entry.refunded_sequence);
        columns.idempotency_key.push(entry.idempotency_key.as_ref().map(IdempotencyKey::as_str));
        columns.fingerprint.push(fingerprint.as_bytes());
        columns.external_ids.push(Some(entry.external_ids.joined()).filter(|joined| !joined.is_empty()));
        columns.reference.push(entry.note.reference.as_str());
        columns.metadata.push(rows::metadata_json(&entry.note.metadata));
        columns.caller.push(entry.caller.as_ref().map(CallerName::as_str));
        self.add_rare_facts(row, entry);
        if let Some(reservation) = &entry.reservation {
            self.add_reservation(row, reservation);
        }
    }

    fn add_rare_facts(&mut self, row: usize, entry: &'a Entry) {
        let rare = &mut self.rare_entries;
        set_rare(&mut rare.reversed_sequence, row, entry.reversed_sequence);
        set_rare(&mut rare.actor, row, entry.actor.as_ref().map(Actor::as_str));
        set_rare(&mut rare.reason, row, entry.reason.as_ref().map(Reason::as_str));
        set_rare(&mut rare.uncollected_micro_usd, row, rows::nonzero(entry.uncollected));
        let effective_time = Some(entry.effective_time).filter(|time| *time != entry.create_time);
        set_rare(&mut rare.effective_time, row, effective_time.map(rows::pg_timestamp));
        set_rare(&mut rare.account_state, row, entry.settings.map(|settings| settings.state.number()));
        let debt_limit = entry.settings.and_then(|settings| settings.debt_limit);
        set_rare(&mut rare.debt_limit_micro_usd, row, debt_limit.map(MicroUsd::get));
        set_rare(&mut rare.withdrawable_delta_micro_usd, row, rows::nonzero(entry.withdrawable_delta));
        set_rare(&mut rare.withdrawable_after, row, rows::nonzero(entry.balance_after.withdrawable_posted()));
        let funded = Some(entry.funded.get()).filter(|_| entry.refunded_sequence.is_none());
        set_rare(&mut rare.legs, row, rows::legs_json(&entry.legs));
        set_rare(&mut rare.funded_micro_usd, row, funded.filter(|_| !entry.legs.is_empty()));
        set_rare(
            &mut rare.source_account_id,
            row,
            entry.source.as_ref().map(|source| source.account_id.as_str()),
        );
        set_rare(&mut rare.source_sequence, row, entry.source.as_ref().map(|source| source.sequence));
        set_rare(&mut rare.grant_expire_time, row, entry.grant_expire_time.map(rows::pg_timestamp));
        set_rare(&mut rare.grant_moves, row, grant_rows::moves_json(&entry.grant_moves));
        set_rare(&mut rare.granted_after, row, rows::nonzero(entry.balance_after.granted()));
        set_rare(&mut rare.lapsed_micro_usd, row, rows::nonzero(entry.balance_after.lapsing()));
    }

    fn add_reservation(&mut self, row: usize, after: &'a ReservationAfter) {
        let ReservationAfter { reservation_id, status } = after;
        let rare = &mut self.rare_entries;
        set_rare(&mut rare.reservation_id, row, Some(reservation_id.as_str()));
        set_rare(&mut rare.reservation_state, row, Some(status.state.number()));
        set_rare(&mut rare.reservation_held, row, Some(status.held.get()));
        set_rare(&mut rare.reservation_captured, row, Some(status.captured.get()));
        set_rare(&mut rare.expire_time, row, Some(rows::pg_timestamp(status.expire_time)));
        set_rare(&mut rare.close_time, row, status.close_time.map(rows::pg_timestamp));
        set_rare(&mut rare.expiry_policy, row, Some(status.expiry_policy.number()));
    }
}

fn write_reservations(reservations: &[Reservation]) -> WriteReservations<'_> {
    let mut statement = WriteReservations::default();
    for reservation in reservations {
        let Reservation {
            account_id,
            reservation_id,
            sequence,
            create_time,
            note,
            status,
            pins,
            close_sequence,
        } = reservation;
        statement.account_ids.push(account_id.as_str());
        statement.reservation_ids.push(reservation_id.as_str());
        statement.states.push(status.state.number());
        statement.held.push(status.held.get());
        statement.captured.push(status.captured.get());
        statement.sequences.push(*sequence);
        statement.create_times.push(rows::pg_timestamp(*create_time));
        statement.expire_times.push(rows::pg_timestamp(status.expire_time));
        statement.close_times.push(status.close_time.map(rows::pg_timestamp));
        statement.expiry_policies.push(status.expiry_policy.number());
        statement.close_sequences.push(*close_sequence);
        statement.references.push(note.reference.as_str());
        statement.metadata.push(rows::metadata_json(&note.metadata));
        statement.pins.push(grant_rows::shares_json(pins));
    }
    statement
}

fn open_grants(grants: &[(AccountId, Grant)]) -> OpenGrants<'_> {
    let mut statement = OpenGrants::default();
    for (account_id, grant) in grants {
        statement.account_ids.push(account_id.as_str());
        statement.sequences.push(grant.sequence);
        statement.amounts.push(grant.amount.get());
        statement.remaining.push(grant.remaining.get());
        statement.pinned.push(grant.pinned.get());
        statement.lapsed.push(grant.lapsed.get());
        statement.reversed.push(grant.reversed.get());
        statement.expire_times.push(grant_rows::expire_time(grant));
    }
    statement
}

fn change_grants(grants: &[(AccountId, Grant)]) -> ChangeGrants<'_> {
    let mut statement = ChangeGrants::default();
    for (account_id, grant) in grants {
        statement.account_ids.push(account_id.as_str());
        statement.sequences.push(grant.sequence);
        statement.remaining.push(grant.remaining.get());
        statement.pinned.push(grant.pinned.get());
        statement.lapsed.push(grant.lapsed.get());
        statement.reversed.push(grant.reversed.get());
    }
    statement
}

fn write_refusals(refusals: &[Refused]) -> WriteRefusals<'_> {
    let mut statement = WriteRefusals::default();
    for Refused { key, fingerprint, refusal } in refusals {
        statement.account_ids.push(refusal.account_id.as_str());
        statement.keys.push(key.as_str());
        statement.fingerprints.push(fingerprint.as_bytes());
        statement.reasons.push(&refusal.reason);
        statement.messages.push(&refusal.message);
        statement.metadata.push(rows::metadata_object(&refusal.metadata).to_string());
        statement.create_times.push(rows::pg_timestamp(refusal.create_time));
    }
    statement
}

fn write_payments(payments: &[(ExternalId, Payment)]) -> WritePayments<'_> {
    let mut payments: Vec<_> = payments.iter().collect();
    payments.sort_unstable_by_key(|(external_id, _)| external_id);
    let mut statement = WritePayments::default();
    for (external_id, payment) in payments {
        statement.external_ids.push(external_id.as_str());
        statement.account_ids.push(payment.account_id.as_str());
        statement.sequences.push(payment.sequence);
    }
    statement
}

fn write_external_replays(replays: &[ExternalReplay]) -> WriteExternalReplays<'_> {
    let mut statement = WriteExternalReplays::default();
    for ExternalReplay { key, fingerprint, entry, create_time } in replays {
        statement.account_ids.push(entry.account_id.as_str());
        statement.keys.push(key.as_str());
        statement.fingerprints.push(fingerprint.as_bytes());
        statement.sequences.push(entry.sequence);
        statement.create_times.push(rows::pg_timestamp(*create_time));
    }
    statement
}
