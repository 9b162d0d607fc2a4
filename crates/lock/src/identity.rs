//! This process, as others can recognise it: start time, boot, machine. All of it is optional.

use std::sync::OnceLock;

#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) pid: u32,
    pub(crate) process_start: Option<u64>,
    pub(crate) boot_id: Option<String>,
    pub(crate) hostname: Option<String>,
}

/// Read once a process.
pub(crate) fn identity() -> &'static Identity {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    IDENTITY.get_or_init(|| Identity {
        pid: std::process::id(),
        process_start: process_start(),
        boot_id: boot_id(),
        hostname: hostname(),
    })
}

fn process_start() -> Option<u64> {
    start_field(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// Field 22. The second one is the program's name and may hold spaces and brackets, so counting
/// starts behind the last bracket.
fn start_field(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Which start of the machine this is, where the system tells: another id means that whatever was
/// held before is held no more.
#[must_use]
pub fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let id = text.trim();
    (!id.is_empty()).then(|| id.to_owned())
}

fn hostname() -> Option<String> {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::start_field;

    #[test]
    fn a_program_name_with_brackets_does_not_shift_the_start_time() {
        let stat = "7 (a) b) c) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 9 9";
        assert_eq!(start_field(stat), Some(4242));
        assert_eq!(start_field(""), None);
    }
}
