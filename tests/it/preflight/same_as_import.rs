//! What a preflight says is what an import then does, on random small sources.

use std::collections::{BTreeMap, BTreeSet};

use billing::{
    accounting::{AccountId, MicroUsd, Timestamp},
    history::rules::{Finding, HistoryRow, Irregularity, Survey},
    history::{Import, ImportEvent, Preflight, PreflightEvent},
};
use diesel::{dsl, sql_types::BigInt};
use diesel_async::RunQueryDsl;
use fastrand::Rng;

use super::source::{empty_source, fill};
use crate::support::TestBook;

const CASES: u64 = 25;
const ACCOUNTS: [&str; 6] = ["ann", "bob", "cs_2", "d d", "", "zoë"];
const TYPES: [&str; 6] =
    ["stripe_deposit", "stripe_deposit", "stripe_deposit", "charge", "payout", "stripe_refund"];
/// Sessions with and without what is in front, one that is an account's id, one whose order depends on the language, and none.
const REFERENCES: [&str; 12] = [
    "stripe:cs_1",
    "cs_1",
    "stripe:CS_1",
    "stripe:stripe:cs_1",
    "stripe:",
    "",
    "stripe:cs_2",
    "cs_2",
    "stripe:é",
    "by card",
    "stripe_deposit",
    "stripe:cs-1",
];
const AMOUNTS: [i64; 8] = [5, 7, -3, 100, 0, i64::MAX, i64::MIN, i64::MAX - 1];

/// A row as it is in the source, and its account.
#[derive(Debug, Clone)]
struct SourceRow {
    account: Option<&'static str>,
    entry_type: Option<&'static str>,
    amount: i64,
    reference: &'static str,
    minute: i64,
}

fn rows(random: &mut Rng) -> Vec<SourceRow> {
    let is_wild = random.bool(); // else nothing overflows or is left out
    let row = |random: &mut Rng| {
        let accounts = if is_wild && random.u8(0..9) == 0 { ACCOUNTS.len() } else { 3 };
        let amounts = if is_wild { AMOUNTS.len() } else { 5 };
        let mut is_there = || !is_wild || random.u8(0..60) > 0;
        let (has_account, has_type) = (is_there(), is_there());
        SourceRow {
            account: has_account.then(|| ACCOUNTS[random.usize(..accounts)]),
            entry_type: has_type.then(|| TYPES[random.usize(..TYPES.len())]),
            amount: AMOUNTS[random.usize(..amounts)],
            reference: REFERENCES[random.usize(..REFERENCES.len())],
            minute: random.i64(0..10),
        }
    };
    (0..random.usize(..30)).map(|_| row(random)).collect()
}

fn sql(rows: &[SourceRow], random: &mut Rng) -> String {
    let text = |text: Option<&str>| text.map_or_else(|| "NULL".to_owned(), |text| format!("'{text}'"));
    let row = |row: &SourceRow| {
        let SourceRow { account, entry_type, amount, reference, minute } = row;
        format!(
            "INSERT INTO ledger_entries (account_id, entry_type, amount_micro_usd, reference, created_at)
             VALUES ({}, {}, {amount}, '{reference}', '2026-01-01 00:{minute:02}Z');",
            text(*account),
            text(*entry_type)
        )
    };
    let mut all: String = rows.iter().map(row).collect();
    for account in ACCOUNTS {
        let sum: i128 =
            rows.iter().filter(|row| row.account == Some(account)).map(|row| i128::from(row.amount)).sum();
        let balance = match random.u8(0..4) {
            0 => continue,
            1 => random.i64(-5..200),
            _ => i64::try_from(sum).unwrap_or(i64::MAX),
        };
        let row = format!("INSERT INTO balances VALUES ('{account}', {balance}, 0, '2026-01-01');");
        all.push_str(&row);
    }
    all
}

/// What is told of adjustments, of payments that are credited more than once, and of what is left out.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    /// What the balance of an account misses.
    adjustments: BTreeMap<String, i128>,
    /// Before how many rows an account is brought to zero.
    overflows: BTreeMap<String, i64>,
    /// How often a payment is repeated, and what that comes to.
    repeated: BTreeMap<String, (i64, i128)>,
    /// Deposits without one, by id.
    nameless: BTreeSet<i64>,
    /// Accounts, with their rows.
    left_out: BTreeMap<Option<String>, i64>,
}

async fn preflight(source: &TestBook) -> (Told, Survey) {
    let mut told = Told::default();
    let preflight = Preflight::open(&source.database_url()).await.unwrap();
    let survey = preflight
        .run(&mut |event| {
            let PreflightEvent::Found(irregularity) = event else { return };
            match irregularity {
                Irregularity::Balance { account_id, adjustment_micro_usd, .. } => {
                    assert_eq!(told.adjustments.insert(account_id, adjustment_micro_usd), None);
                }
                Irregularity::Overflow { account_id, rows, .. } => {
                    assert_eq!(told.overflows.insert(account_id, rows), None);
                }
                Irregularity::DuplicatedDeposit { external_id, times, over_credited_micro_usd, .. } => {
                    let repeated = (times - 1, over_credited_micro_usd);
                    assert_eq!(told.repeated.insert(external_id.to_string(), repeated), None);
                }
                Irregularity::DepositWithoutSession { id, .. } => assert!(told.nameless.insert(id)),
                Irregularity::AccountId { account_id, rows, .. }
                | Irregularity::Unreadable { account_id, rows_of_account: rows, .. } => {
                    told.left_out.insert(account_id, rows);
                }
                Irregularity::BalanceAfter { .. }
                | Irregularity::Amount { .. }
                | Irregularity::UnknownType { .. }
                | Irregularity::Sign { .. }
                | Irregularity::Time { .. }
                | Irregularity::Withdrawable { .. } => {}
            }
        })
        .await
        .unwrap();
    (told, survey)
}

