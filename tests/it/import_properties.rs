//! What is added for the history of an account, whatever it is: every row once, and nothing that is not explained.

use billing::{
    accounting::{AccountId, Balance, Entry, MicroUsd, Timestamp},
    history::rules::{
        ADJUSTMENT_ACTOR, AccountImport, HistoryRow, IMPORTED_ID, Imported, Position, Standing,
    },
};
use proptest::{collection::vec, prelude::*};

/// The database's clock. Some rows are from the future.
const NOW: i64 = 1_000_000;

fn amount() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => -1_000..1_000_i64,
        1 => Just(i64::MAX),
        1 => Just(i64::MIN),
        1 => any::<i64>(),
    ]
}

prop_compose! {
    fn row()(
        amount in amount(),
        balance_after in prop_oneof![Just(None), (-5..5_i64).prop_map(Some)],
        micros in prop_oneof![8 => 0..NOW, 1 => NOW..2 * NOW, 1 => -NOW..0, 1 => Just(i64::MAX), 1 => Just(i64::MIN)],
        kind in 0..4_usize,
        session in 0..3_u8,
    ) -> HistoryRow {
        HistoryRow {
            id: 0,
            entry_type: ["stripe_deposit", "charge", "payout", "never_heard_of"][kind].into(),
            amount: MicroUsd::new(amount),
            balance_after,
            reference: format!("stripe:cs_{session}"),
            create_time: Timestamp::from_unix_micros(micros),
            repeats_payment: session == 0,
        }
    }
}

/// Rows in the order in which they are imported.
fn history() -> impl Strategy<Value = Vec<HistoryRow>> {
    vec(row(), 0..30).prop_map(|mut rows| {
        for (id, row) in (1..).zip(&mut rows) {
            row.id = id;
        }
        rows.sort_by_key(HistoryRow::position);
        rows
    })
}

fn begun(balance_changed: i64) -> AccountImport {
    let standing = Standing {
        balance: Balance::default(),
        last_sequence: 0,
        create_time: Timestamp::from_unix_micros(0),
        update_time: Timestamp::from_unix_micros(balance_changed),
    };
    AccountImport::new(AccountId::parse("account_id", "ann").unwrap(), standing, Imported::default())
}

/// Imports in chunks of so many rows, each beginning with what is known of the one before.
fn import(rows: &[HistoryRow], balance: i64, chunk: usize) -> (Vec<Entry>, AccountImport) {
    let (mut import, mut entries) = (begun(7), Vec::new());
    for chunk in rows.chunks(chunk) {
        for row in chunk {
            import.add(row.clone(), Timestamp::from_unix_micros(NOW)).unwrap();
        }
        entries.append(&mut import.entries);
        import = AccountImport::new(import.account_id, import.standing, import.imported);
    }
    import.settle(balance).unwrap();
    entries.append(&mut import.entries);
    (entries, import)
}

