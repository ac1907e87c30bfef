//! Clients that mean harm, against the built program: others are served all the while, and memory stays bounded.

mod bystander;
mod frames;
mod waiting_for_clients;

use std::time::{Duration, Instant};

use billing::grpc::proto::ListEntriesRequest;
use prost::Message as _;
use tokio::{net::TcpStream, task::JoinSet};
use tonic::{
    Code, Status,
    codegen::{Bytes, http},
};

use crate::support::{process::Process, *};
use bystander::{Bystander, memory};
use frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, NO_FLAGS, PING, RST_STREAM, Raw, SETTINGS,
    call_headers, frame, hello, literal, message,
};
use waiting_for_clients::deaf;

/// How much memory the service may take under attack, in MiB, in a debug build. It takes 25 at rest.
const MEMORY_MAX: u64 = 128;
const CREDIT: &str = "/billing.v1.BillingService/Credit";
const LIST: &str = "/billing.v1.BillingService/ListEntries";

/// An attack on the program while a good client calls it.
async fn attack(name: &str, attack: impl AsyncFnOnce(&Process)) {
    on_a_book(async |book| {
        let service = Process::serve(&["--database-url", &book.url]);
        let bystander = Bystander::watch(&service);
        attack(&service).await;
        bystander.assert_content(name);
    })
    .await;
}

