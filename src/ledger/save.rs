//! Writes the changes and commits: one statement for each table that has any.

use diesel::result::QueryResult;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::{
    rows,
    statements::{
        CloseAccounts, WriteEntries, WriteExternalReplays, WritePayments, WriteRefusals, WriteReservations,
        WriteSettings,
    },
};
use crate::{
    accounting::{
        Account, AccountId, Actor, CallerName, Changes, Entry, ExternalReplay, Fingerprint, IdempotencyKey,
        MicroUsd, Reason, Refused, Reservation, ReservationAfter,
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
        unless_empty!(connection, changes.settings, write_settings(changes)),
        unless_empty!(connection, changes.payments, write_payments(changes)),
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
        self.external_ids.push(Some(entry.external_ids.joined()).filter(|joined| !joined.is_empty()));
        self.references.push(entry.note.reference.as_str());
        self.metadata.push(rows::metadata_json(&entry.note.metadata));
        self.actors.push(entry.actor.as_ref().map(Actor::as_str));
        self.reasons.push(entry.reason.as_ref().map(Reason::as_str));
        self.add_reservation(entry.reservation.as_ref());
        self.uncollected.push(Some(entry.uncollected.get()).filter(|uncollected| *uncollected > 0));
        let effective_time = Some(entry.effective_time).filter(|time| *time != entry.create_time);
        self.effective_times.push(effective_time.map(rows::pg_timestamp));
        self.account_states.push(entry.settings.map(|settings| settings.state.number()));
        let debt_limit = entry.settings.and_then(|settings| settings.debt_limit);
        self.debt_limits.push(debt_limit.map(MicroUsd::get));
        self.callers.push(entry.caller.as_ref().map(CallerName::as_str));
    }

    fn add_reservation(&mut self, after: Option<&'a ReservationAfter>) {
        let status = after.map(|after| after.status);
        self.reservation_ids.push(after.map(|after| after.reservation_id.as_str()));
        self.reservation_states.push(status.map(|status| status.state.number()));
        self.reservation_held.push(status.map(|status| status.held.get()));
        self.reservation_captured.push(status.map(|status| status.captured.get()));
        self.expire_times.push(status.map(|status| rows::pg_timestamp(status.expire_time)));
        self.close_times.push(status.and_then(|status| status.close_time).map(rows::pg_timestamp));
        self.expiry_policies.push(status.map(|status| status.expiry_policy.number()));
    }
}

fn write_reservations(reservations: &[Reservation]) -> WriteReservations<'_> {
    let mut statement = WriteReservations::default();
    for reservation in reservations {
        let Reservation { account_id, reservation_id, sequence, create_time, note, status, close_sequence } =
            reservation;
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
    }
    statement
}

fn write_settings(changes: &Changes) -> WriteSettings<'_> {
    let mut statement = WriteSettings::default();
    for (account_id, settings) in &changes.settings {
        statement.account_ids.push(account_id.as_str());
        statement.states.push(settings.state.number());
        statement.debt_limits.push(settings.debt_limit.map(MicroUsd::get));
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

fn write_payments(changes: &Changes) -> WritePayments<'_> {
    let mut payments: Vec<_> = changes.payments.iter().collect();
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
