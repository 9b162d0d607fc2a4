//! A buffer that takes no more than it was made for.

use std::{fmt, io};

/// Collects text up to a limit; what would go beyond it fails the write.
#[derive(Debug)]
pub(crate) struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
    overflowed: bool,
}

impl Bounded {
    pub(crate) fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), limit, overflowed: false }
    }

    /// Whether a write failed because it would have gone beyond the limit.
    pub(crate) fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// The text; what was written came from text, so nothing is replaced.
    pub(crate) fn into_text(self) -> String {
        String::from_utf8(self.bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    fn push(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() > self.limit - self.bytes.len() {
            self.overflowed = true;
            return false;
        }
        self.bytes.extend_from_slice(bytes);
        true
    }
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.push(bytes) {
            Ok(bytes.len())
        } else {
            Err(io::Error::new(io::ErrorKind::FileTooLarge, "the text is too long"))
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.push(text.as_bytes()) { Ok(()) } else { Err(fmt::Error) }
    }
}
