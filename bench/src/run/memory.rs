//! Resident memory of the service: at the start, under 1,024 calls in flight, and after very many calls.

use std::{cell::Cell, time::Duration};

use tokio::time::interval;

use super::Bench;
use crate::{
    generator,
    load::{Sample, Watched},
    results::{Memory, Results},
    service::Service,
};

const DATABASE: &str = "memory";
const IN_FLIGHT: usize = 1_024;
const CALLS: u64 = 1_000_000;
const QUICK_CALLS: u64 = 100_000;
const SAMPLING_INTERVAL: Duration = Duration::from_millis(100);

impl Bench {
    pub(super) async fn measure_memory(&self, results: &mut Results) -> anyhow::Result<()> {
        let service = self.new_service(DATABASE).await?;
        let mut memory = Memory { start: service.resident()?.now, in_flight: IN_FLIGHT, ..Memory::default() };
        generator::fund(&service.url(), 10_000).await?;
        let goal = if self.extent.quick { QUICK_CALLS } else { CALLS };
        while memory.calls() < goal {
            let (measured, peak) = self.load_and_watch(&service).await;
            let Some(sample) = results.take("memory", measured) else { break };
            let resident = service.resident()?;
            if memory.after.is_empty() {
                memory.sampled_peak = peak;
            }
            memory.peak = resident.peak;
            memory.after.push((memory.calls() + sample.calls, resident.now));
        }
        results.memory = Some(memory).filter(|memory| memory.calls() >= goal);
        service.stop().await
    }

    async fn load_and_watch(&self, service: &Service) -> (anyhow::Result<Sample>, u64) {
        let peak = Cell::new(0);
        let watch = async {
            let mut ticks = interval(SAMPLING_INTERVAL);
            loop {
                ticks.tick().await;
                peak.set(service.resident().map_or(0, |resident| resident.now).max(peak.get()));
            }
        };
        let url = service.url();
        tokio::select! {
            measured = self.credits(IN_FLIGHT).run(&url, Watched::default()) => (measured, peak.get()),
            () = watch => unreachable!("the watch never ends"),
        }
    }
}
