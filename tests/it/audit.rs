//! `billing audit` on real PostgreSQL: nothing in a book that adds up, and each damage by its name.

use std::{collections::BTreeSet, process::Output, time::Duration};

use billing::{
    accounting::AccountId,
    audit::Check,
    grpc::proto::{CaptureRequest, ReserveRequest},
    ledger::{Ledger, LedgerError},
    snapshot::Snapshot,
};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::{
    histories::unix_micros,
    memory_journal::limits,
    model::{Call, Change, Leg, Metadata, Of, What},
    random_books,
    support::{
        process::billing,
        standby::Pair,
        waiting::{ended, printed, until},
        *,
    },
    translation::command,
};

const AUDITOR_GRANTS: &str = include_str!("../../deploy/postgres/auditor-role.sql");
const TABLES: [&str; 7] =
    ["accounts", "ledger_entries", "reservations", "grants", "refusals", "payments", "external_replays"];

/// What was found, by check and place.
type Found = BTreeSet<(String, String)>;

async fn run_audit(url: &str, flags: &[&str]) -> Output {
    billing(&[&["audit", "--database-url", url], flags].concat()).await
}

/// The differences and the summary that an audit prints as JSON Lines.
async fn audit(url: &str) -> (Found, Value) {
    let output = run_audit(url, &["--json"]).await;
    let said = String::from_utf8(output.stderr).unwrap();
    let mut lines: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| line.parse().unwrap()).collect();
    let summary = lines.pop().unwrap_or_else(|| panic!("no summary: {said}"))["summary"].take();
    let found: Found = lines.iter().map(|line| found(&line["difference"])).collect();
    assert_eq!(output.status.code(), Some(if found.is_empty() { 0 } else { 2 }), "{said}");
    assert_eq!(summary["differences"], lines.len(), "{lines:?}");
    (found, summary)
}

