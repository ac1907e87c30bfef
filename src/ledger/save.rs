//! Writes the changes and commits: one statement for each table that has any.

use diesel::result::QueryResult;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::{
    rows,
    statements::{
        CloseAccounts, WriteEntries, WriteExternalCredits, WriteExternalReplays, WriteRefusals,
        WriteReservations,
    },
};
use crate::{
    accounting::{
        Account, AccountId, Actor, CallerName, Changes, Entry, EntryType, ExternalId, ExternalReplay,
        Fingerprint, IdempotencyKey, Reason, Refused, Reservation, ReservationAfter,
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

/// Writes all changes, deletes the rows of accounts that got no entry, and commits.
///
/// Until the commit, other transactions wait for such an account's row. Then they insert their own, and find the refusals.
pub(super) async fn write_and_commit(
    connection: &AsyncPgConnection,
    changes: &Changes,
    opened_in_vain: Vec<&str>,
) -> QueryResult<()> {
    let entries = unless_empty!(connection, changes.accounts, write_entries(changes));
    if changes.are_entries_only() && opened_in_vain.is_empty() {
        in_one_go!(entries, execute(connection, "COMMIT"))?;
        return Ok(());
    }
    // COMMIT waits until all are known to have succeeded: they are several statements.
    in_one_go!(
        entries,
        unless_empty!(connection, changes.reservations, write_reservations(&changes.reservations)),
        unless_empty!(connection, changes.refusals, write_refusals(&changes.refusals)),
        unless_empty!(connection, changes.external_credits, write_external_credits(changes)),
        unless_empty!(
            connection,
            changes.external_replays,
            write_external_replays(&changes.external_replays)
        ),
        unless_empty!(connection, opened_in_vain, CloseAccounts { account_ids: opened_in_vain.clone() }),
    )?;
    execute(connection, "COMMIT").await
}

fn write_entries(changes: &Changes) -> WriteEntries<'_> {
    let mut statement = WriteEntries::default();
    for (account_id, account) in &changes.accounts {
        statement.add_change(account_id, account);
    }
    for (entry, fingerprint) in &changes.entries {
        statement.add_entry(entry, fingerprint);
    }
    statement
}

impl<'a> WriteEntries<'a> {
    fn add_change(&mut self, account_id: &'a AccountId, account: &Account) {
        self.changed_account_ids.push(account_id.as_str());
        self.changed_posted.push(account.balance.posted().get());
        self.changed_held.push(account.balance.held().get());
        self.changed_sequences.push(account.last_sequence);
        self.changed_times.push(rows::pg_timestamp(account.update_time));
        self.changed_next_expire_times.push(account.next_expire_time.map(rows::pg_timestamp));
    }

    fn add_entry(&mut self, entry: &'a Entry, fingerprint: &'a Fingerprint) {
        self.account_ids.push(entry.account_id.as_str());
        self.sequences.push(entry.sequence);
        self.entry_types.push(entry.entry_type.number());
        self.amounts.push(entry.amount.get());
        self.held_deltas.push(entry.held_delta.get());
        self.posted_after.push(entry.balance_after.posted().get());
        self.held_after.push(entry.balance_after.held().get());
        self.create_times.push(rows::pg_timestamp(entry.create_time));
        self.refunded_sequences.push(entry.refunded_sequence);
        self.idempotency_keys.push(entry.idempotency_key.as_ref().map(IdempotencyKey::as_str));
        self.fingerprints.push(fingerprint.as_bytes());
        self.external_ids.push(entry.external_id.as_ref().map(ExternalId::as_str));
        self.references.push(entry.note.reference.as_str());
        self.metadata.push(rows::metadata_json(&entry.note.metadata));
        self.actors.push(entry.actor.as_ref().map(Actor::as_str));
        self.reasons.push(entry.reason.as_ref().map(Reason::as_str));
        self.add_reservation(entry.reservation.as_ref());
        self.callers.push(entry.caller.as_ref().map(CallerName::as_str));
    }

    fn add_reservation(&mut self, after: Option<&'a ReservationAfter>) {
        let status = after.map(|after| after.status);
        self.reservation_ids.push(after.map(|after| after.reservation_id.as_str()));
        self.reservation_states.push(status.map(|status| status.state.number()));
        self.reservation_held.push(status.map(|status| status.held.get()));
        self.reservation_captured.push(status.map(|status| status.captured.get()));
        self.uncollected.push(after.map(|after| after.uncollected.get()));
        self.expire_times.push(status.map(|status| rows::pg_timestamp(status.expire_time)));
        self.close_times.push(status.and_then(|status| status.close_time).map(rows::pg_timestamp));
    }
}

fn write_reservations(reservations: &[Reservation]) -> WriteReservations<'_> {
    let mut statement = WriteReservations::default();
    for Reservation { account_id, reservation_id, sequence, create_time, note, status } in reservations {
        statement.account_ids.push(account_id.as_str());
        statement.reservation_ids.push(reservation_id.as_str());
        statement.states.push(status.state.number());
        statement.held.push(status.held.get());
        statement.captured.push(status.captured.get());
        statement.sequences.push(*sequence);
        statement.create_times.push(rows::pg_timestamp(*create_time));
        statement.expire_times.push(rows::pg_timestamp(status.expire_time));
        statement.close_times.push(status.close_time.map(rows::pg_timestamp));
        statement.references.push(note.reference.as_str());
        statement.metadata.push(rows::metadata_json(&note.metadata));
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

fn write_external_credits(changes: &Changes) -> WriteExternalCredits<'_> {
    let mut credits: Vec<_> = changes.external_credits.iter().collect();
    credits.sort_unstable_by_key(|(kind, external_id, _)| (*kind, external_id));
    let mut statement = WriteExternalCredits::default();
    for (kind, external_id, credit) in credits {
        statement.credit_types.push(EntryType::Credit(*kind).number());
        statement.external_ids.push(external_id.as_str());
        statement.account_ids.push(credit.account_id.as_str());
        statement.sequences.push(credit.sequence);
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
