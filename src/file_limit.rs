//! The limit on open files, and so on connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files reserved for everything but callers' connections: the database, files that are reloaded, the runtime.
const RESERVED: usize = 256;

/// Raises the process's limit on open files as far as allowed, and returns how many callers' connections fit: `wanted`, or
/// fewer.
#[must_use]
pub fn fit_connections(wanted: usize) -> usize {
    let hard = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard }) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    let files = getrlimit(Resource::Nofile)
        .current
        .map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
    let fit = fit(wanted, files);
    if fit < wanted {
        tracing::warn!(
            files,
            wanted,
            fit,
            "the limit of open files leaves room for fewer connections than --connections-max"
        );
    }
    fit
}

fn fit(wanted: usize, files: usize) -> usize {
    wanted.min(files.saturating_sub(RESERVED)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_connections_fit_as_files_are_left() {
        assert_eq!(fit(16_384, usize::MAX), 16_384);
        assert_eq!(fit(16_384, 16_384 + RESERVED), 16_384);
        assert_eq!(fit(16_384, 4_096), 4_096 - RESERVED);
        assert_eq!(fit(16_384, 10), 1);
    }
}
