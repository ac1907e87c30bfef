//! A list of operations, until each of them is answered. It knows nothing of connections.

use std::{iter, time::Duration};

use prost::Message as _;
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};
use tonic_types::{StatusExt as _, pb};

use crate::{
    proto::{Applied, ApplyResponse, Operation, result},
    retry::{Failure, Meaning, Policy, Try, meaning, pause, retry},
};

/// Sends a list, and again what of it is not settled, until all of it is or the policy's deadline leaves no room for another try.
pub(crate) async fn apply<F>(
    policy: &Policy,
    operations: &[Operation],
    mut send: impl FnMut(Try, Vec<Operation>) -> F,
) -> Vec<Result<Applied, Failure>>
where
    F: Future<Output = Result<ApplyResponse, Status>>,
{
    let deadline = Instant::now() + policy.deadline;
    let mut parts: Vec<_> = operations.iter().map(Part::new).collect();
    for number in 0.. {
        let mut open: Vec<_> = parts.iter_mut().filter(|part| part.open().is_some()).collect();
        let list: Vec<_> = open.iter().map(|part| part.operation.clone()).collect();
        let left = Policy { deadline: deadline.saturating_duration_since(Instant::now()), ..policy.clone() };
        let mut tries = 0;
        let answer = retry(&left, |this_try| {
            tries += 1;
            send(this_try, list.clone())
        });
        match answer.await {
            Ok(response) => {
                let results = response.results.into_iter().map(|result| result.result);
                for (part, result) in open.iter_mut().zip(results.chain(iter::repeat(None))) {
                    part.is_unknown |= tries > 1; // an earlier try may have been carried out
                    part.answered(result);
                }
            }
            Err(failure) => open.iter_mut().for_each(|part| part.failed(&failure)),
        }
        let Some(status) = parts.iter().filter_map(Part::open).max_by_key(|status| asked(status)) else {
            break;
        };
        let pause = pause(policy, number, status);
        if Instant::now() + pause >= deadline {
            break;
        }
        sleep(pause).await;
    }
    parts.into_iter().map(Part::into_result).collect()
}

/// An operation of the list, and what has become of it so far.
struct Part<'a> {
    operation: &'a Operation,
    /// Whether it may have been carried out without an answer.
    is_unknown: bool,
    standing: Standing,
}

#[expect(clippy::large_enum_variant, reason = "most of them become the larger one")]
enum Standing {
    /// To be sent, for this reason.
    Open(Status),
    Settled(Result<Applied, Failure>),
}

impl<'a> Part<'a> {
    fn new(operation: &'a Operation) -> Self {
        Self { operation, is_unknown: false, standing: Standing::Open(Status::unknown("not sent yet")) }
    }

    fn open(&self) -> Option<&Status> {
        if let Standing::Open(status) = &self.standing { Some(status) } else { None }
    }

    fn answered(&mut self, result: Option<result::Result>) {
        let status = match result {
            Some(result::Result::Applied(applied)) => {
                self.standing = Standing::Settled(Ok(applied));
                return;
            }
            Some(result::Result::Error(error)) => status(&error),
            None => Status::unknown("the list was answered without a result for this"),
        };
        match meaning(status.code()) {
            Meaning::Final | Meaning::NotLetIn => self.failed(&Failure::Answered(status)),
            Meaning::NothingDone => self.standing = Standing::Open(status),
            Meaning::Unknown => {
                self.is_unknown = true;
                self.standing = Standing::Open(status);
            }
        }
    }

    fn failed(&mut self, failure: &Failure) {
        let status = failure.status().clone();
        let is_turned_away = matches!(meaning(status.code()), Meaning::NotLetIn);
        let failure = match failure {
            Failure::Answered(_) if !(is_turned_away && self.is_unknown) => Failure::Answered(status),
            Failure::Answered(_) | Failure::Unsettled(_) => Failure::Unsettled(status),
        };
        self.standing = Standing::Settled(Err(failure));
    }

