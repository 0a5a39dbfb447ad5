//! A volume's disk on Linux: a file, or a block device.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use gemmule::ledger::{Disk, DiskError};

/// A file or a block device that no other process has open as a volume.
#[derive(Debug)]
pub struct FileDisk {
    file: File,
    /// The same, opened so that what is written is on the medium at once, and nothing else is
    /// waited for; `None` where that can't be.
    synchronous: Option<File>,
    is_device: bool,
    bytes: AtomicU64,
    /// What was written before a flush that failed may be lost although it can still be read, and a
    /// later flush would say nothing of it.
    has_failed: AtomicBool,
}

impl FileDisk {
    /// Opens what is at `path`, or makes a file there.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let (file, is_new) = match path.metadata() {
            // Without `O_CREAT` this refuses a device that is mounted or else in use.
            Ok(found) if found.file_type().is_block_device() => {
                (options.custom_flags(libc::O_EXCL).open(path)?, false)
            }
            Ok(found) if found.is_file() => (options.open(path)?, false),
            Ok(_) => return Err(io::Error::other("neither a file nor a block device")),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Keys and bills are nobody else's to read.
                (options.create_new(true).mode(0o600).open(path)?, true)
            }
            Err(error) => return Err(error),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::other("another process has it open"));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        if is_new {
            // The file's name has to last, too.
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
        }
        let is_device = file.metadata()?.file_type().is_block_device();
        let bytes = io::Seek::seek(&mut &file, io::SeekFrom::End(0))?;
        let synchronous = synchronous(&file);
        let (bytes, has_failed) = (bytes.into(), AtomicBool::new(false));
        Ok(Self { file, synchronous, is_device, bytes, has_failed })
    }

    /// Opens what is at `path` to read it; a service that has it open goes on writing.
    #[allow(dead_code, reason = "tests that compile this file write as well")]
    pub fn open_to_read(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let is_device = file.metadata()?.file_type().is_block_device();
        let bytes = io::Seek::seek(&mut &file, io::SeekFrom::End(0))?;
        let (bytes, has_failed) = (bytes.into(), AtomicBool::new(false));
        Ok(Self { file, synchronous: None, is_device, bytes, has_failed })
    }

    fn check(&self) -> Result<(), DiskError> {
        if self.has_failed.load(Ordering::Acquire) {
            return Err(DiskError("a flush has failed before".into()));
        }
        Ok(())
    }
}

impl Disk for FileDisk {
    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    /// A file may take what is free on its file system.
    fn bytes_max(&self) -> u64 {
        let bytes = self.bytes();
        if self.is_device {
            return bytes;
        }
        // Where that can't be told, the file stays as long as it is.
        bytes.saturating_add(free_bytes(&self.file).unwrap_or(0))
    }

    fn set_bytes(&self, bytes: u64) -> Result<(), DiskError> {
        self.check()?;
        let from = self.bytes();
        if bytes <= from {
            return Ok(());
        }
        if self.is_device {
            return Err(DiskError("the device is not that long".into()));
        }
        extend(&self.file, from, bytes).map_err(told("growing"))?;
        self.bytes.store(bytes, Ordering::Release);
        Ok(())
    }

    fn lengthen(&self, part: Range<u64>) -> Result<(), DiskError> {
        self.check()?;
        let bytes = self.bytes();
        if part.end <= bytes || self.is_device {
            return self.set_bytes(part.end);
        }
        if bytes < part.start {
            self.file.set_len(part.start).map_err(told("growing"))?;
            self.bytes.store(part.start, Ordering::Release);
        }
        self.set_bytes(part.end)
    }

    fn allocate(&self, part: Range<u64>) -> Result<(), DiskError> {
        self.check()?;
        if self.is_device {
            return Ok(());
        }
        extend(&self.file, part.start, part.end).map_err(told("making room"))
    }

    /// A failure costs room on the file system and nothing else.
    fn discard(&self, part: Range<u64>) {
        if !self.is_device {
            punch(&self.file, part);
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        self.check()?;
        self.file.read_exact_at(out, offset).map_err(told("reading"))
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.check()?;
        self.file.write_all_at(bytes, offset).map_err(told("writing"))
    }

    fn write_through(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let Some(file) = &self.synchronous else {
            self.write(offset, bytes)?;
            return self.flush();
        };
        self.check()?;
        file.write_all_at(bytes, offset).map_err(|error| {
            self.has_failed.store(true, Ordering::Release);
            told("writing through")(error)
        })
    }

    fn flush(&self) -> Result<(), DiskError> {
        self.check()?;
        self.file.sync_data().map_err(|error| {
            self.has_failed.store(true, Ordering::Release);
            told("flushing")(error)
        })
    }
}

/// Opens a file that is open once more, by what the system calls it, as its path may have been
/// given to another.
fn synchronous(file: &File) -> Option<File> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    OpenOptions::new().write(true).custom_flags(libc::O_DSYNC).open(path).ok()
}

fn told(what: &str) -> impl Fn(io::Error) -> DiskError {
    move |error| DiskError(format!("{what}: {error}"))
}

/// Gives a part of the file back to the file system, where that can do so.
fn punch(file: &File, part: Range<u64>) {
    let offset = |bytes: u64| libc::off_t::try_from(bytes).ok();
    let (Some(start), Some(length)) = (offset(part.start), offset(part.end - part.start)) else {
        return;
    };
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: the descriptor is the file's, which is open; no memory is involved.
    unsafe { libc::fallocate(file.as_raw_fd(), mode, start, length) };
}

/// Sees to it that there are blocks of the file system behind this part of the file, where that can
/// do so, and makes it that long: otherwise writes could find it full.
fn extend(file: &File, from: u64, until: u64) -> io::Result<()> {
    let offset = |bytes: u64| libc::off_t::try_from(bytes).map_err(io::Error::other);
    let (start, length) = (offset(from)?, offset(until - from)?);
    loop {
        // SAFETY: the descriptor is the file's, which is open; no memory is involved.
        if unsafe { libc::fallocate(file.as_raw_fd(), 0, start, length) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::EOPNOTSUPP | libc::ENOSYS) => {
                return if file.metadata()?.len() < until { file.set_len(until) } else { Ok(()) };
            }
            _ => return Err(error),
        }
    }
}

/// Bytes that are free on the file's file system.
fn free_bytes(file: &File) -> io::Result<u64> {
    let mut found = MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the descriptor is the file's, which is open, and the structure is there to be filled.
    if unsafe { libc::fstatvfs(file.as_raw_fd(), found.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has filled it; zeros would be valid, too.
    let found = unsafe { found.assume_init() };
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}
