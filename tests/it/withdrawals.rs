//! Money that leaves: what may, what spending leaves of it, and a payout that fails.

use billing::grpc::proto::{AdminCreditRequest, CreditRequest, EntryType, WithdrawRequest};
use tonic::Code;

use crate::support::*;

fn earn(account: &str, key: &str, micro_usd: i64) -> CreditRequest {
    CreditRequest { entry_type: EntryType::Earning.into(), ..deposit(account, key, micro_usd) }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_earned_or_granted_for_it_may_leave() {
    on_a_service(async |mut client| {
        let mut posted = 0;
        let mut withdrawable = 0;
        for (n, (kind, may_leave)) in [
            (EntryType::Deposit, false),
            (EntryType::StripeDeposit, false),
            (EntryType::Earning, true),
            (EntryType::ReferralReward, true),
            (EntryType::InviteCredit, false),
        ]
        .into_iter()
        .enumerate()
        {
            let credit = CreditRequest {
                entry_type: kind.into(),
                ..stripe_deposit("ann", &format!("order-{n}"), 10, &format!("id-{n}"))
            };
            let (entry, _) = client.credit(credit).await.answered();
            posted += 10;
            withdrawable += if may_leave { 10 } else { 0 };
            assert_eq!(entry.withdrawable_delta_micro_usd, if may_leave { 10 } else { 0 });
            assert_eq!(posted_and_withdrawable(&mut client, "ann").await, (posted, withdrawable), "{kind:?}");
        }
        client.admin_credit(grant("ann", "grant-1", 5)).await.answered();
        let granted = AdminCreditRequest { withdrawable: true, ..grant("ann", "grant-2", 5) };
        client.admin_credit(granted).await.answered();
        assert_eq!(posted_and_withdrawable(&mut client, "ann").await, (60, 25));
        let beyond = client.withdraw(withdraw("ann", "payout-1", 26)).await;
        let metadata = refused(beyond, Code::FailedPrecondition, "NOT_WITHDRAWABLE");
        assert_eq!(metadata["withdrawable_micro_usd"], "25");
        let (entry, _) = client.withdraw(withdraw("ann", "payout-2", 25)).await.answered();
        assert_eq!((entry.entry_type(), entry.amount_micro_usd), (EntryType::Withdrawal, -25));
        assert_eq!(entry.withdrawable_delta_micro_usd, -25);
        assert_eq!(posted_and_withdrawable(&mut client, "ann").await, (35, 0));
        refused(
            client.withdraw(withdraw("nobody", "payout-1", 1)).await,
            Code::FailedPrecondition,
            "NOT_WITHDRAWABLE",
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_money_is_spent_first_and_what_was_spent_last_comes_back_first() {
    on_a_service(async |mut client| {
        client.credit(earn("ann", "job-1", 60)).await.answered();
        client.credit(deposit("ann", "order-1", 40)).await.answered();
        client.charge(charge("ann", "charge-1", 70)).await.answered();
        assert_eq!(
            posted_and_withdrawable(&mut client, "ann").await,
            (30, 30),
            "30 of what was earned are spent"
        );
        client.refund(refund("ann", "refund-1", 20, "charge-1")).await.answered();
        assert_eq!(posted_and_withdrawable(&mut client, "ann").await, (50, 50));
        client.refund(refund("ann", "refund-2", 20, "charge-1")).await.answered();
        assert_eq!(posted_and_withdrawable(&mut client, "ann").await, (70, 60));
        client.refund(refund("ann", "refund-3", 30, "charge-1")).await.answered();
        assert_eq!(posted_and_withdrawable(&mut client, "ann").await, (100, 60), "as it was");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_cannot_leave() {
    on_a_service(async |mut client| {
        client.credit(earn("ann", "job-1", 60)).await.answered();
        client.credit(deposit("ann", "order-1", 40)).await.answered();
        client.reserve(reserve("ann", "hold-1", 30)).await.answered();
        assert_eq!(posted_and_withdrawable(&mut client, "ann").await, (100, 60), "other money is held");
        client.reserve(reserve("ann", "hold-2", 30)).await.answered();
        assert_eq!(posted_and_withdrawable(&mut client, "ann").await, (100, 40));
        refused(
            client.withdraw(withdraw("ann", "payout-1", 41)).await,
            Code::FailedPrecondition,
            "NOT_WITHDRAWABLE",
        );
        client.withdraw(withdraw("ann", "payout-2", 40)).await.answered();
        client.capture(capture("ann", "capture-1", "hold-1", 30)).await.answered();
        client.release(release("ann", "release-2", "hold-2")).await.answered();
        assert_eq!(posted_and_withdrawable(&mut client, "ann").await, (30, 20));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_sixty_four_who_withdraw_all_at_once_one_succeeds() {
    on_a_book(async |book| {
        let servers = [book.serve().await, book.serve().await];
        let clients = [servers[0].client().await, servers[1].client().await];
        let mut client = clients[0].clone();
        client.credit(earn("ann", "job-1", 1_000)).await.answered();
        client.credit(deposit("ann", "order-1", 5_000)).await.answered();
        let answers = at_once(&clients, 64, |mut client, caller| async move {
            client.withdraw(withdraw("ann", &format!("payout-{caller}"), 1_000)).await
        })
        .await;
        let (left, refusals): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert_eq!(left.len(), 1);
        for refusal in refusals {
            let metadata = refused(refusal, Code::FailedPrecondition, "NOT_WITHDRAWABLE");
            assert_eq!(metadata["withdrawable_micro_usd"], "0");
        }
        assert_eq!(posted_and_withdrawable(&mut client, "ann").await, (5_000, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payout_that_failed_is_restored_once_whoever_tells_it() {
    on_a_book(async |book| {
        let servers = [book.serve().await, book.serve().await];
        let clients = [servers[0].client().await, servers[1].client().await];
        let mut client = clients[0].clone();
        client.credit(earn("ann", "job-1", 100)).await.answered();
        let payout = WithdrawRequest { external_ids: vec!["po_1".into()], ..withdraw("ann", "payout-1", 80) };
        client.withdraw(payout).await.answered();
        assert_eq!(posted_and_withdrawable(&mut client, "ann").await, (20, 20));
        let answers = at_once(&clients, 64, |mut client, caller| async move {
            let key = if caller % 2 == 0 { "failed".to_owned() } else { format!("failed-{caller}") };
            client.refund(refund("ann", &key, 80, "payout-1")).await
        })
        .await;
        let firsts = answers.iter().flatten().filter(|answer| !answer.get_ref().replayed);
        assert_eq!(firsts.count(), 1);
        for refusal in answers.into_iter().filter(Result::is_err) {
            let metadata = refused(refusal, Code::FailedPrecondition, "REFUND_EXCEEDS_CHARGE");
            assert_eq!(metadata["refundable_micro_usd"], "0");
        }
        assert_eq!(posted_and_withdrawable(&mut client, "ann").await, (100, 100));
        let (_, since) = applied(&mut client, "ann", "payout-1").await;
        assert_eq!(since.undone_micro_usd, 80, "a worker that pays out knows that it must not");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credit_that_is_taken_back_takes_its_own_part_with_it() {
    on_a_service(async |mut client| {
        client.credit(earn("ann", "job-1", 60)).await.answered();
        client.credit(deposit("ann", "order-1", 40)).await.answered();
        client.reverse(reverse("ann", "dispute-1", 40, "order-1")).await.answered();
        assert_eq!(
            posted_and_withdrawable(&mut client, "ann").await,
            (60, 60),
            "a deposit is not what was earned"
        );
        client.reverse(reverse("ann", "mistake-1", 10, "job-1")).await.answered();
        assert_eq!(posted_and_withdrawable(&mut client, "ann").await, (50, 50));
        client.refund(refund("ann", "won-1", 40, "dispute-1")).await.answered();
        assert_eq!(posted_and_withdrawable(&mut client, "ann").await, (90, 50));
        client.refund(refund("ann", "undone-1", 10, "mistake-1")).await.answered();
        assert_eq!(posted_and_withdrawable(&mut client, "ann").await, (100, 60), "as it was");
    })
    .await;
}