fn found(difference: &Value) -> (String, String) {
    for text in ["expected", "found"] {
        assert!(!difference[text].as_str().unwrap().is_empty(), "{difference}");
    }
    let (account, place) = (difference["account_id"].as_str().unwrap(), &difference["place"]);
    let place = match place.as_object() {
        Some(place) => place.values().next().unwrap().to_string().replace('"', ""),
        None => place.as_str().unwrap().to_owned(),
    };
    (difference["check"].as_str().unwrap().to_owned(), format!("{account} {place}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_book_that_adds_up_is_found_so() {
    on_a_book(async |book| {
        assert_eq!(audit(&book.url).await.1["entries"], 0);
        random_books::fill(book, "a").await;
        let (found, summary) = audit(&book.url).await;
        assert_eq!(found, Found::new());
        for (figure, table) in
            [("accounts", "accounts"), ("entries", "ledger_entries"), ("reservations", "reservations")]
        {
            let rows = book.number(&format!("SELECT count(*) FROM {table}")).await;
            assert_eq!(summary[figure], rows, "{summary}");
        }
        let posted = "SELECT (sum(posted_micro_usd) % 1000000007)::bigint FROM accounts"; // the sum may not fit
        let sum: i128 = summary["posted_micro_usd"].as_str().unwrap().parse().unwrap();
        assert_eq!(i128::from(book.number(posted).await), sum % 1_000_000_007);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_found_while_the_service_is_at_work() {
    on_a_book(async |book| {
        let server = book.serve().await;
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let mut callers = JoinSet::new();
        for caller in 0..8 {
            let (mut client, stopped) = (server.client().await, stopped.clone());
            callers.spawn(async move {
                let account = format!("account-{}", caller % 3);
                for round in 0.. {
                    let key = |what: &str| format!("{what}-{caller}-{round}");
                    client.credit(deposit(&account, &key("order"), 100)).await.answered();
                    client.charge(charge(&account, &key("job"), 40)).await.answered();
                    client.refund(refund(&account, &key("refund"), 10, &key("job"))).await.answered();
                    client.reserve(reserve(&account, &key("task"), 20)).await.unwrap();
                    client.capture(capture(&account, &key("end"), &key("task"), 5)).await.unwrap();
                    if *stopped.borrow() {
                        return round + 1;
                    }
                }
                unreachable!("it is told to stop")
            });
        }
        let mut entries = Vec::new();
        for _ in 0..5 {
            let (found, summary) = audit(&book.url).await;
            assert_eq!(found, Found::new());
            entries.push(summary["entries"].as_i64().unwrap());
        }
        stop.send(true).unwrap();
        let rounds: i64 = callers.join_all().await.into_iter().sum();
        assert_eq!(audit(&book.url).await.1["entries"], 5 * rounds);
        assert!(entries[0] < entries[4], "the service was idle: {entries:?}");
    })
    .await;
}

fn reserve(account: &str, key: &str, micro_usd: i64) -> ReserveRequest {
    ReserveRequest {
        idempotency_key: key.into(),
        account_id: account.into(),
        amount_micro_usd: micro_usd,
        ..Default::default()
    }
}

fn capture(account: &str, key: &str, reservation: &str, micro_usd: i64) -> CaptureRequest {
    CaptureRequest {
        idempotency_key: key.into(),
        account_id: account.into(),
        reservation_id: reservation.into(),
        amount_micro_usd: micro_usd,
        ..Default::default()
    }
}

/// A small book with something of everything. Ann's entries: 1 Stripe deposit, 2 charge, 3 refund, 4 reserve, 5 capture,
/// 6 deposit, 7 grant, 8 reserve, 9 deposit; one replayed payment, with a further name, and one refusal. Carl's: 1 deposit,
/// 2 reserve, 3 the capture at the end of its lease, 4 change. Erin's: 1 earning, 2 withdrawal, 3 refund of it, 4 reversal of
/// the earning, 5 refund of that, 6 deposit. Finn's: 1 deposit, 2 charge with legs to Gwen and Hugo, each of whom has an entry,
/// 3 refund that takes back from both. See also `write_grants`.
async fn write_small_book(book: &TestBook) {
    let ledger = Ledger::connect(&book.url.parse().unwrap(), 1, 1, limits(0)).await.unwrap();
    let credit = |kind, amount, external_ids: &[&str]| What::Credit {
        kind,
        amount,
        external_ids: external_ids.iter().map(|id| (*id).to_owned()).collect(),
        expire: None,
    };
    let leg = |account: &str, amount, kind| Leg {
        account: account.into(),
        amount,
        kind,
        grants_withdrawable: false,
    };
    let charge = |amount| What::Charge { amount, policy: "REJECT", legs: Vec::new() };
    let reserve = |amount| What::Reserve { amount, ttl: None, expiry: "RELEASE" };
    let limit = Change {
        state: None,
        debt_limit: Some(5),
        forfeit: None,
        actor: "ann".into(),
        reason: "a good customer".into(),
    };
    let calls = [
        ("ann", "k1", credit("STRIPE_DEPOSIT", 100, &["pay_1"])),
        ("ann", "k2", credit("STRIPE_DEPOSIT", 100, &["pay_1", "pi_1"])),
        ("ann", "k3", charge(30)),
        ("ann", "k4", What::Refund { amount: 10, of: Of::Key("k3".into()), legs: None }),
        ("ann", "k5", charge(1_000)),
        ("ann", "k6", reserve(20)),
        (
            "ann",
            "k7",
            What::Capture {
                reservation_id: "k6".into(),
                amount: 15,
                policy: "REJECT",
                keep_open: false,
                legs: Vec::new(),
            },
        ),
        ("ann", "k8", credit("DEPOSIT", 5, &[])),
        (
            "ann",
            "k9",
            What::AdminCredit {
                amount: 5,
                actor: "ann".into(),
                reason: "goodwill".into(),
                withdrawable: false,
                expire: None,
            },
        ),
        ("ann", "k10", reserve(8)),
        ("ann", "k11", credit("DEPOSIT", 1, &[])),
        ("bob", "k1", credit("DEPOSIT", 50, &[])),
        ("carl", "k1", credit("DEPOSIT", 20, &[])),
        ("carl", "k2", What::Reserve { amount: 8, ttl: Some(1), expiry: "CAPTURE" }),
        ("carl", "k3", What::SetAccount(limit)),
        ("dora", "k1", charge(1)),
        ("erin", "k1", credit("EARNING", 50, &["tr_1"])),
        ("erin", "k2", What::Withdraw { amount: 20, external_ids: vec!["po_1".into()] }),
        ("erin", "k3", What::Refund { amount: 5, of: Of::ExternalId("po_1".into()), legs: None }),
        (
            "erin",
            "k4",
            What::Reverse {
                amount: 10,
                of: Of::ExternalId("tr_1".into()),
                external_ids: Vec::new(),
                reason: Some("a mistake".into()),
                policy: "REJECT",
            },
        ),
        ("erin", "k5", What::Refund { amount: 4, of: Of::Sequence(4), legs: None }),
        ("erin", "k6", credit("DEPOSIT", 7, &[])),
        ("finn", "k1", credit("DEPOSIT", 100, &[])),
        (
            "finn",
            "k2",
            What::Charge {
                amount: 50,
                policy: "REJECT",
                legs: vec![leg("gwen", 30, "EARNING"), leg("hugo", 10, "FEE")],
            },
        ),
        ("finn", "k3", What::Refund { amount: 20, of: Of::Key("k2".into()), legs: Some("TAKE_BACK") }),
    ];
    for (account, key, what) in calls {
        post(&ledger, account, vec![(key, what)]).await;
    }
    write_grants(&ledger).await;
}

/// Writes the calls of an account at one moment.
async fn post(ledger: &Ledger, account: &str, calls: Vec<(&str, What)>) {
    let call = |(key, what): (&str, What)| {
        let (account, key) = (account.to_owned(), key.to_owned());
        command(&Call { account, key, what, reference: String::new(), metadata: Metadata::new() })
    };
    let commands: Vec<_> = calls.into_iter().map(call).collect();
    ledger.post_batch(&commands).await.unwrap();
}

/// Accounts with grants. Ida's entries: 1 deposit, 2 grant, 3 grant that expires soon, 4 reserve, which pins all of that and 5
/// of the other; 5 release, because of which it lapses, 6 the end of it, 7 charge, 8 refund of that, 9 reserve, 10 and 11
/// reversals of all of the first grant, 12 release, which brings back what is other money by then; 13 grant, 14 reserve of 4 of
/// it, 15 deposit. Jane's: 1 deposit, 2 grant, 3 charge with a leg to Kurt, of which 5 are no money of the grant. Lara's is
/// a grant.
async fn write_grants(ledger: &Ledger) {
    const LATER: i64 = 4_102_444_800_000_000; // in 2100
    let credit = |amount, expire| {
        let kind = "DEPOSIT";
        What::Credit { kind, amount, external_ids: Vec::new(), expire }
    };
    let charge = |amount, legs| What::Charge { amount, policy: "REJECT", legs };
    let reserve = |amount| What::Reserve { amount, ttl: None, expiry: "RELEASE" };
    let release = |id: &str| What::Release { reservation_id: id.into() };
    let reverse = |amount| What::Reverse {
        amount,
        of: Of::Sequence(2),
        external_ids: Vec::new(),
        reason: None,
        policy: "COLLECT_AVAILABLE",
    };
    let goodwill = What::AdminCredit {
        amount: 5,
        actor: "ann".into(),
        reason: "goodwill".into(),
        withdrawable: false,
        expire: Some(LATER),
    };
    post(ledger, "ida", vec![("k1", credit(20, None)), ("k2", credit(50, Some(LATER)))]).await;
    let soon = Duration::from_secs(1);
    let expire = unix_micros() + i64::try_from(soon.as_micros()).unwrap();
    post(ledger, "ida", vec![("k3", credit(30, Some(expire))), ("k4", reserve(35))]).await;
    tokio::time::sleep(soon).await;
    let refund = What::Refund { amount: 4, of: Of::Key("k7".into()), legs: None };
    for (key, what) in [
        ("k5", release("k4")),
        ("k7", charge(10, Vec::new())),
        ("k8", refund),
        ("k9", reserve(12)),
        ("k10", reverse(5)),
        ("k11", reverse(45)),
        ("k12", release("k9")),
        ("k13", goodwill),
        ("k14", reserve(4)),
        ("k15", credit(1, None)),
    ] {
        post(ledger, "ida", vec![(key, what)]).await;
    }
    let (account, kind) = ("kurt".to_owned(), "EARNING");
    let leg = Leg { account, amount: 12, kind, grants_withdrawable: false };
    for (key, what) in
        [("k1", credit(10, None)), ("k2", credit(10, Some(LATER))), ("k3", charge(15, vec![leg]))]
    {
        post(ledger, "jane", vec![(key, what)]).await;
    }
    post(ledger, "lara", vec![("k1", credit(10, Some(LATER)))]).await;
}

/// A figure in a row of Ann's, by the table, the row and the change, and the check that finds it there.
const WRONG_FIGURES: [(&str, &str, &str, &str); 35] = [
    ("accounts", "account", "posted_micro_usd = posted_micro_usd + 1", "ACCOUNT_POSTED"),
    ("accounts", "account", "held_micro_usd = 9", "ACCOUNT_HELD"),
    ("accounts", "account", "last_sequence = 10", "ACCOUNT_LAST_SEQUENCE"),
    ("accounts", "account", "create_time = '2020-01-01'", "ACCOUNT_CREATE_TIME"),
    ("accounts", "account", "update_time = '2100-01-01'", "ACCOUNT_UPDATE_TIME"),
    ("accounts", "account", "next_expire_time = '2100-01-01'", "ACCOUNT_NEXT_EXPIRE_TIME"),
    ("accounts", "account", "next_expire_time = NULL", "ACCOUNT_NEXT_EXPIRE_TIME"),
    ("accounts", "account", "facts = ROW(2, NULL, 0, NULL)::facts", "ACCOUNT_SETTINGS"),
    ("accounts", "account", "facts = ROW(1, 5, 0, NULL)::facts", "ACCOUNT_SETTINGS"),
    ("ledger_entries", "6", "posted_after = posted_after + 1", "ENTRY_POSTED_AFTER"),
    ("ledger_entries", "9", "posted_after = posted_after + 1", "ENTRY_POSTED_AFTER"),
    ("ledger_entries", "6", "amount_micro_usd = 7", "ENTRY_POSTED_AFTER"),
    ("ledger_entries", "6", "held_after = -1", "ENTRY_HELD_AFTER"),
    ("ledger_entries", "6", "create_time = '2020-01-01'", "ENTRY_TIME"),
    ("ledger_entries", "6", "effective_time = '2020-01-01'", "ENTRY_TIME"),
    ("ledger_entries", "9", "effective_time = create_time + interval '1 us'", "ENTRY_TIME"),
    ("ledger_entries", "1", "effective_time = create_time - interval '1 us'", "ENTRY_TIME"),
    ("ledger_entries", "6", "entry_type = 19", "ENTRY_TYPE"),
    ("ledger_entries", "6", "entry_type = 17", "LEG_SOURCE"),
    ("ledger_entries", "6", "entry_type = 6", "ENTRY_SIGN"),
    ("ledger_entries", "6", "fingerprint = NULL", "ENTRY_FACTS"),
    ("ledger_entries", "7", "reason = NULL", "ENTRY_FACTS"),
    ("ledger_entries", "4", "expiry_policy = NULL", "ENTRY_FACTS"),
    ("ledger_entries", "3", "refunded_sequence = 1", "REFUND_CHARGE"),
    ("ledger_entries", "3", "refunded_sequence = 5", "REFUND_CHARGE"),
    ("ledger_entries", "3", "refunded_sequence = 12", "REFUND_CHARGE"),
    ("reservations", "k6", "state = 3", "RESERVATION_STATE"),
    ("reservations", "k10", "amount_micro_usd = 9", "RESERVATION_HELD"),
    ("reservations", "k6", "captured_micro_usd = 9", "RESERVATION_CAPTURED"),
    ("reservations", "k6", "sequence = 5", "RESERVATION_SEQUENCE"),
    ("reservations", "k6", "create_time = now()", "RESERVATION_CREATE_TIME"),
    ("reservations", "k10", "expire_time = '2020-01-01'", "RESERVATION_EXPIRE_TIME"),
    ("reservations", "k6", "close_time = NULL", "RESERVATION_CLOSE_TIME"),
    ("reservations", "k10", "expiry_policy = 2", "RESERVATION_EXPIRY_POLICY"),
    ("reservations", "k6", "close_sequence = 4", "RESERVATION_CLOSE_SEQUENCE"),
];

/// Other damages, each as SQL, and all that the audit finds then.
const DAMAGES: &[(&str, &[(&str, &str)])] = &[
    ("DELETE FROM accounts WHERE account_id = 'bob'", &[("ACCOUNT_MISSING", "bob account")]),
    (
        "INSERT INTO accounts (account_id, posted_micro_usd) VALUES ('dora', 5)",
        &[("ACCOUNT_WITHOUT_ENTRIES", "dora account")],
    ),
    ("DELETE FROM ledger_entries WHERE (account_id, sequence) = ('ann', 6)", &[("ENTRY_SEQUENCE", "ann 7")]),
    (
        "INSERT INTO ledger_entries SELECT * FROM ledger_entries WHERE (account_id, sequence) = ('ann', 6)",
        &[("ENTRY_SEQUENCE", "ann 6"), ("KEY_ANSWERS", "ann k8")],
    ),
    (
        "INSERT INTO ledger_entries (account_id, sequence, entry_type, amount_micro_usd, held_delta_micro_usd,
             posted_after, held_after, create_time, idempotency_key, fingerprint, actor, reason, account_state)
         SELECT account_id, 2, 14, -80, 0, -30, 0, update_time, 'k2', '', 'ann', 'goodwill', 1 FROM accounts WHERE account_id = 'bob';
         UPDATE accounts SET posted_micro_usd = -30, last_sequence = 2 WHERE account_id = 'bob'",
        &[("ENTRY_OVERDRAWN", "bob 2")],
    ),
    (
        "INSERT INTO ledger_entries (account_id, sequence, entry_type, amount_micro_usd, held_delta_micro_usd,
             posted_after, held_after, create_time, idempotency_key, fingerprint, refunded_sequence)
         SELECT account_id, 10, 7, 21, 0, 97, 8, update_time, 'k12', '', 2 FROM accounts WHERE account_id = 'ann';
         UPDATE accounts SET posted_micro_usd = 97, last_sequence = 10 WHERE account_id = 'ann'",
        &[("REFUND_SUM", "ann 2")],
    ),
    (
        "UPDATE refusals SET idempotency_key = 'k1' WHERE account_id = 'ann'",
        &[("KEY_ANSWERS", "ann k1")],
    ),
    (
        "UPDATE external_replays SET idempotency_key = 'k5' WHERE account_id = 'ann'",
        &[("KEY_ANSWERS", "ann k5")],
    ),
    ("DELETE FROM payments WHERE account_id = 'ann'", &[("PAYMENT_UNCLAIMED", "ann 1")]),
    ("DELETE FROM external_replays", &[("PAYMENT_CLAIM", "ann pi_1")]),
    (
        "INSERT INTO payments VALUES ('pay_9', 'ann', 6)",
        &[("PAYMENT_CLAIM", "ann pay_9")],
    ),
    (
        "UPDATE payments SET account_id = 'bob' WHERE account_id = 'ann'",
        &[("PAYMENT_UNCLAIMED", "ann 1"), ("PAYMENT_CLAIM", "bob pay_1"), ("PAYMENT_CLAIM", "bob pi_1")],
    ),
    (
        "UPDATE external_replays SET sequence = 6",
        &[("REPLAY_ENTRY", "ann k2"), ("PAYMENT_CLAIM", "ann pi_1")],
    ),
    (
        "UPDATE ledger_entries SET expiry_policy = 1 WHERE (account_id, sequence) = ('carl', 2)",
        &[("RESERVATION_LAPSE", "carl 3")],
    ),
    (
        "UPDATE ledger_entries SET effective_time = create_time WHERE (account_id, sequence) = ('carl', 3)",
        &[("RESERVATION_LAPSE", "carl 3")],
    ),
    (
        "UPDATE accounts SET facts = ROW(1, NULL, 1, NULL)::facts WHERE account_id = 'erin'",
        &[("ACCOUNT_WITHDRAWABLE", "erin account")],
    ),
    (
        "UPDATE ledger_entries SET withdrawable_after = 7 WHERE (account_id, sequence) = ('erin', 6)",
        &[("ENTRY_WITHDRAWABLE", "erin 6"), ("ACCOUNT_WITHDRAWABLE", "erin account")],
    ),
    (
        "UPDATE ledger_entries SET withdrawable_delta_micro_usd = NULL WHERE (account_id, sequence) = ('erin', 3)",
        &[("ENTRY_WITHDRAWABLE", "erin 3")],
    ),
    (
        "UPDATE ledger_entries SET reversed_sequence = 6 WHERE (account_id, sequence) IN (('erin', 4), ('erin', 5))",
        &[("REVERSAL_CREDIT", "erin 4"), ("REVERSAL_CREDIT", "erin 5")],
    ),
    (
        "UPDATE ledger_entries SET reversed_sequence = NULL WHERE (account_id, sequence) = ('erin', 5)",
        &[("REVERSAL_CREDIT", "erin 5")],
    ),
    (
        "INSERT INTO ledger_entries (account_id, sequence, entry_type, amount_micro_usd, held_delta_micro_usd,
             posted_after, held_after, create_time, idempotency_key, fingerprint, reversed_sequence,
             withdrawable_delta_micro_usd, withdrawable_after)
         SELECT account_id, 7, 16, -8, 0, 28, 0, update_time, 'k7', '', 6, -1, 28 FROM accounts WHERE account_id = 'erin';
         UPDATE accounts SET posted_micro_usd = 28, last_sequence = 7, facts = ROW(1, NULL, 28, NULL)::facts
         WHERE account_id = 'erin'",
        &[("REVERSAL_SUM", "erin 6")],
    ),
    (
        "UPDATE ledger_entries SET funded_micro_usd = 39 WHERE (account_id, sequence) = ('finn', 2)",
        &[("LEGS_FUNDED", "finn 2")],
    ),
    (
        "UPDATE ledger_entries SET funded_micro_usd = 51 WHERE (account_id, sequence) = ('finn', 2)",
        &[("LEGS_FUNDED", "finn 2")],
    ),
    (
        "UPDATE ledger_entries SET source_sequence = 3 WHERE (account_id, sequence) = ('gwen', 1)",
        &[("LEGS_PAID", "finn 2"), ("LEG_SOURCE", "gwen 1")],
    ),
    (
        "UPDATE ledger_entries SET legs = NULL, funded_micro_usd = NULL WHERE (account_id, sequence) = ('finn', 2)",
        &[("LEG_SOURCE", "gwen 1"), ("LEG_SOURCE", "hugo 1")],
    ),
    ("DELETE FROM reservations WHERE reservation_id = 'k6'", &[("RESERVATION_MISSING", "ann k6")]),
    (
        "INSERT INTO reservations VALUES ('ann', 'ghost', 3, 0, 0, 4, now(), now(), now())",
        &[("RESERVATION_WITHOUT_ENTRIES", "ann ghost")],
    ),
    (
        "UPDATE ledger_entries SET reservation_captured = 14 WHERE (account_id, sequence) = ('ann', 5);
         UPDATE reservations SET captured_micro_usd = 14 WHERE reservation_id = 'k6'",
        &[("RESERVATION_STEP", "ann 5")],
    ),
    (
        "INSERT INTO ledger_entries (account_id, sequence, entry_type, amount_micro_usd, held_delta_micro_usd,
             posted_after, held_after, create_time)
         SELECT account_id, 2, 9, 0, 5, 50, 5, update_time FROM accounts WHERE account_id = 'bob';
         UPDATE accounts SET held_micro_usd = 5, last_sequence = 2 WHERE account_id = 'bob'",
        &[("RESERVATIONS_HOLD", "bob account")],
    ),
];

/// Damages of Ida's grants, and of what Kurt got of Jane's.
const GRANT_DAMAGES: &[(&str, &[(&str, &str)])] = &[
    (
        "UPDATE accounts SET facts = ROW(1, NULL, 0, 6)::facts WHERE account_id = 'ida'",
        &[("ACCOUNT_GRANTED", "ida account")],
    ),
    (
        "UPDATE accounts SET facts = NULL WHERE account_id = 'ida'",
        &[("ACCOUNT_GRANTED", "ida account")],
    ),
    (
        "UPDATE accounts SET facts = ROW(1, NULL, 0, 0)::facts WHERE account_id = 'ann'",
        &[("ACCOUNT_GRANTED", "ann account")],
    ),
    (
        "UPDATE accounts SET next_expire_time = NULL WHERE account_id = 'lara'",
        &[("ACCOUNT_NEXT_EXPIRE_TIME", "lara account")],
    ),
    (
        r#"UPDATE ledger_entries SET grant_moves = '{"pins": [{"sequence": 99, "amount_micro_usd": 1}]}'
           WHERE (account_id, sequence) = ('ida', 15)"#,
        &[("ENTRY_GRANT_MOVES", "ida 15")],
    ),
    (
        r#"UPDATE ledger_entries SET grant_moves = '{"gifts": []}' WHERE (account_id, sequence) = ('ida', 15)"#,
        &[("ENTRY_FACTS", "ida 15")],
    ),
    (
        "UPDATE ledger_entries SET granted_after = granted_after + 1 WHERE (account_id, sequence) = ('ida', 8)",
        &[("ENTRY_GRANTED", "ida 8")],
    ),
    (
        "UPDATE ledger_entries SET granted_after = NULL WHERE (account_id, sequence) = ('ida', 15)",
        &[("ENTRY_GRANTED", "ida 15")],
    ),
    (
        "UPDATE ledger_entries SET lapsed_micro_usd = 1 WHERE (account_id, sequence) = ('ida', 8)",
        &[("ENTRY_LAPSED", "ida 8")],
    ),
    (
        "UPDATE ledger_entries SET lapsed_micro_usd = NULL WHERE (account_id, sequence) = ('ida', 5)",
        &[("ENTRY_LAPSED", "ida 5")],
    ),
    (
        "UPDATE ledger_entries SET effective_time = create_time + interval '1 us'
         WHERE (account_id, sequence) = ('ida', 6)",
        &[("LAPSE_BEHIND", "ida 5"), ("ENTRY_TIME", "ida 6")],
    ),
    (
        "UPDATE ledger_entries SET amount_micro_usd = -29 WHERE (account_id, sequence) = ('ida', 6)",
        &[("ENTRY_POSTED_AFTER", "ida 6"), ("GRANT_LAPSE", "ida 6")],
    ),
    (
        r#"UPDATE ledger_entries SET grant_moves = '{"pins": [{"sequence": 13, "amount_micro_usd": 10}]}'
           WHERE (account_id, sequence) = ('ida', 14);
           UPDATE reservations SET pins = '[{"sequence": 13, "amount_micro_usd": 10}]' WHERE pins IS NOT NULL;
           UPDATE grants SET pinned_micro_usd = 10 WHERE sequence = 13"#,
        &[("GRANT_PARTS", "ida 14"), ("ENTRY_GRANTED", "ida 14"), ("RESERVATION_PINS", "ida k14")],
    ),
    (
        "INSERT INTO ledger_entries (account_id, sequence, entry_type, amount_micro_usd, held_delta_micro_usd,
             posted_after, held_after, create_time, granted_after)
         SELECT account_id, 16, 6, -16, 0, 4, 4, update_time, 1 FROM accounts WHERE account_id = 'ida';
         UPDATE accounts SET posted_micro_usd = 4, last_sequence = 16 WHERE account_id = 'ida'",
        &[("GRANTS_COVERED", "ida 16")],
    ),
    ("DELETE FROM grants WHERE (account_id, sequence) = ('ida', 2)", &[("GRANT_MISSING", "ida 2")]),
    (
        "INSERT INTO grants VALUES ('ida', 1, 20, 0, 0, 0, 0, now())",
        &[("GRANT_WITHOUT_CREDIT", "ida 1")],
    ),
    (
        "INSERT INTO grants VALUES ('nobody', 1, 20, 0, 0, 0, 0, now())",
        &[("ACCOUNT_MISSING", "nobody account"), ("GRANT_WITHOUT_CREDIT", "nobody 1")],
    ),
    ("UPDATE grants SET amount_micro_usd = 10 WHERE sequence = 13", &[("GRANT_AMOUNT", "ida 13")]),
    ("UPDATE grants SET expire_time = now() WHERE sequence = 13", &[("GRANT_EXPIRE_TIME", "ida 13")]),
    ("UPDATE grants SET remaining_micro_usd = 8 WHERE sequence = 13", &[("GRANT_REMAINING", "ida 13")]),
    ("UPDATE grants SET pinned_micro_usd = 3 WHERE sequence = 13", &[("GRANT_PINNED", "ida 13")]),
    ("UPDATE grants SET lapsed_micro_usd = 1 WHERE sequence = 13", &[("GRANT_LAPSED", "ida 13")]),
    ("UPDATE grants SET reversed_micro_usd = 1 WHERE sequence = 13", &[("GRANT_REVERSED", "ida 13")]),
    ("UPDATE reservations SET pins = NULL WHERE account_id = 'ida'", &[("RESERVATION_PINS", "ida k14")]),
    (
        r#"INSERT INTO ledger_entries (account_id, sequence, entry_type, amount_micro_usd, held_delta_micro_usd,
               posted_after, held_after, create_time, grant_moves)
           SELECT account_id, 16, 2, 0, 0, 20, 4, update_time, '{"pins": [{"sequence": 13, "amount_micro_usd": 1}]}'
           FROM accounts WHERE account_id = 'ida';
           UPDATE accounts SET last_sequence = 16, facts = ROW(1, NULL, 0, 0)::facts WHERE account_id = 'ida';
           UPDATE grants SET pinned_micro_usd = 5 WHERE sequence = 13"#,
        &[("RESERVATIONS_PIN", "ida 13")],
    ),
    (
        "UPDATE ledger_entries SET withdrawable_delta_micro_usd = 7, withdrawable_after = 7 WHERE account_id = 'kurt';
         UPDATE accounts SET facts = ROW(1, NULL, 7, NULL)::facts WHERE account_id = 'kurt'",
        &[("ENTRY_WITHDRAWABLE", "kurt 1")],
    ),
    (
        "UPDATE ledger_entries SET withdrawable_delta_micro_usd = 1, withdrawable_after = 1
         WHERE (account_id, sequence) = ('ida', 15);
         UPDATE accounts SET facts = ROW(1, NULL, 1, 1)::facts WHERE account_id = 'ida'",
        &[("ENTRY_WITHDRAWABLE", "ida 15")],
    ),
];

