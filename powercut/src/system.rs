//! The machine: which means it has, and the commands that make, mount and unmount file systems.
//!
//! Commands instead of system calls, because setting up a loop device is an `ioctl`, and this
//! workspace has no `unsafe`.
#![expect(clippy::disallowed_methods, reason = "this module owns the processes of the test")]

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rustix::mount::UnmountFlags;

use crate::failure::Failure;

/// Where the kernel says which boot this is.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A file system under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    Ext4,
    Xfs,
    Btrfs,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }

    /// About the smallest that its `mkfs` makes without special wishes.
    pub(crate) fn size(self) -> u64 {
        let mib = match self {
            Self::Ext4 => 96,
            Self::Xfs => 300,
            Self::Btrfs => 256,
        };
        mib << 20
    }

    fn mkfs(self) -> (&'static str, &'static [&'static str], &'static str) {
        match self {
            // Nothing is left to be initialised in the background.
            Self::Ext4 => (
                "mkfs.ext4",
                &["-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0"],
                "e2fsprogs",
            ),
            Self::Xfs => ("mkfs.xfs", &["-q", "-f", "-K"], "xfsprogs"),
            Self::Btrfs => ("mkfs.btrfs", &["-q", "-f", "-K"], "btrfs-progs"),
        }
    }

    fn options(self) -> &'static str {
        match self {
            Self::Ext4 | Self::Xfs => "loop,noatime",
            Self::Btrfs => "loop,noatime,nodiscard",
        }
    }
}

/// What the test cannot do without and this machine does not have, in words.
pub(crate) fn missing(kind: Kind) -> Vec<String> {
    let mut missing = Vec::new();
    if !rustix::process::geteuid().is_root() {
        missing.push("root: mounting needs it".to_owned());
    } else {
        for (device, what) in [
            ("/dev/fuse", "the kernel's FUSE (`modprobe fuse`, or `--device /dev/fuse`)"),
            ("/dev/loop-control", "loop devices (`modprobe loop`, or a privileged container)"),
        ] {
            if let Err(error) = File::options().read(true).write(true).open(device) {
                missing.push(format!("{device}: {what}: {error}"));
            }
        }
        if let Err(error) = command("unshare", ["--mount", "true"]) {
            missing.push(format!("mount namespaces: {error}"));
        }
    }
    let (mkfs, _, package) = kind.mkfs();
    for (tool, package) in
        [(mkfs, package), ("mount", "mount"), ("umount", "mount"), ("unshare", "util-linux")]
    {
        if !is_installed(tool) {
            missing.push(format!("{tool}: `apt-get install {package}`"));
        }
    }
    missing
}

fn is_installed(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(tool).is_file())
}

/// Runs a command to its end.
fn command<S: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = S>,
) -> Result<(), Failure> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failure::from(error).context(program))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!("{program}: {}: {}", output.status, said.trim())))
}

/// Runs this program again in a mount namespace of its own: whatever becomes of it, its mounts
/// and their loop devices go away with it.
pub(crate) fn run_apart(arguments: &[std::ffi::OsString]) -> Result<ExitStatus, Failure> {
    let own = std::env::current_exe()?;
    Ok(Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--"])
        .arg(own)
        .args(arguments)
        .status()?)
}

/// Starts this program again, to be talked to through its standard input and output.
pub(crate) fn start_self(arguments: &[std::ffi::OsString]) -> Result<Child, Failure> {
    let own = std::env::current_exe()?;
    let mut command = Command::new(own);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    Ok(command.spawn()?)
}

/// Makes a file system in a file.
pub(crate) fn make(kind: Kind, file: &Path) -> Result<(), Failure> {
    let (mkfs, arguments, _) = kind.mkfs();
    let file = [file.as_os_str()];
    command(mkfs, arguments.iter().map(OsStr::new).chain(file))
}

/// Mounts a file through a loop device, which goes away with the mount.
pub(crate) fn mount(kind: Kind, file: &Path, folder: &Path) -> Result<(), Failure> {
    let options = ["-t", kind.name(), "-o", kind.options()].map(OsStr::new);
    let places = [file.as_os_str(), folder.as_os_str()];
    command("mount", options.into_iter().chain(places))
}

/// Unmounts; what was used until a moment ago may take another moment.
pub(crate) fn unmount(folder: &Path) -> Result<(), Failure> {
    for _ in 0..200 {
        match rustix::mount::unmount(folder, UnmountFlags::empty()) {
            Err(rustix::io::Errno::BUSY) => sleep(Duration::from_millis(10)),
            other => return other.map_err(|e| Failure::from(e).context("cannot unmount")),
        }
    }
    Err(Failure::new(format!("{} is in use", folder.display())))
}

/// A place in memory.
pub(crate) fn mount_memory(folder: &Path) -> Result<(), Failure> {
    let options = ["-t", "tmpfs", "-o", "size=2g,mode=0700", "lictor-powercut"].map(OsStr::new);
    command("mount", options.into_iter().chain([folder.as_os_str()]))
}

/// Makes this namespace another boot, as the file says: what crashed before the power came back
/// ran under another one.
pub(crate) fn pretend_boot(file: &Path) -> Result<(), Failure> {
    command("mount", [OsStr::new("--bind"), file.as_os_str(), OsStr::new(BOOT_ID)])
}

/// It is this boot again.
pub(crate) fn real_boot() -> Result<(), Failure> {
    unmount(Path::new(BOOT_ID))
}

/// Everything that was written to a file system is on its disk.
pub(crate) fn sync(folder: &Path) -> Result<(), Failure> {
    Ok(rustix::fs::syncfs(File::open(folder)?)?)
}
