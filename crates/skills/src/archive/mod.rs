//! `archive.zip` and `archive.unzip`: both describe files, and neither writes one.

mod pack;
mod unpack;

pub(crate) use pack::Zip;
pub(crate) use unpack::Unzip;

/// The most bytes of an archive.
const MAX_ARCHIVE: u64 = 32 << 20;
/// The most bytes of all files in one.
const MAX_CONTENT: u64 = 64 << 20;
/// The most files and directories in one.
const MAX_ENTRIES: usize = 10_000;
