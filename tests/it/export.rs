//! `billing export` on real PostgreSQL: what is written is what the journal has, and hledger agrees with the service.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    time::Duration,
};

use billing::{
    accounting::{AccountState, EntryType, ExpiryPolicy, ReservationState},
    grpc::proto::{
        self, CreditRequest, GetAccountRequest, ReleaseRequest, ReserveRequest, SetAccountRequest,
    },
};
use diesel::{dsl, sql_types::Text};
use diesel_async::RunQueryDsl;
use serde_json::{Map, Value};

use crate::{
    random_books,
    support::{
        dir::Dir,
        process::{Process, billing},
        waiting::{PATIENCE, ended, finish_within, join_in_time, printed, run},
        *,
    },
};

/// Account ids with every character that some format gives a meaning.
const AWKWARD_IDS: [&str; 6] =
    ["=1+1", "-a:b", "a;b(c)[d]\"e\"", "Liabilities:Customers:x", "100%,*!'", "@~{|}\\^`<>?#$&/_."];

/// What an export prints.
async fn export(flags: &[&str], url: &str) -> String {
    let output = billing(&[&["export", "--database-url", url], flags].concat()).await;
    let (printed, said) = ended(output, 0);
    assert_eq!(said, "");
    printed
}

/// A book of random histories, and of awkward accounts with awkward texts.
async fn fill(book: &TestBook) {
    random_books::fill(book, "x").await;
    let server = book.serve().await;
    let mut client = server.client().await;
    for (number, account) in AWKWARD_IDS.iter().enumerate() {
        let mut request = deposit(account, "=order,1", 1_000_001);
        let beginning = ["+a", " =a", "\ta", "\n@a", "＝a", "a\tb|c"][number];
        request.reference = format!("{beginning}, \"b\"; c\n{account} 5%\u{1b}");
        request.metadata.insert("=x".into(), "y,\n\"z\"".into());
        client.credit(request).await.answered();
        client.charge(charge(account, "-job", i64::try_from(number).unwrap() + 1)).await.answered();
    }
    fill_closed(&mut client).await;
    fill_lapsed(&mut client).await;
}

/// An account with a grant that expires while it is held: what the release brings back lapses right behind it.
async fn fill_lapsed(client: &mut Client) {
    let soon = from_now(Duration::from_secs(1));
    client.credit(expiring("lapsed", "grant", 100, soon)).await.answered();
    client.reserve(reserve_for(Duration::from_secs(60), "lapsed", "task", 60)).await.unwrap();
    client.charge(charge("lapsed", "job", 30)).await.answered();
    until_time(soon).await;
    let release = ReleaseRequest {
        idempotency_key: "end".into(),
        account_id: "lapsed".into(),
        reservation_id: "task".into(),
        ..Default::default()
    };
    client.release(release).await.unwrap();
    client.credit(deposit("lapsed", "order", 7)).await.answered();
}

/// An account with a payment of several names, a lease whose end charges what it held, and its own debt limit; closed in the
/// end.
async fn fill_closed(client: &mut Client) {
    let names = ["pi_closed", "cs_closed"].map(Into::into).into();
    let payment = CreditRequest { external_ids: names, ..stripe_deposit("closed", "order-1", 100, "") };
    client.credit(payment).await.answered();
    let policy = proto::ExpiryPolicy::Capture.into();
    let lapsing = reserve_for(Duration::from_millis(1), "closed", "task-1", 30);
    client.reserve(ReserveRequest { expiry_policy: policy, ..lapsing }).await.answered();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let limit = set_account("closed", "limit", proto::AccountState::Unspecified);
    let limit = SetAccountRequest { debt_limit_micro_usd: Some(5), ..limit };
    client.set_account(limit).await.answered();
    let end = set_account("closed", "end", proto::AccountState::Closed);
    client.set_account(SetAccountRequest { forfeit_micro_usd: Some(70), ..end }).await.answered();
}

