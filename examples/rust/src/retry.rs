//! When to call again, after how long, and when to stop. It knows nothing of connections.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// How patient a client is.
#[derive(Debug, Clone)]
pub struct Policy {
    /// How long all tries of a call may take together.
    pub deadline: Duration,
    /// How long one try may take. Longer than the service usually needs, so that a busy one is not called twice.
    pub try_timeout: Duration,
    /// The longest pause before the second try. It doubles with each further one; half of each pause is left to chance.
    pub first_pause: Duration,
    /// The longest pause of all, unless the service asks for a longer one.
    pub longest_pause: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(30),
            try_timeout: Duration::from_secs(5),
            first_pause: Duration::from_millis(20),
            longest_pause: Duration::from_secs(2),
        }
    }
}

/// Why a call brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The service has answered, and would answer the same call the same.
    #[error("the service refused: {0}")]
    Answered(Status),
    /// No answer so far has settled it; this was the last one. The operation may have been applied, or may yet be. Make the
    /// same call again later, with the same key, or ask `GetOperation`.
    #[error("not settled: call again with the same key: {0}")]
    Unsettled(Status),
}

impl Failure {
    /// What the service, or the connection to it, said last.
    #[must_use]
    pub fn status(&self) -> &Status {
        match self {
            Self::Answered(status) | Self::Unsettled(status) => status,
        }
    }
}

/// One try of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Try {
    /// 0, 1, 2 and so on.
    pub number: u32,
    /// How long it may take.
    pub timeout: Duration,
}

/// Makes a call until it is answered or the policy's deadline leaves no room for another try.
///
/// # Errors
/// With a final answer that is not OK, or with the last one that was not final.
pub async fn retry<T, F>(policy: &Policy, mut attempt: impl FnMut(Try) -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Status>>,
{
    let deadline = Instant::now() + policy.deadline;
    let mut is_unknown = false;
    let mut number = 0;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let this_try = Try { number, timeout: policy.try_timeout.min(left) };
        let status = match timeout(this_try.timeout, attempt(this_try)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(status)) => status,
            Err(_) => Status::deadline_exceeded("no answer in time"),
        };
        match meaning(status.code()) {
            // An earlier try may have been carried out all the same.
            Meaning::NotLetIn if is_unknown => return Err(Failure::Unsettled(status)),
            Meaning::Final | Meaning::NotLetIn => return Err(Failure::Answered(status)),
            Meaning::NothingDone => {}
            Meaning::Unknown => is_unknown = true,
        }
        let pause = pause(policy, number, &status);
        if Instant::now() + pause >= deadline {
            return Err(Failure::Unsettled(status));
        }
        sleep(pause).await;
        number += 1;
    }
}

/// What an answer says of the operation.
pub(crate) enum Meaning {
    /// It is answered, for ever or until the request or the book changes.
    Final,
    /// The caller was turned away before its key was looked at.
    NotLetIn,
    /// Nothing was done, and it may be soon.
    NothingDone,
    /// It may have been done, or not.
    Unknown,
}

pub(crate) fn meaning(code: Code) -> Meaning {
    match code {
        Code::ResourceExhausted | Code::Aborted => Meaning::NothingDone,
        // tonic says CANCELLED of a timeout of its own and of a connection that was ended while a call was on its way, UNKNOWN
        // of one that broke, and INTERNAL of one that ended in the middle of a frame.
        Code::Unavailable | Code::DeadlineExceeded | Code::Internal | Code::Unknown | Code::Cancelled => {
            Meaning::Unknown
        }
        Code::Unauthenticated | Code::PermissionDenied | Code::Unimplemented => Meaning::NotLetIn,
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::DataLoss => Meaning::Final,
    }
}

/// What the service asks for, or what the policy has; plus chance, so that callers who failed together do not come back
/// together.
pub(crate) fn pause(policy: &Policy, number: u32, status: &Status) -> Duration {
    let doubled = policy.first_pause.saturating_mul(2_u32.saturating_pow(number));
    let own = doubled.min(policy.longest_pause);
    match status.get_details_retry_info().and_then(|info| info.retry_delay) {
        Some(asked) => asked.max(own / 2) + chance(own / 2),
        None => own / 2 + chance(own / 2),
    }
}

fn chance(most: Duration) -> Duration {
    Duration::from_micros(fastrand::u64(0..=u64::try_from(most.as_micros()).unwrap_or(u64::MAX)))
}

