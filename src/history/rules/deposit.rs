//! Stripe deposits over all accounts: which of them is the first of its session.

use super::{Irregularity, row::session};
use crate::accounting::{AccountId, ExternalId, MicroUsd};

/// How much of a reference is shown.
const SHOWN_MAX: usize = 100;

/// A row that deposits what came by Stripe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deposit {
    /// The row's number in the replaced system.
    pub id: i64,
    /// Who was credited.
    pub account_id: AccountId,
    /// With how much.
    pub amount: MicroUsd,
    /// What was written beside it.
    pub reference: String,
}

/// Tells first deposits from repeated ones. They come in the order of their sessions, those of a session in the order of
/// their places.
#[derive(Debug, Default)]
pub struct Sessions {
    last: Option<ExternalId>,
}

impl Sessions {
    /// Whether the deposit repeats an earlier one of the same session. What has no session repeats nothing.
    pub fn repeats(&mut self, deposit: &Deposit) -> bool {
        let Some(payment) = deposit.payment() else { return false };
        let repeats = self.last.as_ref() == Some(&payment);
        self.last = Some(payment);
        repeats
    }
}

impl Deposit {
    /// The session.
    #[must_use]
    pub fn payment(&self) -> Option<ExternalId> {
        session(&self.reference, &self.account_id)
    }
}

/// Finds what is irregular in deposits, which come as [`Sessions`] has them.
#[derive(Debug, Default)]
pub struct DepositSurvey {
    sessions: Sessions,
    /// The deposits of the newest session.
    open: Option<OpenSession>,
}

#[derive(Debug)]
struct OpenSession {
    external_id: ExternalId,
    account_ids: Vec<String>,
    times: i64,
    over_credited: i128,
}

impl DepositSurvey {
    /// Takes the next deposit.
    pub fn observe(&mut self, deposit: &Deposit, found: &mut dyn FnMut(Irregularity)) {
        let Some(external_id) = deposit.payment() else {
            return found(Irregularity::DepositWithoutSession {
                account_id: deposit.account_id.to_string(),
                id: deposit.id,
                amount_micro_usd: deposit.amount.get(),
                reference: beginning(&deposit.reference),
            });
        };
        if !self.sessions.repeats(deposit) {
            self.finish(found);
        }
        let fresh = || OpenSession { external_id, account_ids: Vec::new(), times: 0, over_credited: 0 };
        self.open.get_or_insert_with(fresh).add(deposit);
    }

    /// There are no more, for now or at all.
    pub fn finish(&mut self, found: &mut dyn FnMut(Irregularity)) {
        let Some(session) = self.open.take_if(|session| session.times > 1) else {
            self.open = None;
            return;
        };
        found(Irregularity::DuplicatedDeposit {
            external_id: session.external_id,
            account_ids: session.account_ids,
            times: session.times,
            over_credited_micro_usd: session.over_credited,
        });
    }
}

impl OpenSession {
    fn add(&mut self, deposit: &Deposit) {
        if self.times > 0 {
            self.over_credited += i128::from(deposit.amount.get());
        }
        self.times += 1;
        if !self.account_ids.iter().any(|account_id| account_id == deposit.account_id.as_str()) {
            self.account_ids.push(deposit.account_id.to_string());
        }
    }
}

fn beginning(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deposit(account_id: &str, amount: i64, reference: &str) -> Deposit {
        let account_id = AccountId::parse("account_id", account_id).unwrap();
        Deposit { id: amount, account_id, amount: MicroUsd::new(amount), reference: reference.into() }
    }

    fn survey(deposits: &[Deposit]) -> Vec<Irregularity> {
        let (mut survey, mut found) = (DepositSurvey::default(), Vec::new());
        for deposit in deposits {
            survey.observe(deposit, &mut |what| found.push(what));
        }
        survey.finish(&mut |what| found.push(what));
        found
    }

    fn duplicated(session: &str, accounts: &[&str], times: i64, over_credited: i128) -> Irregularity {
        Irregularity::DuplicatedDeposit {
            external_id: ExternalId::parse("", session).unwrap(),
            account_ids: accounts.iter().map(|&account_id| account_id.to_owned()).collect(),
            times,
            over_credited_micro_usd: over_credited,
        }
    }

    #[test]
    fn a_session_is_the_same_with_and_without_its_prefix_and_in_every_account() {
        let deposits = [
            deposit("ann", 5, "stripe:cs_1"),
            deposit("bob", 6, "cs_1"),
            deposit("ann", 7, "stripe:cs_1"),
            deposit("ann", 8, "stripe:cs_2"),
            deposit("ann", 1, "stripe:cs_3"),
            deposit("ann", 1, "stripe:cs_3"),
        ];
        let expected = [duplicated("cs_1", &["ann", "bob"], 3, 13), duplicated("cs_3", &["ann"], 2, 1)];
        assert_eq!(survey(&deposits), expected);
    }

    #[test]
    fn what_has_no_session_is_told_by_itself_and_repeats_nothing() {
        let deposits = [
            deposit("ann", 1, ""),
            deposit("ann", 2, ""),
            deposit("ann", 3, "bob"),
            deposit("bob", 4, "bob"),
            deposit("ann", 5, "bob"),
            deposit("ann", 6, &"é".repeat(200)),
        ];
        let found = survey(&deposits);
        let nameless = |what: &Irregularity| {
            let Irregularity::DepositWithoutSession { id, .. } = what else { return None };
            Some(*id)
        };
        assert_eq!(found.iter().filter_map(nameless).collect::<Vec<_>>(), [1, 2, 4, 6]);
        assert!(found.contains(&duplicated("bob", &["ann"], 2, 5)), "{found:?}");
        assert_eq!(found.len(), 5);
    }
}