/// Runs the same attack on many connections at once, again and again for a while.
async fn many<A>(service: &Process, connections: usize, attack: impl Fn(String) -> A)
where
    A: Future<Output = ()> + Send + 'static,
{
    let end = Instant::now() + Duration::from_secs(2);
    let mut attackers = JoinSet::new();
    (0..connections).for_each(|_| drop(attackers.spawn(attack(service.address.clone()))));
    while let Some(ended) = attackers.join_next().await {
        ended.unwrap();
        if Instant::now() < end {
            attackers.spawn(attack(service.address.clone()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_opened_and_reset_as_fast_as_can_be_end_their_connection() {
    attack("rapid reset", async |service| {
        many(service, 20, async |address| {
            let mut raw = Raw::open(&address, &hello(&[])).await;
            let headers = call_headers(CREDIT, &[]);
            for batch in 0..500 {
                let bytes: Vec<u8> = (0..100)
                    .flat_map(|n| {
                        let stream = 2 * (batch * 100 + n) + 1;
                        let open = frame(HEADERS, END_HEADERS, stream, &headers);
                        [open, frame(RST_STREAM, NO_FLAGS, stream, &8_u32.to_be_bytes())].concat()
                    })
                    .collect();
                if !raw.send(&bytes).await {
                    return;
                }
            }
            assert!(raw.is_closed_within(Duration::from_secs(5)).await);
        })
        .await;
    })
    .await;
}

/// Streams that the service itself has to reset, since they break a rule: frames for a stream that has no such length.
#[tokio::test(flavor = "multi_thread")]
async fn streams_that_make_the_service_reset_them_end_their_connection() {
    attack("made to reset", async |service| {
        let mut raw = Raw::open(&service.address, &hello(&[])).await;
        let headers = call_headers(CREDIT, &[("content-length", "1")]);
        let mut streams = 0;
        for n in 0..20_000 {
            let open = frame(HEADERS, END_HEADERS, 2 * n + 1, &headers);
            let too_much = frame(DATA, END_STREAM, 2 * n + 1, &[0; 2]);
            if !raw.send(&[open, too_much].concat()).await {
                break;
            }
            streams += 1;
            if n % 100 == 99 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        println!("closed after {streams} streams");
        assert!(streams < 20_000, "all streams were served");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_without_an_end_end_their_connection() {
    attack("endless headers", async |service| {
        many(service, 10, async |address| {
            let mut raw = Raw::open(&address, &hello(&[])).await;
            let part = literal("x-filler", &"x".repeat(8_000));
            raw.send(&frame(HEADERS, NO_FLAGS, 1, &call_headers(CREDIT, &[]))).await;
            for _ in 0..10_000 {
                if !raw.send(&frame(CONTINUATION, NO_FLAGS, 1, &part)).await {
                    return;
                }
            }
            panic!("80 MB of headers were taken");
        })
        .await;
        // Empty ones, too: they are no bytes, but work.
        let mut raw = Raw::open(&service.address, &hello(&[])).await;
        raw.send(&frame(HEADERS, NO_FLAGS, 1, &call_headers(CREDIT, &[]))).await;
        let empty = frame(CONTINUATION, NO_FLAGS, 1, &[]).repeat(1_000);
        raw.send(&empty).await;
        assert!(raw.is_closed_within(Duration::from_secs(5)).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_do_not_greet_are_closed_after_ten_seconds() {
    attack("no greeting", async |service| {
        let began = Instant::now();
        let mut silent = JoinSet::new();
        for begun in 0..20 {
            let address = service.address.clone();
            silent.spawn(async move {
                let mut raw = Raw::connect(&address).await;
                // One byte now and then is no more than nothing.
                for byte in &frames::PREFACE[..begun] {
                    raw.send(&[*byte]).await;
                    tokio::time::sleep(Duration::from_millis(600)).await;
                }
                assert!(raw.is_closed_within(Duration::from_secs(15)).await);
            });
        }
        silent.join_all().await;
        let took = began.elapsed();
        assert!((Duration::from_secs(9)..Duration::from_secs(14)).contains(&took), "{took:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_harm_nobody_and_those_beyond_the_limit_are_closed() {
    const MAX: usize = 9_000;
    raise_own_limit();
    on_a_book(async |book| {
        let service = Process::serve(&["--database-url", &book.url, "--connections-max", &MAX.to_string()]);
        let bystander = Bystander::watch(&service);
        let mut memory_with_them = Vec::new();
        // Twice, since what the first have taken up must be there for the second.
        for _ in 0..2 {
            let began = Instant::now();
            let mut idle = Vec::with_capacity(10_000);
            for n in 0..10_000 {
                let stream = TcpStream::connect(&service.address).await.unwrap();
                if n < 1_000 {
                    stream.try_write(&hello(&[])).unwrap();
                }
                idle.push(stream);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            let is_closed = |stream: &&TcpStream| matches!(stream.try_read(&mut [0; 4096]), Ok(0));
            let refused = idle.iter().skip(1_000).filter(is_closed).count();
            println!("10,000 opened in {:.1?}; {refused} refused", began.elapsed());
            assert!(began.elapsed() < Duration::from_secs(9), "the first are let go by now");
            assert!((1_000..=1_010).contains(&refused), "{refused}");
            memory_with_them.push(memory(service.id(), "VmRSS"));
            drop(idle);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        println!("memory with them: {memory_with_them:?} MiB");
        assert!(memory_with_them[1] <= memory_with_them[0] * 3 / 2);
        service.client().await.credit(deposit("ann", "order-1", 5)).await.answered();
        bystander.assert_content("10,000 idle connections");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_watches_a_few_streams_of_health_and_no_more() {
    attack("watches", async |service| {
        let mut kubelet = health::health(&service.url()).await;
        let mut watches = Vec::new();
        for _ in 0..1_000 {
            match kubelet.watch(health::request("")).await {
                Ok(watch) => watches.push(watch),
                none_left => drop(refused(none_left, Code::ResourceExhausted, "OVERLOADED")),
            }
        }
        assert_eq!(watches.len(), 8);
        let mut other = health::health(&service.url()).await;
        other.watch(health::request("")).await.expect("another connection has places of its own");
        drop(watches);
        let given_back = async {
            while kubelet.watch(health::request("")).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let given_back = tokio::time::timeout(Duration::from_secs(5), given_back).await;
        given_back.expect("ended streams give places back");
    })
    .await;
}

/// As many connections as the tests open need as many files.
fn raise_own_limit() {
    let hard = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let limit = rustix::process::Rlimit { current: hard, maximum: hard };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
    assert!(hard.is_none_or(|files| files > 11_000), "this test needs a limit of 11,000 open files");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_low_limit_of_open_files_lowers_the_limit_of_connections_and_says_so() {
    on_a_book(async |book| {
        let mut limited = Process::command_with_files(400);
        limited.args(["--database-url", &book.url]);
        let service = Process::start(limited).unwrap();
        let bystander = Bystander::watch(&service);
        assert!(service.said.iter().any(|line| line.contains("fewer connections")), "{:?}", service.said);
        let mut idle = Vec::new();
        for _ in 0..500 {
            idle.push(Raw::connect(&service.address).await);
        }
        bystander.assert_content("few files");
    })
    .await;
}

/// What a call is answered: the HTTP status, the gRPC code, and the reason of the contract if there is one.
type Verdict = (u16, Option<Code>, Option<String>);

fn answered_with(code: Code, reason: &str) -> Verdict {
    (200, Some(code), Some(reason.to_owned()))
}

/// Sends a body to a path as it is, and then perhaps no end.
async fn call_with(service: &Process, path: &str, more: &[(&str, &str)], body: &[u8], ends: bool) -> Verdict {
    let stream = TcpStream::connect(&service.address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut request = http::Request::post(format!("http://test{path}")).header("te", "trailers");
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    let (answer, mut sender) =
        client.ready().await.unwrap().send_request(request.body(()).unwrap(), false).unwrap();
    let _ = sender.send_data(Bytes::copy_from_slice(body), ends); // may have been answered without it
    let answer = answer.await.unwrap();
    let status = Status::from_header_map(answer.headers());
    let code = status.as_ref().map(Status::code);
    let reason = status.and_then(|status| tonic_types::StatusExt::get_details_error_info(&status));
    (answer.status().as_u16(), code, reason.map(|info| info.reason))
}

const GRPC: (&str, &str) = ("content-type", "application/grpc");

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_call_of_the_contract_is_answered_in_its_words() {
    attack("malformed calls", async |service| {
        let good = deposit("ann", "order-1", 5).encode_to_vec();
        let whole = message(0, good.len(), &good);
        let note = |kib: usize| "n".repeat(kib * 1_024);
        let malformed = answered_with(Code::InvalidArgument, "REQUEST_MALFORMED");
        let too_large = answered_with(Code::InvalidArgument, "REQUEST_TOO_LARGE");
        let much_metadata = answered_with(Code::InvalidArgument, "METADATA_TOO_LARGE");
        let undeclared = answered_with(Code::Internal, "COMPRESSION_UNDECLARED");
        let compressed = answered_with(Code::Unimplemented, "COMPRESSION_UNSUPPORTED");
        let unknown = answered_with(Code::Unimplemented, "UNIMPLEMENTED");
        let no_grpc = (415, None, None);
        for (what, path, more, body, expected) in [
            ("nothing", CREDIT, &[GRPC][..], vec![], &malformed),
            ("half a prefix", CREDIT, &[GRPC], vec![0, 0], &malformed),
            ("less than was said", CREDIT, &[GRPC], message(0, good.len() + 1, &good), &malformed),
            ("compressed", CREDIT, &[GRPC], message(1, good.len(), &good), &undeclared),
            ("an unknown flag", CREDIT, &[GRPC], message(7, good.len(), &good), &malformed),
            ("garbage", CREDIT, &[GRPC], message(0, 64, &[0xff; 64]), &malformed),
            ("4 GiB to come", CREDIT, &[GRPC], message(0, u32::MAX as usize, &good), &too_large),
            ("gzip", CREDIT, &[GRPC, ("grpc-encoding", "gzip")], message(1, good.len(), &good), &compressed),
            ("20 KiB of metadata", CREDIT, &[GRPC, ("x-note", &note(20))], whole.clone(), &much_metadata),
            ("80 KiB of metadata", CREDIT, &[GRPC, ("x-note", &note(80))], whole.clone(), &(431, None, None)),
            ("no method", "/billing.v1.BillingService/Mint", &[GRPC], whole.clone(), &unknown),
            ("no service", "/billing.v2.BillingService/Credit", &[GRPC], whole.clone(), &unknown),
            ("no path", "/", &[GRPC], whole.clone(), &unknown),
            ("another type", CREDIT, &[("content-type", "application/json")], whole.clone(), &no_grpc),
            ("for browsers", CREDIT, &[("content-type", "application/grpc-web")], whole.clone(), &no_grpc),
            ("no type", CREDIT, &[], whole.clone(), &no_grpc),
        ] {
            let answer = call_with(service, path, more, &body, true).await;
            assert_eq!(&answer, expected, "{what}");
        }
        let mut client = service.client().await;
        assert!(!client.credit(deposit("ann", "order-1", 5)).await.answered().1, "nothing has happened yet");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_ends_is_ended_by_its_own_deadline() {
    attack("endless request", async |service| {
        let began = Instant::now();
        let deadline = [GRPC, ("grpc-timeout", "700m")];
        let answer = call_with(service, CREDIT, &deadline, &message(0, 1_000, &[0; 10]), false).await;
        assert_eq!(answer, answered_with(Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
        assert!((Duration::from_millis(600)..Duration::from_secs(3)).contains(&began.elapsed()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_settings_and_garbage_without_end_harm_nobody() {
    attack("floods", async |service| {
        for flood in [frame(PING, NO_FLAGS, 0, &[0; 8]), frame(SETTINGS, NO_FLAGS, 0, &[])] {
            let flood = flood.repeat(1_000);
            many(service, 3, move |address| {
                let flood = flood.clone();
                async move {
                    let mut raw = Raw::open(&address, &hello(&[])).await;
                    for _ in 0..100 {
                        // Nobody reads the answers, so at some point nothing more is taken, which is as good.
                        if !raw.send(&flood).await {
                            return;
                        }
                    }
                }
            })
            .await;
        }
        for n in 0..200 {
            let mut random = fastrand::Rng::with_seed(n);
            let garbage: Vec<u8> = (0..4_096).map(|_| random.u8(..)).collect();
            let greeted = [hello(&[]), garbage.clone()].concat();
            for bytes in [garbage, greeted, b"GET / HTTP/1.1\r\nHost: test\r\n\r\n".to_vec()] {
                let mut raw = Raw::open(&service.address, &bytes).await;
                // Sooner than who only says nothing is sent away, however busy the machine is.
                assert!(raw.is_closed_within(Duration::from_secs(9)).await, "seed {n}");
            }
        }
    })
    .await;
}

/// An account with thirty megabytes of journal.
async fn a_large_journal(book: &TestBook) {
    let long = ("reference", "repeat(md5(n::text), 1000)");
    book.import("old", 1_000, 1, &[("entry_type", "2"), ("create_time", "now()"), long]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_nobody_reads_do_not_pile_up() {
    on_a_book(async |book| {
        a_large_journal(book).await;
        let service = Process::serve(&["--database-url", &book.url]);
        let bystander = Bystander::watch(&service);
        let ask = ListEntriesRequest { page_size: 1_000, ..list_entries("old") };
        let headers = call_headers(LIST, &[]);
        let mut connections = Vec::new();
        // A window that never opens, one that is open by a byte, and one that is as large as can be, on a socket that nobody reads.
        for window in [0, 1, i32::MAX.cast_unsigned()] {
            connections.push(deaf(&service, window, 200, &headers, &ask).await);
        }
        tokio::time::sleep(Duration::from_secs(4)).await;
        let mut client = service.client().await;
        let page = client.list_entries(ask).await.unwrap().into_inner();
        assert!(page.entries.len() >= 3, "{}", page.entries.len());
        bystander.assert_content("600 unread pages");
    })
    .await;
}

/// Ends the service while connections are open in every state, and says how it ended and after how long.
async fn end_with(flags: &[&str], half_sent: bool) -> (Option<i32>, Duration) {
    let mut ended = None;
    on_a_book(async |book| {
        let service = Process::serve(&[&["--database-url", &book.url], flags].concat());
        let mut client = service.client().await;
        client.credit(deposit("ann", "order-1", 5)).await.answered();
        let mut open = vec![
            Raw::open(&service.address, b"").await,
            Raw::open(&service.address, b"PRI").await,
            Raw::open(&service.address, frames::PREFACE).await,
            Raw::open(&service.address, &hello(&[])).await,
        ];
        if half_sent {
            let call = frame(HEADERS, END_HEADERS, 1, &call_headers(CREDIT, &[]));
            let half = frame(DATA, NO_FLAGS, 1, &message(0, 1_000, &[0; 10]));
            open.push(Raw::open(&service.address, &[hello(&[]), call, half].concat()).await);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        let began = Instant::now();
        let status = tokio::task::spawn_blocking(|| service.terminate()).await.unwrap();
        ended = Some((status.code(), began.elapsed()));
    })
    .await;
    ended.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_without_calls_do_not_keep_the_service_from_ending() {
    let (status, took) = end_with(&[], false).await;
    println!("ended with {status:?} after {took:.1?}");
    assert_eq!(status, Some(0));
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_ends_keeps_the_service_for_the_grace_and_no_longer() {
    let (status, took) = end_with(&["--shutdown-grace", "2s"], true).await;
    println!("ended with {status:?} after {took:.1?}");
    assert_eq!(status, Some(1), "which tells that a call was not answered");
    assert!((Duration::from_secs(2)..Duration::from_secs(5)).contains(&took), "{took:?}");
}
