//! What can be called: the kinds of work, and which account is next.

use billing::grpc::proto::CreditRequest;
use clap::ValueEnum;

/// A kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Work {
    /// A credit with a reference, as in the replaced system.
    Credit,
    /// A Stripe deposit with an external id.
    Stripe,
    /// A reservation and its capture; each of the two calls counts.
    ReserveCapture,
    /// A credit that was answered before.
    Replay,
    /// `GetAccount`.
    Read,
    /// 90 % credits, 10 % charges beyond what is available.
    Refusals,
    /// 40 % charges, 25 % reserve and capture, 15 % credits, 20 % reads; few accounts are most of it.
    Zipf,
    /// A charge of an account without grants.
    Charge,
    /// A charge of an account whose money is one grant.
    #[value(name = "charge-1-grant")]
    Charge1Grant,
    /// A charge of an account whose money is ten grants.
    #[value(name = "charge-10-grants")]
    Charge10Grants,
    /// A withdrawal of what was earned.
    Withdraw,
    /// A reversal of a part of the credit that opened the account.
    Reverse,
    /// A job that is held, then captured with three legs: one settlement.
    Settle,
    /// `Apply` of one credit.
    #[value(name = "apply-1")]
    Apply1,
    /// `Apply` of 50 credits, each of which counts.
    #[value(name = "apply-50")]
    Apply50,
    /// `Apply` of 100 credits, each of which counts.
    #[value(name = "apply-100")]
    Apply100,
    /// `Apply` of 500 credits, each of which counts.
    #[value(name = "apply-500")]
    Apply500,
    /// An empty call to the empty server.
    Empty,
}

/// A kind of work, ready to be done.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) work: Work,
    pub(super) accounts: Accounts,
    /// Requests that were answered before.
    pub(super) answered: Vec<CreditRequest>,
}

/// Which account is next.
#[derive(Debug)]
pub(super) enum Accounts {
    /// Each is as likely as any other of so many.
    Even(usize),
    /// The same, of the accounts that have earned their money.
    Earners(usize),
    /// The same, of the accounts whose money is so many grants.
    Granted { count: usize, grants: usize },
    /// The n-th is chosen in proportion to 1/n. Holds the sums of the first n shares.
    Zipf(Vec<f64>),
}

impl Accounts {
    pub(super) fn zipf(count: usize) -> Self {
        let mut sum = 0.0;
        let sums = (1..=count).map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        });
        Self::Zipf(sums.collect())
    }

    pub(super) fn next(&self) -> String {
        let number = self.pick();
        match self {
            Self::Even(_) | Self::Zipf(_) => account_id(number),
            Self::Earners(_) => earner_id(number),
            Self::Granted { grants, .. } => granted_id(*grants, number),
        }
    }

    fn pick(&self) -> usize {
        match self {
            Self::Even(count) | Self::Earners(count) | Self::Granted { count, .. } => {
                fastrand::usize(..count)
            }
            Self::Zipf(sums) => {
                let point = fastrand::f64() * sums.last().copied().unwrap_or_default();
                sums.partition_point(|sum| *sum <= point).min(sums.len() - 1)
            }
        }
    }
}

pub(super) fn account_id(number: usize) -> String {
    format!("account-{number}")
}

/// Accounts of their own, since what can be withdrawn makes the row of an account longer.
pub(super) fn earner_id(number: usize) -> String {
    format!("earner-{number}")
}

/// Accounts of their own for each number of grants.
pub(super) fn granted_id(grants: usize, number: usize) -> String {
    format!("granted-{grants}-{number}")
}

/// A key that is unique, and as scattered as the keys of events are, so that an index gets no help from their order.
pub(crate) fn random_name(prefix: &str) -> String {
    let mut name = String::with_capacity(prefix.len() + 22);
    name.push_str(prefix);
    name.extend((0..22).map(|_| fastrand::alphanumeric()));
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zipf_chooses_the_first_account_as_often_as_its_share_says() {
        fastrand::seed(7);
        let accounts = Accounts::zipf(10_000);
        let mut counts = vec![0_u32; 10_000];
        for _ in 0..200_000 {
            counts[accounts.pick()] += 1;
        }
        let share = |rank: usize| f64::from(counts[rank - 1]) / 200_000.0;
        let harmonic: f64 = (1..=10_000).map(|rank| 1.0 / f64::from(rank)).sum();
        assert!((share(1) - 1.0 / harmonic).abs() < 0.005, "{}", share(1));
        assert!((share(2) - 0.5 / harmonic).abs() < 0.005, "{}", share(2));
        assert!(counts.iter().filter(|count| **count > 0).count() > 5_000);
    }

    #[test]
    fn even_choice_reaches_every_account() {
        fastrand::seed(7);
        let accounts = Accounts::Even(4);
        let mut seen = [false; 4];
        (0..200).for_each(|_| seen[accounts.pick()] = true);
        assert_eq!(seen, [true; 4]);
        assert_eq!(Accounts::Even(1).next(), "account-0");
        assert_eq!(Accounts::Earners(1).next(), "earner-0");
        assert_eq!(Accounts::Granted { count: 1, grants: 10 }.next(), "granted-10-0");
    }

    #[test]
    fn names_differ() {
        assert_ne!(random_name("evt_"), random_name("evt_"));
        assert_eq!(random_name("evt_").len(), 26);
    }
}
