//! Posts commands as the committer does, without one.

use billing::{
    accounting::{Command, Outcome},
    ledger::{Ledger, LedgerError, Writer},
};

/// Posts commands straight into a book.
pub trait PostBatch {
    /// Answers commands by a writer of their own, in as many transactions as it takes.
    fn post_batch(
        &self,
        commands: &[Command],
    ) -> impl Future<Output = Result<Vec<Outcome>, LedgerError>> + Send;
}

impl PostBatch for Ledger {
    async fn post_batch(&self, commands: &[Command]) -> Result<Vec<Outcome>, LedgerError> {
        let writer = Writer::new(self);
        let mut answers = writer.post_some(commands.into()).await?;
        while answers.iter().any(Option::is_none) {
            let unanswered = answers.iter().zip(commands).enumerate();
            let unanswered = unanswered.filter(|(_, (answer, _))| answer.is_none());
            let (places, rest): (Vec<usize>, Vec<Command>) =
                unanswered.map(|(place, (_, command))| (place, command.clone())).unzip();
            for (place, answer) in places.into_iter().zip(writer.post_some(rest.into()).await?) {
                answers[place] = answer;
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }
}
