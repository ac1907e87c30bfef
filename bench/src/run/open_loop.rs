//! Latency when calls arrive at a fixed rate, below the highest.

use super::{Bench, round::DATABASE};
use crate::{
    generator::Load,
    load::Watched,
    results::{OpenLoop, Results},
};

const SHARES: [f64; 2] = [0.5, 0.8];

impl Bench {
    pub(super) async fn measure_open_loop(&self, results: &mut Results) -> anyhow::Result<()> {
        let Some(highest) = results.rate("many-256") else {
            results.failures.push("open-loop: the highest rate is not known".to_owned());
            return Ok(());
        };
        let service = self.program.serve(&self.postgres.url(DATABASE), &[]).await?;
        for share in SHARES {
            let asked_rate = (share * highest).round();
            let load = Load { rate: Some(asked_rate), ..self.credits(256) };
            let name = format!("open-loop {:.0} %", share * 100.0);
            if let Some(sample) = results.take(&name, load.run(&service.url(), Watched::default()).await) {
                results.open_loop.push(OpenLoop { share, asked_rate, sample });
            }
        }
        service.stop().await
    }
}
