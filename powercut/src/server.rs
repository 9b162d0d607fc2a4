//! A file system with one file in it, the disk. Nothing is cached: every write and every flush of
//! the loop device above comes here, and is noted in the order in which it came.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyWrite, Request, WriteFlags,
};

use crate::disk::{Entry, Image, Log, Write};
use crate::failure::Failure;

/// The file's name.
pub(crate) const DISK: &str = "disk";

const DISK_INODE: INodeNo = INodeNo(2);
const FOR_EVER: Duration = Duration::from_secs(86_400);

struct Served {
    image: Image,
    /// What it was when the recording began, and what came since.
    recording: Option<(Image, Log)>,
}

/// The disk while it is served. It goes away when dropped.
pub(crate) struct Server {
    served: Arc<Mutex<Served>>,
    session: BackgroundSession,
}

impl Server {
    /// Serves an image as the file [`DISK`] in a folder.
    pub(crate) fn mount(image: Image, folder: &Path) -> Result<Self, Failure> {
        let served = Arc::new(Mutex::new(Served { image, recording: None }));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("lictor-powercut".to_owned())];
        let session = fuser::spawn_mount(OneFile(Arc::clone(&served)), folder, &config)?;
        Ok(Self { served, session })
    }

    /// From now on everything is noted.
    pub(crate) fn record(&self) {
        let mut served = lock(&self.served);
        served.recording = Some((served.image.clone(), Log::new()));
    }

    /// Notes something that nobody wrote.
    pub(crate) fn mark(&self, mark: Entry) {
        if let Some((_, log)) = &mut lock(&self.served).recording {
            log.push(mark);
        }
    }

    /// Ends the recording: what the disk held at its beginning, and what came.
    pub(crate) fn recorded(&self) -> Option<(Image, Log)> {
        lock(&self.served).recording.take()
    }

    /// Takes the disk away.
    pub(crate) fn unmount(self) -> Result<(), Failure> {
        Ok(self.session.umount_and_join()?)
    }
}

fn lock(served: &Mutex<Served>) -> MutexGuard<'_, Served> {
    served.lock().unwrap_or_else(PoisonError::into_inner)
}

struct OneFile(Arc<Mutex<Served>>);

impl OneFile {
    fn attributes(&self, ino: INodeNo) -> Option<FileAttr> {
        let size = lock(&self.0).image.size();
        let (kind, perm, size) = match ino {
            INodeNo::ROOT => (FileType::Directory, 0o700, 0),
            DISK_INODE => (FileType::RegularFile, 0o600, size),
            _ => return None,
        };
        Some(FileAttr {
            ino,
            size,
            blocks: size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

impl Filesystem for OneFile {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = (parent == INodeNo::ROOT && name == DISK).then_some(DISK_INODE);
        match found.and_then(|ino| self.attributes(ino)) {
            Some(attributes) => reply.entry(&FOR_EVER, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(ino) {
            Some(attributes) => reply.attr(&FOR_EVER, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let bytes = lock(&self.0).image.read(offset, size as usize);
        reply.data(&bytes);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut served = lock(&self.0);
        let Ok(length) = u32::try_from(data.len()) else { return reply.error(Errno::EINVAL) };
        if offset.saturating_add(data.len() as u64) > served.image.size() {
            return reply.error(Errno::ENOSPC);
        }
        served.image.write(offset, data);
        if let Some((_, log)) = &mut served.recording {
            log.push(Entry::Write(Write { offset, bytes: data.into() }));
        }
        drop(served);
        reply.written(length);
    }

    /// A descriptor was closed, which promises nothing.
    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        if let Some((_, log)) = &mut lock(&self.0).recording {
            log.push(Entry::Flush);
        }
        reply.ok();
    }

    /// No holes: the loop device then offers no discard, and zeros are written as zeros.
    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: u64,
        _: i32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EOPNOTSUPP);
    }
}
