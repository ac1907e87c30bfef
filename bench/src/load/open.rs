//! The open loop: calls arrive at a fixed rate, whether or not earlier ones have been answered.
//!
//! Latency counts from the moment a call was due, not from when it was sent, so a service that stalls is charged with
//! all the calls that it kept waiting (no coordinated omission).

use std::{thread, time::Duration};

use anyhow::ensure;
use tokio::{
    sync::mpsc::{self, UnboundedSender},
    task::JoinSet,
    time::{Instant, timeout},
};

use super::caller::Caller;

/// How long to wait for the last answers.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pace-maker sleeps at least so long: waking for each call would cost more than it tells.
const SHORTEST_SLEEP: Duration = Duration::from_micros(200);

/// Calls at this rate until then, and returns how many calls were never answered.
pub(super) async fn run(callers: &[Caller], rate: f64, until: Instant) -> anyhow::Result<u64> {
    ensure!(rate.is_finite() && rate > 0.0, "the rate must be above zero");
    let (due_sender, mut due_calls) = mpsc::unbounded_channel();
    thread::spawn(move || keep_pace(rate, until, &due_sender));
    let mut calls = JoinSet::new();
    let mut next = callers.iter().cycle();
    while let Some(due) = due_calls.recv().await {
        let Some(mut caller) = next.next().cloned() else { break };
        calls.spawn(async move { caller.perform(due).await });
        while calls.try_join_next().is_some() {}
    }
    let _ = timeout(PATIENCE, async { while calls.join_next().await.is_some() {} }).await;
    Ok(calls.len() as u64)
}

/// On a thread of its own, since the runtime's timer knows whole milliseconds only.
fn keep_pace(rate: f64, until: Instant, due_sender: &UnboundedSender<Instant>) {
    let begin = Instant::now();
    let due_at = |number: u64| begin + Duration::from_secs_f64(number as f64 / rate);
    let mut number = 0;
    loop {
        let now = Instant::now();
        while due_at(number) <= now {
            if due_at(number) >= until || due_sender.send(due_at(number)).is_err() {
                return;
            }
            number += 1;
        }
        thread::sleep((due_at(number) - now).max(SHORTEST_SLEEP));
    }
}
