//! A ledger for Beancount. Asserts each customer's final balance on the day after the last entry.

use std::io::{self, Write};

use super::{
    Document,
    chart::{self, ACCOUNTS, Account, Owed, Posting},
    names,
};
use crate::accounting::{AccountId, Entry, EntryType, Usd};

pub(super) struct Beancount<W: Write> {
    out: W,
    last: Option<Entry>,
}

impl<W: Write> Beancount<W> {
    pub(super) fn begin(mut out: W) -> io::Result<Self> {
        writeln!(out, "; The journal of billing. What is owed to customers is negative.\n")?;
        writeln!(out, "option \"title\" \"billing\"\noption \"operating_currency\" \"USD\"\n")?;
        for account in ACCOUNTS {
            writeln!(out, "1970-01-01 open {account} USD")?;
        }
        Ok(Self { out, last: None })
    }

    /// Opens the accounts of the customer, with the opening balance.
    fn open_customer(&mut self, entry: &Entry) -> io::Result<()> {
        writeln!(self.out)?;
        let date = chart::date(entry)?;
        for account in [Account::Available, Account::Held] {
            writeln!(self.out, "{date} open {} USD", name(account, &entry.account_id))?;
        }
        if entry.sequence > 1 {
            writeln!(self.out, "\n{date} * \"opening balance\"")?;
            self.postings(&chart::opening_postings(entry), &entry.account_id)?;
        }
        Ok(())
    }

    /// Asserts the final balance of the customer whose last entry was written.
    fn close_customer(&mut self) -> io::Result<()> {
        let Some(entry) = self.last.take() else { return Ok(()) };
        let Some(date) = entry.effective_time.date().and_then(|date| date.tomorrow().ok()) else {
            return Ok(());
        };
        let Owed { available, held } = chart::owed_after(&entry);
        writeln!(self.out)?;
        for (account, balance) in [(Account::Available, available), (Account::Held, held)] {
            writeln!(self.out, "{date} balance {}  {} USD", name(account, &entry.account_id), Usd(balance))?;
        }
        Ok(())
    }

    fn postings(&mut self, postings: &[Posting], account_id: &AccountId) -> io::Result<()> {
        for Posting { account, micro_usd } in postings {
            writeln!(self.out, "  {}  {} USD", name(*account, account_id), Usd(*micro_usd))?;
        }
        Ok(())
    }
}

impl<W: Write> Document for Beancount<W> {
    fn entry(&mut self, entry: &Entry, refunded: Option<EntryType>) -> io::Result<()> {
        if self.last.as_ref().is_none_or(|last| last.account_id != entry.account_id) {
            self.close_customer()?;
            self.open_customer(entry)?;
        }
        writeln!(self.out, "\n{} * \"{}\"", chart::date(entry)?, entry.entry_type.name())?;
        writeln!(self.out, "  sequence: {}", entry.sequence)?;
        for (fact, text) in chart::facts(entry) {
            writeln!(self.out, "  {fact}: {}", names::beancount_string(&text))?;
        }
        self.postings(&chart::postings(entry, refunded), &entry.account_id)?;
        self.last = Some(entry.clone());
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        self.close_customer()?;
        self.out.flush()
    }
}

fn name(account: Account, account_id: &AccountId) -> String {
    account.name(&names::beancount(account_id.as_str()))
}
