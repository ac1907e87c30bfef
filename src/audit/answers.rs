//! Checks that each key has one answer.

use super::{
    AnswerFact, AnswerTable,
    check::{Check, Findings, Place},
};

/// The previous key.
#[derive(Debug, Default)]
pub(super) struct AnswersAudit {
    last: Option<AnswerFact>,
}

impl AnswersAudit {
    /// Takes the next key, in the order of keys.
    pub(super) fn observe(&mut self, answer: AnswerFact, findings: &mut Findings<'_>) {
        if let Some(before) = &self.last
            && before.idempotency_key == answer.idempotency_key
        {
            let found = format!("one in {} and one in {}", before.table.name(), answer.table.name());
            let place = Place::IdempotencyKey(answer.idempotency_key.clone());
            findings.report(Check::KeyAnswers, place, "one answer", found);
        }
        self.last = Some(answer);
    }
}

impl AnswerTable {
    /// The table's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Entries => "ledger_entries",
            Self::Refusals => "refusals",
            Self::Replays => "external_replays",
        }
    }
}
