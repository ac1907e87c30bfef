//! A journal for hledger. Each posting to a customer's account asserts the balance after it, so hledger checks the book
//! again when it reads the journal.

use std::io::{self, Write};

use super::{
    Document,
    chart::{self, ACCOUNTS, Account, Owed, Posting},
    names,
};
use crate::accounting::{AccountId, Entry, EntryType, Usd};

pub(super) struct Hledger<W: Write> {
    out: W,
    account_id: Option<AccountId>,
}

impl<W: Write> Hledger<W> {
    pub(super) fn begin(mut out: W) -> io::Result<Self> {
        writeln!(out, "; The journal of billing. What is owed to customers is negative.\n")?;
        writeln!(out, "commodity 1000.000000 USD\n")?;
        for account in ACCOUNTS {
            writeln!(out, "account {account}")?;
        }
        Ok(Self { out, account_id: None })
    }

    /// Declares the accounts of the customer, and opens them with the opening balance.
    fn open_customer(&mut self, entry: &Entry) -> io::Result<()> {
        self.account_id = Some(entry.account_id.clone());
        writeln!(self.out)?;
        for account in [Account::Available, Account::Held] {
            writeln!(self.out, "account {}", name(account, &entry.account_id))?;
        }
        if entry.sequence > 1 {
            writeln!(self.out, "\n{} * opening balance", chart::date(entry)?)?;
            self.postings(&chart::opening_postings(entry), chart::owed_before(entry), &entry.account_id)?;
        }
        Ok(())
    }

    fn postings(&mut self, postings: &[Posting], owed: Owed, account_id: &AccountId) -> io::Result<()> {
        for Posting { account, micro_usd } in postings {
            write!(self.out, "    {}  {} USD", name(*account, account_id), Usd(*micro_usd))?;
            match owed.on(*account) {
                Some(balance) => writeln!(self.out, " = {} USD", Usd(balance))?,
                None => writeln!(self.out)?,
            }
        }
        Ok(())
    }
}

impl<W: Write> Document for Hledger<W> {
    fn entry(&mut self, entry: &Entry, refunded: Option<EntryType>) -> io::Result<()> {
        if self.account_id.as_ref() != Some(&entry.account_id) {
            self.open_customer(entry)?;
        }
        let (date, what) = (chart::date(entry)?, entry.entry_type.name());
        writeln!(self.out, "\n{date} * ({}) {what}", entry.sequence)?;
        for (fact, text) in chart::facts(entry) {
            writeln!(self.out, "    ; {fact}: {}", names::hledger_value(&text))?;
        }
        self.postings(&chart::postings(entry, refunded), chart::owed_after(entry), &entry.account_id)
    }

    fn end(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn name(account: Account, account_id: &AccountId) -> String {
    account.name(&names::hledger(account_id.as_str()))
}