proptest! {
    #[test]
    fn every_row_is_one_entry_as_it_was(rows in history(), balance in any::<i64>()) {
        let (entries, _) = import(&rows, balance, usize::MAX);
        let imported: Vec<_> =
            entries.iter().filter(|entry| entry.note.metadata.contains_key(IMPORTED_ID)).collect();
        prop_assert_eq!(imported.len(), rows.len());
        for (entry, row) in imported.into_iter().zip(&rows) {
            let said = |name: &str| entry.note.metadata.get(name).cloned();
            prop_assert_eq!(said(IMPORTED_ID), Some(row.id.to_string()));
            prop_assert_eq!(entry.amount, row.amount);
            prop_assert_eq!(entry.note.reference.as_str(), &row.reference);
            prop_assert_eq!(&entry.idempotency_key, &None);
            let time = said("imported_create_time").unwrap_or_else(|| entry.create_time.to_string());
            prop_assert_eq!(time, row.create_time.to_string());
            let balance_after =
                said("imported_balance_after").unwrap_or_else(|| entry.balance_after.posted().to_string());
            prop_assert!(row.balance_after.is_none_or(|written| written.to_string() == balance_after));
            let entry_type =
                said("imported_entry_type").unwrap_or_else(|| entry.entry_type.name().to_ascii_lowercase());
            prop_assert_eq!(entry_type, row.entry_type.as_str());
        }
    }

    #[test]
    fn whatever_else_is_there_balances_the_account_and_says_why(rows in history(), balance in any::<i64>()) {
        let (entries, import) = import(&rows, balance, usize::MAX);
        let rest: Vec<_> =
            entries.iter().filter(|entry| !entry.note.metadata.contains_key(IMPORTED_ID)).collect();
        for entry in &rest {
            prop_assert_eq!(entry.actor.as_ref().unwrap().as_str(), ADJUSTMENT_ACTOR);
            prop_assert!(entry.reason.is_some() && entry.note.metadata.contains_key("imported_adjustment"));
            prop_assert!(entry.amount != MicroUsd::ZERO && entry.external_ids.is_empty());
        }
        let sum: i128 = rows.iter().map(|row| i128::from(row.amount.get())).sum();
        let adjusted: i128 = rest.iter().map(|entry| i128::from(entry.amount.get())).sum();
        prop_assert_eq!(sum + adjusted, i128::from(balance));
        prop_assert_eq!((import.imported.amount, import.imported.adjustment), (sum, adjusted));
        prop_assert_eq!(import.imported.rows, i64::try_from(rows.len()).unwrap());
        prop_assert_eq!(import.imported.last, rows.iter().map(HistoryRow::position).max());
        // A balance that follows from its rows is left alone.
        let mut posted = Some(0_i64);
        for row in &rows {
            posted = posted.and_then(|posted| posted.checked_add(row.amount.get()));
        }
        prop_assert!(!rest.is_empty() || posted == Some(balance));
        prop_assert!(rest.is_empty() || posted != Some(balance));
    }

    #[test]
    fn what_was_added_is_a_journal(rows in history(), balance in any::<i64>()) {
        let (entries, import) = import(&rows, balance, usize::MAX);
        let (mut posted, mut time) = (0_i64, 0);
        for (sequence, entry) in (1..).zip(&entries) {
            posted = posted.checked_add(entry.amount.get()).unwrap();
            prop_assert_eq!(entry.sequence, sequence);
            prop_assert_eq!(entry.balance_after.posted().get(), posted);
            prop_assert!((time..=NOW).contains(&entry.create_time.unix_micros()));
            time = entry.create_time.unix_micros();
        }
        prop_assert_eq!(import.standing.balance.posted().get(), balance);
        if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
            prop_assert_eq!(import.standing.create_time, first.create_time);
            prop_assert_eq!(import.standing.update_time, last.create_time);
            prop_assert_eq!(import.standing.last_sequence, last.sequence);
        }
    }

    #[test]
    fn a_time_is_kept_wherever_the_book_can_keep_it(mut rows in history()) {
        rows.retain(|row| (0..=NOW).contains(&row.create_time.unix_micros()));
        rows.retain(|row| row.amount.get().unsigned_abs() < 1_000);
        let (entries, _) = import(&rows, 0, usize::MAX);
        for (entry, row) in entries.iter().zip(&rows) {
            prop_assert_eq!(entry.create_time, row.create_time);
        }
    }

    #[test]
    fn it_does_not_matter_where_an_import_is_interrupted(rows in history(), balance in any::<i64>(), chunk in 1..9_usize) {
        let (whole, in_one_go) = import(&rows, balance, usize::MAX);
        let (parts, in_chunks) = import(&rows, balance, chunk);
        prop_assert_eq!(whole, parts);
        prop_assert_eq!(in_one_go.imported, in_chunks.imported);
    }

    #[test]
    fn what_comes_late_goes_behind_what_is_there(rows in history(), late in row()) {
        let (_, mut import) = import(&rows, 0, usize::MAX);
        let (before, last) = (import.standing, import.imported.last);
        import.entries.clear();
        let late = HistoryRow { id: 1_000, ..late };
        import.add(late.clone(), Timestamp::from_unix_micros(NOW)).unwrap();
        let entry = import.entries.last().unwrap();
        prop_assert!(rows.is_empty() || entry.create_time >= before.update_time);
        prop_assert_eq!(import.imported.last, last.max(Some(Position { create_time: late.create_time, id: 1_000 })));
    }
}
