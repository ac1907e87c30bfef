//! Databases that sort as people do (`a`, `B`, `c`), where the service and the import sort bytewise (`B`, `a`, `c`).

use diesel_async::SimpleAsyncConnection as _;

use super::{
    command::{begin_import, finish, import, import_rows, summary},
    old_coordinator::OldCoordinator,
    side_by_side::check_import,
};
use crate::support::{waiting::until, *};

/// Accounts and payments in every order but that of bytes.
const ROWS: &str = "
    INSERT INTO ledger_entries (account_id, entry_type, amount_micro_usd, balance_after, reference, created_at)
    SELECT account, 'stripe_deposit', 10, 10 * n, 'stripe:' || payment || '-' || account, now()
    FROM unnest('{a,B,c,_d,-e,Ab,aB,AB,ab,a-b,a_b,a.b,Z,z,9,10,~}'::text[]) AS account,
        unnest('{x,Y,_z,-w,X,y,xY,Xy,x-y,x_y}'::text[]) WITH ORDINALITY AS payments(payment, n)
    ORDER BY n;
    INSERT INTO balances SELECT account_id, sum(amount_micro_usd), 0, now() FROM ledger_entries
    WHERE reference LIKE 'stripe:%-%' AND account_id NOT IN (SELECT account_id FROM balances) GROUP BY account_id;";

#[tokio::test(flavor = "multi_thread")]
async fn history_is_imported_whatever_the_databases_sort_by() {
    let (source, book) = (TestBook::create_collated_empty().await, TestBook::create_collated().await);
    let old = OldCoordinator::with_history_in(source, 2_000).await;
    old.plant().await;
    import(&old, &book).await;
    old.run(ROWS).await;
    import(&old, &book).await;
    check_import(&old, &book).await;
    import_rows(&old, &book, 0).await;
}

/// Another transaction that credits payments, in the order of the service, has the first when the import wants both.
#[tokio::test(flavor = "multi_thread")]
async fn payments_are_claimed_in_the_order_of_the_service() {
    let (source, book) = (TestBook::create_collated_empty().await, TestBook::create_collated().await);
    let old = OldCoordinator::with_history_in(source, 100).await;
    old.run(ROWS).await;
    let mut service = book.connect().await;
    let credit = |payment: &str| {
        format!("INSERT INTO payments (external_id, account_id, sequence) VALUES ('{payment}', 'ann', 1)")
    };
    service.batch_execute(&format!("BEGIN; {}", credit("Y-a"))).await.unwrap();
    let importing = begin_import(old.url(), &book.url);
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
                   AND datname = current_database()";
    until("the import waits", async || (book.number(waiting).await > 0).then_some(())).await;
    service.batch_execute(&format!("{}; ROLLBACK", credit("x-a"))).await.unwrap();
    summary(finish(importing).await, 0);
    check_import(&old, &book).await;
}
