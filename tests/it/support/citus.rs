//! A private Citus: a coordinator and two workers, where the extension is installed.

use std::{fs, net::SocketAddr, path::PathBuf};

use billing::{private_postgres::PrivatePostgres, schema};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use rustix::process::{Pid, Signal, kill_process};

use super::{address::free_address, book::TestBook, books::views, dir::Dir};

/// What is said where it is not. `scripts/run-tests` says it once more at the end.
pub const NOT_RUN: &str = "NOT RUN: no citus in pg_available_extensions";

/// The nodes; the first one is the coordinator.
pub struct Nodes {
    dir: Dir,
    servers: Vec<Option<PrivatePostgres>>,
    addresses: Vec<SocketAddr>,
}

/// Whether the PostgreSQL of the tests has the extension. If not, says so.
pub async fn is_available() -> bool {
    let any = TestBook::create_empty().await;
    let is_available =
        any.number("SELECT count(*) FROM pg_available_extensions WHERE name = 'citus'").await > 0;
    if !is_available {
        println!("{NOT_RUN}");
    }
    is_available
}

impl Nodes {
    /// Starts the nodes, and makes a ledger with so many books on them.
    pub async fn with_books(books: usize) -> (Self, TestBook) {
        let mut nodes = Self { dir: Dir::new(), servers: Vec::new(), addresses: Vec::new() };
        for number in 0..3 {
            nodes.addresses.push(free_address());
            nodes.servers.push(None);
            nodes.start(number).await;
            let mut node = AsyncPgConnection::establish(&nodes.url(number)).await.unwrap();
            node.batch_execute("CREATE EXTENSION citus").await.unwrap();
        }
        let mut coordinator = AsyncPgConnection::establish(&nodes.url(0)).await.unwrap();
        let [first, ref workers @ ..] = nodes.addresses[..] else { unreachable!("there are three") };
        let own = format!("SELECT citus_set_coordinator_host('{}', {})", first.ip(), first.port());
        coordinator.batch_execute(&own).await.unwrap();
        for worker in workers {
            let add = format!("SELECT citus_add_node('{}', {})", worker.ip(), worker.port());
            coordinator.batch_execute(&add).await.unwrap();
        }
        let url = nodes.url(0);
        schema::migrate(&url.parse().unwrap(), Some(books), true).await.unwrap();
        coordinator.batch_execute(&views(books)).await.unwrap();
        (nodes, TestBook { url })
    }

    /// A worker, as `billing books` names it.
    pub fn name(&self, number: usize) -> String {
        self.addresses[number].to_string()
    }

    /// Starts a node, for the first time or again.
    pub async fn start(&mut self, number: usize) {
        let address = self.addresses[number];
        let (ip, port) = (address.ip().to_string(), address.port().to_string());
        let dir = self.data_dir(number);
        let start = move || {
            let settings = [
                ("listen_addresses", ip.as_str()),
                ("port", port.as_str()),
                ("shared_preload_libraries", "citus"),
                ("citus.node_conninfo", "sslmode=disable"),
                ("citus.local_hostname", ip.as_str()),
                ("citus.recover_2pc_interval", "1s"),
                ("wal_level", "logical"),
                ("max_prepared_transactions", "200"),
                ("max_worker_processes", "64"),
                ("max_connections", "300"),
                ("ssl", "off"),
            ];
            PrivatePostgres::start(&dir, &settings).unwrap()
        };
        self.servers[number] = Some(tokio::task::spawn_blocking(start).await.unwrap());
    }

    /// Kills a node, with all of its processes: those that lose their first one end by themselves.
    pub fn kill(&mut self, number: usize) {
        let pid_file = self.data_dir(number).join("cluster/postmaster.pid");
        let pid = fs::read_to_string(pid_file).unwrap().lines().next().unwrap().parse().unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        self.servers[number] = None; // waits until it is gone
    }

    fn data_dir(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("n{number}")) // the path of a socket must be short
    }

    fn url(&self, number: usize) -> String {
        format!("postgres://billing@{}/billing?sslmode=disable", self.addresses[number])
    }
}