/// Every damage, and all that the audit finds then.
fn damages() -> Vec<(String, Found)> {
    let figures = WRONG_FIGURES.map(|(table, row, change, check)| {
        let of_row = match table {
            "ledger_entries" => format!(" AND sequence = {row}"),
            "reservations" => format!(" AND reservation_id = '{row}'"),
            _ => String::new(),
        };
        let damage = format!("UPDATE {table} SET {change} WHERE account_id = 'ann'{of_row}");
        (damage, Found::from([(check.to_owned(), format!("ann {row}"))]))
    });
    let others = DAMAGES.iter().chain(GRANT_DAMAGES).map(|(damage, found)| {
        let found = found.iter().map(|(check, place)| ((*check).to_owned(), (*place).to_owned()));
        ((*damage).to_owned(), found.collect())
    });
    figures.into_iter().chain(others).collect()
}

/// Nothing of the schema keeps anybody from damaging the book any more.
const DEFENCELESS: &str = "
    ALTER TABLE accounts DISABLE TRIGGER ALL;
    ALTER TABLE ledger_entries DISABLE TRIGGER ALL;
    ALTER TABLE payments DISABLE TRIGGER ALL;
    ALTER TABLE accounts DROP CONSTRAINT accounts_empty_before_first_entry, DROP CONSTRAINT accounts_times;
    ALTER TABLE ledger_entries DROP CONSTRAINT ledger_entries_pkey, DROP CONSTRAINT ledger_entries_rules;
    DROP INDEX ledger_entries_idempotency_key_unique;
    ALTER TABLE grants DROP CONSTRAINT grants_parts, ALTER COLUMN is_open DROP EXPRESSION,
        ALTER COLUMN is_open SET DEFAULT true;
    ALTER TABLE reservations DROP CONSTRAINT reservations_closed_holds_nothing,
        DROP CONSTRAINT reservations_close;
    ALTER DOMAIN entry_type DROP CONSTRAINT entry_type;
    ALTER DOMAIN not_negative DROP CONSTRAINT not_negative;";

