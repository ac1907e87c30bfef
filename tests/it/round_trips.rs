//! What a batch in one book costs: a fixed number of round trips, and no statement prepared twice on a connection.

use std::{collections::HashMap, time::Duration};

use billing::{
    accounting::{
        AccountId, AccountState, Actor, AdminCredit, Amount, Capture, Charge, Command, Credit, CreditKind,
        EntryName, ExpiryPolicy, ExternalId, ExternalIds, IdempotencyKey, Leg, LegKind, Legs, Note,
        Operation, Outcome, Reason, Refund, Reserve, SetAccount, ShortfallPolicy, Ttl,
    },
    ledger::Ledger,
};
use diesel_async::SimpleAsyncConnection;

use crate::support::{
    PostBatch as _,
    book::limits,
    books::in_first_book,
    on_a_book,
    wire::{Request, Wire, round_trips},
};

const SIZES: [usize; 3] = [1, 10, 500];

fn command(account: &str, key: &str, operation: Operation) -> Command {
    let account_id = AccountId::parse("account_id", &in_first_book(account)).unwrap();
    let key = IdempotencyKey::parse_of_operation(key).unwrap();
    Command::new(account_id, key, operation, Note::default())
}

fn amount(micro_usd: i64) -> Amount {
    Amount::parse("amount_micro_usd", micro_usd).unwrap()
}

fn deposit(external_id: Option<&str>) -> Operation {
    let external_id = external_id.map(|id| ExternalId::parse("external_ids", id).unwrap());
    let external_ids = external_id.map_or_else(ExternalIds::default, ExternalIds::from);
    Operation::Credit(Credit::new(amount(1_000), CreditKind::Deposit, external_ids, None).unwrap())
}

fn charge(micro_usd: i64) -> Operation {
    Operation::Charge(Charge {
        amount: amount(micro_usd),
        shortfall_policy: ShortfallPolicy::Reject,
        legs: Legs::default(),
    })
}

fn refund(micro_usd: i64, charge: EntryName) -> Operation {
    Operation::Refund(Refund { amount: amount(micro_usd), charge, legs: None })
}

fn reserve(ttl: Option<Ttl>) -> Operation {
    Operation::Reserve(Reserve { amount: amount(1), ttl, expiry_policy: ExpiryPolicy::Release })
}

fn set_account(state: AccountState) -> Operation {
    let (actor, reason) = (Actor::parse("ann").unwrap(), Reason::parse("a dispute").unwrap());
    Operation::SetAccount(SetAccount::new(Some(state), None, None, actor, reason).unwrap())
}

/// The name of a charge by its key.
fn by_key(key: &str) -> EntryName {
    EntryName::Key(IdempotencyKey::parse("key", key).unwrap())
}

async fn one_connection(wire: &Wire) -> Ledger {
    Ledger::connect(&wire.url.parse().unwrap(), 1, 1, limits()).await.unwrap()
}

async fn cost(wire: &Wire, ledger: &Ledger, commands: &[Command]) -> (Vec<Outcome>, Vec<Request>) {
    wire.take_requests();
    let outcomes = ledger.post_batch(commands).await.unwrap();
    (outcomes, wire.take_requests())
}

