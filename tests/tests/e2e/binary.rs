//! The binary under test, built once by the cargo that built these tests.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// The `lictor` binary. `LICTOR_TEST_BINARY` names one that is built already.
pub(crate) fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("LICTOR_TEST_BINARY") {
        Some(given) => PathBuf::from(given),
        None => build(),
    })
}

/// Builds it with the profile, into the folder and for the target of this test.
fn build() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    // `<target>/[<triple>/]<profile>/deps/it-<hash>`
    let profile_folder = this.parent().and_then(Path::parent).expect("a profile's folder");
    let above = profile_folder.parent().expect("a target folder");
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--quiet", "--package", "lictor-cli", "--bin", "lictor"]);
    if cfg!(feature = "cedar") {
        command.args(["--features", "cedar"]);
    }
    command.args(["--message-format", "json-render-diagnostics", "--target-dir"]);
    if above.join("CACHEDIR.TAG").is_file() {
        command.arg(above);
    } else {
        command.arg(above.parent().expect("a target folder"));
        command.arg("--target").arg(above.file_name().expect("a triple"));
    }
    match profile_folder.file_name().and_then(|name| name.to_str()).expect("a profile") {
        "debug" => {}
        profile => _ = command.args(["--profile", profile]),
    }
    let built = command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo starts");
    assert!(built.status.success(), "the binary is not built");
    let text = String::from_utf8(built.stdout).unwrap();
    text.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "lictor")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo names the executable")
}
