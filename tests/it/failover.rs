//! The primary goes away and its standby takes over: no service is restarted, and nothing that was answered is lost.

use std::{
    fs,
    os::unix::{
        fs::{DirBuilderExt as _, MetadataExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use billing::{ledger, private_postgres::PrivatePostgres};
use diesel_async::{AsyncConnection as _, AsyncPgConnection};
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus::{NotServing, Serving};

use crate::support::{
    book::number,
    check::check_book,
    health::{check, health, wait_for},
    server::{TestServer, config},
    *,
};

const SETTINGS: [(&str, &str); 2] = [("fsync", "off"), ("hot_standby", "on")];

/// A directory that is removed at the end of its test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("billing-{name}-{}", std::process::id())))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Copies a running server, and starts the copy as its streaming standby.
fn start_standby(primary: &PrivatePostgres, primary_dir: &Path, dir: &Path) -> PrivatePostgres {
    let owner = fs::metadata(primary_dir.join("cluster")).unwrap();
    let cluster = dir.join("cluster");
    fs::DirBuilder::new().mode(0o711).create(dir).unwrap();
    fs::DirBuilder::new().mode(0o700).create(&cluster).unwrap();
    chown(&cluster, Some(owner.uid()), Some(owner.gid())).unwrap();
    let mut backup = Command::new(primary.bin_dir().join("pg_basebackup"));
    backup.args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "-d", &primary.database_url("")]);
    backup.arg("-D").arg(&cluster).current_dir("/").uid(owner.uid()).gid(owner.gid());
    assert!(backup.status().unwrap().success());
    PrivatePostgres::start(dir, &SETTINGS).unwrap()
}

/// The URL of a book that is in one server or the other.
fn either(primary: &PrivatePostgres, standby: &PrivatePostgres) -> String {
    let [one, other] = [primary, standby].map(|server| server.database_url("billing"));
    let host = |url: &str| url.split_once("host=").unwrap().1.split_once('&').unwrap().0.to_owned();
    one.replace(&host(&one), &format!("{},{}", host(&one), host(&other)))
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failover_services_go_on_without_a_restart_and_know_all_that_was_answered() {
    let (dir, standby_dir) = (Dir::new("primary"), Dir::new("standby"));
    let primary = PrivatePostgres::start(&dir.0, &SETTINGS).unwrap();
    ledger::migrate(&primary.database_url("billing").parse().unwrap()).await.unwrap();
    let standby = start_standby(&primary, &dir.0, &standby_dir.0);
    let (standby_url, both) = (standby.database_url("billing"), either(&primary, &standby));
    let unavailable = (Code::Unavailable, "DATABASE_UNAVAILABLE".to_owned());

    let service = TestServer::start(&both, config()).await;
    let mut client = service.client().await;
    let mut readiness = health(&service.url).await;
    wait_for(&mut readiness, "readiness", Serving).await;
    let (credited, _) = client.credit(stripe_deposit("ann", "order-1", 10, "cs_1")).await.answered();
    let (charged, _) = client.charge(charge("ann", "job-1", 4)).await.answered();
    let refused = error(client.charge(charge("ann", "job-2", 7)).await);

    // A service that knows only the standby answers reads.
    let beside = TestServer::start(&standby_url, config()).await;
    let mut client_beside = beside.client().await;
    let mut readiness_beside = health(&beside.url).await;
    wait_until_replayed(&standby_url, 2).await;
    assert_eq!(available(&mut client_beside, "ann").await, 6);
    assert_eq!(reason(client_beside.charge(charge("ann", "job-3", 1)).await), unavailable);
    assert_eq!(check(&mut readiness_beside, "readiness").await, NotServing);
    assert_eq!(check(&mut readiness_beside, "liveness").await, Serving);

    primary.stop().unwrap();
    wait_for(&mut readiness, "readiness", NotServing).await;
    assert_eq!(reason(client.charge(charge("ann", "job-3", 1)).await), unavailable);
    // So does one that is started now.
    let late = TestServer::start(&both, config()).await;
    let mut readiness_late = health(&late.url).await;
    assert_eq!(check(&mut readiness_late, "readiness").await, NotServing);

    let mut operator = AsyncPgConnection::establish(&standby_url).await.unwrap();
    assert_eq!(number(&mut operator, "pg_promote()::int").await, 1);
    for readiness in [&mut readiness, &mut readiness_beside, &mut readiness_late] {
        wait_for(readiness, "readiness", Serving).await;
    }
    let again = stripe_deposit("ann", "order-1", 10, "cs_1");
    assert_eq!(client.credit(again).await.answered(), (credited, true));
    assert_eq!(client.charge(charge("ann", "job-1", 4)).await.answered(), (charged, true));
    assert_eq!(error(client.charge(charge("ann", "job-2", 7)).await), refused);
    for (mut client, sequence) in [client, client_beside, late.client().await].into_iter().zip(3..) {
        let key = format!("job-{sequence}");
        assert_eq!(client.charge(charge("ann", &key, 1)).await.answered().0.sequence, sequence);
    }
    check_book(&standby_url).await;
}

/// Waits until the standby has this many entries.
async fn wait_until_replayed(url: &str, entries: i64) {
    let mut connection = AsyncPgConnection::establish(url).await.unwrap();
    while number(&mut connection, "SELECT count(*) FROM ledger_entries").await < entries {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
