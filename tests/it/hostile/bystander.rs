//! A good client that goes on calling while others attack, and what the attack costs the service.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tonic_health::pb::health_check_response::ServingStatus;

use super::MEMORY_MAX;
use crate::support::{
    health::{check, health},
    process::Process,
    waiting::{PATIENCE, join_in_time},
    *,
};

/// How long one call of a good client may take during an attack, in a debug build on a machine that does other things.
const LATENCY_MAX: Duration = Duration::from_secs(10);

/// A good client. It has a thread of its own, so that it does not wait for the attackers of the same test.
pub struct Bystander {
    pid: u32,
    stop: Arc<AtomicBool>,
    calls: JoinHandle<Vec<Duration>>,
}

impl Bystander {
    /// Begins to call, and returns once it has been answered.
    pub fn watch(service: &Process) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (url, is_over) = (service.url(), Arc::clone(&stop));
        let (answered, first_answer) = mpsc::channel();
        let calls = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(call_until(&url, &is_over, &answered))
        });
        first_answer.recv_timeout(PATIENCE).expect("the service serves");
        Self { pid: service.id(), stop, calls }
    }

    /// Fails if a call has failed or took too long, or if the service has ever used more memory than it may.
    pub fn assert_content(self, attack: &str) {
        self.stop.store(true, Ordering::Relaxed);
        let mut took = join_in_time(self.calls);
        took.sort_unstable();
        let (median, worst) = (took[took.len() / 2], *took.last().unwrap());
        let (now, most) = (memory(self.pid, "VmRSS"), memory(self.pid, "VmHWM"));
        println!(
            "{attack}: {} calls, median {median:.1?}, worst {worst:.1?}; {now} MiB, at most {most} MiB",
            took.len()
        );
        assert!(worst < LATENCY_MAX, "{worst:?}");
        assert!(most <= MEMORY_MAX, "{most} MiB");
    }
}

async fn call_until(url: &str, is_over: &AtomicBool, answered: &mpsc::Sender<()>) -> Vec<Duration> {
    let mut client = connect(url).await;
    let mut health = health(url).await;
    let mut took = Vec::new();
    for n in 0.. {
        let began = Instant::now();
        client.credit(deposit("bystander", &format!("order-{n}"), 1)).await.answered();
        took.push(began.elapsed());
        let began = Instant::now();
        client.get_account(get_account("bystander")).await.unwrap();
        assert_eq!(check(&mut health, "liveness").await, ServingStatus::Serving);
        took.push(began.elapsed());
        let _ = answered.send(()); // only the first is waited for
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    took
}

/// A figure of a process's memory, in MiB.
pub fn memory(pid: u32, figure: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}
