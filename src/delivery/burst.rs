//! Many writes with one system call.
//!
//! A write to a receiver on the same machine wakes it, and it takes the processor from the writer at once, for
//! one request. Of many that are written together it finds all when it wakes. Linux' `io_submit(2)` does
//! that: a socket that does not block is written to within the call. Where the kernel refuses, as it may in
//! a container, each is written by itself.

use std::io;
use std::os::fd::RawFd;
use std::ptr;

/// Writes that one call takes.
const MOST: usize = 64;

/// `IOCB_CMD_PWRITE` of linux/aio_abi.h.
const WRITE: u16 = 1;

/// `struct iocb` of linux/aio_abi.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Request {
    data: u64,
    key_and_flags: u64,
    operation: u16,
    priority: i16,
    file: u32,
    bytes: u64,
    length: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    event_file: u32,
}

/// `struct io_event` of linux/aio_abi.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Completion {
    data: u64,
    request: u64,
    result: i64,
    second_result: i64,
}

/// Writes that wait for each other.
#[derive(Default)]
pub struct Burst {
    kernel: Option<Kernel>,
    writes: Vec<Write>,
}

struct Write {
    key: usize,
    file: RawFd,
    bytes: *const [u8],
}

/// What the kernel completes writes in: an `aio_context_t`.
struct Kernel(libc::c_ulong);

impl Burst {
    /// An empty one.
    pub fn new() -> Self {
        Self { kernel: Kernel::new(), writes: Vec::new() }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Has `bytes` written to the socket `file` by the next [`Self::flush`].
    ///
    /// # Safety
    ///
    /// Until then `file` stays open and `bytes` stay where they are. `file` does not block.
    pub unsafe fn add(&mut self, key: usize, file: RawFd, bytes: *const [u8]) {
        self.writes.push(Write { key, file, bytes });
    }

    /// Writes everything, and returns for each key how many bytes there was room for.
    pub fn flush(&mut self) -> Vec<(usize, io::Result<usize>)> {
        let mut outcomes = Vec::with_capacity(self.writes.len());
        for writes in self.writes.chunks(MOST) {
            let kernel = self.kernel.as_ref().filter(|_| writes.len() > 1);
            let together = kernel.map(|kernel| kernel.write(writes)).unwrap_or_default();
            let alone = writes[together.len()..].iter().map(Write::alone);
            outcomes.extend(writes.iter().map(|w| w.key).zip(together.into_iter().chain(alone)));
        }
        self.writes.clear();
        outcomes
    }
}

impl Write {
    fn alone(&self) -> io::Result<usize> {
        // SAFETY: `Burst::add` asks for a file that is open and bytes that are there.
        let written = unsafe {
            libc::send(self.file, self.bytes.cast(), self.bytes.len(), libc::MSG_NOSIGNAL)
        };
        usize::try_from(written).map_err(|_| io::Error::last_os_error())
    }
}

impl Kernel {
    fn new() -> Option<Self> {
        let mut context = 0;
        // SAFETY: the kernel writes the context to where there is room for it.
        let made = unsafe { libc::syscall(libc::SYS_io_setup, MOST, &raw mut context) };
        (made == 0).then_some(Self(context))
    }

    /// How the first of `writes` ended: as many as the kernel has taken. A broken connection's SIGPIPE is
    /// nobody's: no thread of the pool receives signals.
    fn write(&self, writes: &[Write]) -> Vec<io::Result<usize>> {
        let mut requests = [Request::default(); MOST];
        for (at, (request, write)) in requests.iter_mut().zip(writes).enumerate() {
            request.data = at as u64;
            request.operation = WRITE;
            request.file = write.file as u32;
            request.bytes = write.bytes.cast::<u8>().expose_provenance() as u64;
            request.length = write.bytes.len() as u64;
        }
        let mut pointers = requests.each_mut().map(ptr::from_mut);
        // SAFETY: as many requests as there are writes, each of a file that is open and bytes that are there.
        let taken = unsafe {
            libc::syscall(libc::SYS_io_submit, self.0, writes.len(), pointers.as_mut_ptr())
        };
        let taken = usize::try_from(taken).unwrap_or(0);
        let mut completions = [Completion::default(); MOST];
        let timeout = ptr::null_mut::<libc::timespec>();
        // SAFETY: there is room for all that were taken; they have completed, so this waits for nothing.
        let fetched = unsafe {
            let room = completions.as_mut_ptr();
            libc::syscall(libc::SYS_io_getevents, self.0, taken, MOST, room, timeout)
        };
        let mut results: Vec<_> = (0..taken)
            .map(|_| Err(io::Error::other("the kernel does not say how a write ended")))
            .collect();
        for completion in &completions[..usize::try_from(fetched).unwrap_or(0)] {
            let result = usize::try_from(completion.result);
            results[completion.data as usize] =
                result.map_err(|_| io::Error::from_raw_os_error(-completion.result as i32));
        }
        results
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        // SAFETY: the context is this one's, and nothing is under way in it.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Read};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    fn pair() -> (UnixStream, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        (near, far)
    }

