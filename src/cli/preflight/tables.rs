//! What people see of a preflight: what is there, a table for each kind of irregularity, and what an import will do.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::Duration,
};

use indicatif::DecimalBytes;

use crate::{
    accounting::{Reference, Usd},
    cli::table,
    history::rules::{
        Effect, Irregularity, Kind, References, RepeatedReference, Survey, TypeFigures, Verdict,
    },
};

/// How many lines each table has.
const LISTED_MAX: usize = 20;
/// How many types are listed: those that are known, and some.
const TYPES_MAX: usize = 40;
/// How many accounts of one payment are named.
const ACCOUNTS_MAX: usize = 3;
/// How much of a text is shown that somebody else wrote.
const TEXT_MAX: usize = 60;

/// The tables, until all is known: a column is as wide as the widest of its cells.
#[derive(Default)]
pub(super) struct Tables {
    types: Vec<TypeFigures>,
    types_found: u64,
    irregularities: BTreeMap<Kind, Vec<Irregularity>>,
}

impl Tables {
    pub(super) fn of_type(&mut self, of_type: TypeFigures) {
        self.types_found += 1;
        if self.types.len() < TYPES_MAX {
            self.types.push(of_type);
        }
    }

    pub(super) fn irregularity(&mut self, irregularity: Irregularity) {
        let listed = self.irregularities.entry(irregularity.kind()).or_default();
        if listed.len() < LISTED_MAX {
            listed.push(irregularity);
        }
    }

    pub(super) fn write(&self, out: &mut impl Write, survey: &Survey, elapsed: Duration) -> io::Result<()> {
        write_overview(out, survey)?;
        writeln!(out)?;
        table::write(out, ["TYPE", "BECOMES", "ROWS", "USD"], self.types.iter().map(type_cells))?;
        table::write_unlisted(out, self.types.len(), self.types_found, "")?;
        write_references(out, &survey.references)?;
        for (kind, listed) in &self.irregularities {
            write_kind(out, *kind, listed, survey.count(*kind))?;
        }
        writeln!(out, "\nLooked through {} rows in {elapsed:.1?}.", survey.rows)?;
        writeln!(out, "{}", conclusion(survey))
    }
}

fn write_overview(out: &mut impl Write, survey: &Survey) -> io::Result<()> {
    let Survey { rows, accounts, balance, .. } = survey;
    writeln!(out, "{rows} rows, {accounts} accounts, balances of {} USD together", Usd(*balance))?;
    if let (Some(first), Some(last), Some(id)) = (survey.first_time, survey.last_time, survey.largest_id) {
        writeln!(out, "written from {first} to {last}, the largest id is {id}")?;
    }
    let bytes = DecimalBytes(survey.disk_bytes().unsigned_abs());
    writeln!(out, "the book will need about {bytes} on its disk")?;
    if !survey.has_account_index {
        writeln!(out, "no index of ledger_entries begins with account_id: an import will sort all of it")?;
    }
    Ok(())
}

fn type_cells(of_type: &TypeFigures) -> [String; 4] {
    let name = of_type.entry_type.as_deref().map_or_else(|| "(none)".to_owned(), shown);
    [name, of_type.becomes().to_owned(), of_type.rows.to_string(), Usd(of_type.amount).to_string()]
}

fn write_references(out: &mut impl Write, references: &References) -> io::Result<()> {
    let References { empty, long, longest, repeated, repeated_rows, most_repeated } = references;
    let most = Reference::LENGTH_MAX;
    writeln!(out, "\nReferences, which are imported as they are:")?;
    writeln!(
        out,
        "rows without one: {empty}, with more than {most} bytes: {long} (the longest has {longest})"
    )?;
    writeln!(out, "repeated within an account: {repeated}, in so many rows: {repeated_rows}")?;
    let cells = |repeated: &RepeatedReference| {
        let RepeatedReference { reference, rows, accounts, is_generic } = repeated;
        let generic = if *is_generic { "generic: no key may be so" } else { "" };
        [shown(reference), rows.to_string(), accounts.to_string(), generic.to_owned()]
    };
    table::write(out, ["REFERENCE", "ROWS", "ACCOUNTS", ""], most_repeated.iter().map(cells))?;
    table::write_unlisted(out, most_repeated.len(), repeated.unsigned_abs(), "")
}

fn write_kind(out: &mut impl Write, kind: Kind, listed: &[Irregularity], count: u64) -> io::Result<()> {
    writeln!(out, "\n{}: {}\n{}", kind.name(), kind.meaning(), kind.handling())?;
    table::write(out, ["ACCOUNT", "ROWS", "USD", "WHAT"], listed.iter().map(cells))?;
    table::write_unlisted(out, listed.len(), count, "")
}

