//! Numbers, times and flags at their extremes: what is not allowed is refused, and told by field and by what is allowed.

use std::fmt::Debug;

use billing::{
    accounting::{EntryType, ReservationState},
    grpc::proto::{
        AccountState, CaptureRequest, ChargeRequest, CreditRequest, ExtendReservationRequest,
        GetAccountRequest, GetEntryRequest, GetStatementRequest, ListAccountsRequest, ListEntriesRequest,
        ListReservationsRequest, RefundRequest, ReserveRequest, SetAccountRequest, get_entry_request::Entry,
        refund_request::Charge,
    },
};
use prost_types::{Duration, Timestamp};
use tonic::{Code, Response, Status};
use tonic_types::StatusExt as _;

use crate::support::{
    process::Process,
    waiting::{self, run},
    *,
};

const YEARS: &str = "must be between the years 1 and 9999";
const NANOS: &str = "must have 0 to 999,999,999 nanos";
const NO_TIME: &str = "must be at least a microsecond";
const TOO_LONG: &str = "must be at most 86400 seconds";
const FAR_TOO_LONG: &str = "must be at most 3155760000 seconds, or less where the service is configured so";
/// 0001-01-01 and the last second of 9999.
const FIRST: i64 = -62_135_596_800;
const LAST: i64 = 253_402_300_799;

/// Fails unless a call was refused with a reason, one field and these words.
fn must_say<T: Debug>(answer: Result<Response<T>, Status>, reason: &str, field: &str, words: &str) {
    let status = answer.expect_err(words);
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, &*format!("{field} {words}")));
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!((&*info.reason, info.metadata["field"].as_str()), (reason, field));
    let violations = &details.bad_request().unwrap().field_violations;
    assert_eq!(violations.len(), 1);
    assert_eq!((&*violations[0].field, &*violations[0].description), (field, words));
}

fn entry(sequence: i64) -> GetEntryRequest {
    get_entry("ann", Entry::Sequence(sequence))
}

fn refund_of(sequence: i64) -> RefundRequest {
    RefundRequest { charge: Some(Charge::ChargeSequence(sequence)), ..refund("ann", "refund-1", 1, "") }
}

