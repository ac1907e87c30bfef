//! Clients that make the service wait for them: they begin calls and do not end them, take no answers, or only connect. Others are
//! served, memory stays bounded and comes back, and the log does not blame the service.

use std::time::{Duration, Instant};

use billing::grpc::proto::{ApplyRequest, ListEntriesRequest, Operation, operation};
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use super::{
    CREDIT, GRPC, LIST, MEMORY_MAX, a_large_journal, attack,
    bystander::{Bystander, memory},
    call_with,
    frames::{
        DATA, END_HEADERS, END_STREAM, HEADERS, INITIAL_WINDOW_SIZE, NO_FLAGS, RST_STREAM, Raw, call_headers,
        frame, hello, message,
    },
};
use crate::{
    metrics::get,
    support::{
        process::{Process, new_token},
        waiting::until,
        *,
    },
};

const GET: &str = "/billing.v1.BillingService/GetAccount";
const APPLY: &str = "/billing.v1.BillingService/Apply";
const CHECK: &str = "/grpc.health.v1.Health/Check";

/// A connection of a client that makes so many calls, and takes no answer but for so many bytes of each.
pub async fn deaf(
    service: &Process,
    window: u32,
    calls: u32,
    headers: &[u8],
    request: &impl prost::Message,
) -> Raw {
    let mut raw = Raw::open(&service.address, &hello(&[(INITIAL_WINDOW_SIZE, window)])).await;
    let body = request.encode_to_vec();
    for n in 0..calls {
        let open = frame(HEADERS, END_HEADERS, 2 * n + 1, headers);
        let ask = frame(DATA, END_STREAM, 2 * n + 1, &message(0, body.len(), &body));
        raw.send(&[open, ask].concat()).await;
    }
    raw
}

