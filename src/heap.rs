//! Gives memory back to the operating system after a peak. glibc keeps what was freed in its arenas, so that after an attack, or a
//! burst of calls, the process would stay as large as it ever was.

use std::time::Duration;

use tokio::{task::spawn_blocking, time::sleep};

/// How often the size of the process is looked at.
const INTERVAL: Duration = Duration::from_secs(10);
/// How much larger it must be than it has been. Less is not worth the page faults.
const GROWTH_MIN: u64 = 16 * 1024 * 1024;

/// Gives memory back while the process is larger than it has been, forever. Does nothing where the allocator is another one.
pub async fn trim_after_peaks() {
    let mut smallest = u64::MAX;
    loop {
        let Some(size) = resident_bytes() else { return };
        smallest = smallest.min(size);
        if size > smallest + GROWTH_MIN {
            let _ = spawn_blocking(trim).await; // not on a thread that answers calls; it does not panic
        }
        sleep(INTERVAL).await;
    }
}

/// The resident memory of this process, where the kernel tells it.
fn resident_bytes() -> Option<u64> {
    let pages: u64 = std::fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse().ok()?;
    Some(pages * u64::try_from(rustix::param::page_size()).ok()?)
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code, reason = "only the allocator itself can give its memory back")]
fn trim() {
    // SAFETY: `malloc_trim` may be called at any time from any thread; it takes the allocator's own locks.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}
