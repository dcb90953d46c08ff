//! Aligned memory.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
#[cfg(target_os = "linux")]
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

/// Alignment of ordinary buffers: a cache line, and an AVX-512 vector.
const LINE: usize = 64;
/// Buffers from this size on are aligned to it and ask for huge pages.
const HUGE: usize = 2 << 20;

/// Zero-initialised `f32` memory of fixed length, aligned to 64 bytes (2 MiB from that size on, with a request
/// for huge pages). It dereferences to a slice. An empty buffer owns no memory.
pub struct Buffer {
    start: NonNull<f32>,
    len: usize,
    /// from the system by [`Buffer::mapped`], not from the allocator
    mapped: bool,
}

impl Buffer {
    /// `len` zeros. Aborts like `Vec` if there is no memory.
    pub fn new(len: usize) -> Self {
        if len == 0 {
            return Self::default();
        }
        let layout = Self::layout(len);
        // SAFETY: the layout has a size above zero.
        let start = unsafe { alloc(layout) };
        let Some(start) = NonNull::new(start.cast::<f32>()) else { handle_alloc_error(layout) };
        if layout.align() == HUGE {
            request_huge_pages(start.as_ptr().cast(), layout.size());
        }
        // SAFETY: just allocated for `len` floats; all zero bits are 0.0.
        unsafe { start.as_ptr().write_bytes(0, len) };
        Self { start, len, mapped: false }
    }

    /// `len` zeros, the first `floats` replaced by those that an open file begins with. Whole pages of the file are the
    /// system's one copy of it, which all processes read together, until they are written: a written page is this buffer's
    /// own, and the file never changes. The zeros take no memory until they are written either.
    ///
    /// What is done to the file later would show here. So it must be a regular file that nobody is permitted to write, and
    /// nobody may cut it short (which ends the process).
    ///
    /// # Errors
    /// A file that is no such file, or is shorter; the system's.
    #[cfg(target_os = "linux")]
    pub fn mapped(file: BorrowedFd<'_>, floats: usize, len: usize) -> std::io::Result<Self> {
        let layout = Layout::array::<f32>(len).expect("invariant: buffers fit the address space");
        assert!(floats <= len, "invariant: a file's floats fit");
        file::check(file, 4 * floats)?;
        if len == 0 {
            return Ok(Self::default());
        }
        // From here on it is given back by `drop`.
        let buffer = Self { start: file::reserve(layout.size())?.cast(), len, mapped: true };
        // SAFETY: the memory is new, so no reference into it exists, and at least as long as what is laid over it.
        let whole = unsafe { file::lay(file, buffer.start.cast(), 4 * floats)? };
        if layout.size() - whole >= HUGE {
            // SAFETY: within the buffer.
            let rest = unsafe { buffer.start.as_ptr().byte_add(whole) };
            request_huge_pages(rest.cast(), layout.size() - whole);
        }
        Ok(buffer)
    }

    fn layout(len: usize) -> Layout {
        let layout = Layout::array::<f32>(len).expect("invariant: buffers fit the address space");
        let align = if layout.size() >= HUGE { HUGE } else { LINE };
        layout.align_to(align).expect("invariant: buffers fit the address space")
    }
}

