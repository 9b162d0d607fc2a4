//! Fault points: where a test can let the process die or a system call fail.
//!
//! With `LICTOR_LACKS` naming `exchange`, `no_replace` or `link`, the file system seems not to have
//! these calls.
//!
//! Compiled to nothing without the feature `fault-injection`.

use std::io;

use rustix::io::Errno;

/// Passes, unless a test wants this point to fail.
#[cfg(not(feature = "fault-injection"))]
#[expect(clippy::unnecessary_wraps, reason = "the other form fails")]
#[inline]
pub(crate) fn point(_name: &'static str) -> io::Result<()> {
    Ok(())
}

/// A point between two calls that answer with an error number.
pub(crate) fn errno(name: &'static str) -> Result<(), Errno> {
    point(name).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// Whether this file system has a call, as far as a test goes.
#[cfg(not(feature = "fault-injection"))]
#[expect(clippy::unnecessary_wraps, reason = "the other form fails")]
#[inline]
pub(crate) fn lacks(_what: &'static str) -> Result<(), Errno> {
    Ok(())
}

/// What a file system answers that does not have a call which `LICTOR_LACKS` names.
#[cfg(feature = "fault-injection")]
#[expect(clippy::disallowed_methods, reason = "tests steer the child process by its environment")]
pub(crate) fn lacks(what: &'static str) -> Result<(), Errno> {
    let lacking = std::env::var("LICTOR_LACKS").unwrap_or_default();
    if !lacking.split(',').any(|name| name == what) {
        return Ok(());
    }
    Err(if what == "link" { Errno::PERM } else { Errno::INVAL })
}

/// Dies or fails when `LICTOR_FAULT` says so: `<action>@<n>`, where `n` counts the points passed
/// in this process from 1 and the action is `kill`, `EIO`, `ENOSPC`, `EROFS`, `EACCES` or
/// `EINVAL`, or `save`: a person saves `theirs` at `LICTOR_FAULT_PATH`, as editors do. With `3+7` it happens at both. With `..` behind it (`EROFS@7..`) every later point fails as well: a disk that does
/// not come back. `LICTOR_FAULT_COUNT` names a file that gets a line for each point passed.
#[cfg(feature = "fault-injection")]
#[expect(clippy::disallowed_methods, reason = "tests steer the child process by its environment")]
pub(crate) fn point(name: &'static str) -> io::Result<()> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let n = PASSED.fetch_add(1, Ordering::SeqCst) + 1;
    if let Ok(path) = std::env::var("LICTOR_FAULT_COUNT")
        && let Ok(mut file) = std::fs::OpenOptions::new().create(true).append(true).open(path)
    {
        use std::io::Write as _;
        writeln!(file, "{n} {name}")?;
    }
    let Ok(wish) = std::env::var("LICTOR_FAULT") else { return Ok(()) };
    let Some((action, at)) = wish.split_once('@') else { return Ok(()) };
    let here = match at.strip_suffix("..") {
        Some(from) => from.parse().is_ok_and(|from: u64| from <= n),
        None => at.split('+').any(|one| one.parse() == Ok(n)),
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
        "save" => return person_saves(),
        _ => {
            // As `kill -9` does it: nothing is unwound, flushed or released, and no core is left.
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, rustix::process::Signal::KILL)?;
            std::process::abort()
        }
    };
    Err(io::Error::from(errno))
}

/// What a person does to a file in the moment of a fault point. In the path, `*` is the newest
/// folder of its parent.
#[cfg(feature = "fault-injection")]
#[expect(clippy::disallowed_methods, reason = "tests steer the child process by its environment")]
fn person_saves() -> io::Result<()> {
    let wish = std::env::var("LICTOR_FAULT_PATH").map_err(io::Error::other)?;
    let path = match wish.split_once("/*/") {
        Some((parent, rest)) => {
            let entries = std::fs::read_dir(parent)?.filter_map(Result::ok);
            let newest = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).max();
            newest.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?.join(rest)
        }
        None => wish.into(),
    };
    let beside = path.with_extension("saving");
    std::fs::write(&beside, "theirs\n")?;
    std::fs::rename(beside, path)
}