/// The reason that the service gave, such as `INSUFFICIENT_FUNDS`. Empty where it was not the service who spoke.
#[must_use]
pub fn reason(status: &Status) -> String {
    let info = status.get_details_error_info().filter(|info| info.domain == "billing.v1");
    info.map(|info| info.reason).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{
        cell::RefCell,
        future::{pending, ready},
    };

    use tonic_types::ErrorDetails;

    use super::*;

    /// Answers in turn, and what was seen of the tries.
    struct Fake {
        answers: RefCell<Vec<Result<u32, Status>>>,
        tries: RefCell<Vec<(u32, Duration)>>,
        began: Instant,
    }

    impl Fake {
        fn new(answers: impl IntoIterator<Item = Result<u32, Status>>) -> Self {
            let answers = RefCell::new(answers.into_iter().collect());
            Self { answers, tries: RefCell::default(), began: Instant::now() }
        }

        /// The last answer is given again and again.
        fn answer(&self, this_try: Try) -> Result<u32, Status> {
            self.tries.borrow_mut().push((this_try.number, self.began.elapsed()));
            let mut answers = self.answers.borrow_mut();
            if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() }
        }

        async fn call(&self) -> Result<u32, Failure> {
            retry(&Policy::default(), |this_try| ready(self.answer(this_try))).await
        }

        fn tries(&self) -> usize {
            self.tries.borrow().len()
        }
    }

    fn failed(code: Code) -> Result<u32, Status> {
        Err(Status::new(code, "x"))
    }

    fn asks_for(code: Code, delay: Duration) -> Result<u32, Status> {
        let details = ErrorDetails::with_retry_info(Some(delay));
        Err(Status::with_error_details(code, "x", details))
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_pass_is_called_again_until_it_is_answered() {
        for code in [
            Code::Unavailable,
            Code::DeadlineExceeded,
            Code::Internal,
            Code::Unknown,
            Code::Cancelled,
            Code::ResourceExhausted,
            Code::Aborted,
        ] {
            let fake = Fake::new([failed(code), failed(code), Ok(7)]);
            assert_eq!(fake.call().await.unwrap(), 7, "{code:?}");
            let numbers: Vec<u32> = fake.tries.borrow().iter().map(|(number, _)| *number).collect();
            assert_eq!(numbers, [0, 1, 2]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_final_is_called_once() {
        for code in [
            Code::InvalidArgument,
            Code::FailedPrecondition,
            Code::NotFound,
            Code::Unauthenticated,
            Code::PermissionDenied,
            Code::Unimplemented,
        ] {
            let fake = Fake::new([failed(code)]);
            let Failure::Answered(status) = fake.call().await.unwrap_err() else { panic!("{code:?}") };
            assert_eq!((status.code(), fake.tries()), (code, 1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_turned_away_after_a_lost_answer_does_not_know_the_outcome() {
        let fake = Fake::new([failed(Code::Unavailable), failed(Code::Unauthenticated)]);
        assert!(matches!(fake.call().await.unwrap_err(), Failure::Unsettled(_)));
        // An overloaded service has done nothing.
        let fake = Fake::new([failed(Code::ResourceExhausted), failed(Code::Unauthenticated)]);
        assert!(matches!(fake.call().await.unwrap_err(), Failure::Answered(_)));
        // A refusal is the answer to the key, whichever try brought it about.
        let fake = Fake::new([failed(Code::Unavailable), failed(Code::FailedPrecondition)]);
        assert!(matches!(fake.call().await.unwrap_err(), Failure::Answered(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_service_says_how_long_to_wait() {
        let asked = Duration::from_millis(3_700);
        let fake = Fake::new([asks_for(Code::ResourceExhausted, asked), Ok(1)]);
        fake.call().await.unwrap();
        let waited = fake.tries.borrow()[1].1;
        assert!(waited >= asked && waited < asked + Duration::from_millis(50), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_differ() {
        let (policy, status) = (Policy::default(), Status::unavailable("x"));
        for (number, least, most) in
            [(0, 10, 20), (1, 20, 40), (3, 80, 160), (20, 1_000, 2_000), (99, 1_000, 2_000)]
        {
            let pauses: Vec<Duration> = (0..100).map(|_| pause(&policy, number, &status)).collect();
            assert!(pauses.iter().all(|pause| (least..=most).contains(&pause.as_millis())), "{pauses:?}");
            assert!(pauses.iter().any(|pause| *pause != pauses[0]), "no chance in {pauses:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_gives_up_at_its_deadline() {
        let fake = Fake::new([failed(Code::Unavailable)]);
        assert!(matches!(fake.call().await.unwrap_err(), Failure::Unsettled(_)));
        let elapsed = fake.began.elapsed();
        assert!(elapsed <= Policy::default().deadline && elapsed > Duration::from_secs(27), "{elapsed:?}");
        assert!((18..=45).contains(&fake.tries()), "{} tries", fake.tries());
    }

    #[tokio::test(start_paused = true)]
    async fn a_try_that_hangs_is_given_up_and_the_last_one_has_what_is_left() {
        let policy = Policy { deadline: Duration::from_secs(12), ..Policy::default() };
        let (began, timeouts) = (Instant::now(), RefCell::new(Vec::new()));
        let hanging = |this_try: Try| {
            timeouts.borrow_mut().push(this_try.timeout);
            pending::<Result<(), Status>>()
        };
        let failure = retry(&policy, hanging).await.unwrap_err();
        assert_eq!(failure.status().code(), Code::DeadlineExceeded);
        assert!(began.elapsed() <= policy.deadline);
        let timeouts = timeouts.into_inner();
        assert_eq!((timeouts.len(), timeouts[0]), (3, policy.try_timeout));
        assert!(timeouts[2] < Duration::from_secs(2), "{timeouts:?}");
    }
}
