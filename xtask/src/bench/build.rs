//! What the command is built of, and how long that takes from nothing.

use std::collections::BTreeSet;
use std::path::Path;

use super::Measured;
use crate::process::{self, Ended};
use crate::report::Failure;

/// Counts the packages, and builds one with nothing built before. The sources are fetched already.
pub(super) fn measure(root: &Path, package: &str) -> Result<Vec<(String, Measured)>, Failure> {
    let lock = process::read(&root.join("Cargo.lock"))?;
    let locked = lock.lines().filter(|line| *line == "[[package]]").count();
    let target = process::target(root).join("cold");
    process::empty_folder(&target)?;
    let folder = target.to_string_lossy();
    let build = [
        "build",
        "--quiet",
        "--release",
        "--locked",
        "--package",
        package,
        "--target-dir",
        &folder,
    ];
    let (ended, took) = process::timed(|| process::cargo(root, &build, &[]));
    if !matches!(ended?, Ended::Well) {
        return Err(Failure::new(format!("{package} does not build")));
    }
    let file = target.join("release/lictor");
    let size = std::fs::metadata(&file)
        .map_err(|error| Failure::new(format!("{}: {error}", file.display())))?
        .len();
    process::empty_folder(&target)?;
    let once = |id: &str, value: f64, unit| (format!("build/{id}"), Measured::once(value, unit));
    Ok(vec![
        once("locked", count(locked), ""),
        once("packages", count(built_of(root, package)?), ""),
        once("cold", took.as_secs_f64() * 1e3, "ms"),
        once("size", count(usize::try_from(size >> 10).unwrap_or(usize::MAX)) / 1024.0, " MiB"),
    ])
}

/// The packages that go into it, its own and what builds them.
fn built_of(root: &Path, package: &str) -> Result<usize, Failure> {
    let args = ["tree", "--package", package, "--edges", "normal,build", "--prefix", "none"];
    let tree = process::cargo_says(root, &args)?
        .ok_or_else(|| Failure::new(format!("cargo knows no tree of {package}")))?;
    Ok(packages(&tree))
}

/// A package may stand in a tree many times.
fn packages(tree: &str) -> usize {
    let named = tree.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?, words.next()?))
    });
    named.collect::<BTreeSet<_>>().len()
}

fn count(n: usize) -> f64 {
    u32::try_from(n).map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_counted_once_for_each_version() {
        let tree = "a v1.0.0 (x)\nb v1.0.0\nb v2.0.0\n\nb v1.0.0 (*)\na v1.0.0 (x) (*)\n";
        assert_eq!(packages(tree), 3);
    }
}