/// Opens an account that has a reservation, `job-0`.
async fn reserve_something(client: &mut Client) {
    client.credit(deposit("ann", "order-0", 100)).await.answered();
    client.reserve(reserve("ann", "job-0", 5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_out_of_its_range_is_named_with_the_range() {
    on_a_service(async |mut client| {
        reserve_something(&mut client).await;
        for bad in [0, -1, i64::MIN, i64::MAX] {
            let words = format!("must be 1..=1000000000000000 micro-USD, not {bad}");
            let (reason, field) = ("INVALID_AMOUNT", "amount_micro_usd");
            must_say(client.credit(deposit("ann", "x-1", bad)).await, reason, field, &words);
            must_say(client.charge(charge("ann", "x-1", bad)).await, reason, field, &words);
            must_say(client.refund(refund("ann", "x-1", bad, "x-0")).await, reason, field, &words);
            must_say(client.admin_credit(grant("ann", "x-1", bad)).await, reason, field, &words);
            must_say(client.reserve(reserve("ann", "x-1", bad)).await, reason, field, &words);
            must_say(client.capture(capture("ann", "x-1", "job-0", bad)).await, reason, field, &words);
        }
        for bad in [-1, -5, i64::MIN, i64::MAX] {
            let words = format!("must be 0..=1000000000000000 micro-USD, not {bad}");
            let answer = client.extend_reservation(extend("ann", "x-1", "job-0", bad)).await;
            must_say(answer, "INVALID_AMOUNT", "additional_amount_micro_usd", &words);
        }
        for bad in [0, -1, i64::MIN] {
            let words = format!("must be at least 1, not {bad}");
            must_say(client.get_entry(entry(bad)).await, "INVALID_FIELD", "sequence", &words);
            must_say(client.refund(refund_of(bad)).await, "INVALID_FIELD", "charge_sequence", &words);
        }
        assert_eq!(reason(client.get_entry(entry(i64::MAX)).await).1, "ENTRY_NOT_FOUND");
        assert_eq!(reason(client.refund(refund_of(i64::MAX)).await).1, "CHARGE_NOT_FOUND");
        for bad in [-1, i32::MIN] {
            let words = format!("must not be negative, but is {bad}");
            let list = ListEntriesRequest { page_size: bad, ..list_entries("ann") };
            must_say(client.list_entries(list).await, "INVALID_FIELD", "page_size", &words);
            let list = ListReservationsRequest { page_size: bad, ..list_reservations("ann") };
            must_say(client.list_reservations(list).await, "INVALID_FIELD", "page_size", &words);
            let list = ListAccountsRequest { page_size: bad, ..list_accounts("") };
            must_say(client.list_accounts(list).await, "INVALID_FIELD", "page_size", &words);
        }
        let list = ListEntriesRequest { page_size: i32::MAX, ..list_entries("ann") };
        assert_eq!(client.list_entries(list).await.unwrap().into_inner().entries.len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_is_no_value_of_its_enum_is_named_with_those_that_are() {
    on_a_service(async |mut client| {
        reserve_something(&mut client).await;
        let field = "INVALID_FIELD";
        for bad in [-1, 99, i32::MIN, i32::MAX, 1 << 16 | 1] {
            let credit = client.credit(CreditRequest { entry_type: bad, ..deposit("ann", "x-1", 5) });
            let kinds = "must be a credit kind: ENTRY_TYPE_STRIPE_DEPOSIT, ENTRY_TYPE_DEPOSIT, ENTRY_TYPE_EARNING, \
                         ENTRY_TYPE_REFERRAL_REWARD or ENTRY_TYPE_INVITE_CREDIT";
            must_say(credit.await, field, "entry_type", kinds);
            let words = format!("must be 0..=3, the numbers of ShortfallPolicy, not {bad}");
            let capture = CaptureRequest { shortfall_policy: bad, ..capture("ann", "x-1", "job-0", 5) };
            must_say(client.capture(capture).await, field, "shortfall_policy", &words);
            let charge = ChargeRequest { shortfall_policy: bad, ..charge("ann", "x-1", 5) };
            must_say(client.charge(charge).await, field, "shortfall_policy", &words);
            let words = format!("must be 0..=2, the numbers of ExpiryPolicy, not {bad}");
            let reserve = ReserveRequest { expiry_policy: bad, ..reserve("ann", "x-1", 5) };
            must_say(client.reserve(reserve).await, field, "expiry_policy", &words);
            let extend = ExtendReservationRequest { expiry_policy: bad, ..extend("ann", "x-1", "job-0", 5) };
            must_say(client.extend_reservation(extend).await, field, "expiry_policy", &words);
            let words = format!("must be 0..=3, the numbers of AccountState, not {bad}");
            let freeze = set_account("ann", "x-1", AccountState::Frozen);
            let freeze = SetAccountRequest { state: bad, ..freeze };
            must_say(client.set_account(freeze).await, field, "state", &words);
            let words = format!("must be 1..={}, the numbers of EntryType, not {bad}", EntryType::ALL.len());
            let list = ListEntriesRequest { entry_types: vec![6, bad], ..list_entries("ann") };
            must_say(client.list_entries(list).await, field, "entry_types", &words);
            let most = ReservationState::ALL.len();
            let words = format!("must be 0..={most}, the numbers of ReservationState, not {bad}");
            let list = ListReservationsRequest { state: bad, ..list_reservations("ann") };
            must_say(client.list_reservations(list).await, field, "state", &words);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ttl_out_of_its_range_is_named_with_what_is_wrong_with_it() {
    on_a_service(async |mut client| {
        reserve_something(&mut client).await;
        for (seconds, nanos, words) in [
            (0, 0, NO_TIME),
            (0, 999, NO_TIME),
            (-1, 0, NO_TIME),
            (-1, -1, NO_TIME),
            (i64::MIN, 0, NO_TIME),
            (i64::MIN, i32::MIN, NO_TIME),
            (0, -1, NANOS),
            (5, -1, NANOS),
            (5, 1_000_000_000, NANOS),
            (5, i32::MIN, NANOS),
            (i64::MAX, i32::MAX, NANOS),
            (86_400, 1_000, TOO_LONG),
            (3_155_760_000, 0, TOO_LONG),
            (3_155_760_000, 1_000, FAR_TOO_LONG),
            (i64::MAX / 1_000_000, 999_999_999, FAR_TOO_LONG),
            (i64::MAX, 0, FAR_TOO_LONG),
            (i64::MAX, 999_999_999, FAR_TOO_LONG),
        ] {
            let ttl = Some(Duration { seconds, nanos });
            let reserve = ReserveRequest { ttl, ..reserve("ann", "x-1", 5) };
            must_say(client.reserve(reserve).await, "INVALID_FIELD", "ttl", words);
            let extend = ExtendReservationRequest { ttl, ..extend("ann", "x-1", "job-0", 0) };
            must_say(client.extend_reservation(extend).await, "INVALID_FIELD", "ttl", words);
        }
        for (seconds, nanos) in [(0, 1_000), (86_400, 999)] {
            let ttl = Some(Duration { seconds, nanos });
            let request = ReserveRequest { ttl, ..reserve("ann", &format!("job-of-{seconds}"), 5) };
            client.reserve(request).await.unwrap();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_out_of_its_range_is_named_and_so_are_two_in_the_wrong_order() {
    on_a_service(async |mut client| {
        reserve_something(&mut client).await;
        for (seconds, nanos, words) in [
            (i64::MIN, 0, YEARS),
            (i64::MAX, 0, YEARS),
            (FIRST - 1, 999_999_999, YEARS),
            (LAST + 1, 0, YEARS),
            (0, -1, NANOS),
            (-1, -1, NANOS),
            (0, 1_000_000_000, NANOS),
            (0, i32::MIN, NANOS),
            (LAST, i32::MAX, NANOS),
        ] {
            let time = Some(Timestamp { seconds, nanos });
            let account = GetAccountRequest { as_of: time, ..get_account("ann") };
            must_say(client.get_account(account).await, "INVALID_FIELD", "as_of", words);
            let list = ListEntriesRequest { from_time: time, ..list_entries("ann") };
            must_say(client.list_entries(list).await, "INVALID_FIELD", "from_time", words);
            let list = ListEntriesRequest { until_time: time, ..list_entries("ann") };
            must_say(client.list_entries(list).await, "INVALID_FIELD", "until_time", words);
            let statement = GetStatementRequest { from_time: time, ..get_statement("ann") };
            must_say(client.get_statement(statement).await, "INVALID_FIELD", "from_time", words);
            let statement = GetStatementRequest { until_time: time, ..get_statement("ann") };
            must_say(client.get_statement(statement).await, "INVALID_FIELD", "until_time", words);
        }
        let time = |seconds, nanos| Some(Timestamp { seconds, nanos });
        let between =
            |from_time, until_time| ListEntriesRequest { from_time, until_time, ..list_entries("ann") };
        for (after, before) in [
            (time(LAST, 0), time(FIRST, 0)),
            (time(0, 1), time(0, 0)), // in the same microsecond
            (time(0, 0), time(-1, 999_999_999)),
        ] {
            let words = "must not be before from_time";
            let answer = client.list_entries(between(after, before)).await;
            must_say(answer, "INVALID_FIELD", "until_time", words);
            let statement =
                GetStatementRequest { from_time: after, until_time: before, ..get_statement("ann") };
            must_say(client.get_statement(statement).await, "INVALID_FIELD", "until_time", words);
        }
        for (after, before, found) in [
            (time(FIRST, 0), time(LAST, 999_999_999), 2),
            (time(-1, 1), None, 2),
            (time(LAST, 999_999_999), None, 0),
            (None, time(-1, 1), 0),
            (time(5, 5), time(5, 5), 0),
        ] {
            let page = client.list_entries(between(after, before)).await.unwrap().into_inner();
            assert_eq!(page.entries.len(), found, "{after:?} {before:?}");
            let statement =
                GetStatementRequest { from_time: after, until_time: before, ..get_statement("ann") };
            let totals = client.get_statement(statement).await.unwrap().into_inner().totals;
            let counted: i64 = totals.iter().map(|total| total.count).sum();
            assert_eq!(usize::try_from(counted).unwrap(), found, "{after:?} {before:?}");
        }
        for (as_of, code) in [(time(FIRST, 0), Code::NotFound), (time(LAST, 999_999_999), Code::Ok)] {
            let account = client.get_account(GetAccountRequest { as_of, ..get_account("ann") }).await;
            assert_eq!(account.map_or_else(|status| status.code(), |_| Code::Ok), code);
        }
    })
    .await;
}

/// Runs a command that is to be refused before it looks for its database, and returns what it says.
fn refused(arguments: &[&str]) -> String {
    let mut command = Process::command();
    command.args(arguments).args(["--database-url", "postgres://nobody@127.0.0.1:1/none"]);
    let output = run(command.env("COLUMNS", "1000"));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{arguments:?}: {said}");
    said
}

#[test]
fn a_flag_out_of_its_range_is_named_with_the_range() {
    let number =
        |flag, range| (flag, range, vec!["-1", "", "1.5", "9223372036854775808", "99999999999999999999"]);
    let duration = |flag, range, short: &[&'static str]| {
        let bad = [
            "-1s",
            "",
            "5",
            "36526days",
            "9223372036854775807s",
            "18446744073709551615s",
            "99999999999999999999s",
        ];
        (flag, range, [&bad[..], short].concat())
    };
    for (flag, range, values) in [
        number("--admin-credit-max", "a whole number from 1 to 1000000000000000"),
        number("--debt-max", "a whole number from 0 to 1000000000000000"),
        number("--writers", "a whole number from 1 to 64"),
        number("--readers", "a whole number from 1 to 64"),
        number("--queue-max", "a whole number from 1 to 1000000"),
        number("--batch-max", "a whole number from 1 to 5000"),
        number("--connections-max", "a whole number from 1 to 1000000"),
        duration("--lease-default", "from 1us to 100years", &["0s", "999ns"]),
        duration("--lease-max", "from 1us to 100years", &["0s", "999ns"]),
        duration("--connection-age-max", "from 1s to 100years", &["0s", "999ms"]),
        duration("--sweep-interval", "from 0s to 100years", &[]),
        duration("--drain-delay", "from 0s to 100years", &[]),
        duration("--shutdown-grace", "from 0s to 100years", &[]),
    ] {
        for value in values {
            let said = refused(&["serve", &format!("{flag}={value}")]);
            let lines: Vec<_> = said.lines().filter(|line| line.trim_start().starts_with(flag)).collect();
            assert!(lines.len() == 1 && lines[0].contains(range), "{flag}={value}: {said}");
            assert!(lines[0].contains(&format!("not {value:?}")), "{flag}={value}: {said}");
        }
    }
    for ratio in ["-1", "1.1", "NaN", "inf", ""] {
        let flags = ["serve", "--otlp-endpoint=http://127.0.0.1:1", &format!("--otlp-sample-ratio={ratio}")];
        let said = refused(&flags);
        assert!(said.contains("--otlp-sample-ratio") && said.contains("from 0 to 1"), "{ratio}: {said}");
    }
    for flag in ["--listen", "--metrics-listen", "--health-listen"] {
        for port in ["65536", "-1", ""] {
            let said = refused(&["serve", &format!("{flag}=127.0.0.1:{port}")]);
            assert!(said.contains(flag) && said.contains("must be an address and a port"), "{said}");
        }
    }
}

#[test]
fn times_of_an_export_are_of_the_years_1_to_9999_and_in_order() {
    for flag in ["--from", "--until"] {
        for wrong in [
            "0000-12-31",
            "10000-01-01",
            "+010000-01-01",
            "-000001-01-01",
            "9999-12-31T23:59:59-00:01",
            "0001-01-01T00:00:00+00:01",
            "9999-13-31",
            "",
            "now",
            "1e9",
            "-1",
            "9999-12-31T23:59:59",
        ] {
            let said = refused(&["export", "--format=csv", &format!("{flag}={wrong}")]);
            assert!(said.contains(flag) && said.contains("in the years 1 to 9999"), "{flag}={wrong}: {said}");
        }
    }
    for (from, until) in [
        ("2026-11-25", "2026-11-24"),
        ("9999-12-31", "0001-01-01"),
        ("2026-11-24T00:00:00.000001Z", "2026-11-24"),
        ("2026-11-24T00:00:00Z", "2026-11-24T00:00:00+00:01"),
    ] {
        let times = [format!("--from={from}"), format!("--until={until}")];
        let said = refused(&["export", "--format=csv", &times[0], &times[1]]);
        assert!(said.contains("--from must not be later than --until"), "{from} {until}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_takes_the_first_and_the_last_times_there_are() {
    on_a_book(async |book| {
        let server = book.serve().await;
        reserve_something(&mut server.client().await).await;
        for (from, until, lines) in [
            ("0001-01-01", "9999-12-31", 2),
            ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", 2),
            ("9999-12-31", "9999-12-31", 0),
        ] {
            let times = [format!("--from={from}"), format!("--until={until}")];
            let mut command = Process::command();
            command.args(["export", "--format=jsonl", "--database-url", &book.url]).args(times);
            let output = waiting::output(command).await;
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!((output.status.code(), &*said), (Some(0), ""), "{from} {until}");
            assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), lines, "{from} {until}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_durations_and_the_largest_numbers_can_be_served_with() {
    on_a_book(async |book| {
        let durations = ["--lease-default", "--lease-max", "--connection-age-max", "--sweep-interval"];
        let flags: Vec<String> = durations.iter().map(|flag| format!("{flag}=100years")).collect();
        let mut arguments =
            vec!["--database-url", &book.url, "--shutdown-grace=100years", "--drain-delay=0s"];
        arguments.extend(["--admin-credit-max=1000000000000000", "--debt-max=1000000000000000"]);
        arguments.extend(["--queue-max=1000000", "--batch-max=5000", "--connections-max=1000000"]);
        arguments.extend(flags.iter().map(String::as_str));
        let service = Process::serve(&arguments);
        let mut client = connect(&format!("http://{}", service.address)).await;
        client.admin_credit(grant("ann", "grant-1", 1_000_000_000_000_000)).await.answered();
        let century = Duration { seconds: 3_155_760_000, nanos: 0 };
        for (key, ttl) in [("job-0", None), ("job-1", Some(century))] {
            let request = ReserveRequest { ttl, ..reserve("ann", key, 5) };
            let (entry, _) = client.reserve(request).await.answered();
            let expire_time = entry.reservation.unwrap().expire_time.unwrap();
            let lasts = expire_time.seconds - entry.create_time.unwrap().seconds;
            assert_eq!(lasts, century.seconds);
        }
        drop(client);
        assert!(tokio::task::block_in_place(|| service.terminate().success()));
    })
    .await;
}
