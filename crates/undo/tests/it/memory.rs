//! Memory does not grow with what is changed.

use std::fs;
use std::io::{self, Read};
use std::process::{Command, Stdio};

use lictor_capability::{ContentSource, State};
use lictor_context::Hasher;

use crate::support::{World, world_in_memory};
use crate::tree::{mode, modify};

const ROOT: &str = "LICTOR_TEST_MEMORY";
const BOUND_KIB: u64 = 64 << 10;

/// A gigabyte; `LICTOR_GIB` makes it more.
fn size() -> u64 {
    let gib = std::env::var("LICTOR_GIB").ok().and_then(|text| text.parse().ok());
    gib.unwrap_or(1_u64) << 30
}

/// A large file that lies nowhere.
struct Large;

impl ContentSource for Large {
    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(io::repeat(7).take(size())))
    }
}

/// The most memory that this process has ever had, in KiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Not a test of its own: what the other one runs in a process that nobody else uses.
#[test]
fn a_step_of_the_memory_test() {
    let Some(root) = std::env::var_os(ROOT) else { return };
    let world = World::at(root.as_ref());
    world.apply(vec![crate::tree::create("warm", "up\n")]);
    let mut hasher = Hasher::new();
    let piece = vec![7_u8; 1 << 20];
    (0..size() >> 20).for_each(|_| hasher.update(&piece));
    let digest = hasher.finish();
    drop(piece);
    world.streams(Large, State::File { digest, mode: mode(0o644), bytes: size() });
    let before = peak();
    let execution = world.apply(vec![modify("large", "small\n", "not this\n")]);
    assert_eq!(fs::metadata(world.path("large")).expect("a file").len(), size());
    let redo = world.undo(&execution);
    assert_eq!(world.read("large"), "small\n");
    world.undo(&redo);
    assert_eq!(fs::metadata(world.path("large")).expect("a file").len(), size());
    fs::write(world.path(".lictor/grown"), (peak() - before).to_string()).expect("an answer");
}

#[test]
fn a_gigabyte_is_applied_undone_and_redone_in_bounded_memory() {
    let world = world_in_memory();
    world.write("large", "small\n");
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "memory::a_step_of_the_memory_test", "--test-threads=1"])
        .env(ROOT, &world.root)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .expect("a child");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let grown: u64 = world.read(".lictor/grown").parse().expect("a number");
    eprintln!("{} GiB: {grown} KiB more", size() >> 30);
    assert!(grown < BOUND_KIB, "{grown} KiB");
}

/// What is streamed is what was judged, or nothing happens.
#[test]
fn a_stream_that_is_not_what_was_judged_changes_nothing() {
    let world = world_in_memory();
    world.write("large", "small\n");
    let digest = lictor_context::Digest::of(b"something else");
    world.streams(Large, State::File { digest, mode: mode(0o644), bytes: size() });
    let failure =
        world.try_apply(vec![modify("large", "small\n", "x\n")]).expect_err("it is another");
    assert_eq!(failure.left(), "not begun", "{}", failure.why());
    assert_eq!(world.read("large"), "small\n");
    assert_eq!(world.folders(), Vec::<String>::new());
}
