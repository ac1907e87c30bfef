//! Watches how much processor time the service and PostgreSQL take while a load is measured.

use std::{
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Args;

use super::{Sample, tally::Window};
use crate::processor;

/// Whose processor time counts.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Watched {
    /// The process of the service, whose processor time is to be measured.
    #[arg(long)]
    pub(crate) service_pid: Option<u32>,
    /// PostgreSQL's first process; all those it has started count.
    #[arg(long)]
    pub(crate) postgres_pid: Option<u32>,
}

/// A thread that looks at the clocks of others when the window begins and when it ends. The thread that makes the calls
/// would be too busy to be on time.
#[derive(Debug)]
pub(super) struct Watch(JoinHandle<anyhow::Result<Spent>>);

/// Processor time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spent {
    service: Option<Duration>,
    postgres: Option<Duration>,
}

impl Watched {
    fn spent(self) -> anyhow::Result<Spent> {
        Ok(Spent {
            service: self.service_pid.map(processor::of_process).transpose()?,
            postgres: self.postgres_pid.map(processor::of_family).transpose()?,
        })
    }
}

impl Watch {
    pub(super) fn start(watched: Watched, window: Window) -> Self {
        Self(thread::spawn(move || {
            sleep_until(window.from().into_std());
            let before = watched.spent()?;
            sleep_until(window.until().into_std());
            Ok(watched.spent()?.since(before))
        }))
    }

    /// What was spent within the window, once that is over.
    pub(super) fn end(self) -> anyhow::Result<Spent> {
        self.0.join().ok().context("the watch panicked")?
    }
}

impl Spent {
    fn since(self, before: Self) -> Self {
        let since = |now: Option<Duration>, before: Option<Duration>| Some(now?.saturating_sub(before?));
        Self { service: since(self.service, before.service), postgres: since(self.postgres, before.postgres) }
    }

    /// Divides it among the operations of the sample.
    pub(super) fn write(self, sample: &mut Sample) {
        let each = |spent: Option<Duration>| processor::micros_each(spent?, sample.operations);
        (sample.service_us, sample.postgres_us) = (each(self.service), each(self.postgres));
    }
}

fn sleep_until(moment: Instant) {
    thread::sleep(moment.saturating_duration_since(Instant::now()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_divided_among_the_operations_of_the_window() {
        let spent = |service, postgres| Spent {
            service: Some(Duration::from_millis(service)),
            postgres: Some(Duration::from_millis(postgres)),
        };
        let mut sample = Sample { operations: 1_000, ..Sample::default() };
        spent(170, 940).since(spent(150, 900)).write(&mut sample);
        assert_eq!((sample.service_us, sample.postgres_us), (Some(20.0), Some(40.0)));
    }

    #[test]
    fn nothing_is_told_of_what_is_not_watched() {
        let mut sample = Sample { operations: 1, ..Sample::default() };
        Watched::default().spent().unwrap().write(&mut sample);
        assert_eq!((sample.service_us, sample.postgres_us), (None, None));
    }
}