/// Fails if an attack that goes on has ever taken so much more memory, in MiB, than there was in use before.
async fn assert_grows_little(service: &Process, before: u64, growth_max: u64) {
    tokio::time::sleep(Duration::from_secs(2)).await;
    let most = memory(service.id(), "VmHWM");
    println!("{before} MiB before, at most {most} since");
    assert!(most < before + growth_max, "{most}");
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_of_health_without_a_body_take_little_memory_and_keep_nobody_waiting() {
    attack("half-sent checks of health", async |service| {
        let before = memory(service.id(), "VmRSS");
        let headers = call_headers(CHECK, &[]);
        let mut held = Vec::new();
        for _ in 0..30 {
            let mut raw = Raw::open(&service.address, &hello(&[])).await;
            for n in 0..1_000 {
                if !raw.send(&frame(HEADERS, END_HEADERS, 2 * n + 1, &headers)).await {
                    break;
                }
            }
            held.push(raw);
        }
        assert_grows_little(service, before, 64).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_of_health_that_is_half_sent_ends_after_a_few_seconds() {
    on_a_book(async |book| {
        let service = Process::serve(&["--database-url", &book.url]);
        let began = Instant::now();
        let answer = call_with(&service, CHECK, &[GRPC], &[], false).await;
        assert_eq!(answer.1, Some(Code::DeadlineExceeded));
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    })
    .await;
}

/// By a real client, which sends no more than the windows allow: what the service receives, it has to keep.
#[tokio::test(flavor = "multi_thread")]
async fn large_requests_that_are_half_sent_take_a_bounded_part_of_memory() {
    attack("half-sent bodies", async |service| {
        let before = memory(service.id(), "VmRSS");
        let mut senders = Vec::new();
        for _ in 0..4 {
            let stream = tokio::net::TcpStream::connect(&service.address).await.unwrap();
            let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            for _ in 0..100 {
                let request = tonic::codegen::http::Request::post(format!("http://test{CREDIT}"))
                    .header(GRPC.0, GRPC.1)
                    .body(())
                    .unwrap();
                let Ok(mut ready) = client.ready().await else { break };
                let Ok((answer, mut sender)) = ready.send_request(request, false) else { break };
                client = ready;
                let half = message(0, 250_000, &vec![b'x'; 240_000]);
                let _ = sender.send_data(half.into(), false); // goes out as the window allows
                senders.push((answer, sender));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert_grows_little(service, before, 40).await;
    })
    .await;
}

/// Small answers, many of them, which their caller does not take: each keeps its stream, and none of them the others' calls.
#[tokio::test(flavor = "multi_thread")]
async fn small_answers_that_nobody_takes_take_little_memory_and_keep_no_other_caller_waiting() {
    on_a_book(async |book| {
        let [(deaf_token, deaf_line), (token, line)] =
            ["deaf", "web"].map(|name| new_token(name, "coordinator"));
        let (service, _dir) = book.serve_to(&[deaf_line, line].concat(), &[]);
        let mut client = service.client().await;
        client.credit(with_token(&token, deposit("ann", "order-1", 5))).await.answered();
        let before = memory(service.id(), "VmRSS");

        let ask = get_account("ann");
        let bearer = format!("Bearer {deaf_token}");
        let headers = call_headers(GET, &[("authorization", &bearer)]);
        let mut connections = Vec::new();
        for _ in 0..300 {
            connections.push(deaf(&service, 0, 128, &headers, &ask).await);
            client.get_account(with_token(&token, ask.clone())).await.unwrap();
        }
        assert_grows_little(&service, before, 72).await;
        let turned_away = client.get_account(with_token(&deaf_token, ask.clone())).await;
        refused(turned_away, Code::ResourceExhausted, "OVERLOADED");
        drop(connections);
        until("the places of the deaf are free again", async || {
            client.get_account(with_token(&deaf_token, ask.clone())).await.ok()
        })
        .await;
    })
    .await;
}

/// Answers to lists may be large: as long as one is not taken, it keeps a place of its caller's for each operation.
#[tokio::test(flavor = "multi_thread")]
async fn lists_whose_answers_nobody_takes_keep_the_places_of_their_operations() {
    on_a_book(async |book| {
        let (token, line) = new_token("deaf", "coordinator");
        let (service, _dir) = book.serve_to(&line, &[]);
        let mut client = service.client().await;
        let operation = |n: usize| {
            let credit = deposit("ann", &format!("order-{n}"), 5);
            Operation { operation: Some(operation::Operation::Credit(credit)) }
        };
        let ask = ApplyRequest { operations: (0..250).map(operation).collect() };
        let bearer = format!("Bearer {token}");
        let headers = call_headers(APPLY, &[("authorization", &bearer)]);
        let connection = deaf(&service, 0, 8, &headers, &ask).await;
        until("all are written", async || {
            let count = book.number("SELECT count(*) FROM ledger_entries").await;
            (count == 250).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let turned_away = client.apply(with_token(&token, ask.clone())).await;
        refused(turned_away, Code::ResourceExhausted, "OVERLOADED");
        drop(connection);
        until("the places are free again", async || client.apply(with_token(&token, ask.clone())).await.ok())
            .await;
    })
    .await;
}

/// Without credentials nobody can be told from anybody, so this is about what was taken, and comes back.
#[tokio::test(flavor = "multi_thread")]
async fn memory_comes_back_when_an_attack_is_over() {
    on_a_book(async |book| {
        let service = Process::serve(&["--database-url", &book.url]);
        service.client().await.credit(deposit("ann", "order-1", 5)).await.answered();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = memory(service.id(), "VmRSS");
        let ask = get_account("ann");
        let headers = call_headers(GET, &[]);
        let mut connections = Vec::new();
        for _ in 0..300 {
            connections.push(deaf(&service, 0, 128, &headers, &ask).await);
        }
        until("the attack takes memory", async || {
            (memory(service.id(), "VmRSS") > before + 25).then_some(())
        })
        .await;
        drop(connections);
        let most = memory(service.id(), "VmHWM");
        let after = until("memory comes back", async || {
            Some(memory(service.id(), "VmRSS")).filter(|now| *now < before + 15)
        })
        .await;
        println!("{before} MiB before, at most {most}, {after} after");
        assert!(most < MEMORY_MAX, "{most}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_others_do_not_read_keep_nobody_from_listing() {
    on_a_book(async |book| {
        a_large_journal(book).await;
        let service = Process::serve(&["--database-url", &book.url]);
        let ask = ListEntriesRequest { page_size: 1_000, ..list_entries("old") };
        let headers = call_headers(LIST, &[]);
        let mut connections = Vec::new();
        for _ in 0..20 {
            connections.push(deaf(&service, 0, 20, &headers, &ask).await);
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mut client = service.client().await;
        let began = Instant::now();
        let pages = entry_pages(&mut client, ask).await;
        let listed: usize = pages.iter().map(|page| page.entries.len()).sum();
        println!("{listed} entries in {:?}", began.elapsed());
        assert_eq!(listed, 1_000);
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        let most = memory(service.id(), "VmHWM");
        println!("at most {most} MiB");
        assert!(most < MEMORY_MAX, "{most}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_peer_leaves_undone_is_no_line_of_the_services() {
    on_a_book(async |book| {
        let service = Process::serve(&["--database-url", &book.url, "--metrics-listen", "127.0.0.1:0"]);
        let late = call_headers(CHECK, &[("grpc-timeout", "1m")]);
        let whole = call_headers(CREDIT, &[]);
        for _ in 0..5 {
            let mut raw = Raw::open(&service.address, &hello(&[])).await;
            for n in 0..100 {
                let late = frame(HEADERS, END_HEADERS, 4 * n + 1, &late);
                let open = frame(HEADERS, END_HEADERS, 4 * n + 3, &whole);
                let half = frame(DATA, NO_FLAGS, 4 * n + 3, &message(0, 1_000, &[0; 10]));
                let reset = frame(RST_STREAM, NO_FLAGS, 4 * n + 3, &8_u32.to_be_bytes());
                raw.send(&[late, open, half, reset].concat()).await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            drop(raw); // and with it whatever is half sent
        }
        let mut client = service.client().await;
        client.credit(deposit("ann", "order-1", 5)).await.answered();
        let blamed = service.log().all().into_iter().find(|line| line.contains("a call failed"));
        assert_eq!(blamed, None);
        let scraped = get(service.metrics_address(), "/metrics").await;
        for code in ["Unknown", "Internal", "DeadlineExceeded"] {
            let counted = format!("grpc_code=\"{code}\"");
            let found = scraped.lines().find(|line| {
                line.starts_with("grpc_server_handled_total")
                    && line.contains(&counted)
                    && !line.ends_with(" 0")
            });
            assert_eq!(found, None);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_fails_without_end_is_a_few_lines_and_a_count() {
    on_a_book(async |book| {
        let (token, line) = new_token("web", "reader");
        let (service, _dir) = book.serve_to(&line, &[]);
        let mut client = service.client().await;
        for n in 0..300 {
            client.credit(with_token(&token, deposit("ann", &format!("order-{n}"), 5))).await.unwrap_err();
        }
        let left_out = until("what was left out is counted", async || {
            service.log().all().into_iter().find(|line| line.contains("more calls failed than have a line"))
        })
        .await;
        assert!(left_out.contains("left_out="), "{left_out}");
        let denied = service.log().all().iter().filter(|line| line.contains("PERMISSION_DENIED")).count();
        assert!((1..=200).contains(&denied), "{denied}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_the_port_of_metrics_are_few_and_the_newest_is_served() {
    on_a_book(async |book| {
        let service = Process::serve(&["--database-url", &book.url, "--metrics-listen", "127.0.0.1:0"]);
        let bystander = Bystander::watch(&service);
        let mut idle = Vec::new();
        for _ in 0..300 {
            idle.push(Raw::connect(service.metrics_address()).await);
        }
        assert!(get(service.metrics_address(), "/metrics").await.contains("grpc_server_handled_total"));
        let files = until("the idle connections are closed", async || {
            let files = std::fs::read_dir(format!("/proc/{}/fd", service.id())).unwrap().count();
            (files < 150).then_some(files)
        })
        .await;
        println!("{files} files are open");
        bystander.assert_content("idle connections to metrics");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_health_does_not_know_is_watched_as_unknown() {
    on_a_book(async |book| {
        let server = book.serve().await;
        let mut health = health::health(&server.url).await;
        let mut stream = health.watch(health::request("nobody's")).await.unwrap().into_inner();
        let first = stream.message().await.unwrap().unwrap();
        assert_eq!(first.status(), ServingStatus::ServiceUnknown);
        let second = tokio::time::timeout(Duration::from_millis(500), stream.message()).await;
        assert!(second.is_err(), "the stream stays open, and says nothing more: {second:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_request_is_told_what_is_accepted() {
    on_a_service(async |mut client| {
        let request = with_header("grpc-encoding", "gzip", deposit("ann", "order-1", 5));
        let refused = client.credit(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented);
        assert_eq!(refused.metadata().get("grpc-accept-encoding").unwrap(), "identity");
    })
    .await;
}