/// When the lease of the closed account ran out, which was written down later.
fn lapse_time(journal: &[Value]) -> String {
    let is_lapse = |entry: &&Value| entry["idempotency_key"] == "billing/expire/task-1";
    let lapse = journal.iter().filter(|entry| entry["account_id"] == "closed").find(is_lapse).unwrap();
    assert!(lapse["effective_time"].as_str() < lapse["create_time"].as_str(), "{lapse}");
    lapse["effective_time"].as_str().unwrap().to_owned()
}

/// The journal as the tables have it, in the names of the export.
async fn journal(book: &TestBook) -> Vec<Value> {
    let utc = |time: &str| format!("to_char({time} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')");
    let time = |column: &str| format!("{} AS {column}", utc(column));
    let shares = |kind: &str| {
        format!(
            "(SELECT string_agg(concat_ws(':', s->>'sequence', s->>'amount_micro_usd'), ' ' ORDER BY n)
              FROM jsonb_array_elements(grant_moves->'{kind}') WITH ORDINALITY AS t(s, n)) AS {kind}"
        )
    };
    let effective_time = format!("{} AS effective_time", utc("coalesce(effective_time, create_time)"));
    let sql = format!(
        "SELECT row_to_json(e)::text FROM (
             SELECT account_id, sequence, entry_type, amount_micro_usd, held_delta_micro_usd,
                 posted_after AS posted_after_micro_usd, held_after AS held_after_micro_usd,
                 posted_after - held_after - coalesce(lapsed_micro_usd, 0) AS available_after_micro_usd, {}, {}, idempotency_key,
                 array_to_string(external_ids, ' ') AS external_ids, reference,
                 coalesce(metadata, '{{}}') AS metadata, actor, reason, caller, refunded_sequence, reservation_id,
                 reservation_state, reservation_held AS reservation_held_micro_usd,
                 reservation_captured AS reservation_captured_micro_usd, uncollected_micro_usd, {}, {}, expiry_policy,
                 account_state, debt_limit_micro_usd, reversed_sequence,
                 coalesce(withdrawable_delta_micro_usd, 0) AS withdrawable_delta_micro_usd,
                 least(coalesce(withdrawable_after, 0), greatest(0, posted_after - held_after - coalesce(lapsed_micro_usd, 0))
                     - coalesce(granted_after, 0)) AS withdrawable_after_micro_usd,
                 (SELECT string_agg(concat_ws(':', l->>'sequence', l->>'amount_micro_usd', l->>'account_id'), ' ' ORDER BY n)
                  FROM jsonb_array_elements(legs) WITH ORDINALITY AS t(l, n)) AS legs,
                 funded_micro_usd, source_account_id, source_sequence, {}, {},
                 coalesce(granted_after, 0) AS granted_after_micro_usd, lapsed_micro_usd
             FROM ledger_entries
         ) e ORDER BY account_id, sequence",
        time("create_time"),
        effective_time,
        time("expire_time"),
        time("close_time"),
        time("grant_expire_time"),
        ["draws", "unwinds", "converted", "lapses", "pins"].map(shares).join(", ")
    );
    let rows: Vec<String> = dsl::sql::<Text>(&sql).load(&mut book.connect().await).await.unwrap();
    rows.into_iter().map(|row| with_names(row.parse().unwrap())).collect()
}

/// A row as JSON Lines have it: types and states by their names, and 64-bit integers as texts.
fn with_names(mut row: Value) -> Value {
    let number = |value: &Value| i16::try_from(value.as_i64().unwrap()).unwrap();
    for (name, value) in row.as_object_mut().unwrap() {
        if is_integer(name) && !value.is_null() {
            *value = value.as_i64().unwrap().to_string().into();
        }
    }
    row["entry_type"] = EntryType::from_number(number(&row["entry_type"])).unwrap().name().into();
    if !row["reservation_state"].is_null() {
        let state = ReservationState::from_number(number(&row["reservation_state"])).unwrap();
        row["reservation_state"] = state.name().into();
        let policy = ExpiryPolicy::from_number(number(&row["expiry_policy"])).unwrap();
        row["expiry_policy"] = policy.name().into();
    }
    if !row["account_state"].is_null() {
        let state = AccountState::from_number(number(&row["account_state"])).unwrap();
        row["account_state"] = state.name().into();
    }
    row
}

