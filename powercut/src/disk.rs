//! A disk in memory, and the log of what reached it.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use rustix::fs::FallocateFlags;

use crate::failure::Failure;

/// What a disk writes whole, even when the power goes: the unit of a tear.
pub(crate) const BLOCK: usize = 4096;

/// So many neighbouring blocks are written to a file in one call.
const RUN: usize = 256;

/// What a disk holds. Blocks that are all zero are not kept, and a clone shares the others.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    size: u64,
    blocks: BTreeMap<u64, Arc<[u8; BLOCK]>>,
}

impl Image {
    /// An empty one.
    pub(crate) fn new(size: u64) -> Self {
        Self { size, blocks: BTreeMap::new() }
    }

    /// What a file holds.
    pub(crate) fn from_file(file: &File, size: u64) -> Result<Self, Failure> {
        let mut image = Self::new(size);
        let mut buffer = vec![0; BLOCK * RUN];
        let mut offset = 0;
        while offset < size {
            let length = (size - offset).min(buffer.len() as u64);
            let part = buffer.get_mut(..usize::try_from(length)?).unwrap_or_default();
            file.read_exact_at(part, offset)?;
            image.write(offset, part);
            offset += length;
        }
        Ok(image)
    }

    /// Its size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Bytes from an offset on; what lies behind the end is not there.
    pub(crate) fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let end = offset.saturating_add(length as u64).min(self.size);
        let mut bytes = Vec::with_capacity(length);
        let mut at = offset;
        while at < end {
            let (block, inner) = place(at);
            let n = (BLOCK - inner).min(usize::try_from(end - at).unwrap_or(BLOCK));
            match self.blocks.get(&block).and_then(|found| found.get(inner..inner + n)) {
                Some(found) => bytes.extend_from_slice(found),
                None => bytes.resize(bytes.len() + n, 0),
            }
            at += n as u64;
        }
        bytes
    }

    /// Puts bytes at an offset.
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (block, inner) = place(at);
            let (part, later) = rest.split_at((BLOCK - inner).min(rest.len()));
            self.write_block(block, inner, part);
            at += part.len() as u64;
            rest = later;
        }
    }

    fn write_block(&mut self, block: u64, inner: usize, part: &[u8]) {
        let zeros = part.iter().all(|byte| *byte == 0);
        if zeros && (part.len() == BLOCK || !self.blocks.contains_key(&block)) {
            self.blocks.remove(&block);
            return;
        }
        let kept = self.blocks.entry(block).or_insert_with(|| Arc::new([0; BLOCK]));
        if let Some(place) = Arc::make_mut(kept).get_mut(inner..inner + part.len()) {
            place.copy_from_slice(part);
        }
    }

    /// Makes a file hold exactly this.
    pub(crate) fn put_into(&self, file: &File) -> Result<(), Failure> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        file.set_len(self.size)?;
        rustix::fs::fallocate(file, flags, 0, self.size)?;
        let (mut run, mut start, mut next) = (Vec::with_capacity(BLOCK * RUN), 0, 0);
        for (block, bytes) in &self.blocks {
            if *block != next || run.len() >= BLOCK * RUN {
                file.write_all_at(&run, start)?;
                run.clear();
                start = block * BLOCK as u64;
            }
            run.extend_from_slice(bytes.as_slice());
            next = block + 1;
        }
        Ok(file.write_all_at(&run, start)?)
    }
}

fn place(at: u64) -> (u64, usize) {
    let block = BLOCK as u64;
    (at / block, usize::try_from(at % block).unwrap_or(0))
}

/// Something that reached the disk, or was said about it.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    /// Bytes.
    Write(Write),
    /// Everything before is safe.
    Flush,
    /// A step begins: whatever it does comes after this.
    Begun,
    /// A step was acknowledged to whoever asked for it.
    Acknowledged,
}

/// Bytes that were sent to the disk.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) offset: u64,
    pub(crate) bytes: Arc<[u8]>,
}

impl Write {
    /// Its parts that lie in one block each.
    pub(crate) fn blocks(&self) -> Vec<Write> {
        let mut parts = Vec::new();
        let mut at = self.offset;
        let mut rest = &*self.bytes;
        while !rest.is_empty() {
            let (part, later) = rest.split_at((BLOCK - place(at).1).min(rest.len()));
            parts.push(Write { offset: at, bytes: part.into() });
            at += part.len() as u64;
            rest = later;
        }
        parts
    }
}

/// What reached the disk, in order.
pub(crate) type Log = Vec<Entry>;

#[cfg(test)]
mod tests {
    use super::{BLOCK, Image, Write};

    #[test]
    fn an_image_holds_what_was_written() {
        let mut image = Image::new(4 * BLOCK as u64);
        image.write(BLOCK as u64 - 2, b"over the edge");
        assert_eq!(image.read(BLOCK as u64 - 3, 15), b"\0over the edge\0");
        let kept = image.clone();
        image.write(0, &vec![0; 2 * BLOCK]);
        assert!(image.blocks.is_empty());
        assert_eq!(kept.blocks.len(), 2);
        assert_eq!(kept.read(4 * BLOCK as u64 - 1, 9), [0]);
    }

    #[test]
    fn a_file_holds_what_the_image_holds() {
        let file = tempfile::tempfile().unwrap();
        let mut image = Image::new(1024 * BLOCK as u64);
        image.write(5, b"five");
        image.write(700 * BLOCK as u64, &vec![7; 300 * BLOCK]);
        Image::new(image.size()).put_into(&file).unwrap();
        image.put_into(&file).unwrap();
        let again = Image::from_file(&file, image.size()).unwrap();
        assert_eq!(again.blocks, image.blocks);
        assert_eq!(again.blocks.len(), 301);
    }

    #[test]
    fn a_write_tears_at_blocks() {
        let write = Write { offset: BLOCK as u64 - 1, bytes: vec![1; BLOCK + 2].into() };
        let parts: Vec<_> = write.blocks().iter().map(|p| (p.offset, p.bytes.len())).collect();
        let block = BLOCK as u64;
        assert_eq!(parts, [(block - 1, 1), (block, BLOCK), (2 * block, 1)]);
    }
}
