//! Faults of the replicas: killed, told to stop, or frozen.

use std::time::Duration;

use fastrand::Rng;
use rustix::process::Signal;
use tokio::{
    task::spawn_blocking,
    time::{sleep, timeout},
};
use tonic::transport::Endpoint;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{Breakable, Kind, for_a_while};
use crate::support::process::{Lines, Process};

/// How often a start is tried: one that finds no database fails, and so does one that finds its port taken.
const STARTS_MAX: usize = 200;
const START_PAUSE: Duration = Duration::from_millis(100);
const CHECK_INTERVAL: Duration = Duration::from_millis(10);
const CHECK_PATIENCE: Duration = Duration::from_millis(500);

/// The replicas.
pub struct Replicas {
    pair: [Replica; 2],
    /// What each process has logged.
    logs: Vec<Lines>,
    /// How they ended, if not as they should.
    bad_ends: Vec<String>,
}

/// One of them, which is a process most of the time.
struct Replica {
    flags: Vec<String>,
    process: Option<Process>,
}

impl Replicas {
    /// Two replicas with flags, each with its own way to the database.
    pub async fn start(database_urls: [&str; 2], flags: &[&str]) -> Self {
        let replica = |url| {
            let flags = [&["--database-url", url], flags].concat();
            Replica { flags: flags.into_iter().map(str::to_owned).collect(), process: None }
        };
        let mut replicas = Self { pair: database_urls.map(replica), logs: Vec::new(), bad_ends: Vec::new() };
        replicas.start_again().await;
        // Those that come after these processes serve at their addresses.
        for Replica { flags, process } in &mut replicas.pair {
            flags.extend(["--listen".to_owned(), process.as_ref().expect("it runs").address.clone()]);
        }
        replicas
    }

    /// Where they serve.
    pub fn urls(&self) -> [String; 2] {
        self.pair.each_ref().map(|replica| replica.process().url())
    }

    /// Returns once both are ready, which with nothing broken they are soon.
    pub async fn wait_until_ready(&self) {
        for url in self.urls() {
            while !says_that_it_serves(&url, "readiness").await {
                sleep(CHECK_INTERVAL).await;
            }
        }
    }

    /// Tells both to stop, which answers every call that they have taken.
    pub async fn stop(&mut self) {
        for number in 0..2 {
            self.terminate(number).await;
        }
    }

    /// Starts both after a stop.
    pub async fn start_again(&mut self) {
        for number in 0..2 {
            self.start_one(number).await;
        }
    }

    /// What went wrong with them, beside what was done to them.
    pub fn failures(&self) -> Vec<String> {
        let logged = self.logs.iter().flat_map(Lines::failures);
        logged.chain(self.bad_ends.iter().cloned()).collect()
    }

    /// Starts a replica, and again until it serves.
    async fn start_one(&mut self, number: usize) {
        for _ in 0..STARTS_MAX {
            let flags = self.pair[number].flags.clone();
            let started = spawn_blocking(move || {
                Process::try_serve(&flags.iter().map(String::as_str).collect::<Vec<_>>())
            });
            if let Ok(mut process) = started.await.unwrap()
                && comes_to_life(&mut process).await
            {
                self.logs.push(process.log());
                self.pair[number].process = Some(process);
                return;
            }
            sleep(START_PAUSE).await;
        }
        panic!("a replica does not start");
    }

    async fn kill(&mut self, number: usize) {
        let process = self.pair[number].process.take().expect("it runs");
        spawn_blocking(move || process.kill()).await.unwrap();
    }

    async fn terminate(&mut self, number: usize) {
        let process = self.pair[number].process.take().expect("it runs");
        let ended = spawn_blocking(move || process.terminate()).await.unwrap();
        if !ended.success() {
            self.bad_ends.push(format!("a replica that was told to stop ended with {ended}"));
        }
    }

    async fn freeze(&self, number: usize, lasting: Duration) {
        let process = self.pair[number].process();
        process.signal(Signal::STOP);
        sleep(lasting).await;
        process.signal(Signal::CONT);
    }
}

/// Waits until it is alive by its own word, and returns false if it ends instead, as it does where there is no database.
async fn comes_to_life(process: &mut Process) -> bool {
    while !process.has_ended() {
        if says_that_it_serves(&process.url(), "liveness").await {
            return true;
        }
        sleep(CHECK_INTERVAL).await;
    }
    false
}

async fn says_that_it_serves(url: &str, name: &str) -> bool {
    let channel = Endpoint::from_shared(url.to_owned()).unwrap().connect_lazy();
    let mut health = HealthClient::new(channel);
    let request = HealthCheckRequest { service: name.to_owned() };
    match timeout(CHECK_PATIENCE, health.check(request)).await {
        Ok(Ok(response)) => response.into_inner().status() == ServingStatus::Serving,
        Ok(Err(_)) | Err(_) => false,
    }
}

impl Replica {
    fn process(&self) -> &Process {
        self.process.as_ref().expect("it runs")
    }
}

impl Breakable for Replicas {
    const PAUSE_MAX: Duration = Duration::from_millis(1_200);

    async fn break_and_mend(&mut self, rng: &mut Rng) -> Option<Kind> {
        let number = rng.usize(..2);
        match rng.u8(..10) {
            0..=5 => {
                self.kill(number).await;
                if rng.u8(..3) == 0 {
                    sleep(for_a_while(rng, 0..=1_000)).await;
                }
                self.start_one(number).await;
                Some(Kind::kill("replica killed"))
            }
            6..=7 => {
                self.terminate(number).await;
                self.start_one(number).await;
                Some(Kind::other("replica told to stop"))
            }
            _ => {
                self.freeze(number, for_a_while(rng, 100..=2_000)).await;
                Some(Kind::other("replica frozen"))
            }
        }
    }
}