async fn import(source: &TestBook, book: &TestBook) -> Told {
    let mut told = Told::default();
    let mut reasons = BTreeSet::new();
    let mut import = Import::open(&source.database_url(), &book.database_url()).await.unwrap();
    import
        .run(&mut |event| {
            let ImportEvent::Found(finding) = event else { return };
            match finding {
                Finding::Adjustment { account_id, amount_micro_usd, reason, .. } => {
                    *told.adjustments.entry(account_id.clone()).or_default() += i128::from(amount_micro_usd);
                    if reason.starts_with("no balance can hold") && reasons.insert(reason) {
                        *told.overflows.entry(account_id).or_default() += 1;
                    }
                }
                Finding::RepeatedPayment { external_id, amount_micro_usd, .. } => {
                    let (times, sum) = told.repeated.entry(external_id).or_default();
                    (*times, *sum) = (*times + 1, *sum + i128::from(amount_micro_usd));
                }
                Finding::LeftOut { account_id, rows, .. } => {
                    assert_eq!(told.left_out.insert(account_id, rows), None);
                }
            }
        })
        .await
        .unwrap();
    told.adjustments.retain(|_, sum| *sum != 0);
    let nameless = "SELECT (metadata->>'imported_id')::bigint FROM ledger_entries
                    WHERE entry_type = 1 AND external_ids IS NULL";
    let nameless: Vec<i64> = dsl::sql::<BigInt>(nameless).load(&mut book.connect().await).await.unwrap();
    told.nameless = BTreeSet::from_iter(nameless);
    told
}

/// What the rows themselves say of payments, by the importer's own reading of a row, and by nothing of SQL. Accounts with rows
/// that cannot be read are left out.
fn payments(rows: &[SourceRow]) -> (BTreeMap<String, (i64, i128)>, BTreeSet<i64>) {
    let unreadable: BTreeSet<_> =
        rows.iter().filter(|row| row.entry_type.is_none()).filter_map(|row| row.account).collect();
    let mut rows: Vec<_> = (1..).zip(rows).collect();
    rows.sort_by_key(|(id, row)| (row.minute, *id));
    let mut credited: BTreeMap<String, (i64, i128)> = BTreeMap::new();
    let mut nameless = BTreeSet::new();
    for (id, row) in rows {
        let (Some(account), Some(entry_type @ "stripe_deposit")) = (row.account, row.entry_type) else {
            continue;
        };
        let Ok(account_id) = AccountId::parse("account_id", account) else { continue };
        if unreadable.contains(account) {
            continue;
        }
        let history = HistoryRow {
            id,
            entry_type: entry_type.into(),
            amount: MicroUsd::new(row.amount),
            balance_after: None,
            reference: row.reference.into(),
            create_time: Timestamp::from_unix_micros(0),
            repeats_payment: false,
        };
        match history.payment(&account_id) {
            None => drop(nameless.insert(id)),
            Some(payment) => {
                let (times, sum) = credited.entry(payment.to_string()).or_insert((-1, 0));
                *times += 1;
                *sum += if *times == 0 { 0 } else { i128::from(row.amount) };
            }
        }
    }
    credited.retain(|_, (times, _)| *times > 0);
    (credited, nameless)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_preflight_says_is_what_an_import_does() {
    let source = empty_source().await;
    let first = fastrand::u64(..);
    let mut seen = Told::default();
    for seed in (0..CASES).map(|n| first.wrapping_add(n)) {
        let random = &mut Rng::with_seed(seed);
        let rows = rows(random);
        fill(&source, &sql(&rows, random)).await;
        let book = TestBook::create().await;
        let (mut said, survey) = preflight(&source).await;
        let mut done = import(&source, &book).await;
        assert_eq!((&said.adjustments, &said.overflows), (&done.adjustments, &done.overflows), "seed {seed}");
        assert_eq!(said.left_out, done.left_out, "seed {seed}");
        let (repeated, nameless) = payments(&rows);
        assert_eq!((&said.repeated, &said.nameless), (&repeated, &nameless), "seed {seed}");
        assert_eq!((&done.repeated, &done.nameless), (&repeated, &nameless), "seed {seed}");
        let adjustment: i128 = said.adjustments.values().sum();
        assert_eq!(survey.adjustment, adjustment, "seed {seed}");
        seen.adjustments.append(&mut said.adjustments);
        seen.overflows.append(&mut said.overflows);
        seen.repeated.append(&mut done.repeated);
        seen.nameless.append(&mut said.nameless);
        seen.left_out.append(&mut said.left_out);
    }
    let Told { adjustments, overflows, repeated, nameless, left_out } = seen;
    let sizes = [adjustments.len(), overflows.len(), repeated.len(), nameless.len(), left_out.len()];
    assert!(sizes.into_iter().all(|size| size > 0), "something was never tried: {sizes:?}");
}
