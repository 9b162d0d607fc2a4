//! Which file a program is, and what it holds.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use lictor_capability::{Executable, WorkspaceView};
use lictor_context::{Digest, Hasher, WorkspacePath};
use lictor_executor::HandlerError;

/// Where programs without a `/` in their name are looked for; what every command gets as `PATH`.
const PATH: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Everything about a file that changes when its bytes do.
type Stamp = (PathBuf, u64, u64, u64, i64, i64, i64, i64);

/// Finds programs, and remembers their digests for as long as their files are the same.
#[derive(Debug, Default)]
pub struct Programs {
    known: Mutex<HashMap<Stamp, Digest>>,
}

impl Programs {
    /// The file that a program is: one of the workspace where its name is a path in it. Behind it,
    /// the file that links lead to, where that is another one: a rule about `dash` is heard where
    /// `sh` is a link to it.
    ///
    /// # Errors
    /// When there is none, or its file cannot be read.
    pub fn find(
        &self,
        program: &str,
        view: &dyn WorkspaceView,
    ) -> Result<Vec<Executable>, HandlerError> {
        let of = |path: &Path, digest| Executable {
            program: program.to_owned(),
            path: path.display().to_string(),
            digest,
        };
        let linked = |path: &Path| {
            let digest = self.digest(path)?;
            let mut all = vec![of(path, digest)];
            let real = path.canonicalize().ok().filter(|real| real != path);
            all.extend(real.map(|real| of(&real, digest)));
            Ok(all)
        };
        if program.starts_with('/') {
            return linked(Path::new(program));
        }
        if program.contains('/') {
            let bare = program.strip_prefix("./").unwrap_or(program);
            let path = WorkspacePath::parse(bare)
                .map_err(|error| HandlerError::input(error.to_string()))?;
            return Ok(vec![of(Path::new(path.as_str()), view.digest(&path)?)]);
        }
        let mut places = PATH.iter().map(|folder| Path::new(folder).join(program));
        let path = places.find(|path| is_program(path)).ok_or_else(|| {
            let path = PATH.join(":");
            let program = program.escape_debug();
            HandlerError::input(format!("there is no program `{program}` in {path}"))
        })?;
        linked(&path)
    }

    fn digest(&self, path: &Path) -> Result<Digest, HandlerError> {
        let fail = |error: std::io::Error| {
            HandlerError::failed(format!("the program `{}`: {error}", path.display()))
        };
        let mut file = File::open(path).map_err(fail)?;
        let met = file.metadata().map_err(fail)?;
        if !met.is_file() {
            let problem = format!("`{}` is no program", path.display());
            return Err(HandlerError::input(problem));
        }
        let stamp = (
            path.to_owned(),
            met.dev(),
            met.ino(),
            met.size(),
            met.mtime(),
            met.mtime_nsec(),
            met.ctime(),
            met.ctime_nsec(),
        );
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(digest) = known().get(&stamp) {
            return Ok(*digest);
        }
        let mut hasher = Hasher::new();
        let mut buffer = vec![0_u8; 64 << 10];
        loop {
            let n = file.read(&mut buffer).map_err(fail)?;
            let bytes = buffer.get(..n).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
            hasher.update(bytes);
        }
        let digest = hasher.finish();
        known().insert(stamp, digest);
        Ok(digest)
    }
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|met| met.is_file() && met.permissions().mode() & 0o111 != 0)
}
