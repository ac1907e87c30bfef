//! The port for health alone: what a kubelet sees of a service that has TLS, and what nobody sees there.

use std::time::{Duration, Instant};

use tokio::{io::AsyncReadExt as _, net::TcpStream, time::timeout};
use tonic::{Code, transport::Endpoint};
use tonic_health::pb::{health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::{ServerReflectionRequest, server_reflection_client::ServerReflectionClient};

use crate::support::{
    authority::{Authority, Issued},
    dir::Dir,
    health::{check, health, request, wait_for},
    process::{Process, new_token},
    waiting::{output, until},
    *,
};

/// The program with TLS, credentials, and a port for health.
struct Guarded {
    process: Process,
    /// A token that may do everything.
    token: String,
    /// The port for health.
    health: String,
    _dir: Dir,
}

impl Guarded {
    /// Returns when both ports are there.
    fn start(book: &TestBook) -> Self {
        let dir = Dir::new();
        let (token, line) = new_token("ops", "admin");
        let Issued { certificate, key } = Authority::new("ours").issue("billing.internal");
        let flags = [
            "--database-url",
            &book.url,
            "--credentials",
            &dir.write("credentials", &line),
            "--tls-cert",
            &dir.write("cert.pem", &certificate),
            "--tls-key",
            &dir.write("key.pem", &key),
            "--health-listen",
            "127.0.0.1:0",
            "--drain-delay",
            "500ms",
        ];
        let process = Process::serve(&flags);
        let health = process.health_address();
        Self { process, token, health, _dir: dir }
    }

    fn health_url(&self) -> String {
        format!("http://{}", self.health)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_tls_a_plain_check_without_credentials_is_answered_on_the_port_for_health_only() {
    on_a_book(async |book| {
        let guarded = Guarded::start(book);
        let mut kubelet = health(&guarded.health_url()).await;
        wait_for(&mut kubelet, "readiness", ServingStatus::Serving).await;
        for name in ["", "liveness", "billing.v1.BillingService"] {
            assert_eq!(check(&mut kubelet, name).await, ServingStatus::Serving, "{name:?}");
        }
        assert_eq!(kubelet.check(request("nothing")).await.unwrap_err().code(), Code::NotFound);

        let main = connect_lazily(&guarded.process.url()).credit(deposit("ann", "order-1", 5)).await;
        assert!(main.is_err(), "the main port speaks TLS only: {main:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_the_ledger_nor_reflection_is_on_the_port_for_health_whoever_calls() {
    on_a_book(async |book| {
        let guarded = Guarded::start(book);
        let mut client = connect(&guarded.health_url()).await;
        let answer = client.credit(with_token(&guarded.token, deposit("ann", "order-1", 5))).await;
        assert_eq!(reason(answer).0, Code::Unimplemented);

        let channel = Endpoint::from_shared(guarded.health_url()).unwrap().connect().await.unwrap();
        let mut reflection = ServerReflectionClient::new(channel);
        let asked = tokio_stream::once(ServerReflectionRequest::default());
        let answer = reflection.server_reflection_info(asked).await;
        assert_eq!(answer.unwrap_err().code(), Code::Unimplemented);
        assert_eq!(book.number("SELECT count(*) FROM ledger_entries").await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_on_the_port_for_health_learns_of_the_shutdown_and_does_not_delay_it() {
    on_a_book(async |book| {
        let guarded = Guarded::start(book);
        let mut kubelet = health(&guarded.health_url()).await;
        wait_for(&mut kubelet, "readiness", ServingStatus::Serving).await;
        let mut watch = kubelet.watch(request("readiness")).await.unwrap().into_inner();
        assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);

        let (began, url, process) = (Instant::now(), guarded.health_url(), guarded.process);
        let exit = tokio::task::spawn_blocking(move || process.terminate());
        assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
        for name in ["readiness", "liveness"] {
            let mut kubelet = health(&url).await; // which connects for each probe
            assert_eq!(check(&mut kubelet, name).await, ServingStatus::NotServing, "{name}, while draining");
        }
        assert!(watch.message().await.unwrap().is_none(), "the stream is ended, not cut");
        assert!(exit.await.unwrap().success());
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_connections_than_there_are_kubelets_are_closed_at_once() {
    on_a_book(async |book| {
        let guarded = Guarded::start(book);
        let mut connections = Vec::new();
        for _ in 0..65 {
            connections.push(TcpStream::connect(&guarded.health).await.unwrap());
        }
        let closed = timeout(Duration::from_secs(5), connections[64].read(&mut [0])).await;
        assert!(matches!(closed, Ok(Ok(0) | Err(_))), "{closed:?}");
        let open = timeout(Duration::from_millis(100), connections[0].read(&mut [0])).await;
        assert!(open.is_err(), "{open:?}");

        drop(connections);
        let mut kubelet = until("it is known that they are closed", async || {
            let channel = Endpoint::from_shared(guarded.health_url()).unwrap().connect_lazy();
            let mut kubelet = HealthClient::new(channel);
            kubelet.check(request("liveness")).await.ok().map(|_| kubelet)
        })
        .await;
        wait_for(&mut kubelet, "readiness", ServingStatus::Serving).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_for_health_that_is_taken_is_said_at_the_start() {
    on_a_book(async |book| {
        let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let mut serve = Process::command();
        serve.args(["--database-url", &book.url, "--health-listen", &address]);
        let output = output(serve).await;
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(&format!("cannot listen on {address}")), "{said}");
    })
    .await;
}
