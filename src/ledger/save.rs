//! Writes what was decided: one statement for each sort of row, and only for the sorts that there are.

use std::collections::BTreeMap;

use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::{
    LedgerError, TransactionEnd, rows,
    statements::{WriteEntries, WriteExternalCredits, WriteExternalReplays, WriteRefusals},
};
use crate::accounting::{
    Actor, Changes, Entry, EntryType, ExternalId, ExternalReplay, Fingerprint, IdempotencyKey, Reason,
    Refused,
};

/// Writes all changes.
pub(super) async fn save_changes(
    connection: &mut AsyncPgConnection,
    changes: &Changes,
) -> Result<(), TransactionEnd> {
    if !changes.entries.is_empty() {
        let statement = write_entries(changes);
        let expected = (count(&statement.changed_account_ids)?, count(&statement.account_ids)?);
        let written = statement.get_result::<(i64, i64)>(connection).await?;
        if written != expected {
            return Err(
                LedgerError::Corrupt(format!("{written:?} rows where {expected:?} were written")).into()
            );
        }
    }
    if !changes.refusals.is_empty() {
        write_refusals(&changes.refusals).load::<i64>(connection).await?;
    }
    if !changes.external_credits.is_empty() {
        write_external_credits(changes).load::<i64>(connection).await?;
    }
    if !changes.external_replays.is_empty() {
        write_external_replays(&changes.external_replays).load::<i64>(connection).await?;
    }
    Ok(())
}

fn count<T>(rows: &[T]) -> Result<i64, LedgerError> {
    i64::try_from(rows.len()).map_err(|_| LedgerError::Corrupt("more rows than can be counted".into()))
}

fn write_entries(changes: &Changes) -> WriteEntries<'_> {
    let mut statement = WriteEntries::default();
    let mut last_entries: BTreeMap<&str, &Entry> = BTreeMap::new();
    for (entry, fingerprint) in &changes.entries {
        statement.add_entry(entry, fingerprint);
        last_entries.insert(entry.account_id.as_str(), entry);
    }
    for entry in last_entries.into_values() {
        statement.add_change(entry);
    }
    statement
}

impl<'a> WriteEntries<'a> {
    /// The account as it stands after its last entry.
    fn add_change(&mut self, last: &'a Entry) {
        self.changed_account_ids.push(last.account_id.as_str());
        self.changed_posted.push(last.balance_after.posted().get());
        self.changed_held.push(last.balance_after.held().get());
        self.changed_sequences.push(last.sequence);
        self.changed_times.push(rows::pg_timestamp(last.create_time));
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
        self.reservation_ids.push(entry.reservation_id.as_ref().map(IdempotencyKey::as_str));
    }
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
