//! Where it was measured: numbers mean nothing without it.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{
    postgres::Postgres,
    process::{command, output_of},
    statistics::quantile,
};

const PATIENCE: Duration = Duration::from_secs(10);
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The machine and the versions.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// When it was measured: `2026-11-26T01:02:03Z`.
    #[serde(default)]
    pub(crate) date: String,
    pub(crate) cores: usize,
    pub(crate) cpu: String,
    pub(crate) memory_gib: f64,
    pub(crate) kernel: String,
    /// How long the disk takes to make 8 KiB durable.
    pub(crate) sync_us: u64,
    pub(crate) postgres: String,
    pub(crate) postgres_settings: String,
    pub(crate) rustc: String,
    pub(crate) commit: String,
}

impl Machine {
    pub(crate) async fn describe(postgres: &Postgres) -> anyhow::Result<Self> {
        let (version, settings) = postgres.version_and_settings().await?;
        let cpu_info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let memory_info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory_kib =
            field(&memory_info, "MemTotal").and_then(|text| text.split(' ').next()?.parse().ok());
        Ok(Self {
            date: print_of("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]).await,
            cores: thread::available_parallelism().map_or(0, usize::from),
            cpu: field(&cpu_info, "model name").unwrap_or_default(),
            memory_gib: memory_kib.unwrap_or(0.0) / 1_048_576.0,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            sync_us: sync_time(postgres.data_dir()).unwrap_or_default(),
            postgres: version,
            postgres_settings: settings,
            rustc: print_of("rustc", &["--version"]).await,
            commit: print_of("git", &["-C", ROOT, "describe", "--always", "--dirty"]).await,
        })
    }
}

async fn print_of(program: &str, arguments: &[&str]) -> String {
    output_of(command(program).args(arguments), PATIENCE).await.unwrap_or_else(|_| "unknown".to_owned())
}

/// The first `name : value`.
fn field(info: &str, name: &str) -> Option<String> {
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// The median of as many as fit into half a second, in microseconds.
fn sync_time(dir: &Path) -> std::io::Result<u64> {
    let path = dir.join("sync-time");
    let mut file = File::create(&path)?;
    let (begin, mut times) = (Instant::now(), Vec::new());
    while begin.elapsed() < Duration::from_millis(500) {
        let written = Instant::now();
        file.write_all(&[1; 8_192])?;
        file.sync_data()?;
        times.push(written.elapsed().as_micros() as u64);
    }
    fs::remove_file(path)?;
    times.sort_unstable();
    Ok(quantile(&times, 0.5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc_files() {
        let info = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nmodel name\t: other\n";
        assert_eq!(field(info, "model name").unwrap(), "Some CPU @ 2 GHz");
        assert_eq!(field("MemTotal:       24576 kB\n", "MemTotal").unwrap(), "24576 kB");
        assert_eq!(field(info, "flags"), None);
    }
}