/// An account, and the sequence that a column of one of its entries has.
fn place(entry: &Value, column: &str) -> (String, i64) {
    (entry["account_id"].as_str().unwrap().to_owned(), integer(&entry[column]))
}

/// What the legs of an entry moved.
fn passed_on(entry: &Value) -> i128 {
    let legs = entry["legs"].as_str().unwrap_or_default().split_whitespace();
    legs.map(|leg| leg.split(':').nth(1).unwrap().parse::<i128>().unwrap()).sum()
}

fn is_integer(column: &str) -> bool {
    column.ends_with("_micro_usd") || column.ends_with("sequence")
}

fn integer(value: &Value) -> i64 {
    value.as_str().unwrap().parse().unwrap()
}

/// A row of the CSV, read as docs/EXPORT.md says.
fn from_csv(header: &csv::StringRecord, record: &csv::StringRecord) -> Value {
    let fields = header.iter().zip(record).map(|(name, field)| {
        let text = field.strip_prefix('\'').unwrap_or(field);
        let value = match name {
            "metadata" if field.is_empty() => Value::Object(Map::new()),
            "metadata" => text.parse().unwrap(),
            "reference" => text.into(),
            _ if field.is_empty() => Value::Null,
            _ => text.into(),
        };
        (name.to_owned(), value)
    });
    Value::Object(fields.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_and_json_lines_have_the_journal_as_it_is() {
    on_a_book(async |book| {
        fill(book).await;
        let journal = journal(book).await;
        assert!(journal.len() > 300, "only {} entries", journal.len());

        let lines = export(&["--format", "jsonl"], &book.url).await;
        let objects: Vec<Value> = lines.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(objects, journal);

        let table = export(&["--format", "csv"], &book.url).await;
        let mut reader = csv::Reader::from_reader(table.as_bytes());
        let header = reader.headers().unwrap().clone();
        let rows: Vec<Value> = reader.records().map(|record| from_csv(&header, &record.unwrap())).collect();
        assert_eq!(rows, journal);
        for record in csv::Reader::from_reader(table.as_bytes()).records().map(Result::unwrap) {
            for (name, field) in header.iter().zip(&record) {
                let is_formula = field.trim_start().starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠'])
                    || field.starts_with(char::is_whitespace);
                assert!(!is_formula || name.ends_with("_micro_usd"), "{name}: {field}");
            }
        }
        // A program that splits on other characters as well splits no text in two.
        for (number, line) in table.split('"').step_by(2).enumerate() {
            assert!(!line.contains([';', '\t', '|', ' ']), "behind {number} quoted texts: {line}");
        }
    })
    .await;
}

/// As jq 1.6, JavaScript and spreadsheets do, this reads every JSON number as a float.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_has_only_floats_gets_every_integer_of_a_line_exactly() {
    let book = TestBook::create().await;
    let most = i64::MAX - 1;
    let sql = format!(
        "INSERT INTO ledger_entries (account_id, sequence, entry_type, amount_micro_usd, held_delta_micro_usd,
             posted_after, held_after, create_time) VALUES ('ann', {most}, 2, {most}, 0, {most}, 0, now())"
    );
    book.run_sql(&sql).await.unwrap();
    let line = export(&["--format", "jsonl"], &book.url).await;
    let object: Value = line.parse().unwrap();
    for name in ["sequence", "amount_micro_usd", "posted_after_micro_usd", "available_after_micro_usd"] {
        assert_eq!(object[name], most.to_string(), "{name}: {line}");
    }
    assert!(object.as_object().unwrap().values().all(|value| !value.is_number()), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_and_times_choose_entries() {
    on_a_book(async |book| {
        fill(book).await;
        let all = journal(book).await;
        let middle = all[all.len() / 2]["effective_time"].as_str().unwrap();
        let lapsed = lapse_time(&all);
        for (flags, chosen) in [
            (
                &["--from", middle][..],
                &(|entry: &Value| entry["effective_time"].as_str().unwrap() >= middle)
                    as &dyn Fn(&Value) -> bool,
            ),
            (&["--until", middle], &|entry: &Value| entry["effective_time"].as_str().unwrap() < middle),
            (&["--until", &lapsed], &|entry: &Value| {
                entry["effective_time"].as_str().unwrap() < lapsed.as_str()
            }),
            (&["--from", &lapsed], &|entry: &Value| {
                entry["effective_time"].as_str().unwrap() >= lapsed.as_str()
            }),
            (&["--account", "=1+1", "--account", "@~{|}\\^`<>?#$&/_."], &|entry: &Value| {
                ["=1+1", "@~{|}\\^`<>?#$&/_."].contains(&entry["account_id"].as_str().unwrap())
            }),
            (&["--from", "2000-01-01", "--until", "2000-01-02"], &|_: &Value| false),
        ] {
            let lines = export(&[&["--format", "jsonl"], flags].concat(), &book.url).await;
            let objects: Vec<Value> = lines.lines().map(|line| line.parse().unwrap()).collect();
            let expected: Vec<&Value> = all.iter().filter(|entry| chosen(entry)).collect();
            assert_eq!(objects.iter().collect::<Vec<_>>(), expected, "{flags:?}");
        }
    })
    .await;
}

/// What hledger prints for a journal.
fn hledger(journal: &str, flags: &[&str]) -> String {
    let mut hledger = Command::new("hledger");
    hledger.args(["-f", "-"]).args(flags).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut hledger = hledger.spawn().expect("hledger is missing: run `make tools`");
    let mut stdin = hledger.stdin.take().unwrap();
    let journal = journal.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(journal.as_bytes()));
    let output = finish_within(PATIENCE, hledger);
    join_in_time(writer).unwrap();
    printed(output)
}

/// Balances by hledger, in micro-USD.
fn balances(journal: &str, flags: &[&str]) -> BTreeMap<String, i128> {
    let report =
        hledger(journal, &[&["balance", "--flat", "--empty", "--no-total", "-O", "csv"], flags].concat());
    let mut reader = csv::Reader::from_reader(report.as_bytes());
    let records = reader.records().map(|record| {
        let record = record.unwrap();
        (record[0].to_owned(), micro_usd(&record[1]))
    });
    records.collect()
}

/// An amount such as `-1.500000 USD`, or `0`.
fn micro_usd(amount: &str) -> i128 {
    match amount.strip_suffix(" USD").and_then(|usd| usd.split_once('.')) {
        Some((whole, micros)) if micros.len() == 6 => format!("{whole}{micros}").parse().unwrap(),
        _ => {
            assert_eq!(amount, "0");
            0
        }
    }
}

fn hledger_name(account_id: &str) -> String {
    let byte = |byte: u8| match byte {
        b'-' | b'_' | b'.' | b'@' | b'/' => char::from(byte).to_string(),
        _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    format!("Liabilities:Customers:{}", account_id.bytes().map(byte).collect::<String>())
}

#[tokio::test(flavor = "multi_thread")]
async fn hledger_finds_the_journal_right_and_computes_what_the_service_says() {
    on_a_book(async |book| {
        fill(book).await;
        let journal = export(&["--format", "hledger"], &book.url).await;
        hledger(&journal, &["check", "--strict"]);
        let owed = balances(&journal, &["--depth", "3", "Liabilities:Customers"]);
        let sub_accounts = balances(&journal, &["Liabilities:Customers"]);
        let server = book.serve().await;
        let mut client = server.client().await;
        let entries = self::journal(book).await;
        let accounts: BTreeSet<&str> =
            entries.iter().map(|entry| entry["account_id"].as_str().unwrap()).collect();
        for account_id in &accounts {
            let request = GetAccountRequest { account_id: (*account_id).into(), as_of: None };
            let account = client.get_account(request).await.unwrap().into_inner().account.unwrap();
            let balance = account.balance.unwrap();
            let name = hledger_name(account_id);
            // Where nothing was ever booked, hledger has nothing to show.
            let of = |part: &str| sub_accounts.get(&format!("{name}:{part}")).copied().unwrap_or_default();
            assert_eq!(owed[&name], -i128::from(balance.posted_micro_usd), "{account_id}");
            assert_eq!(of("Held"), -i128::from(balance.held_micro_usd), "{account_id}");
            assert_eq!(of("Available"), -i128::from(balance.available_micro_usd), "{account_id}");
        }
        assert_eq!(owed.len(), accounts.len(), "hledger knows of others");
        let everything: i128 = balances(&journal, &[]).values().sum();
        assert_eq!(everything, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lapses_because_of_an_entry_is_owed_until_the_next_one() {
    on_a_book(async |book| {
        let server = book.serve().await;
        fill_lapsed(&mut server.client().await).await;
        let journal = export(&["--format", "hledger"], &book.url).await;
        hledger(&journal, &["check", "--strict"]);
        let behind = journal.split("RELEASE\n").nth(1).unwrap();
        assert!(behind.contains("    ; pins: 1:-60\n    ; lapsed_micro_usd: 60\n"), "{behind}");
        let (release, end) = behind.split_once("GRANT_EXPIRE\n").unwrap();
        assert!(release.contains(":lapsed:Available  -0.000060 USD = -0.000060 USD\n"), "{release}");
        assert!(end.contains("    ; lapses: 1:60\n    Income:Expired  -0.000060 USD\n"), "{end}");
        assert!(end.contains(":lapsed:Available  0.000060 USD = 0.000000 USD\n"), "{end}");
        // 10 had lapsed by themselves, before the release.
        assert_eq!(balances(&journal, &["Income:Expired"])["Income:Expired"], -70);
    })
    .await;
}

/// The sum of entries of some types is what is on the account that they are booked against.
#[tokio::test(flavor = "multi_thread")]
async fn each_type_of_entry_is_booked_against_the_account_of_its_kind() {
    on_a_book(async |book| {
        fill(book).await;
        let journal = export(&["--format", "hledger"], &book.url).await;
        let booked = balances(&journal, &["--depth", "2", "not:Liabilities"]);
        let mut expected: BTreeMap<&str, i128> = BTreeMap::new();
        let entries = self::journal(book).await;
        let types: BTreeMap<_, _> =
            entries.iter().map(|entry| (place(entry, "sequence"), &entry["entry_type"])).collect();
        for entry in &entries {
            // A refund is booked as what it refunds.
            let entry_type = if entry["refunded_sequence"].is_null() {
                &entry["entry_type"]
            } else {
                types[&place(entry, "refunded_sequence")]
            };
            let (amount, passed_on) = (i128::from(integer(&entry["amount_micro_usd"])), passed_on(entry));
            *expected.entry("Equity:Legs").or_default() -= passed_on;
            let account = match entry_type.as_str().unwrap() {
                _ if !entry["source_sequence"].is_null() => "Equity:Legs",
                "STRIPE_DEPOSIT" => "Assets:Stripe",
                "DEPOSIT" => "Assets:Deposits",
                "EARNING" => "Expenses:Earnings",
                "REFERRAL_REWARD" => "Expenses:Referrals",
                "INVITE_CREDIT" => "Expenses:Invites",
                "ADMIN_CREDIT" => "Expenses:Goodwill",
                "CHARGE" | "CAPTURE" => "Income:Usage",
                "WITHDRAWAL" => "Assets:Payouts",
                "REVERSAL" => "Assets:Reversals",
                "ACCOUNT_CHANGE" => "Income:Forfeits",
                "GRANT_EXPIRE" => "Income:Expired",
                _ => continue,
            };
            *expected.entry(account).or_default() += amount + passed_on;
        }
        assert_eq!(expected.remove("Equity:Legs"), Some(0), "what is passed on arrives");
        assert_eq!(booked.get("Equity:Legs").copied().unwrap_or_default(), 0);
        for (account, sum) in expected {
            assert_eq!(booked[account], sum, "{account}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_the_journal_begins_with_what_was_there_before() {
    on_a_book(async |book| {
        fill(book).await;
        let all = journal(book).await;
        let middle = all[all.len() / 3]["effective_time"].as_str().unwrap();
        let whole = balances(&export(&["--format", "hledger"], &book.url).await, &["Liabilities:Customers"]);
        let part = export(&["--format", "hledger", "--from", middle], &book.url).await;
        hledger(&part, &["check", "--strict"]);
        assert!(part.contains("* opening balance\n"));
        for (account, balance) in balances(&part, &["Liabilities:Customers"]) {
            assert_eq!(balance, whole[&account], "{account}");
        }
    })
    .await;
}

/// Whether a line is one that Beancount has, as far as this program writes them.
fn is_beancount(line: &str) -> bool {
    let is_date = |text: &str| {
        let parts: Vec<&str> = text.split('-').collect();
        parts.iter().map(|part| part.len()).eq([4, 2, 2])
            && parts.concat().bytes().all(|b| b.is_ascii_digit())
    };
    let is_account = |text: &str| {
        let mut parts = text.split(':');
        let root = parts.next().unwrap();
        ["Assets", "Liabilities", "Equity", "Income", "Expenses"].contains(&root)
            && parts.all(|part| {
                part.starts_with(|c: char| c.is_ascii_uppercase() || c.is_ascii_digit())
                    && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            })
    };
    let is_sum = |text: &str| {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let sum = text.strip_suffix(" USD").and_then(|sum| sum.split_once('.'));
        sum.is_some_and(|(whole, micros)| {
            digits(whole.trim_start_matches('-')) && digits(micros) && micros.len() == 6
        })
    };
    let words: Vec<&str> = line.trim_start().splitn(3, ' ').collect();
    match words.as_slice() {
        [""] | [";" | "option", ..] => true,
        [date, "open", rest] => is_date(date) && rest.strip_suffix(" USD").is_some_and(is_account),
        [date, "balance", rest] => {
            is_date(date) && rest.split_once("  ").is_some_and(|(name, sum)| is_account(name) && is_sum(sum))
        }
        [date, "*", narration] => is_date(date) && narration.starts_with('"') && narration.ends_with('"'),
        [name, ..] if line.starts_with("  ") && name.ends_with(':') => true,
        _ if line.starts_with("  ") => {
            line.trim_start().split_once("  ").is_some_and(|(name, sum)| is_account(name) && is_sum(sum))
        }
        _ => false,
    }
}

/// With the path of `bean-check` in `BEAN_CHECK`, Beancount itself checks it.
#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_for_beancount_is_in_its_language() {
    on_a_book(async |book| {
        fill(book).await;
        let ledger = export(&["--format", "beancount"], &book.url).await;
        for line in ledger.lines() {
            assert!(is_beancount(line), "{line}");
        }
        if let Some(bean_check) = std::env::var_os("BEAN_CHECK") {
            let dir = Dir::new();
            printed(run(Command::new(bean_check).arg(dir.write("ledger.beancount", &ledger))));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_has_had_enough_ends_it_quietly() {
    on_a_book(async |book| {
        for run in ["x", "y", "z"] {
            random_books::fill(book, run).await; // together more than a pipe takes
        }
        for format in ["csv", "jsonl", "hledger", "beancount"] {
            let mut export = Process::command();
            export.args(["export", "--database-url", &book.url, "--format", format]);
            let mut export = export.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let mut line = String::new();
            BufReader::with_capacity(16, export.stdout.take().unwrap()).read_line(&mut line).unwrap();
            assert!(!line.is_empty());
            let output = finish_within(PATIENCE, export);
            assert_eq!(output.status.code(), Some(0), "{format}");
            assert_eq!(output.stderr, b"", "{format}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_an_export_is_said() {
    let book = TestBook::create().await;
    for (flags, status, why) in [
        (&["--format", "xls"][..], 64, "must be one of csv, jsonl, hledger, beancount"),
        (&["--format", "csv", "--from", "yesterday"], 64, "must be a date or a time such as 2026-11-24"),
        (&[], 64, "--format <FORMAT>"),
        (&["--format", "csv", "--account", "nobody"], 1, "the book has no account nobody"),
        (&["--format", "csv", "--output", "/nowhere/journal"], 1, "cannot write /nowhere/journal"),
    ] {
        let output = billing(&[&["export", "--database-url", &book.url], flags].concat()).await;
        let (_, said) = ended(output, status);
        assert!(said.contains(why), "{said}");
    }
}
