//! Fault points: where a test can let the process die or a system call fail.
//!
//! Compiled to nothing without the feature `fault-injection`.

use std::io;

/// Passes, unless a test wants this point to fail.
#[cfg(not(feature = "fault-injection"))]
#[expect(clippy::unnecessary_wraps, reason = "the other form fails")]
#[inline]
pub(crate) fn point(_name: &'static str) -> io::Result<()> {
    Ok(())
}

/// Dies or fails when `LICTOR_AUDIT_FAULT` says so: `<action>@<n>`, where `n` counts the points passed
/// in this process from 1 and the action is `kill`, `EIO`, `ENOSPC`, `EROFS`, `EACCES` or
/// `EINVAL`. With `..` behind it (`EROFS@7..`) every later point fails as well: a disk that does
/// not come back. `LICTOR_AUDIT_FAULT_COUNT` names a file that gets a line for each point passed.
#[cfg(feature = "fault-injection")]
#[expect(clippy::disallowed_methods, reason = "tests steer the child process by its environment")]
pub(crate) fn point(name: &'static str) -> io::Result<()> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let n = PASSED.fetch_add(1, Ordering::SeqCst) + 1;
    if let Ok(path) = std::env::var("LICTOR_AUDIT_FAULT_COUNT")
        && let Ok(mut file) = std::fs::OpenOptions::new().create(true).append(true).open(path)
    {
        use std::io::Write as _;
        writeln!(file, "{n} {name}")?;
    }
    let Ok(wish) = std::env::var("LICTOR_AUDIT_FAULT") else { return Ok(()) };
    let Some((action, at)) = wish.split_once('@') else { return Ok(()) };
    let here = match at.strip_suffix("..") {
        Some(from) => from.parse().is_ok_and(|from: u64| from <= n),
        None => at.parse() == Ok(n),
    };
    if !here {
        return Ok(());
    }
    let errno = match action {
        "EIO" => rustix::io::Errno::IO,
        "ENOSPC" => rustix::io::Errno::NOSPC,
        "EROFS" => rustix::io::Errno::ROFS,
        "EACCES" => rustix::io::Errno::ACCESS,
        "EINVAL" => rustix::io::Errno::INVAL,
        _ => {
            // As `kill -9` does it: nothing is unwound, flushed or released, and no core is left.
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, rustix::process::Signal::KILL)?;
            std::process::abort()
        }
    };
    Err(io::Error::from(errno))
}
