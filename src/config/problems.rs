//! The values of flags: each is checked by itself, and every problem is kept, so that all are told at once. A value with a
//! problem becomes some valid one, which nobody gets to see.

use std::{
    fmt::Display,
    net::{Ipv4Addr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use humantime::format_duration;

use crate::accounting::Ttl;

/// The longest duration, a hundred years: a longer one leads out of the calendar, and clocks cannot count it.
const DURATION_MAX: Duration = micros(Ttl::LONGEST);

/// All that is wrong with a configuration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration is wrong:\n  {}", .0.join("\n  "))]
pub struct ConfigError(Vec<String>);

impl ConfigError {
    /// One thing that is wrong.
    pub fn of(wrong: impl Into<String>) -> Self {
        Self(vec![wrong.into()])
    }
}

/// All that has been found wrong so far.
#[derive(Default)]
pub(super) struct Problems(Vec<String>);

impl From<Problems> for ConfigError {
    fn from(problems: Problems) -> Self {
        Self(problems.0)
    }
}

impl Problems {
    pub(super) fn add(&mut self, problem: impl Into<String>) {
        self.0.push(problem.into());
    }

    /// The value, if nothing was wrong with it.
    pub(super) fn none_in<T>(self, value: T) -> Result<T, ConfigError> {
        if self.0.is_empty() { Ok(value) } else { Err(self.into()) }
    }

    /// A result, of which an error is a problem with a flag.
    pub(super) fn unless_wrong<T>(&mut self, flag: &str, result: Result<T, impl Display>) -> Option<T> {
        result.map_err(|why| self.add(format!("{flag}: {why}"))).ok()
    }

    pub(super) fn address(&mut self, flag: &str, text: &str) -> SocketAddr {
        text.parse().unwrap_or_else(|_| {
            self.add(format!("{flag} must be an address and a port, such as 127.0.0.1:50051, not {text:?}"));
            SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
        })
    }

    pub(super) fn number<N: FromStr + PartialOrd + Display + Copy>(
        &mut self,
        flag: &str,
        text: &str,
        min: N,
        max: N,
    ) -> N {
        match text.parse() {
            Ok(number) if (min..=max).contains(&number) => number,
            Ok(_) | Err(_) => {
                self.add(format!("{flag} must be a whole number from {min} to {max}, not {text:?}"));
                min
            }
        }
    }

    /// A duration from `min` to a hundred years.
    pub(super) fn duration(&mut self, flag: &str, text: &str, min: Duration) -> Duration {
        match humantime::parse_duration(text) {
            Ok(duration) if (min..=DURATION_MAX).contains(&duration) => duration,
            Ok(_) | Err(_) => {
                let range = format!("from {} to {}", format_duration(min), format_duration(DURATION_MAX));
                self.add(format!(
                    "{flag} must be a duration such as 500ms, 20s or 1h, {range}, not {text:?}"
                ));
                min
            }
        }
    }
}

pub(super) const fn micros(ttl: Ttl) -> Duration {
    Duration::from_micros(ttl.micros().unsigned_abs())
}
