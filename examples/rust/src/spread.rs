//! Which one of several accounts a job pays, so that no account is paid by all jobs.

/// The one of so many accounts that a job pays, `<account>-<n>`. The same in every process and language (FNV-1a), since it is part
/// of the request: the hashes of the standard library may change.
#[must_use]
pub fn spread(account: &str, job: &str, accounts: u32) -> String {
    let add = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let hash = job.bytes().fold(0x811C_9DC5, add);
    format!("{account}-{}", hash % accounts.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_pays_the_same_account_in_every_process() {
        let accounts = ["job-1", "job-2", "job-4711"].map(|job| spread("platform", job, 16));
        assert_eq!(accounts, ["platform-6", "platform-3", "platform-12"]);
    }
}
