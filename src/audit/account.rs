//! One account: compares its row with its entries and reservations, and checks that each key has one answer.

use super::{
    AccountFact, AnswerFact, Difference, Row,
    check::{Check, Findings, Place},
    entries::EntriesAudit,
    reservations::{ReservationsAudit, time_or_none},
};
use crate::accounting::AccountState;

#[derive(Debug, Default)]
pub(super) struct AccountAudit {
    pub(super) account_id: String,
    row: Option<AccountFact>,
    entries: EntriesAudit,
    last_answer: Option<AnswerFact>,
    reservations: ReservationsAudit,
    has_reservations: bool,
    has_grants: bool,
}

impl AccountAudit {
    pub(super) fn new(account_id: String) -> Self {
        Self { account_id, ..Self::default() }
    }

    pub(super) fn observe(&mut self, row: Row, report: &mut dyn FnMut(Difference)) {
        let findings = &mut Findings { account_id: &self.account_id, report };
        match row {
            Row::Account(row) => self.row = Some(row),
            Row::Entry(entry) => self.entries.observe(*entry, findings),
            Row::Undoing(undoing) => self.entries.observe_undoing(&undoing, findings),
            Row::Claim(claim) => self.entries.observe_claim(&claim, findings),
            Row::Replay(replay) => self.entries.observe_replay(&replay, findings),
            Row::Answer(answer) => {
                if let Some(before) = &self.last_answer
                    && before.idempotency_key == answer.idempotency_key
                {
                    let found = format!("one in {} and one in {}", before.table.name(), answer.table.name());
                    let place = Place::IdempotencyKey(answer.idempotency_key.clone());
                    findings.report(Check::KeyAnswers, place, "one answer", found);
                }
                self.last_answer = Some(answer);
            }
            Row::Reservation(row) => {
                self.has_reservations = true;
                self.reservations.observe(row, findings);
            }
            Row::Step(step) => self.reservations.observe_step(step, findings),
            Row::Grant(grant) => {
                self.has_grants = true;
                self.entries.grants.observe_row(&grant, findings);
            }
        }
    }

    /// Checks what can only be checked at its end. Returns what is posted and held.
    pub(super) fn finish(mut self, report: &mut dyn FnMut(Difference)) -> (i128, i128) {
        let findings = &mut Findings { account_id: &self.account_id, report };
        self.entries.settle_newest(findings);
        self.reservations.settle(findings);
        self.entries.grants.settle(&self.reservations.pinned, findings);
        match &self.row {
            Some(row) => self.check_row(row, findings),
            None if self.entries.last_sequence().is_some() || self.has_reservations || self.has_grants => {
                findings.report(Check::AccountMissing, Place::Account, "a row", "none");
            }
            None => {}
        }
        let (held, reserved) = (self.entries.held, self.reservations.held);
        if i64::try_from(reserved).map_or(true, |reserved| !held.is(reserved)) {
            findings.report(Check::ReservationsHold, Place::Account, held.sum(), reserved);
        }
        (self.entries.posted.sum(), held.sum())
    }

    fn check_row(&self, row: &AccountFact, findings: &mut Findings<'_>) {
        match self.entries.last_sequence() {
            Some(last_sequence) => self.check_figures(row, last_sequence, findings),
            None => check_empty(row, findings),
        }
        let first = [self.reservations.first_expire_time, self.entries.grants.first_expire_time()];
        let first = first.into_iter().flatten().min();
        if let Some(first) = first.filter(|first| row.next_expire_time.is_none_or(|next| next > *first)) {
            let expected = format!("{first} or earlier");
            let found = time_or_none(row.next_expire_time);
            findings.report(Check::AccountNextExpireTime, Place::Account, expected, found);
        }
    }

    fn check_figures(&self, row: &AccountFact, last_sequence: i64, findings: &mut Findings<'_>) {
        let place = || Place::Account;
        let EntriesAudit { posted, held, first_time, .. } = &self.entries;
        if !posted.is(row.posted) {
            findings.report(Check::AccountPosted, Place::Account, posted.sum(), row.posted);
        }
        if !held.is(row.held) {
            findings.report(Check::AccountHeld, Place::Account, held.sum(), row.held);
        }
        if self.entries.settings != row.settings {
            let [expected, found] = [self.entries.settings, row.settings].map(settings);
            findings.report(Check::AccountSettings, Place::Account, expected, found);
        }
        let withdrawable = self.entries.withdrawable;
        findings.compare(Check::AccountWithdrawable, place, withdrawable, row.withdrawable);
        self.entries.grants.check_account(row.granted, findings);
        findings.compare(Check::AccountLastSequence, place, last_sequence, row.last_sequence);
        if let (Some(first), Some(last)) = (*first_time, self.entries.last_time()) {
            findings.compare(Check::AccountCreateTime, place, first, row.create_time);
            findings.compare(Check::AccountUpdateTime, place, last, row.update_time);
        }
    }
}

fn settings((state, debt_limit): (i16, Option<i64>)) -> String {
    let state = AccountState::from_number(state).map_or("no state", AccountState::name);
    let limit = debt_limit
        .map_or_else(|| "no debt limit of its own".to_owned(), |limit| format!("debt limit {limit}"));
    format!("{state}, {limit}")
}

/// An account without entries is only a lock.
fn check_empty(row: &AccountFact, findings: &mut Findings<'_>) {
    let AccountFact { posted, held, last_sequence, .. } = row;
    if (*posted, *held, *last_sequence) != (0, 0, 0) {
        let found = format!("{posted} posted, {held} held, {last_sequence} entries");
        findings.report(Check::AccountWithoutEntries, Place::Account, "nothing", found);
    }
}
