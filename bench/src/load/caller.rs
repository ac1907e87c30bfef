//! Makes the calls of each kind of work, and judges their answers.

use std::{
    iter,
    sync::{Arc, Mutex, PoisonError},
};

use billing::grpc::proto::{
    self, ApplyRequest, CaptureRequest, ChargeRequest, CreditRequest, EntryType, GetAccountRequest, Leg,
    Operation, ReserveRequest, ReverseRequest, WithdrawRequest, billing_service_client::BillingServiceClient,
    operation, result, reverse_request,
};
use tokio::time::Instant;
use tonic::{
    Code, Request, Response, Status, client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel,
};
use tonic_prost::ProstCodec;

use super::{
    tally::{Tally, Unexpected},
    work::{Prepared, Work, random_name},
};
use crate::empty;

const AMOUNT_MICRO_USD: i64 = 100;
/// More than any account has.
const BEYOND_MICRO_USD: i64 = 900_000_000_000_000;

/// Calls the server over one connection.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    billing: BillingServiceClient<Channel>,
    empty: Grpc<Channel>,
    work: Arc<Prepared>,
    tally: Arc<Mutex<Tally>>,
}

/// How a call is to be answered.
#[derive(Debug, Clone, Copy)]
enum Expected {
    Applied,
    Replayed,
    Refused,
}

impl Caller {
    pub(super) fn new(channel: Channel, work: Arc<Prepared>, tally: Arc<Mutex<Tally>>) -> Self {
        let billing = BillingServiceClient::new(channel.clone());
        Self { billing, empty: Grpc::new(channel), work, tally }
    }

    /// Does one piece of work which was due then.
    pub(super) async fn perform(&mut self, due: Instant) {
        match self.work.work {
            Work::Credit => self.credit(due).await,
            Work::Stripe => self.stripe(due).await,
            Work::ReserveCapture => self.reserve_and_capture(due).await,
            Work::Replay => self.replay(due).await,
            Work::Read => self.read(due).await,
            Work::Refusals => match fastrand::u8(..10) {
                0 => self.charge(due, BEYOND_MICRO_USD, Expected::Refused).await,
                _ => self.credit(due).await,
            },
            Work::Zipf => match fastrand::u8(..100) {
                0..40 => self.charge(due, AMOUNT_MICRO_USD, Expected::Applied).await,
                40..65 => self.reserve_and_capture(due).await,
                65..80 => self.credit(due).await,
                _ => self.read(due).await,
            },
            Work::Charge | Work::Charge1Grant | Work::Charge10Grants => {
                self.charge(due, AMOUNT_MICRO_USD, Expected::Applied).await;
            }
            Work::Withdraw => self.withdraw(due).await,
            Work::Reverse => self.reverse(due).await,
            Work::Settle => self.settle(due).await,
            Work::Apply1 => self.apply(due, 1).await,
            Work::Apply50 => self.apply(due, 50).await,
            Work::Apply100 => self.apply(due, 100).await,
            Work::Apply500 => self.apply(due, 500).await,
            Work::Empty => self.call_empty(due).await,
        }
    }

    async fn credit(&mut self, due: Instant) {
        self.send_credit(due, credit_request(self.work.accounts.next()), Expected::Applied).await;
    }

    async fn stripe(&mut self, due: Instant) {
        let request = CreditRequest {
            entry_type: EntryType::StripeDeposit.into(),
            external_ids: vec![random_name("cs_")],
            ..credit_request(self.work.accounts.next())
        };
        self.send_credit(due, request, Expected::Applied).await;
    }

    async fn replay(&mut self, due: Instant) {
        let Some(request) = fastrand::choice(&self.work.answered).cloned() else { return };
        self.send_credit(due, request, Expected::Replayed).await;
    }

    async fn send_credit(&mut self, due: Instant, request: CreditRequest, expected: Expected) {
        let answer = self.billing.credit(request).await;
        self.tally(due, answer.map(|answer| answer.get_ref().replayed), expected);
    }

    async fn charge(&mut self, due: Instant, amount_micro_usd: i64, expected: Expected) {
        let request = ChargeRequest {
            idempotency_key: random_name("job_"),
            account_id: self.work.accounts.next(),
            amount_micro_usd,
            reference: "inference".to_owned(),
            ..Default::default()
        };
        let answer = self.billing.charge(request).await;
        self.tally(due, answer.map(|answer| answer.get_ref().replayed), expected);
    }

    async fn reserve_and_capture(&mut self, due: Instant) {
        let account_id = self.work.accounts.next();
        let reservation_id = random_name("req_");
        let reserve = ReserveRequest {
            idempotency_key: reservation_id.clone(),
            account_id: account_id.clone(),
            amount_micro_usd: AMOUNT_MICRO_USD,
            ..Default::default()
        };
        let answer = self.billing.reserve(reserve).await;
        self.tally(due, answer.map(|answer| answer.get_ref().replayed), Expected::Applied);
        let capture = CaptureRequest {
            idempotency_key: random_name("cap_"),
            account_id,
            reservation_id,
            amount_micro_usd: AMOUNT_MICRO_USD / 2,
            ..Default::default()
        };
        let due = Instant::now();
        let answer = self.billing.capture(capture).await;
        self.tally(due, answer.map(|answer| answer.get_ref().replayed), Expected::Applied);
    }

