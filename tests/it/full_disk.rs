//! The disk of the book is full: nothing can be written, all that was written can be read, and room is all it takes.

use std::{
    fs::{self, Permissions},
    io::Write as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use billing::{grpc::proto::GetOperationRequest, private_postgres::PrivatePostgres};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, SimpleAsyncConnection as _};
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::support::{
    check::check_book,
    dir::Dir,
    health::{check, health, wait_for},
    server::{TestServer, config},
    waiting::run,
    *,
};

/// More than an empty database takes, and little enough to be filled up soon.
const SIZE: &str = "size=24m";

/// A small file system of its own, in memory.
struct SmallDisk(Dir);

impl SmallDisk {
    /// `None` where nothing may be mounted.
    fn mount() -> Option<Self> {
        let disk = Self(Dir::new());
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", SIZE, "tmpfs"]).arg(disk.0.path());
        run(&mut mount).status.success().then_some(disk)
    }

    fn ballast(&self) -> PathBuf {
        self.0.path().join("ballast")
    }

    /// Leaves no room.
    fn fill(&self) {
        let mut ballast = fs::File::create(self.ballast()).unwrap();
        while ballast.write(&[0; 4_096]).is_ok() {}
    }

    fn make_room(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg("-l").arg(self.0.path())); // may not be mounted
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_unavailable_for_writes_until_there_is_room_and_every_key_settles_once() {
    let Some(disk) = SmallDisk::mount() else {
        println!("skipped: this user may not mount a small file system");
        return;
    };
    let dir = Dir::new();
    let data = dir.path().join("data");
    let postgres = PrivatePostgres::start(&data, &[("fsync", "off")]).unwrap();
    let url = move_to(&postgres, &data, &disk).await;
    migrate(&url).await;
    let server = TestServer::start(&url, config()).await;
    let mut client = server.client().await;
    let mut health = health(&server.url).await;
    client.credit(deposit("ann", "order-0", 1_000_000)).await.answered();
    wait_for(&mut health, "readiness", ServingStatus::Serving).await;

    disk.fill();
    // There is room in the pages that are there; what fits into them is still written.
    let mut written = 1;
    let unanswered = loop {
        let key = format!("job-{written}");
        match client.charge(long_charge(&key)).await {
            Ok(_) => written += 1,
            refused => break (key, reason(refused)),
        }
        assert!(written < 5_000, "the disk does not fill up");
    };
    let (key, answer) = unanswered;
    let unavailable = (Code::Unavailable, "DATABASE_UNAVAILABLE".to_owned());
    assert_eq!(answer, unavailable);
    for _ in 0..3 {
        assert_eq!(reason(client.charge(long_charge(&key)).await), unavailable, "again and again");
    }
    let began = Instant::now();
    assert_eq!(available(&mut client, "ann").await, 1_000_000 - (written - 1));
    let operation = |key: &str| GetOperationRequest { account_id: "ann".into(), idempotency_key: key.into() };
    assert_eq!(client.get_operation(operation(&key)).await.unwrap_err().code(), Code::NotFound);
    assert!(began.elapsed() < Duration::from_secs(1), "reads go on");
    // What has been answered is answered again, which writes nothing; and a commit as such is possible.
    assert!(client.charge(long_charge("job-1")).await.answered().1);
    assert_eq!(check(&mut health, "readiness").await, ServingStatus::Serving);

    disk.make_room();
    let (entry, replayed) = client.charge(long_charge(&key)).await.answered();
    assert_eq!((entry.sequence, replayed), (written + 1, false));
    assert_eq!(client.charge(long_charge(&key)).await.answered(), (entry.clone(), true));
    assert_eq!(applied(&mut client, "ann", &key).await.0, entry);
    check_book(&url).await;
    drop(server);
    postgres.stop().unwrap();
}

/// Makes a database whose tables are on a disk, and returns its URL.
async fn move_to(postgres: &PrivatePostgres, data: &Path, disk: &SmallDisk) -> String {
    let owner = fs::metadata(data.join("cluster")).unwrap();
    let location = disk.0.path().join("tablespace");
    fs::create_dir(&location).unwrap();
    fs::set_permissions(disk.0.path(), Permissions::from_mode(0o711)).unwrap();
    chown(&location, Some(owner.uid()), Some(owner.gid())).unwrap();
    let mut operator = AsyncPgConnection::establish(&postgres.database_url("postgres")).await.unwrap();
    for sql in [
        &format!("CREATE TABLESPACE small LOCATION '{}'", location.display()),
        "CREATE DATABASE small TABLESPACE small",
    ] {
        operator.batch_execute(sql).await.unwrap();
    }
    postgres.database_url("small")
}

/// A charge whose entry is large.
fn long_charge(key: &str) -> billing::grpc::proto::ChargeRequest {
    billing::grpc::proto::ChargeRequest { reference: "r".repeat(200), ..charge("ann", key, 1) }
}