    fn into_result(self) -> Result<Applied, Failure> {
        match self.standing {
            Standing::Open(status) => Err(Failure::Unsettled(status)),
            Standing::Settled(result) => result,
        }
    }
}

/// An error of one operation, as a call by itself would have been answered.
fn status(error: &pb::Status) -> Status {
    Status::with_details(Code::from_i32(error.code), error.message.clone(), error.encode_to_vec().into())
}

/// How long the service asks to wait.
fn asked(status: &Status) -> Option<Duration> {
    status.get_details_retry_info().and_then(|info| info.retry_delay)
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, future::ready};

    use super::*;
    use crate::proto::{self, ChargeRequest, operation};

    fn charge(key: &str) -> Operation {
        let request = ChargeRequest { idempotency_key: key.into(), ..Default::default() };
        Operation { operation: Some(operation::Operation::Charge(request)) }
    }

    fn key(operation: &Operation) -> String {
        let Some(operation::Operation::Charge(request)) = &operation.operation else {
            panic!("{operation:?}")
        };
        request.idempotency_key.clone()
    }

    fn done() -> proto::Result {
        proto::Result { result: Some(result::Result::Applied(Applied::default())) }
    }

    fn error(code: Code) -> proto::Result {
        let status = pb::Status { code: code.into(), ..Default::default() };
        proto::Result { result: Some(result::Result::Error(status)) }
    }

    /// Sends operations a, b and c to a service that answers in turn. Returns the keys of each try, and the results.
    async fn run(
        answers: impl IntoIterator<Item = Result<Vec<proto::Result>, Status>>,
    ) -> (Vec<String>, Vec<Result<Applied, Failure>>) {
        let (mut answers, tries) = (answers.into_iter(), RefCell::new(Vec::new()));
        let send = |_, operations: Vec<Operation>| {
            tries.borrow_mut().push(operations.iter().map(key).collect::<String>());
            ready(answers.next().expect("one more try").map(|results| ApplyResponse { results }))
        };
        let results = apply(&Policy::default(), &["a", "b", "c"].map(charge), send).await;
        (tries.into_inner(), results)
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_is_not_settled_is_sent_again() {
        let first = vec![done(), error(Code::Unavailable), error(Code::FailedPrecondition)];
        let (tries, results) = run([Ok(first), Ok(vec![error(Code::Aborted)]), Ok(vec![done()])]).await;
        assert_eq!(tries, ["abc", "b", "b"]);
        let [Ok(_), Ok(_), Err(Failure::Answered(status))] = &results[..] else { panic!("{results:?}") };
        assert_eq!(status.code(), Code::FailedPrecondition);
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_without_an_answer_is_sent_again_whole() {
        let (tries, results) =
            run([Err(Status::unavailable("")), Ok(vec![done(), done()]), Ok(vec![done()])]).await;
        assert_eq!(tries, ["abc", "abc", "c"], "c had no result");
        assert!(results.iter().all(Result::is_ok), "{results:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_turned_away_knows_the_outcome_only_of_what_was_not_begun() {
        let first = vec![done(), error(Code::Internal), error(Code::ResourceExhausted)];
        let (_, results) = run([Ok(first), Err(Status::unauthenticated(""))]).await;
        assert!(
            matches!(&results[..], [Ok(_), Err(Failure::Unsettled(_)), Err(Failure::Answered(_))]),
            "{results:?}"
        );
        let (_, results) = run([Err(Status::unknown("")), Err(Status::permission_denied(""))]).await;
        assert!(results.iter().all(|result| matches!(result, Err(Failure::Unsettled(_)))), "{results:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_never_answered_is_given_up_at_the_deadline() {
        let began = Instant::now();
        let answer = || Ok((0..3).map(|_| error(Code::Unavailable)).collect());
        let (tries, results) = run(iter::repeat_with(answer)).await;
        assert!(began.elapsed() <= Policy::default().deadline && tries.len() > 10, "{tries:?}");
        assert!(results.iter().all(|result| matches!(result, Err(Failure::Unsettled(_)))), "{results:?}");
    }
}
