//! Processor time of processes, user and system together, as `/proc` tells it.

use std::{fs, time::Duration};

use anyhow::Context as _;
use rustix::param::clock_ticks_per_second;

/// What one line of `/proc/PID/stat` says, in clock ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    parent: u32,
    own: u64,
    /// That of children that have ended.
    ended: u64,
}

/// The time of a process, all its threads together.
pub(crate) fn of_process(pid: u32) -> anyhow::Result<Duration> {
    Ok(time(stat(pid)?.own))
}

/// The time of a server that works in child processes of one thread: its own, theirs, and that of those that have ended.
///
/// Of the living, nanoseconds are read: a hundred backends of which each ran for less than a clock tick would count nothing.
pub(crate) fn of_family(pid: u32) -> anyhow::Result<Duration> {
    let of_children: Duration = children(pid).filter_map(of_first_thread).sum();
    let own = of_first_thread(pid).with_context(|| format!("no process {pid}"))?;
    Ok(of_children + own + time(stat(pid)?.ended))
}

/// Microseconds for each of so many operations, if there are any.
pub(crate) fn micros_each(spent: Duration, operations: u64) -> Option<f64> {
    (operations > 0).then(|| spent.as_secs_f64() * 1e6 / operations as f64)
}

fn stat(pid: u32) -> anyhow::Result<Stat> {
    let line =
        fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("no process {pid}"))?;
    parse(&line).with_context(|| format!("cannot understand {line:?}"))
}

fn children(parent: u32) -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    processes.filter(move |pid| stat(*pid).is_ok_and(|stat| stat.parent == parent))
}

/// Nothing of a process that has ended.
fn of_first_thread(pid: u32) -> Option<Duration> {
    let statistics = fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
    Some(Duration::from_nanos(statistics.split(' ').next()?.parse().ok()?))
}

/// The name of a program may contain anything, so fields are counted from its last bracket on.
fn parse(line: &str) -> Option<Stat> {
    let fields: Vec<_> = line.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = |field: usize| fields.get(field)?.parse::<u64>().ok();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        own: ticks(11)? + ticks(12)?,
        ended: ticks(13)? + ticks(14)?,
    })
}

fn time(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1_000 / clock_ticks_per_second())
}

#[cfg(test)]
mod tests {
    use std::{
        process::{self, Command},
        time::Instant,
    };

    use super::*;

    #[test]
    fn fields_are_counted_from_the_end_of_the_name() {
        let line = "42 (postgres: a) b) S 7 42 42 0 -1 4194560 1 2 3 4 100 20 3000 400 20 0 1 0 5 6";
        assert_eq!(parse(line), Some(Stat { parent: 7, own: 120, ended: 3_400 }));
        assert_eq!(parse("42 (postgres) S"), None);
    }

    #[test]
    fn a_child_that_has_ended_counts() {
        let before = of_family(process::id()).unwrap();
        let status =
            Command::new("sh").args(["-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"]).status();
        assert!(status.unwrap().success());
        let spent = of_family(process::id()).unwrap().saturating_sub(before);
        assert!(spent >= Duration::from_millis(20), "{spent:?}");
    }

    #[test]
    fn many_children_that_hardly_ran_count() {
        let children: Vec<_> =
            (0..50).map(|_| Command::new("sleep").arg("60").spawn().unwrap()).map(Killed).collect();
        let living: Duration = super::children(process::id()).filter_map(of_first_thread).sum();
        assert!(living >= Duration::from_micros(50), "{living:?} of {} children", children.len());
    }

    /// A child that is killed when the test is over.
    struct Killed(process::Child);

    impl Drop for Killed {
        fn drop(&mut self) {
            let _ = self.0.kill().and_then(|()| self.0.wait());
        }
    }

    #[test]
    fn a_busy_thread_is_seen() {
        let (before, begin) = (of_process(process::id()).unwrap(), Instant::now());
        while of_process(process::id()).unwrap() < before + Duration::from_millis(50) {
            assert!(begin.elapsed() < Duration::from_secs(30));
        }
    }

    #[test]
    fn time_is_divided() {
        assert_eq!(micros_each(Duration::from_millis(20), 1_000), Some(20.0));
        assert_eq!(micros_each(Duration::from_secs(1), 0), None);
    }
}
