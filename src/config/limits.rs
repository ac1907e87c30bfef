//! The flags about what the rules allow.

use std::time::Duration;

use clap::Args;

use super::problems::{Problems, micros};
use crate::accounting::{Amount, Limits, MicroUsd, Ttl};

#[derive(Clone, Args)]
#[command(next_help_heading = "Limits")]
pub(super) struct LimitFlags {
    /// Largest amount of one AdminCredit, in micro-USD: what one slip of an operator may cost.
    #[arg(long, env = "BILLING_ADMIN_CREDIT_MAX", default_value = "1000000000", value_name = "MICRO_USD")]
    admin_credit_max: String,
    /// Largest debt that `ALLOW_DEBT` may leave in an account without a limit of its own, in micro-USD. It does not bound reversals.
    #[arg(long, env = "BILLING_DEBT_MAX", default_value = "0", value_name = "MICRO_USD")]
    debt_max: String,
    /// Lease of a reservation whose request names no ttl. A worker that dies blocks its customer's money for so long.
    #[arg(long, env = "BILLING_LEASE_DEFAULT", default_value = "10m", value_name = "DURATION")]
    lease_default: String,
    /// Longest lease that a request may ask for.
    #[arg(long, env = "BILLING_LEASE_MAX", default_value = "24h", value_name = "DURATION")]
    lease_max: String,
    /// How often expired reservations and grants are written to the journal; 0s for never. Balances do not depend on it.
    #[arg(long, env = "BILLING_SWEEP_INTERVAL", default_value = "1s", value_name = "DURATION")]
    sweep_interval: String,
}

impl LimitFlags {
    pub(super) fn limits(&self, problems: &mut Problems) -> Limits {
        let most = Amount::MAX.credited().get();
        let admin_credit_max = problems.number("--admin-credit-max", &self.admin_credit_max, 1, most);
        let debt_max = problems.number("--debt-max", &self.debt_max, 0, most);
        let lease_default = lease("--lease-default", &self.lease_default, problems);
        let lease_max = lease("--lease-max", &self.lease_max, problems);
        if lease_default > lease_max {
            problems.add("--lease-default must not be longer than --lease-max");
        }
        Limits {
            admin_credit_max: MicroUsd::new(admin_credit_max),
            debt_max: MicroUsd::new(debt_max),
            lease_default,
            lease_max,
        }
    }

    /// The interval, or `None` for never.
    pub(super) fn sweep_interval(&self, problems: &mut Problems) -> Option<Duration> {
        let interval = problems.duration("--sweep-interval", &self.sweep_interval, Duration::ZERO);
        Some(interval).filter(|interval| !interval.is_zero())
    }
}

fn lease(flag: &str, text: &str, problems: &mut Problems) -> Ttl {
    let lease = problems.duration(flag, text, micros(Ttl::SHORTEST));
    i64::try_from(lease.as_micros()).ok().and_then(Ttl::from_micros).unwrap_or(Ttl::SHORTEST)
}