    /// Pays the consumer's own provider, one of 100 partners, and the platform. The two calls count as one settlement.
    async fn settle(&mut self, due: Instant) {
        let account_id = self.work.accounts.next();
        let reserve = ReserveRequest {
            idempotency_key: random_name("req_"),
            account_id: account_id.clone(),
            amount_micro_usd: AMOUNT_MICRO_USD,
            ..Default::default()
        };
        let reservation_id = reserve.idempotency_key.clone();
        if let Err(status) = self.billing.reserve(reserve).await {
            return self.tally(due, Err(status), Expected::Applied);
        }
        let leg = |account_id: String, amount_micro_usd, entry_type: EntryType| Leg {
            grants_withdrawable: false,
            account_id,
            amount_micro_usd,
            entry_type: entry_type.into(),
        };
        let capture = CaptureRequest {
            idempotency_key: random_name("cap_"),
            reservation_id,
            amount_micro_usd: AMOUNT_MICRO_USD,
            legs: vec![
                leg(format!("provider-of-{account_id}"), 60, EntryType::Earning),
                leg(format!("partner-{}", fastrand::u8(..100)), 20, EntryType::Earning),
                leg("platform".to_owned(), 20, EntryType::Fee),
            ],
            account_id,
            ..Default::default()
        };
        let answer = self.billing.capture(capture).await;
        self.tally(due, answer.map(|answer| answer.get_ref().replayed), Expected::Applied);
    }

    async fn withdraw(&mut self, due: Instant) {
        let request = WithdrawRequest {
            idempotency_key: random_name("payout_"),
            account_id: self.work.accounts.next(),
            amount_micro_usd: AMOUNT_MICRO_USD,
            reference: "payout".to_owned(),
            ..Default::default()
        };
        let answer = self.billing.withdraw(request).await;
        self.tally(due, answer.map(|answer| answer.get_ref().replayed), Expected::Applied);
    }

    async fn reverse(&mut self, due: Instant) {
        let request = ReverseRequest {
            idempotency_key: random_name("dispute_"),
            account_id: self.work.accounts.next(),
            credit: Some(reverse_request::Credit::CreditSequence(1)),
            amount_micro_usd: AMOUNT_MICRO_USD,
            reason: "dispute".to_owned(),
            ..Default::default()
        };
        let answer = self.billing.reverse(request).await;
        self.tally(due, answer.map(|answer| answer.get_ref().replayed), Expected::Applied);
    }

    async fn apply(&mut self, due: Instant, count: usize) {
        let credit = || operation::Operation::Credit(credit_request(self.work.accounts.next()));
        let operations = iter::repeat_with(|| Operation { operation: Some(credit()) }).take(count).collect();
        match self.billing.apply(ApplyRequest { operations }).await {
            Ok(answer) => {
                let mut results = answer.into_inner().results;
                results.resize(count, proto::Result::default());
                for result in results {
                    self.tally(due, replayed(result), Expected::Applied);
                }
            }
            Err(status) => self.tally(due, Err(status), Expected::Applied),
        }
    }

    async fn read(&mut self, due: Instant) {
        let request = GetAccountRequest { account_id: self.work.accounts.next(), as_of: None };
        let answer = self.billing.get_account(request).await;
        self.tally(due, answer.map(|_| false), Expected::Applied);
    }

    async fn call_empty(&mut self, due: Instant) {
        let answer = self.send_empty().await;
        self.tally(due, answer.map(|_| false), Expected::Applied);
    }

    async fn send_empty(&mut self) -> Result<Response<()>, Status> {
        self.empty.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
        let path = PathAndQuery::from_static(empty::PATH);
        self.empty.unary(Request::new(()), path, ProstCodec::<(), ()>::default()).await
    }

    fn tally(&self, due: Instant, answer: Result<bool, Status>, expected: Expected) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.answered(due, judge(answer, expected));
    }
}

/// A credit like those of the baseline: small, and with a reference for people.
pub(super) fn credit_request(account_id: String) -> CreditRequest {
    CreditRequest {
        idempotency_key: random_name("evt_"),
        account_id,
        amount_micro_usd: AMOUNT_MICRO_USD,
        entry_type: EntryType::Deposit.into(),
        reference: format!("stripe:cs_{}", fastrand::u64(1_000_000_000_000..10_000_000_000_000)),
        ..Default::default()
    }
}

/// Whether an operation of a list is a replay.
fn replayed(result: proto::Result) -> Result<bool, Status> {
    match result.result {
        Some(result::Result::Applied(applied)) => Ok(applied.replayed),
        Some(result::Result::Error(error)) => Err(Status::new(Code::from_i32(error.code), error.message)),
        None => Err(Status::unknown("no result")),
    }
}

/// `answer` says whether it is a replay.
fn judge(answer: Result<bool, Status>, expected: Expected) -> Result<(), Unexpected> {
    match (answer, expected) {
        (Ok(false), Expected::Applied) | (Ok(true), Expected::Replayed) => Ok(()),
        (Err(status), Expected::Refused) if status.code() == Code::FailedPrecondition => Ok(()),
        (Err(status), _) => {
            Err(Unexpected { code: format!("{:?}", status.code()), message: status.message().to_owned() })
        }
        (Ok(replayed), _) => {
            let message = format!("replayed = {replayed} where {expected:?} was expected");
            Err(Unexpected { code: "Ok".to_owned(), message })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_expected_answer_passes() {
        let refused = || Err(Status::failed_precondition("no"));
        assert!(judge(Ok(false), Expected::Applied).is_ok());
        assert!(judge(Ok(true), Expected::Replayed).is_ok());
        assert!(judge(refused(), Expected::Refused).is_ok());
        assert_eq!(judge(Ok(true), Expected::Applied).unwrap_err().code, "Ok");
        assert_eq!(judge(Ok(false), Expected::Refused).unwrap_err().code, "Ok");
        assert_eq!(judge(refused(), Expected::Applied).unwrap_err().code, "FailedPrecondition");
        assert_eq!(judge(Err(Status::unavailable("")), Expected::Refused).unwrap_err().code, "Unavailable");
    }
}