/// Advice only: on failure ordinary pages serve as well, more slowly.
#[cfg(target_os = "linux")]
fn request_huge_pages(start: *mut u8, bytes: usize) {
    // Whole huge pages only: what follows the buffer is not ours.
    // SAFETY: the range was just allocated by us, and the advice does not change its content.
    unsafe { libc::madvise(start.cast(), bytes / HUGE * HUGE, libc::MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn request_huge_pages(_: *mut u8, _: usize) {}

/// Memory from the system, and files in it.
#[cfg(target_os = "linux")]
mod file {
    use std::io::{Error, ErrorKind, Result};
    use std::os::fd::{AsRawFd as _, BorrowedFd};
    use std::ptr::NonNull;

    const ACCESS: i32 = libc::PROT_READ | libc::PROT_WRITE;

    /// An error unless it is a regular file of at least so many bytes that nobody is permitted to write.
    pub fn check(file: BorrowedFd<'_>, bytes: usize) -> Result<()> {
        // SAFETY: all zero bits are a value of this struct of integers.
        let mut found: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: writes to the struct only.
        if unsafe { libc::fstat(file.as_raw_fd(), &raw mut found) } != 0 {
            return Err(Error::last_os_error());
        }
        let refuse = |what: &str| Err(Error::new(ErrorKind::InvalidInput, what.to_string()));
        if found.st_mode & libc::S_IFMT != libc::S_IFREG {
            return refuse("expected a regular file");
        }
        if found.st_mode & 0o222 != 0 {
            return refuse("expected a file that nobody is permitted to write");
        }
        match u64::try_from(found.st_size).is_ok_and(|size| size >= bytes as u64) {
            true => Ok(()),
            false => refuse("expected a longer file"),
        }
    }

    /// New memory of zeros, at the beginning of a page.
    pub fn reserve(bytes: usize) -> Result<NonNull<u8>> {
        let how = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: the system chooses a place where nothing is.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, ACCESS, how, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(Error::last_os_error());
        }
        Ok(NonNull::new(start.cast()).expect("invariant: the system maps nothing at address 0"))
    }

    /// Replaces the beginning of reserved memory by that of a file: whole pages, whose bytes are returned, by its own, and
    /// what is left by a copy.
    ///
    /// # Safety
    /// `start` is from `reserve` with at least so many bytes, and there is no reference to them.
    pub unsafe fn lay(file: BorrowedFd<'_>, start: NonNull<u8>, bytes: usize) -> Result<usize> {
        // SAFETY: asks for a number.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) });
        let page = page.expect("invariant: a page has a size");
        let whole = bytes / page * page;
        if whole > 0 {
            let how = libc::MAP_PRIVATE | libc::MAP_FIXED;
            // SAFETY: replaces pages of the caller's memory, and no others.
            let laid = unsafe { libc::mmap(start.as_ptr().cast(), whole, ACCESS, how, file.as_raw_fd(), 0) };
            if laid == libc::MAP_FAILED {
                return Err(Error::last_os_error());
            }
        }
        let mut done = whole;
        while done < bytes {
            // SAFETY: within the caller's memory; every offset of a file that is this long is one.
            let n = unsafe {
                let to = start.as_ptr().add(done);
                libc::pread(file.as_raw_fd(), to.cast(), bytes - done, done as libc::off_t)
            };
            match usize::try_from(n) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => done += n,
                Err(_) => match Error::last_os_error() {
                    e if e.kind() == ErrorKind::Interrupted => {}
                    e => return Err(e),
                },
            }
        }
        Ok(whole)
    }
}

/// Gives mapped memory back.
///
/// # Safety
/// It is from `file::reserve`, so long, and not used any more.
#[cfg(target_os = "linux")]
unsafe fn unmap(start: NonNull<f32>, len: usize) {
    // SAFETY: the caller's promise. It cannot fail for what was mapped.
    unsafe { libc::munmap(start.as_ptr().cast(), 4 * len) };
}

/// Nothing is mapped here.
#[cfg(not(target_os = "linux"))]
unsafe fn unmap(_: NonNull<f32>, _: usize) {}

impl Default for Buffer {
    fn default() -> Self {
        Self { start: NonNull::dangling(), len: 0, mapped: false }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.mapped {
            // SAFETY: from `mapped`, with this length.
            unsafe { unmap(self.start, self.len) };
        } else if self.len > 0 {
            // SAFETY: allocated in `new` with this layout.
            unsafe { dealloc(self.start.as_ptr().cast(), Self::layout(self.len)) };
        }
    }
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // SAFETY: `start` is valid for `len` initialised floats, or dangling and aligned with len 0.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `deref`; the borrow is unique.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        let mut copy = Self::new(self.len);
        copy.copy_from_slice(self);
        copy
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

// SAFETY: a buffer owns its memory like a `Vec<f32>`.
unsafe impl Send for Buffer {}
// SAFETY: shared access only reads.
unsafe impl Sync for Buffer {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligned_zeroed_and_independent_copies() {
        for len in [0, 1, 15, 16, 1000, HUGE / 4 - 1, HUGE / 4, HUGE] {
            let mut a = Buffer::new(len);
            assert_eq!(a.len(), len);
            assert!(a.iter().all(|&x| x == 0.0));
            let align = if len * 4 >= HUGE {
                HUGE
            } else if len > 0 {
                LINE
            } else {
                4
            };
            assert_eq!(a.as_ptr().align_offset(align), 0, "{len}");
            a.fill(1.0);
            let b = a.clone();
            a.fill(2.0);
            assert!(b.iter().all(|&x| x == 1.0));
        }
    }

    /// A file of these floats that nobody may write.
    #[cfg(target_os = "linux")]
    fn file(name: &str, floats: &[f32]) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("baq-buffer-{}-{name}", std::process::id()));
        let bytes: Vec<u8> = floats.iter().flat_map(|x| x.to_ne_bytes()).collect();
        std::fs::write(&path, bytes).unwrap();
        permit(&path, true);
        path
    }

    #[cfg(target_os = "linux")]
    fn permit(path: &std::path::Path, readonly: bool) {
        let mut permissions = std::fs::metadata(path).unwrap().permissions();
        permissions.set_readonly(readonly);
        std::fs::set_permissions(path, permissions).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn mapped_floats_are_read_by_all_and_written_by_none() {
        use std::os::fd::AsFd as _;
        // Less than a page, a whole one, pages and a rest; nothing, a little and huge pages behind.
        for (n, more) in [(0, 0), (0, 5), (1, 0), (1000, 24), (16384, 0), (16385, 9), (100_003, HUGE)] {
            let floats: Vec<f32> = (0..n).map(|i| i as f32 + 0.5).collect();
            let path = file(&format!("{n}-{more}"), &floats);
            let open = std::fs::File::open(&path).unwrap();
            let map = || Buffer::mapped(open.as_fd(), n, n + more).unwrap();
            let (mut a, b) = (map(), map());
            let whole = |x: &Buffer| x[..n] == floats && x[n..].iter().all(|x| x.to_bits() == 0);
            assert!(a.len() == n + more && whole(&a) && whole(&b), "{n} + {more}");
            a.fill(-1.0);
            let copy = a.clone();
            assert!(whole(&b) && whole(&map()), "{n} + {more}: a write went through");
            drop(a);
            std::fs::remove_file(&path).unwrap();
            // The file is there as long as somebody reads it.
            assert!(copy.iter().all(|x| *x == -1.0) && whole(&b));
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn only_files_that_stay_as_they_are_are_mapped() {
        use std::os::fd::AsFd as _;
        let path = file("refused", &[1.0, 2.0]);
        let map = |n, len| Buffer::mapped(std::fs::File::open(&path).unwrap().as_fd(), n, len);
        assert!(map(2, 2).is_ok());
        assert!(map(3, 3).unwrap_err().to_string().contains("longer"));
        permit(&path, false);
        assert!(map(2, 2).unwrap_err().to_string().contains("permitted"));
        std::fs::remove_file(&path).unwrap();
        let device = std::fs::File::open("/dev/zero").unwrap();
        assert!(Buffer::mapped(device.as_fd(), 1, 1).unwrap_err().to_string().contains("regular"));
    }
}
