//! What happens before a load is timed: accounts with money, and credits to send again.

use std::iter;

use anyhow::ensure;
use billing::grpc::proto::{CreditRequest, EntryType, billing_service_client::BillingServiceClient};
use prost_types::Timestamp;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use super::{
    caller::credit_request,
    work::{Accounts, Prepared, Work, account_id, earner_id, granted_id},
};

/// How many calls prepare at once.
pub(super) const WIDTH: usize = 256;
/// More than a load spends, less than the charges that are to be refused.
const FUNDS_MICRO_USD: i64 = 1_000_000_000_000;
const REPLAYS: usize = 10_000;
/// When grants expire: the first second of the year 2100.
const NEVER: Timestamp = Timestamp { seconds: 4_102_444_800, nanos: 0 };

pub(super) async fn work(channels: &[Channel], work: Work, count: usize) -> anyhow::Result<Prepared> {
    let accounts = match work {
        Work::Zipf => Accounts::zipf(count),
        Work::Withdraw => Accounts::Earners(count),
        Work::Charge1Grant => Accounts::Granted { count, grants: 1 },
        Work::Charge10Grants => Accounts::Granted { count, grants: 10 },
        Work::Credit
        | Work::Charge
        | Work::Stripe
        | Work::ReserveCapture
        | Work::Replay
        | Work::Read
        | Work::Refusals
        | Work::Reverse
        | Work::Settle
        | Work::Apply1
        | Work::Apply50
        | Work::Apply100
        | Work::Apply500
        | Work::Empty => Accounts::Even(count),
    };
    let mut answered = Vec::new();
    if work == Work::Replay {
        answered.extend(iter::repeat_with(|| credit_request(accounts.next())).take(REPLAYS));
        post_all(channels, answered.clone()).await?;
    }
    Ok(Prepared { work, accounts, answered })
}

/// Opens accounts, with money that was deposited or, if `earned`, with money that can be withdrawn.
pub(super) async fn fund(channels: &[Channel], accounts: usize, earned: bool) -> anyhow::Result<()> {
    let (entry_type, id): (_, fn(usize) -> String) =
        if earned { (EntryType::Earning, earner_id) } else { (EntryType::Deposit, account_id) };
    let request = |number| CreditRequest {
        amount_micro_usd: FUNDS_MICRO_USD,
        entry_type: entry_type.into(),
        ..credit_request(id(number))
    };
    post_all(channels, (0..accounts).map(request).collect()).await
}

/// Opens accounts, with money that expires: in so many grants.
pub(super) async fn grant(channels: &[Channel], accounts: usize, grants: usize) -> anyhow::Result<()> {
    let request = |number| CreditRequest {
        amount_micro_usd: FUNDS_MICRO_USD,
        entry_type: EntryType::InviteCredit.into(),
        expire_time: Some(NEVER),
        ..credit_request(granted_id(grants, number))
    };
    post_all(channels, (0..accounts).flat_map(|number| iter::repeat_n(number, grants)).map(request).collect())
        .await
}

async fn post_all(channels: &[Channel], requests: Vec<CreditRequest>) -> anyhow::Result<()> {
    let share = requests.len().div_ceil(WIDTH).max(1);
    let mut tasks = JoinSet::new();
    for (requests, channel) in requests.chunks(share).zip(channels.iter().cycle()) {
        tasks.spawn(post_in_turn(channel.clone(), requests.to_vec()));
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

async fn post_in_turn(channel: Channel, requests: Vec<CreditRequest>) -> anyhow::Result<()> {
    let mut client = BillingServiceClient::new(channel);
    for request in requests {
        let answer = client.credit(request).await?.into_inner();
        ensure!(!answer.replayed, "a new key was taken for an old one");
    }
    Ok(())
}
