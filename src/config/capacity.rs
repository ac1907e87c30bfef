//! The flags about how much work is taken on at once.

use std::{num::NonZero, thread::available_parallelism};

use clap::Args;

use super::problems::Problems;
use crate::committer::CommitterSettings;

#[derive(Clone, Args)]
#[command(next_help_heading = "Capacity")]
pub(super) struct CapacityFlags {
    /// Number of concurrent write transactions; each account belongs to one writer. More writers make smaller batches, so raise
    /// it only where commits are slow and processors idle. [default: one per processor, at least 2]
    #[arg(long, env = "BILLING_WRITERS", value_name = "COUNT")]
    writers: Option<String>,
    /// Number of database connections for reads.
    #[arg(long, env = "BILLING_READERS", default_value = "4", value_name = "COUNT")]
    pub(super) readers: String,
    /// Maximum number of operations that wait. Further ones are refused with `RESOURCE_EXHAUSTED`.
    #[arg(long, env = "BILLING_QUEUE_MAX", default_value = "8192", value_name = "COUNT")]
    queue_max: String,
    /// Maximum number of operations in one transaction. It bounds how long a transaction holds its locks.
    #[arg(long, env = "BILLING_BATCH_MAX", default_value = "512", value_name = "COUNT")]
    batch_max: String,
}

impl CapacityFlags {
    pub(super) fn committer(&self, problems: &mut Problems) -> CommitterSettings {
        let processors = || available_parallelism().map_or(2, NonZero::get).clamp(2, 64).to_string();
        let writers = self.writers.clone().unwrap_or_else(processors);
        CommitterSettings {
            writers: problems.number("--writers", &writers, 1, 64),
            queue_max: problems.number("--queue-max", &self.queue_max, 1, 1_000_000),
            batch_max: problems.number("--batch-max", &self.batch_max, 1, 5_000),
        }
    }
}