/// Batches of one kind, each size with keys of its own.
async fn costs(wire: &Wire, ledger: &Ledger, kind: &str, make: impl Fn(&str) -> Operation) -> Vec<usize> {
    let mut costs = Vec::new();
    for (round, size) in [&[1][..], &SIZES[..]].concat().into_iter().enumerate() {
        let command = |n: usize| {
            let name = format!("{round}-{n}");
            command(&format!("account-{}", n % 50), &format!("{kind}-{name}"), make(&name))
        };
        let commands: Vec<Command> = (0..size).map(command).collect();
        let (_, requests) = cost(wire, ledger, &commands).await;
        costs.push(round_trips(&requests));
    }
    costs.split_off(1) // the first one only prepares the statements
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_costs_the_same_round_trips_whatever_its_size() {
    on_a_book(async |book| {
        let wire = Wire::tap(book).await;
        let ledger = one_connection(&wire).await;
        let open: Vec<_> =
            (0..50).map(|n| command(&format!("account-{n}"), "order-0", deposit(None))).collect();
        ledger.post_batch(&open).await.unwrap();
        let payees: Vec<_> =
            (1..=3).map(|n| command(&format!("payee-{n}"), "order-0", deposit(None))).collect();
        ledger.post_batch(&payees).await.unwrap();

        // BEGIN, lock, prior; then write, COMMIT.
        assert_eq!(costs(&wire, &ledger, "credit", |_| deposit(None)).await, [2, 2, 2]);
        assert_eq!(costs(&wire, &ledger, "charge", |_| charge(1)).await, [2, 2, 2]);
        // What is passed on to others is the same statement: their accounts are locked and written with the payer's.
        let passed_on = |_: &str| {
            let leg = |n: usize| Leg {
                account_id: AccountId::parse("legs.account_id", &in_first_book(&format!("payee-{n}")))
                    .unwrap(),
                amount: amount(1),
                kind: LegKind::Earning,
                grants_withdrawable: false,
            };
            let payer = AccountId::parse("account_id", "a-payer").unwrap();
            let legs = Legs::new(&payer, vec![leg(1), leg(2), leg(3)]).unwrap();
            Operation::Charge(Charge { amount: amount(4), shortfall_policy: ShortfallPolicy::Reject, legs })
        };
        assert_eq!(costs(&wire, &ledger, "passed-on", passed_on).await, [2, 2, 2]);
        // One more: COMMIT waits until all of several statements are known to be carried out.
        let payments = |name: &str| deposit(Some(&format!("pay-{name}")));
        assert_eq!(costs(&wire, &ledger, "payment", payments).await, [3, 3, 3]);
        assert_eq!(costs(&wire, &ledger, "reserve", |_| reserve(None)).await, [3, 3, 3]);
        let captures = |name: &str| {
            Operation::Capture(Capture {
                reservation_id: IdempotencyKey::parse_of_reservation(&format!("reserve-{name}")).unwrap(),
                amount: amount(1),
                shortfall_policy: ShortfallPolicy::Reject,
                keep_open: false,
                legs: Legs::default(),
            })
        };
        assert_eq!(costs(&wire, &ledger, "capture", captures).await, [3, 3, 3]);
        assert_eq!(costs(&wire, &ledger, "decision", |_| set_account(AccountState::Active)).await, [2, 2, 2]);
        // Refusals instead of entries.
        assert_eq!(costs(&wire, &ledger, "refusal", |_| charge(1_000_000_000)).await, [3, 3, 3]);
        // Replays: nothing is written, so it ends with ROLLBACK.
        let (outcomes, requests) = cost(&wire, &ledger, &open).await;
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Applied { since: Some(_), .. })));
        assert_eq!(round_trips(&requests), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_everything_costs_seven_round_trips_at_most() {
    on_a_book(async |book| {
        let wire = Wire::tap(book).await;
        let ledger = one_connection(&wire).await;
        for round in 0..3 {
            let key = |what: &str| format!("{what}-{round}");
            let call = |what: &str, operation| command(&format!("account-{round}"), &key(what), operation);
            // Two to find that the account is new and to roll back; then as usual.
            let (_, opening) = cost(&wire, &ledger, &[call("first", deposit(None))]).await;
            assert!(round == 0 || round_trips(&opening) == 2 + 2, "{opening:#?}");
            ledger.post_batch(&[call("reserve", reserve(Some(Ttl::SHORTEST)))]).await.unwrap();
            let decided = (Actor::parse("ann").unwrap(), Reason::parse("goodwill").unwrap());
            let grant = AdminCredit::new(amount(5), decided, false, None).unwrap();
            let batch = [
                call("order", deposit(Some(&key("pay")))),
                call("order-again", deposit(Some(&key("pay")))),
                call("grant", Operation::AdminCredit(grant)),
                call("job", charge(7)),
                call("job-too-large", charge(100_000)),
                call("refund-1", refund(3, by_key(&key("job")))),
                call("refund-2", refund(1, EntryName::Sequence(6))),
            ];
            let (outcomes, requests) = cost(&wire, &ledger, &batch).await;
            let refused = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Refused(_))).count();
            let applied =
                outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Applied { .. })).count();
            assert_eq!((refused, applied), (1, 6), "{outcomes:?}");
            if round == 2 {
                assert_eq!(round_trips(&requests), 5, "{requests:#?}"); // all but the opening of accounts
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_statement_is_prepared_twice_on_a_connection() {
    on_a_book(async |book| {
        let wire = Wire::tap(book).await;
        let ledger = one_connection(&wire).await;
        for kind in ["one", "two", "three"] {
            costs(&wire, &ledger, kind, |name| deposit(Some(&format!("{kind}-{name}")))).await;
            costs(&wire, &ledger, &format!("{kind}-job"), |_| charge(1)).await;
            let requests = wire_after(&wire, &ledger, kind).await;
            let mut prepared: HashMap<_, usize> = HashMap::new();
            for request in requests.iter().filter(|request| request.prepares) {
                *prepared.entry((request.connection, request.sql.clone())).or_default() += 1;
            }
            assert!(prepared.values().all(|times| *times == 1), "{prepared:#?}");
            if kind != "one" {
                assert_eq!(prepared.len(), 0, "all was prepared before: {prepared:#?}");
            }
        }
    })
    .await;
}

/// All the requests of a few batches, some of which the connection has seen before.
async fn wire_after(wire: &Wire, ledger: &Ledger, kind: &str) -> Vec<Request> {
    wire.take_requests();
    for n in 0..5 {
        let key = |what: &str| format!("{kind}-{what}-{n}");
        let call = |what: &str, operation| command("ann", &key(what), operation);
        let batch = [
            call("order", deposit(Some(&key("pay")))),
            call("job", charge(1)),
            call("large", charge(1_000_000_000)),
            call("refund", refund(1, by_key(&key("job")))),
            call("order-again", deposit(Some(&key("pay")))),
            call("reserve", reserve(Some(Ttl::SHORTEST))),
        ];
        ledger.post_batch(&batch).await.unwrap();
    }
    wire.take_requests()
}

/// Under REPEATABLE READ the transaction would have to be run again, since the account was changed while it waited.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_another_default_isolation_changes_nothing() {
    on_a_book(async |book| {
        let mut operator = book.connect().await;
        let set = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = %L', \
                   current_database(), 'repeatable read'); END $$";
        operator.batch_execute(set).await.unwrap();
        let wire = Wire::tap(book).await;
        let ledger = one_connection(&wire).await;
        ledger.post_batch(&[command("ann", "order-1", deposit(None))]).await.unwrap();

        operator.batch_execute("BEGIN; UPDATE accounts SET update_time = update_time").await.unwrap();
        wire.take_requests();
        let waiting = tokio::spawn(async move {
            ledger.post_batch(&[command("ann", "order-2", deposit(None))]).await.unwrap()
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        operator.batch_execute("COMMIT").await.unwrap();
        assert!(matches!(waiting.await.unwrap()[..], [Outcome::Applied { since: None, .. }]));
        assert_eq!(round_trips(&wire.take_requests()), 2, "one run");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_is_dropped_half_way_is_finished_and_its_connection_used_again() {
    on_a_book(async |book| {
        let wire = Wire::tap(book).await;
        let ledger = one_connection(&wire).await;
        ledger.post_batch(&[command("ann", "order-1", deposit(None))]).await.unwrap();
        let before = wire.take_requests();

        let mut blocker = book.connect().await;
        blocker.batch_execute("BEGIN; SELECT FROM accounts FOR UPDATE").await.unwrap();
        let waiting = [command("ann", "order-2", deposit(None))];
        let dropped = tokio::time::timeout(Duration::from_millis(200), ledger.post_batch(&waiting)).await;
        assert!(dropped.is_err(), "{dropped:?}");
        blocker.batch_execute("ROLLBACK").await.unwrap();

        let outcomes = ledger.post_batch(&waiting).await.unwrap();
        assert!(matches!(outcomes[..], [Outcome::Applied { since: Some(_), .. }]));
        let connection = |requests: &[Request]| requests.last().unwrap().connection;
        assert_eq!(connection(&wire.take_requests()), connection(&before));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commit_is_sent_behind_the_write_even_on_a_new_connection() {
    on_a_book(async |book| {
        book.ledger().await.post_batch(&[command("ann", "order-1", deposit(None))]).await.unwrap();
        let earning = Credit::new(amount(1_000), CreditKind::Earning, ExternalIds::default(), None).unwrap();
        // What may be withdrawn is a rare fact, which is written by another text.
        for (key, operation) in [("order-2", deposit(None)), ("job-1", Operation::Credit(earning))] {
            let wire = Wire::tap(book).await;
            let ledger = one_connection(&wire).await;
            let (_, requests) = cost(&wire, &ledger, &[command("ann", key, operation)]).await;
            assert_eq!(requests.last().unwrap().sql.as_deref(), Some("COMMIT"), "{requests:#?}");
        }
    })
    .await;
}

/// COMMIT is already under way when it turns out.
#[tokio::test(flavor = "multi_thread")]
async fn a_balance_whose_entry_cannot_be_written_does_not_move() {
    on_a_book(async |book| {
        let ledger = book.ledger().await;
        ledger.post_batch(&[command("ann", "order-1", deposit(None))]).await.unwrap();
        book.run_sql(
            "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
             CREATE TRIGGER swallow BEFORE INSERT ON ledger_entries FOR EACH ROW EXECUTE FUNCTION swallow()",
        )
        .await
        .unwrap();
        ledger.post_batch(&[command("ann", "order-2", deposit(None))]).await.unwrap_err();
        assert_eq!(book.number("SELECT posted_micro_usd FROM accounts").await, 1_000);
        book.run_sql("DROP TRIGGER swallow ON ledger_entries").await.unwrap();
        ledger.post_batch(&[command("ann", "order-2", deposit(None))]).await.unwrap();
        assert_eq!(book.number("SELECT posted_micro_usd FROM accounts").await, 2_000);
    })
    .await;
}
