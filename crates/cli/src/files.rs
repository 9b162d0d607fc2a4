//! Files that a verb is given by name.

use std::fs::File;
use std::io::{BufWriter, ErrorKind, Read as _, Write};
use std::path::{Path, PathBuf};

use lictor::document::{Limits, Source};

use crate::failure::Failure;

/// The most that a change document or a diff may hold, in bytes; policy may allow less.
pub(crate) const MAX_CHANGES: u64 = 64 << 20;

/// A file that was read.
pub(crate) struct Given {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

impl Given {
    pub(crate) fn source(&self) -> Source<'_> {
        Source::new(&self.name, &self.bytes)
    }
}

/// Reads a file, or standard input for `-`; a byte more than `limit`, so that whoever parses it
/// can say that it is too large.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Given, Failure> {
    let name =
        if path == Path::new("-") { "<stdin>".to_owned() } else { path.display().to_string() };
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(limit + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
    };
    match read {
        Ok(_) => Ok(Given { name, bytes }),
        Err(error) => Err(Failure::input(format!("`{name}` cannot be read: {error}"))),
    }
}

/// A file that a verb was asked for. It is there whole or not at all: what stood under its name stays until
/// [`Out::finish`].
pub(crate) struct Out {
    file: BufWriter<File>,
    name: PathBuf,
    /// Where it is written until then; nothing for what is no file, a pipe for example.
    beside: Option<PathBuf>,
}

impl Out {
    /// Begins it. What is there already has to be something that `gives_way`, looked at from its
    /// beginning: whoever may only ask for a copy of the trail overwrites nobody's file with one.
    pub(crate) fn begin(
        path: &Path,
        gives_way: impl FnOnce(File) -> Result<bool, Failure>,
    ) -> Result<Self, Failure> {
        let cannot = |error: std::io::Error| {
            Failure::input(format!("`{}` cannot be written: {error}", path.display()))
        };
        // Behind a link stands what would be overwritten.
        let name = match path.canonicalize() {
            Ok(name) => name,
            Err(error) if error.kind() == ErrorKind::NotFound => path.to_path_buf(),
            Err(error) => return Err(cannot(error)),
        };
        let found = std::fs::metadata(&name);
        if found.as_ref().is_ok_and(|found| !found.is_file()) {
            let file = File::options().write(true).open(&name).map_err(cannot)?;
            return Ok(Self { file: BufWriter::new(file), name, beside: None });
        }
        if found.is_ok_and(|found| found.len() > 0)
            && !gives_way(File::open(&name).map_err(cannot)?)?
        {
            let why = format!("`{}` is there and is nothing of this kind", path.display());
            return Err(Failure::input(why).with_step("name a file that is not there"));
        }
        let last = name.file_name().unwrap_or_default().to_string_lossy();
        let beside = name.with_file_name(format!(".{last}.{}", std::process::id()));
        let file = File::options().write(true).create_new(true).open(&beside).map_err(cannot)?;
        Ok(Self { file: BufWriter::new(file), name, beside: Some(beside) })
    }

    /// Puts it in its place, durable.
    #[expect(
        clippy::disallowed_methods,
        reason = "a copy for somebody else, nothing of the workspace"
    )]
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        let cannot = |error: std::io::Error| {
            Failure::failed(format!("`{}` cannot be written: {error}", self.name.display()))
        };
        self.file.flush().map_err(cannot)?;
        let Some(beside) = &self.beside else { return Ok(()) };
        self.file.get_ref().sync_all().map_err(cannot)?;
        std::fs::rename(beside, &self.name).map_err(cannot)?;
        self.beside = None;
        Ok(())
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Out {
    #[expect(
        clippy::disallowed_methods,
        reason = "a copy for somebody else, nothing of the workspace"
    )]
    fn drop(&mut self) {
        if let Some(beside) = &self.beside {
            // A rest of it harms nobody.
            std::fs::remove_file(beside).unwrap_or_default();
        }
    }
}

/// Writes such a file at once, over an earlier one that begins alike.
pub(crate) fn create(path: &Path, bytes: &[u8], begins: &[u8]) -> Result<(), Failure> {
    let mut out = Out::begin(path, |file| starts_with(file, begins))?;
    out.write_all(bytes).map_err(Failure::failed)?;
    out.finish()
}

/// Whether a file begins so.
pub(crate) fn starts_with(file: File, begins: &[u8]) -> Result<bool, Failure> {
    let mut head = Vec::new();
    file.take(begins.len() as u64).read_to_end(&mut head).map_err(Failure::failed)?;
    Ok(head == begins)
}

/// The limits of change documents and diffs.
pub(crate) fn change_limits() -> Limits {
    Limits::default().with_max_bytes(MAX_CHANGES)
}
