//! Money that expires: exact to the microsecond, pinned by holds, brought back by refunds; and the traps in it.

use std::{sync::Arc, time::Duration};

use billing::{
    accounting::MicroUsd,
    config::Config,
    grpc::proto::{
        AccountState, AdminCreditRequest, Balance, ChargeRequest, CreditRequest, Entry, EntryType, Grant,
        GrantShare, Leg, ListGrantsRequest, ReverseRequest, SetAccountRequest, ShortfallPolicy,
    },
};
use prost_types::Timestamp;
use tokio::task::JoinSet;
use tonic::Code;

use crate::support::{
    server::{TestServer, config},
    *,
};

/// Long enough to set a scene before it has passed.
const SOON: Duration = Duration::from_secs(1);
const LATER: Duration = Duration::from_secs(3_600);

/// A service that never sweeps, and lets accounts owe.
async fn on_a_lending_service(test: impl AsyncFnOnce(&TestBook, Client)) {
    on_a_book(async |book| {
        let mut limits = config().limits;
        limits.debt_max = MicroUsd::new(1_000_000);
        let server = TestServer::start(&book.url, Config { limits, ..config() }).await;
        test(book, server.client().await).await;
    })
    .await;
}

async fn balance(client: &mut Client, name: &str) -> Balance {
    account(client, name).await.balance.unwrap()
}

/// Posted, held, available, withdrawable and granted.
fn sums(balance: &Balance) -> [i64; 5] {
    [
        balance.posted_micro_usd,
        balance.held_micro_usd,
        balance.available_micro_usd,
        balance.withdrawable_micro_usd,
        balance.granted_micro_usd,
    ]
}

fn shares(shares: &[GrantShare]) -> Vec<(i64, i64)> {
    shares.iter().map(|share| (share.grant_sequence, share.amount_micro_usd)).collect()
}

fn in_debt(request: ChargeRequest) -> ChargeRequest {
    ChargeRequest { shortfall_policy: ShortfallPolicy::AllowDebt.into(), ..request }
}

fn by_the_bank(request: ReverseRequest) -> ReverseRequest {
    ReverseRequest { shortfall_policy: ShortfallPolicy::AllowDebt.into(), ..request }
}

fn earning(account: &str, key: &str, micro_usd: i64) -> CreditRequest {
    CreditRequest { entry_type: EntryType::Earning.into(), ..deposit(account, key, micro_usd) }
}

fn list_open_grants(account: &str) -> ListGrantsRequest {
    ListGrantsRequest { only_open: true, ..list_grants(account) }
}

async fn grants(client: &mut Client, account: &str) -> Vec<Grant> {
    client.list_grants(list_grants(account)).await.unwrap().into_inner().grants
}

/// The sequence of a grant, and what remains of it, is pinned and has lapsed.
fn standing(grant: &Grant) -> (i64, i64, i64, i64) {
    (grant.sequence, grant.remaining_micro_usd, grant.pinned_micro_usd, grant.lapsed_micro_usd)
}

async fn newest(client: &mut Client, account: &str) -> Entry {
    client.list_entries(list_entries(account)).await.unwrap().into_inner().entries.remove(0)
}