#[tokio::test(flavor = "multi_thread")]
async fn each_damage_is_found_by_its_name_and_nothing_else_is() {
    let book = TestBook::create().await;
    write_small_book(&book).await;
    book.check().await;
    book.run_sql(DEFENCELESS).await.unwrap();
    let save = TABLES.map(|table| format!("CREATE TABLE undamaged_{table} AS TABLE {table};")).concat();
    let restore = TABLES
        .map(|table| format!("TRUNCATE {table}; INSERT INTO {table} TABLE undamaged_{table};"))
        .concat();
    book.run_sql(&save).await.unwrap();
    let damages = damages();
    for (damage, expected) in &damages {
        book.run_sql(damage).await.unwrap_or_else(|error| panic!("{damage}: {error}"));
        assert_eq!(audit(&book.url).await.0, *expected, "{damage}");
        book.run_sql(&restore).await.unwrap();
    }
    assert_eq!(audit(&book.url).await.0, Found::new());
    let checks: BTreeSet<&str> =
        damages.iter().flat_map(|(_, found)| found).map(|(check, _)| check.as_str()).collect();
    assert_eq!(checks, Check::ALL.iter().map(|check| check.name()).collect(), "every check has a damage");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_get_a_table_and_a_status_and_only_the_first_hundred() {
    let book = TestBook::create().await;
    write_small_book(&book).await;
    let (said, bar) = ended(run_audit(&book.url, &[]).await, 0);
    assert!(
        said.starts_with("Everything adds up.\n11 accounts, 47 entries, 6 reservations, 50 keys\n"),
        "{said}"
    );
    assert_eq!(bar, "", "there is no bar where there is no terminal");

    book.run_sql(
        "INSERT INTO accounts (account_id, posted_micro_usd, last_sequence) \
         SELECT 'no-' || lpad(n::text, 3, '0'), 1, 1 FROM generate_series(1, 120) n",
    )
    .await
    .unwrap();
    let (said, _) = ended(run_audit(&book.url, &[]).await, 2);
    let lines: Vec<&str> = said.lines().collect();
    let row = |cells: [&str; 5]| {
        let [check, account, place, expected, found] = cells;
        format!("{check:23}  {account:7}  {place:7}  {expected:8}  {found}")
    };
    assert_eq!(lines[0], row(["CHECK", "ACCOUNT", "WHERE", "EXPECTED", "FOUND"]));
    let found = "1 posted, 0 held, 1 entries";
    let account = lines[1].split_whitespace().nth(1).unwrap(); // the first one, of one book or another
    assert_eq!(lines[1], row(["ACCOUNT_WITHOUT_ENTRIES", account, "account", "nothing", found]));
    assert!(account.starts_with("no-"), "{said}");
    assert_eq!(lines[101..104], ["and 20 more: --json has them all", "", "120 differences."], "{said}");

    let said = printed(run_audit(&book.url, &["--account", "ann", "bob"]).await); // no other account is looked at
    assert!(said.contains("\n2 accounts, 10 entries, 2 reservations, 12 keys\n"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_audited_is_said_and_has_another_status() {
    let book = TestBook::create().await;
    let empty = TestBook::create_empty().await;
    for (url, flags, status, why) in [
        (book.url.as_str(), &["--account", "nobody"][..], 1, "the book has no account nobody"),
        ("postgres://nobody@127.0.0.1:1/none", &[], 1, "cannot connect to the database"),
        (&empty.url, &[], 1, "run `billing migrate`"),
        (&book.url, &["--accounts"], 64, "unexpected argument '--accounts'"),
        (&book.url, &["--account", "a b"], 64, "must be visible ASCII characters"),
    ] {
        let (printed, said) = ended(run_audit(url, flags).await, status);
        assert!(said.contains(why), "{said}");
        assert_eq!(printed, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_only_read_can_audit_and_export() {
    on_a_book(async |book| {
        write_small_book(book).await;
        let read_only = "ALTER ROLE billing_auditor SET default_transaction_read_only = on";
        let (_, url) = book.create_role(&format!("{read_only}; {AUDITOR_GRANTS}")).await;
        assert_eq!(audit(&url).await.0, Found::new());
        let exported = printed(billing(&["export", "--format", "csv", "--database-url", &url]).await);
        assert_eq!(exported.lines().count(), 48);

        let mut session = AsyncPgConnection::establish(&url).await.unwrap();
        session.batch_execute("SET default_transaction_read_only = off").await.unwrap();
        for table in TABLES {
            for forbidden in [format!("DELETE FROM {table}"), format!("INSERT INTO {table} DEFAULT VALUES")] {
                let refused = session.batch_execute(&forbidden).await.unwrap_err().to_string();
                assert!(refused.contains("permission denied"), "{forbidden}: {refused}");
            }
        }
    })
    .await;
}

#[test]
fn every_check_is_documented() {
    let documented = include_str!("../../docs/AUDIT.md");
    for check in Check::ALL {
        let row = format!("| `{}` | {} |", check.name(), check.rule());
        assert!(documented.contains(&row), "docs/AUDIT.md lacks: {row}");
    }
}

/// The sessions share a snapshot, which a standby gives them, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_audited_and_exported() {
    let pair = Pair::start(&[("fsync", "off")], &[("fsync", "off"), ("hot_standby", "on")]).await;
    let [primary, standby] =
        [&pair.primary, &pair.standby].map(|server| TestBook { url: server.database_url("billing") });
    let server = primary.serve().await;
    server.client().await.credit(stripe_deposit("ann", "order-1", 5, "cs_1")).await.answered();
    let entries = "SELECT count(*) FROM ledger_entries";
    until("the standby has it", async || (standby.number(entries).await == 1).then_some(())).await;
    let audited = printed(billing(&["audit", "--database-url", &standby.url]).await);
    assert!(audited.contains("1 accounts, 1 entries"), "{audited}");
    let exported = printed(billing(&["export", "--format", "jsonl", "--database-url", &standby.url]).await);
    assert_eq!(exported.lines().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_fails_says_whether_the_database_is_locked_or_gone() {
    let book = TestBook::create().await;
    let account_ids = [AccountId::parse("account_id", "ann").unwrap()];
    let mut locked = Snapshot::take(&book.database_url()).await.unwrap();
    let mut other = book.connect().await;
    other.batch_execute("BEGIN; LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let error = locked.unknown_accounts(&account_ids).await.unwrap_err();
    assert!(matches!(error, LedgerError::Contention(_)), "{error:?}");
    drop(other);

    let mut gone = Snapshot::take(&book.database_url()).await.unwrap();
    book.terminate_others().await;
    let error = gone.unknown_accounts(&account_ids).await.unwrap_err();
    assert!(matches!(error, LedgerError::Unavailable(_)), "{error:?}");
}
