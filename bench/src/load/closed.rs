//! The closed loop: a fixed number of calls in flight, each followed by the next as soon as it is answered.

use tokio::{task::JoinSet, time::Instant};

use super::caller::Caller;

/// Calls until then, and waits for the last answers. None is ever left unanswered.
pub(super) async fn run(callers: &[Caller], in_flight: usize, until: Instant) -> anyhow::Result<u64> {
    let mut loops = JoinSet::new();
    for caller in callers.iter().cycle().take(in_flight) {
        loops.spawn(call_until(caller.clone(), until));
    }
    while let Some(ended) = loops.join_next().await {
        ended?;
    }
    Ok(0)
}

async fn call_until(mut caller: Caller, until: Instant) {
    loop {
        let now = Instant::now();
        if now >= until {
            return;
        }
        caller.perform(now).await;
    }
}