/// Account, rows, USD, and what is so.
fn cells(irregularity: &Irregularity) -> [String; 4] {
    let usd = |micro_usd: i64| Usd(micro_usd.into()).to_string();
    let row = |account_id: &str, rows: i64, usd: String, what: String| {
        [account_id.to_owned(), rows.to_string(), usd, what]
    };
    let nothing = String::new();
    match irregularity {
        Irregularity::DuplicatedDeposit { external_id, account_ids, times, over_credited_micro_usd } => {
            let what = format!("{external_id} was credited {times} times");
            row(&some_of(account_ids), times - 1, Usd(*over_credited_micro_usd).to_string(), what)
        }
        Irregularity::DepositWithoutSession { account_id, id, amount_micro_usd, reference } => {
            row(account_id, 1, usd(*amount_micro_usd), format!("row {id}: {}", quoted(reference)))
        }
        Irregularity::Balance {
            account_id,
            rows,
            balance_micro_usd,
            rows_micro_usd,
            adjustment_micro_usd,
        } => {
            let (balance, sum) = (usd(*balance_micro_usd), Usd(*rows_micro_usd));
            let what = format!("the balance is {balance}, and its rows come to {sum}");
            row(account_id, *rows, Usd(*adjustment_micro_usd).to_string(), what)
        }
        Irregularity::BalanceAfter { account_id, rows, first_id, expected_micro_usd, found_micro_usd } => {
            let (expected, found) = (Usd(*expected_micro_usd), Usd(*found_micro_usd));
            let what = format!("first in row {first_id}: {found}, where {expected} follows");
            row(account_id, *rows, nothing, what)
        }
        Irregularity::Amount { account_id, rows, first_id, first_amount_micro_usd }
        | Irregularity::Sign { account_id, rows, first_id, first_amount_micro_usd } => {
            row(account_id, *rows, usd(*first_amount_micro_usd), format!("first in row {first_id}"))
        }
        Irregularity::Overflow { account_id, rows, first_id } => {
            row(account_id, *rows, nothing, format!("first in row {first_id}"))
        }
        Irregularity::UnknownType { entry_type, rows, amount_micro_usd } => {
            row("", *rows, Usd(*amount_micro_usd).to_string(), quoted(entry_type))
        }
        Irregularity::Time { account_id, rows, first_id, earliest, latest } => {
            row(account_id, *rows, nothing, format!("first in row {first_id}; {earliest} to {latest}"))
        }
        Irregularity::Withdrawable { account_id, balance_micro_usd, withdrawable_micro_usd } => {
            let what = format!("of a balance of {}", usd(*balance_micro_usd));
            [account_id.clone(), nothing, usd(*withdrawable_micro_usd), what]
        }
        Irregularity::AccountId { account_id, rows, balance_micro_usd } => {
            let name = account_id.as_deref().map_or_else(|| "(none)".to_owned(), quoted);
            row(&name, *rows, usd(*balance_micro_usd), nothing)
        }
        Irregularity::Unreadable { account_id, rows, rows_of_account } => {
            let name = account_id.as_deref().map_or_else(|| "(none)".to_owned(), shown);
            row(&name, *rows, nothing, format!("of {rows_of_account} rows"))
        }
    }
}

fn some_of(account_ids: &[String]) -> String {
    let named = account_ids.iter().take(ACCOUNTS_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match account_ids.len().saturating_sub(ACCOUNTS_MAX) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// A text that somebody else wrote, on one line and not too long, as it is where it can be.
fn shown(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_graphic();
    if !text.is_empty() && text.len() <= TEXT_MAX && text.chars().all(is_plain) {
        return text.to_owned();
    }
    quoted(text)
}

/// The same in quotation marks.
fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(TEXT_MAX).collect();
    let dots = if shown.len() < text.len() { "…" } else { "" };
    format!("{shown:?}{dots}")
}

/// What an import will do.
fn conclusion(survey: &Survey) -> String {
    let found = |kind: &&Kind| survey.count(**kind) > 0;
    let is_changed = Kind::ALL.iter().filter(found).any(|kind| kind.effect() == Effect::Changed);
    let parts: Vec<String> = Kind::ALL.iter().filter(found).filter_map(|kind| part(*kind, survey)).collect();
    let parts = parts.join(", ");
    match survey.verdict() {
        Verdict::Exact => "An import will be complete and exact.".to_owned(),
        Verdict::Inexact if is_changed => {
            format!("An import will be complete, but not exact: {parts}.")
        }
        Verdict::Inexact => {
            format!(
                "An import will be complete, with every row and balance as it is there, but look at {parts}."
            )
        }
        Verdict::Incomplete => {
            let accounts = counted(survey.left_out_accounts.unsigned_abs(), "account", "accounts");
            let rows = counted(survey.left_out_rows.unsigned_abs(), "row", "rows");
            let rest = if parts.is_empty() { String::new() } else { format!(" In the others: {parts}.") };
            format!(
                "An import will leave out {accounts} with {rows}, until they are changed at the source.{rest}"
            )
        }
    }
}

/// What there is of a kind; nothing of what is left out.
fn part(kind: Kind, survey: &Survey) -> Option<String> {
    let count = survey.count(kind);
    let accounts = |what: &str| Some(format!("{} {what}", counted(count, "account", "accounts")));
    match kind {
        Kind::DuplicatedDeposit => {
            let payments =
                counted(survey.repeated_payments.unsigned_abs(), "repeated payment", "repeated payments");
            Some(format!("{payments} of {} USD together", Usd(survey.over_credited)))
        }
        Kind::DepositWithoutSession => {
            Some(counted(count, "deposit without a session", "deposits without a session"))
        }
        Kind::Balance => {
            let adjustments = counted(count, "adjustment", "adjustments");
            Some(format!("{adjustments} of {} USD together", Usd(survey.adjustment)))
        }
        Kind::BalanceAfter => accounts("with other running balances"),
        Kind::Amount => accounts("with odd amounts"),
        Kind::Overflow => accounts("brought to 0 on the way"),
        Kind::UnknownType => Some(counted(count, "unknown type", "unknown types")),
        Kind::Sign => accounts("with amounts of the other sign"),
        Kind::Time => accounts("with other times"),
        Kind::Withdrawable => accounts("with an odd sum to pay out"),
        Kind::AccountId | Kind::Unreadable => None,
    }
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