/// Free, pinned in part and pinned as a whole: what is held of it, and so what of a hundred is gone with its expiry.
#[tokio::test(flavor = "multi_thread")]
async fn a_microsecond_before_its_expiry_all_of_a_grant_is_there_and_then_only_what_a_hold_pins() {
    on_a_service(async |mut client| {
        let expire_time = from_now(SOON);
        let cases = [("free", 0), ("partly-pinned", 60), ("wholly-pinned", 100)];
        for (name, pinned) in cases {
            client.credit(expiring(name, "promo-1", 100, expire_time)).await.answered();
            client.credit(earning(name, "job-1", 50)).await.answered();
            if pinned > 0 {
                let (entry, _) = client.reserve(reserve(name, "hold-1", pinned)).await.answered();
                assert_eq!(shares(&entry.pins), [(1, pinned)]);
            }
        }
        until_time(expire_time).await;
        for (name, pinned) in cases {
            let gone = 100 - pinned;
            let before = account_as_of(&mut client, name, right_before(expire_time)).await.unwrap();
            assert_eq!(sums(&before.balance.unwrap()), [150, pinned, 150 - pinned, 50, gone], "{name}");
            let after = [150 - gone, pinned, 50, 50, 0];
            let at = account_as_of(&mut client, name, expire_time).await.unwrap();
            assert_eq!(sums(&at.balance.unwrap()), after, "{name}");
            assert_eq!(sums(&balance(&mut client, name).await), after, "{name}");
            let statement = client.get_statement(get_statement(name)).await.unwrap().into_inner();
            assert_eq!(sums(&statement.closing.unwrap()), after, "{name}");
            let lapse = (gone > 0).then_some((1, -gone));
            let total = statement.totals.iter().find(|total| total.entry_type() == EntryType::GrantExpire);
            assert_eq!(total.map(|total| (total.count, total.amount_micro_usd)), lapse, "{name}");
            let listed = grants(&mut client, name).await;
            assert_eq!(
                listed.iter().map(standing).collect::<Vec<_>>(),
                [(1, pinned, pinned, gone)],
                "{name}"
            );
            let open = client.list_grants(list_open_grants(name)).await.unwrap().into_inner().grants;
            assert_eq!(open.len(), usize::from(pinned > 0), "{name}");
            // Nothing of this was recorded until now.
            assert_eq!(account(&mut client, name).await.last_sequence, 2 + i64::from(pinned > 0), "{name}");

            let metadata = refused(
                client.charge(charge(name, "job-2", 51)).await,
                Code::FailedPrecondition,
                "INSUFFICIENT_FUNDS",
            );
            assert_eq!(
                (&*metadata["available_micro_usd"], &*metadata["held_micro_usd"]),
                ("50", &*pinned.to_string())
            );
            let answer = client.reserve(reserve(name, "hold-2", 51)).await;
            refused(answer, Code::FailedPrecondition, "INSUFFICIENT_FUNDS");
            let metadata = refused(
                client.withdraw(withdraw(name, "payout-1", 51)).await,
                Code::FailedPrecondition,
                "NOT_WITHDRAWABLE",
            );
            assert_eq!(metadata["withdrawable_micro_usd"], "50");
            assert_eq!(sums(&balance(&mut client, name).await), after, "{name}");
            if gone > 0 {
                let entry = newest(&mut client, name).await;
                assert_eq!(
                    (entry.entry_type(), entry.amount_micro_usd),
                    (EntryType::GrantExpire, -gone),
                    "{name}"
                );
                assert_eq!(entry.idempotency_key, format!("billing/lapse/{}", entry.sequence));
                assert_eq!(
                    (shares(&entry.lapses), entry.effective_time),
                    (vec![(1, gone)], Some(expire_time))
                );
            }
            // What is pinned can still be captured, and is the customer's own money.
            if pinned > 0 {
                let (entry, _) = client.capture(capture(name, "job-3", "hold-1", pinned)).await.answered();
                assert_eq!(shares(&entry.draws), [(1, pinned)]);
            }
            client.withdraw(withdraw(name, "payout-2", 50)).await.answered();
            assert_eq!(sums(&balance(&mut client, name).await), [0; 5], "{name}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_back_too_late_is_never_told_as_available() {
    on_a_service(async |mut client| {
        let expire_time = from_now(SOON);
        client.credit(expiring("ann", "promo-1", 100, expire_time)).await.answered();
        client.credit(deposit("ann", "order-1", 10)).await.answered();
        client.charge(charge("ann", "job-1", 30)).await.answered();
        client.reserve(reserve("ann", "hold-1", 40)).await.answered();
        client.reserve(reserve("ann", "hold-2", 35)).await.answered();
        until_time(expire_time).await;
        // Forty of the grant come back with the release, and are gone.
        let (entry, _) = client.release(release("ann", "release-1", "hold-1")).await.answered();
        assert_eq!((entry.lapsed_micro_usd, shares(&entry.pins)), (40, vec![(1, -40)]));
        let told = entry.balance_after.unwrap();
        assert_eq!(sums(&told), [80, 35, 5, 0, 0]);
        assert_eq!(sums(&balance(&mut client, "ann").await), [40, 35, 5, 0, 0]);
        let lapse = newest(&mut client, "ann").await;
        assert_eq!((lapse.sequence, lapse.amount_micro_usd), (entry.sequence + 1, -40));
        // So do thirty with the refund.
        let (entry, _) = client.refund(refund("ann", "refund-1", 30, "job-1")).await.answered();
        assert_eq!((entry.lapsed_micro_usd, shares(&entry.unwinds)), (30, vec![(1, 30)]));
        assert_eq!(entry.balance_after.unwrap().available_micro_usd, 5);
        assert_eq!(available(&mut client, "ann").await, 5);
        // The other hold took the rest of the grant and five of the deposit.
        let (entry, _) = client.capture(capture("ann", "job-2", "hold-2", 31)).await.answered();
        assert_eq!((shares(&entry.draws), entry.lapsed_micro_usd), (vec![(1, 30)], 0));
        assert_eq!(sums(&balance(&mut client, "ann").await), [9, 0, 9, 0, 0]);
        assert_eq!(
            grants(&mut client, "ann").await.iter().map(standing).collect::<Vec<_>>(),
            [(1, 0, 0, 70)]
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_are_spent_by_their_expiry_and_before_other_money_and_come_back_the_other_way() {
    on_a_service(async |mut client| {
        client.credit(earning("ann", "job-1", 20)).await.answered();
        client.credit(expiring("ann", "promo-1", 30, from_now(2 * LATER))).await.answered();
        client.credit(expiring("ann", "promo-2", 40, from_now(LATER))).await.answered();
        client.credit(deposit("ann", "order-1", 10)).await.answered();
        let (entry, _) = client.charge(charge("ann", "job-2", 85)).await.answered();
        assert_eq!(shares(&entry.draws), [(3, 40), (2, 30)]);
        assert_eq!(sums(&entry.balance_after.unwrap()), [15, 0, 15, 15, 0]);
        let (entry, _) = client.refund(refund("ann", "refund-1", 20, "job-2")).await.answered();
        assert_eq!(shares(&entry.unwinds), [(2, 5)]);
        assert_eq!(sums(&entry.balance_after.unwrap()), [35, 0, 35, 20, 5]);
        let (entry, _) = client.refund(refund("ann", "refund-2", 65, "job-2")).await.answered();
        assert_eq!(shares(&entry.unwinds), [(2, 25), (3, 40)]);
        assert_eq!(sums(&entry.balance_after.unwrap()), [100, 0, 100, 20, 70]);
    })
    .await;
}

/// The hold's part of a grant that was voided meanwhile comes back as other money: the reversal took as much of that.
#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_is_voided_while_a_hold_pins_it_and_then_expires_costs_its_amount_once() {
    on_a_service(async |mut client| {
        let expire_time = from_now(SOON);
        client.credit(expiring("ann", "promo-1", 100, expire_time)).await.answered();
        client.credit(deposit("ann", "order-1", 50)).await.answered();
        client.reserve(reserve("ann", "hold-1", 60)).await.answered();
        let (entry, _) =
            client.reverse(by_the_bank(reverse("ann", "void-1", 100, "promo-1"))).await.answered();
        assert_eq!(shares(&entry.draws), [(1, 40)]);
        assert_eq!(sums(&entry.balance_after.unwrap()), [50, 60, -10, 0, 0]);
        until_time(expire_time).await;
        let (entry, _) = client.release(release("ann", "release-1", "hold-1")).await.answered();
        assert_eq!((shares(&entry.converted), entry.lapsed_micro_usd), (vec![(1, 60)], 0));
        assert_eq!(sums(&balance(&mut client, "ann").await), [50, 0, 50, 0, 0]);
        assert_eq!(grants(&mut client, "ann").await.iter().map(standing).collect::<Vec<_>>(), [(1, 0, 0, 0)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chargeback_of_a_paid_package_that_has_expired_takes_only_what_was_used_of_it() {
    on_a_lending_service(async |_, mut client| {
        let expire_time = from_now(SOON);
        let package = CreditRequest {
            entry_type: EntryType::Deposit.into(),
            external_ids: vec!["pi_1".into()],
            ..expiring("ann", "order-1", 100, expire_time)
        };
        client.credit(package).await.answered();
        client.charge(charge("ann", "job-1", 30)).await.answered();
        until_time(expire_time).await;
        let all = client.reverse(by_the_bank(reverse("ann", "dispute-1", 100, "order-1"))).await;
        let metadata = refused(all, Code::FailedPrecondition, "REVERSAL_EXCEEDS_CREDIT");
        assert_eq!(metadata["reversible_micro_usd"], "30");
        let used = by_the_bank(reverse("ann", "dispute-2", 30, "order-1"));
        let (entry, _) = client.reverse(used).await.answered();
        assert_eq!((shares(&entry.draws), entry.amount_micro_usd), (vec![], -30));
        assert_eq!(sums(&balance(&mut client, "ann").await), [-30, 0, -30, 0, 0]);
        // The bank gives it back.
        client.refund(refund("ann", "won-1", 30, "dispute-2")).await.answered();
        assert_eq!(sums(&balance(&mut client, "ann").await), [0; 5]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_grant_stands_beside_a_debt_after_a_release_a_lapse_a_refund_or_a_credit() {
    on_a_lending_service(async |_, mut client| {
        let hour = from_now(LATER);
        for name in ["release", "lapse", "refund", "credit"] {
            client.credit(expiring(name, "promo-1", 100, hour)).await.answered();
        }
        // What a hold gives back pays the debt first.
        client.reserve(reserve("release", "hold-1", 100)).await.answered();
        client.charge(in_debt(charge("release", "job-1", 30))).await.answered();
        let (entry, _) = client.release(release("release", "release-1", "hold-1")).await.answered();
        assert_eq!(shares(&entry.converted), [(1, 30)]);
        assert_eq!(sums(&entry.balance_after.unwrap()), [70, 0, 70, 0, 70]);
        // So does what the end of its lease does.
        client.reserve(reserve_for(SOON, "lapse", "hold-1", 100)).await.answered();
        client.charge(in_debt(charge("lapse", "job-1", 30))).await.answered();
        until_time(from_now(SOON)).await;
        assert_eq!(sums(&balance(&mut client, "lapse").await), [70, 0, 70, 0, 70]);
        let (entry, _) = client.charge(charge("lapse", "job-2", 1)).await.answered();
        assert_eq!((shares(&entry.draws), entry.sequence), (vec![(1, 1)], 5));
        // And what a refund brings back.
        client.charge(charge("refund", "job-1", 100)).await.answered();
        client.charge(in_debt(charge("refund", "job-2", 30))).await.answered();
        let (entry, _) = client.refund(refund("refund", "refund-1", 50, "job-1")).await.answered();
        assert_eq!((shares(&entry.unwinds), shares(&entry.converted)), (vec![(1, 50)], vec![(1, 30)]));
        assert_eq!(sums(&entry.balance_after.unwrap()), [20, 0, 20, 0, 20]);
        // And another grant.
        client.charge(in_debt(charge("credit", "job-1", 130))).await.answered();
        let (entry, _) = client.credit(expiring("credit", "promo-2", 100, hour)).await.answered();
        assert_eq!(shares(&entry.converted), [(3, 30)]);
        assert_eq!(sums(&entry.balance_after.unwrap()), [70, 0, 70, 0, 70]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_leave_is_never_more_than_what_does_not_expire() {
    on_a_lending_service(async |_, mut client| {
        let hour = from_now(LATER);
        client.charge(charge("ann", "job-0", 1)).await.unwrap_err();
        client.credit(deposit("ann", "order-1", 10)).await.answered();
        client.charge(in_debt(charge("ann", "job-1", 40))).await.answered();
        client.credit(earning("ann", "job-2", 100)).await.answered();
        client.credit(expiring("ann", "promo-1", 50, hour)).await.answered();
        assert_eq!(sums(&balance(&mut client, "ann").await), [120, 0, 120, 70, 50]);
        client.reserve(reserve("ann", "hold-1", 90)).await.answered();
        assert_eq!(sums(&balance(&mut client, "ann").await), [120, 90, 30, 30, 0]);
        // An earning that expires never leaves.
        let answer = client.credit(CreditRequest {
            entry_type: EntryType::Earning.into(),
            ..expiring("ann", "job-3", 5, hour)
        });
        let (entry, _) = answer.await.answered();
        assert_eq!(
            (entry.withdrawable_delta_micro_usd, entry.balance_after.unwrap().granted_micro_usd),
            (0, 5)
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_becomes_cash_by_a_leg_only_where_the_leg_says_so() {
    on_a_service(async |mut client| {
        let leg = |payee: &str, amount, grants_withdrawable| Leg {
            account_id: payee.into(),
            amount_micro_usd: amount,
            entry_type: EntryType::Earning.into(),
            grants_withdrawable,
        };
        client.credit(expiring("ann", "promo-1", 100, from_now(LATER))).await.answered();
        client.credit(deposit("ann", "order-1", 40)).await.answered();
        // Of a hundred and twenty, the first twenty are other money.
        let legs = vec![leg("eve", 30, false), leg("bob", 50, true), leg("eva", 40, false)];
        let paying = ChargeRequest { legs, ..charge("ann", "job-1", 120) };
        let (entry, _) = client.charge(paying).await.answered();
        assert_eq!(shares(&entry.draws), [(1, 100)]);
        for (name, posted, withdrawable) in [("eve", 30, 20), ("bob", 50, 50), ("eva", 40, 0)] {
            assert_eq!(posted_and_withdrawable(&mut client, name).await, (posted, withdrawable), "{name}");
        }
        // So it is through a hold.
        client.credit(expiring("joe", "promo-1", 100, from_now(LATER))).await.answered();
        client.reserve(reserve("joe", "hold-1", 80)).await.answered();
        let legs = vec![leg("zoe", 80, false)];
        let mut request = capture("joe", "job-1", "hold-1", 80);
        request.legs = legs;
        client.capture(request).await.answered();
        assert_eq!(posted_and_withdrawable(&mut client, "zoe").await, (80, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_granted_is_refused_by_name_and_remembered() {
    on_a_service(async |mut client| {
        let past = expiring("ann", "promo-1", 5, from_now(Duration::ZERO));
        tokio::time::sleep(Duration::from_millis(2)).await;
        for _ in 0..2 {
            refused(client.credit(past.clone()).await, Code::FailedPrecondition, "GRANT_EXPIRED");
        }
        let hour = from_now(LATER);
        let deposited =
            CreditRequest { expire_time: Some(hour), ..stripe_deposit("ann", "order-1", 5, "cs_1") };
        assert_eq!(wrong_fields(client.credit(deposited).await), ["expire_time"]);
        let withdrawable =
            AdminCreditRequest { withdrawable: true, expire_time: Some(hour), ..grant("ann", "grant-1", 5) };
        assert_eq!(wrong_fields(client.admin_credit(withdrawable).await), ["withdrawable"]);
        let year_zero = Timestamp { seconds: -99_999_999_999, nanos: 0 };
        assert_eq!(
            wrong_fields(client.credit(expiring("ann", "promo-2", 5, year_zero)).await),
            ["expire_time"]
        );
        // Spent or not, sixty-four are ahead of their expiry.
        for n in 0..64 {
            let request =
                AdminCreditRequest { expire_time: Some(hour), ..grant("ann", &format!("grant-{n}"), 2) };
            client.admin_credit(request).await.answered();
        }
        client.charge(charge("ann", "job-1", 2)).await.answered();
        let one_more = expiring("ann", "promo-3", 5, hour);
        for _ in 0..2 {
            let metadata =
                refused(client.credit(one_more.clone()).await, Code::FailedPrecondition, "TOO_MANY_GRANTS");
            assert_eq!(metadata["limit"], "64");
        }
        // The key names another request.
        let other = CreditRequest { expire_time: Some(from_now(2 * LATER)), ..one_more };
        let metadata = refused(client.credit(other).await, Code::InvalidArgument, "IDEMPOTENCY_KEY_REUSED");
        assert_eq!(metadata["fields"], "expire_time");
        let (mut request, mut listed) = (ListGrantsRequest { page_size: 25, ..list_grants("ann") }, 0);
        loop {
            let page = client.list_grants(request.clone()).await.unwrap().into_inner();
            listed += page.grants.len();
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        assert_eq!(listed, 64);
        let open = client.list_grants(ListGrantsRequest { page_size: 100, ..list_open_grants("ann") }).await;
        assert_eq!(open.unwrap().into_inner().grants.len(), 63);
        let unknown = client.list_grants(list_grants("nobody")).await;
        assert_eq!(reason(unknown), (Code::NotFound, "ACCOUNT_NOT_FOUND".into()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_has_expired_does_not_cut_a_page_of_open_ones_short() {
    on_a_service(async |mut client| {
        let (soon, later) = (from_now(SOON), from_now(LATER));
        for n in 0..30 {
            let expire_time = if n == 20 { soon } else { later };
            client.credit(expiring("ann", &format!("promo-{n}"), 5, expire_time)).await.answered();
        }
        until_time(soon).await;
        let request = ListGrantsRequest { page_size: 100, ..list_open_grants("ann") };
        let page = client.list_grants(request).await.unwrap().into_inner();
        assert_eq!((page.grants.len(), page.next_page_token.as_str()), (29, ""));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_shows_the_grants_of_one_moment() {
    on_a_service(async |mut client| {
        for round in 0..100 {
            let name = format!("account-{round}");
            for n in 0..30 {
                client.credit(expiring(&name, &format!("promo-{n}"), 1, from_now(LATER))).await.answered();
            }
            let charged = client.clone();
            let charged = tokio::spawn({
                let (mut client, request) = (charged, charge(&name, "job-1", 30));
                async move { client.charge(request).await.answered() }
            });
            let request = ListGrantsRequest { page_size: 100, ..list_grants(&name) };
            loop {
                let is_over = charged.is_finished();
                let page = client.list_grants(request.clone()).await.unwrap().into_inner();
                let left: i64 = page.grants.iter().map(|grant| grant.remaining_micro_usd).sum();
                assert!(
                    [0, 30].contains(&left),
                    "round {round}: {left} of 30, before a charge of all or after"
                );
                if is_over {
                    assert_eq!(left, 0);
                    break;
                }
            }
            charged.await.unwrap();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_closed_with_what_is_left_of_its_grants() {
    on_a_service(async |mut client| {
        let expire_time = from_now(SOON);
        client.credit(expiring("ann", "promo-1", 100, expire_time)).await.answered();
        client.credit(deposit("ann", "order-1", 10)).await.answered();
        client.charge(charge("ann", "job-1", 40)).await.answered();
        let close = SetAccountRequest {
            forfeit_micro_usd: Some(70),
            ..set_account("ann", "close-1", AccountState::Closed)
        };
        let (entry, _) = client.set_account(close).await.answered();
        assert_eq!((entry.amount_micro_usd, shares(&entry.converted)), (-70, vec![(1, 60)]));
        until_time(expire_time).await;
        assert_eq!(sums(&balance(&mut client, "ann").await), [0; 5]);
        // The refund of what was used comes too late for the grant.
        let (entry, _) = client.refund(refund("ann", "refund-1", 40, "job-1")).await.answered();
        assert_eq!(entry.lapsed_micro_usd, 40);
        assert_eq!(sums(&balance(&mut client, "ann").await), [0; 5]);
    })
    .await;
}

/// The hold pins what is left of the first grant and a part of the second; then some of the first comes back, and is free.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_capture_takes_beyond_its_hold_is_told_behind_it_and_comes_back_first() {
    on_a_service(async |mut client| {
        client.credit(expiring("ann", "promo-1", 10, from_now(LATER))).await.answered();
        client.credit(expiring("ann", "promo-2", 10, from_now(2 * LATER))).await.answered();
        client.charge(charge("ann", "job-1", 4)).await.answered();
        client.reserve(reserve("ann", "hold-1", 11)).await.answered();
        client.refund(refund("ann", "refund-1", 4, "job-1")).await.answered();
        let mut request = capture("ann", "job-2", "hold-1", 18);
        request.shortfall_policy = ShortfallPolicy::CollectAvailable.into();
        let (entry, _) = client.capture(request).await.answered();
        assert_eq!(shares(&entry.draws), [(1, 6), (2, 5), (1, 4), (2, 3)]);
        let (entry, _) = client.refund(refund("ann", "refund-2", 5, "job-2")).await.answered();
        assert_eq!(shares(&entry.unwinds), [(2, 3), (1, 2)]);
        let (entry, _) = client.refund(refund("ann", "refund-3", 13, "job-2")).await.answered();
        assert_eq!(shares(&entry.unwinds), [(1, 2), (2, 5), (1, 6)]);
        // Beyond the hold is the same grant: that is one part.
        client.reserve(reserve("ann", "hold-2", 3)).await.answered();
        let mut request = capture("ann", "job-3", "hold-2", 7);
        request.shortfall_policy = ShortfallPolicy::CollectAvailable.into();
        let (entry, _) = client.capture(request).await.answered();
        assert_eq!((shares(&entry.draws), shares(&entry.pins)), (vec![(1, 7)], vec![(1, -3)]));
    })
    .await;
}

/// A lease ends after the grant that it pins, and frees what lapses at once; another grant expires after both.
#[tokio::test(flavor = "multi_thread")]
async fn a_grant_is_gone_at_its_expiry_whatever_else_of_the_account_has_run_out_before() {
    on_a_service(async |mut client| {
        let times = [2, 3, 4].map(|n| n * SOON);
        let [first, second] = [from_now(times[0]), from_now(times[2])];
        client.credit(expiring("ann", "promo-1", 10, first)).await.answered();
        client.reserve(reserve_for(times[1], "ann", "hold-1", 10)).await.answered();
        client.credit(expiring("ann", "promo-2", 20, second)).await.answered();
        client.credit(deposit("ann", "order-1", 5)).await.answered();
        until_time(second).await;
        assert_eq!(sums(&balance(&mut client, "ann").await), [5, 0, 5, 0, 0]);
        let listed: Vec<_> = grants(&mut client, "ann").await.iter().map(standing).collect();
        assert_eq!(listed, [(3, 0, 0, 20), (1, 0, 0, 10)]);
        // All of that is written down together, by who comes by.
        let (entry, _) = client.charge(charge("ann", "job-1", 5)).await.answered();
        let page = client.list_entries(list_entries("ann")).await.unwrap().into_inner().entries;
        let written = page.iter().filter(|other| other.create_time == entry.create_time);
        let types: Vec<EntryType> = written.map(Entry::entry_type).collect();
        let lapse = EntryType::GrantExpire;
        assert_eq!(types, [EntryType::Charge, lapse, lapse, EntryType::Expire]);
    })
    .await;
}

/// A charge, a top-up, the expiry of one of two grants and a release, all at once, in a thousand accounts.
#[tokio::test(flavor = "multi_thread")]
async fn a_charge_a_top_up_an_expiry_and_a_release_may_race_and_no_money_of_others_is_touched() {
    const ROUNDS: usize = 1_000;
    const AT_ONCE: usize = 50;
    on_a_book(async |book| {
        let sweeping = Config { sweep_interval: Some(Duration::from_millis(5)), ..config() };
        let servers = Arc::new([book.serve().await, TestServer::start(&book.url, sweeping).await]);
        for first in (0..ROUNDS).step_by(AT_ONCE) {
            let mut rounds = JoinSet::new();
            for round in first..first + AT_ONCE {
                let servers = Arc::clone(&servers);
                rounds.spawn(async move {
                    race([servers[0].client().await, servers[1].client().await], &format!("account-{round}"))
                        .await;
                });
            }
            rounds.join_all().await;
        }
        let lapsed = "SELECT count(DISTINCT account_id) FROM ledger_entries WHERE entry_type = 18";
        let lapsed = book.number(lapsed).await;
        assert!(lapsed > i64::try_from(ROUNDS / 2).unwrap(), "only {lapsed} races were lost by the grant");
    })
    .await;
}

async fn race([mut one, mut two]: [Client; 2], name: &str) {
    one.credit(deposit(name, "order-1", 30)).await.answered(); // first: opening an account takes longest
    let expire_time = from_now(Duration::from_millis(800));
    let begin = from_now(Duration::from_millis(785 + u64::from(fastrand::u8(0..30))));
    one.credit(expiring(name, "promo-1", 100, expire_time)).await.answered();
    one.credit(expiring(name, "promo-2", 50, from_now(LATER))).await.answered();
    one.reserve(reserve(name, "hold-1", 60)).await.answered();
    until_time(begin).await;
    let some = ShortfallPolicy::CollectAvailable.into();
    let charging = ChargeRequest { shortfall_policy: some, ..charge(name, "job-1", 70) };
    let (mut third, mut fourth) = (one.clone(), two.clone());
    let (charged, topped, released, seen) = tokio::join!(
        one.charge(charging),
        two.credit(deposit(name, "order-2", 20)),
        third.release(release(name, "release-1", "hold-1")),
        fourth.get_account(get_account(name)),
    );
    let charge = charged.answered().0;
    topped.answered();
    released.answered();
    seen.unwrap();
    let drawn: i64 = charge.draws.iter().map(|share| share.amount_micro_usd).sum();
    until_time(expire_time).await;
    let grants = grants(&mut one, name).await;
    let of = |sequence| standing(grants.iter().find(|grant| grant.sequence == sequence).unwrap());
    // Of the first grant all has lapsed or was drawn; the second is whole but for what was drawn.
    let first: i64 = shares(&charge.draws).iter().filter(|(of, _)| *of == 2).map(|(_, amount)| amount).sum();
    assert_eq!(of(2), (2, 0, 0, 100 - first), "{name}: {charge:?}");
    assert_eq!(of(3), (3, 50 - (drawn - first), 0, 0), "{name}");
    // Thirty and twenty were deposited, and pay what the grants do not.
    let other = 50 - (-charge.amount_micro_usd - drawn);
    let granted = 50 - (drawn - first);
    assert_eq!(
        sums(&balance(&mut one, name).await),
        [other + granted, 0, other + granted, 0, granted],
        "{name}"
    );
}