    /// One that the kernel writes, and one that it refuses.
    fn both() -> [Burst; 2] {
        let by_kernel = Burst::new();
        assert!(by_kernel.kernel.is_some(), "this kernel has no io_setup");
        [by_kernel, Burst::default()]
    }

    fn add(burst: &mut Burst, key: usize, file: &UnixStream, bytes: &'static [u8]) {
        // SAFETY: the bytes are static, and the tests keep their files until the end.
        unsafe { burst.add(key, file.as_raw_fd(), bytes) };
    }

    fn outcomes(burst: &mut Burst) -> Vec<(usize, Result<usize, ErrorKind>)> {
        let outcomes = burst.flush().into_iter();
        outcomes.map(|(key, outcome)| (key, outcome.map_err(|error| error.kind()))).collect()
    }

    #[test]
    fn everything_is_written_once_and_where_it_belongs() {
        for mut burst in both() {
            let pairs: Vec<_> = (0..2 * MOST + 2).map(|_| pair()).collect();
            for (key, (near, _)) in pairs.iter().enumerate() {
                add(&mut burst, key, near, &b"ababab"[key % 2..][..5]);
            }
            assert!(!burst.is_empty());
            let expected: Vec<_> = (0..pairs.len()).map(|key| (key, Ok(5))).collect();
            assert_eq!(outcomes(&mut burst), expected);
            assert!(burst.is_empty());
            assert_eq!(outcomes(&mut burst), []);
            for (key, (near, mut far)) in pairs.into_iter().enumerate() {
                drop(near);
                let mut text = String::new();
                far.read_to_string(&mut text).unwrap();
                assert_eq!(text, ["ababa", "babab"][key % 2], "{key}");
            }
        }
    }

    #[test]
    fn each_write_has_its_own_end() {
        static LARGE: [u8; 4 << 20] = [b'a'; 4 << 20];
        for mut burst in both() {
            let ((one, _one), (full, _full), (broken, gone), (four, _four)) =
                (pair(), pair(), pair(), pair());
            drop(gone);
            add(&mut burst, 5, &full, &LARGE);
            let [(5, Ok(part))] = outcomes(&mut burst)[..] else {
                panic!("there is room for a part");
            };
            assert!(part > 0 && part < LARGE.len(), "{part}");
            for (key, file) in [(1, &one), (2, &full), (3, &broken), (4, &four)] {
                add(&mut burst, key, file, b"abc");
            }
            let (full, broken) = (Err(ErrorKind::WouldBlock), Err(ErrorKind::BrokenPipe));
            assert_eq!(outcomes(&mut burst), [(1, Ok(3)), (2, full), (3, broken), (4, Ok(3))]);
        }
    }

    #[test]
    fn what_the_kernel_does_not_take_is_written_as_well() {
        let [mut burst, _] = both();
        let ((one, _one), (two, _two)) = (pair(), pair());
        add(&mut burst, 1, &one, b"abc");
        // SAFETY: that there is no such file is the point.
        unsafe { burst.add(2, -1, b"abc".as_slice()) };
        add(&mut burst, 3, &two, b"abc");
        let [(1, Ok(3)), (2, Err(error)), (3, Ok(3))] = &burst.flush()[..] else {
            panic!("three writes");
        };
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    }
}
