//! Many writes with one system call.
//!
//! A write to a receiver on the same machine wakes it, and it takes the processor from the writer at once, for
//! one request. Of many that are written together it finds all when it wakes. Linux' `io_submit(2)` does
//! that: a socket that does not block is written to within the call. Where the kernel refuses, as it may in
//! a container, each is written by itself.

use std::io::{self, ErrorKind};
use std::mem::offset_of;
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

// What the kernel takes and gives.
const _: () = assert!(size_of::<Request>() == 64 && size_of::<Completion>() == 32);
const _: () = assert!(offset_of!(Request, operation) == 16 && offset_of!(Request, file) == 20);
const _: () = assert!(offset_of!(Request, bytes) == 24 && offset_of!(Request, length) == 32);
const _: () = assert!(offset_of!(Completion, data) == 0 && offset_of!(Completion, result) == 16);

/// Writes that wait for each other.
#[derive(Default)]
pub struct WriteBatch {
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

impl WriteBatch {
    /// An empty one.
    pub fn new() -> Self {
        Self { kernel: Kernel::new(), writes: Vec::new() }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Has `bytes` written to the socket `file` by the next [`Self::flush`], which waits for one that blocks. Without a
    /// flush they are not looked at.
    ///
    /// # Safety
    ///
    /// Until the flush returns `file` stays open and `bytes` stay where they are.
    pub unsafe fn add(&mut self, key: usize, file: RawFd, bytes: *const [u8]) {
        self.writes.push(Write { key, file, bytes });
    }

    /// Writes everything, and returns for each key how many bytes there was room for. Whatever fails, the kernel has done
    /// with the bytes then: it has told of each write that it has taken, or is left here, which waits for their end.
    pub fn flush(&mut self) -> Vec<(usize, io::Result<usize>)> {
        let mut outcomes = Vec::with_capacity(self.writes.len());
        for writes in self.writes.chunks(MOST) {
            let kernel = self.kernel.as_ref().filter(|_| writes.len() > 1);
            let (together, is_sound) = kernel.map_or((Vec::new(), true), |k| k.write(writes));
            if !is_sound {
                // What it has not told would be taken for the end of later writes, and may still be under way: dropping
                // it waits.
                self.kernel = None;
            }
            let alone = writes[together.len()..].iter().map(Write::alone);
            outcomes.extend(writes.iter().map(|w| w.key).zip(together.into_iter().chain(alone)));
        }
        self.writes.clear();
        outcomes
    }
}

impl Write {
    fn alone(&self) -> io::Result<usize> {
        // SAFETY: `WriteBatch::add` asks for a file that is open and bytes that are there.
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
        // Not `then_some`, which would make one in any case, and destroy it.
        (made == 0).then(|| Self(context))
    }

    /// How the first of `writes` ended: as many as the kernel has taken; and whether it has told of all of them. A
    /// broken connection's SIGPIPE is nobody's: no thread of the pool receives signals.
    fn write(&self, writes: &[Write]) -> (Vec<io::Result<usize>>, bool) {
        let mut requests = [Request::default(); MOST];
        for (at, (request, write)) in requests.iter_mut().zip(writes).enumerate() {
            request.data = at as u64;
            request.operation = WRITE;
            request.file = write.file as u32;
            request.bytes = write.bytes.cast::<u8>().expose_provenance() as u64;
            request.length = write.bytes.len() as u64;
        }
        let mut pointers = requests.each_mut().map(ptr::from_mut);
        // SAFETY: `writes` has no more elements than the arrays, because it is a chunk of `MOST`, and there is a request for
        // each, of a file that is open and bytes that are there until `flush` returns, before which the kernel has done with
        // them. It copies the requests within the call.
        let taken = unsafe {
            libc::syscall(libc::SYS_io_submit, self.0, writes.len(), pointers.as_mut_ptr())
        };
        let taken = usize::try_from(taken).unwrap_or(0);
        results(taken, |room| {
            let timeout = ptr::null_mut::<libc::timespec>();
            let (most, room) = (room.len(), room.as_mut_ptr());
            // SAFETY: there is room for as many as are asked for. They have completed, so this waits for nothing.
            let fetched =
                unsafe { libc::syscall(libc::SYS_io_getevents, self.0, most, most, room, timeout) };
            usize::try_from(fetched).map_err(|_| io::Error::last_os_error())
        })
    }
}

/// How `taken` writes ended, and whether `fetch`, which fills the room that it is given, has told of all of them.
fn results(
    taken: usize,
    mut fetch: impl FnMut(&mut [Completion]) -> io::Result<usize>,
) -> (Vec<io::Result<usize>>, bool) {
    let mut completions = [Completion::default(); MOST];
    let mut told = 0;
    while told < taken {
        match fetch(&mut completions[told..taken]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => break,
            Ok(more) => told = (told + more).min(taken),
        }
    }
    let untold = || Err(io::Error::other("the kernel does not say how a write ended"));
    let mut results: Vec<_> = (0..taken).map(|_| untold()).collect();
    for completion in &completions[..told] {
        if let Some(result) = results.get_mut(completion.data as usize) {
            *result = usize::try_from(completion.result)
                .map_err(|_| io::Error::from_raw_os_error(-completion.result as i32));
        }
    }
    (results, told == taken)
}

impl Drop for Kernel {
    fn drop(&mut self) {
        // SAFETY: the context is this one's, and nothing is asked of it afterwards. The call cancels what is under way
        // in it, or waits for it, before it returns (io_destroy(2)).
        unsafe { libc::syscall(libc::SYS_io_destroy, self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    fn pair() -> (UnixStream, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        (near, far)
    }

    /// One that the kernel writes, and one that it refuses.
    fn both() -> [WriteBatch; 2] {
        let by_kernel = WriteBatch::new();
        assert!(by_kernel.kernel.is_some(), "this kernel has no io_setup");
        [by_kernel, WriteBatch::default()]
    }

    fn add(batch: &mut WriteBatch, key: usize, file: &UnixStream, bytes: &'static [u8]) {
        // SAFETY: the bytes are static, and the tests keep their files until the end.
        unsafe { batch.add(key, file.as_raw_fd(), bytes) };
    }

    fn outcomes(batch: &mut WriteBatch) -> Vec<(usize, Result<usize, ErrorKind>)> {
        let outcomes = batch.flush().into_iter();
        outcomes.map(|(key, outcome)| (key, outcome.map_err(|error| error.kind()))).collect()
    }

    #[test]
    fn everything_is_written_once_and_where_it_belongs() {
        for mut batch in both() {
            let pairs: Vec<_> = (0..2 * MOST + 2).map(|_| pair()).collect();
            for (key, (near, _)) in pairs.iter().enumerate() {
                add(&mut batch, key, near, &b"ababab"[key % 2..][..5]);
            }
            assert!(!batch.is_empty());
            let expected: Vec<_> = (0..pairs.len()).map(|key| (key, Ok(5))).collect();
            assert_eq!(outcomes(&mut batch), expected);
            assert!(batch.is_empty());
            assert_eq!(outcomes(&mut batch), []);
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
        for mut batch in both() {
            let ((one, _one), (full, _full), (broken, gone), (four, _four)) =
                (pair(), pair(), pair(), pair());
            drop(gone);
            add(&mut batch, 5, &full, &LARGE);
            let [(5, Ok(part))] = outcomes(&mut batch)[..] else {
                panic!("there is room for a part");
            };
            assert!(part > 0 && part < LARGE.len(), "{part}");
            for (key, file) in [(1, &one), (2, &full), (3, &broken), (4, &four)] {
                add(&mut batch, key, file, b"abc");
            }
            let (full, broken) = (Err(ErrorKind::WouldBlock), Err(ErrorKind::BrokenPipe));
            assert_eq!(outcomes(&mut batch), [(1, Ok(3)), (2, full), (3, broken), (4, Ok(3))]);
        }
    }

    #[test]
    fn what_the_kernel_tells_in_parts_is_one_answer() {
        let completion = |data, result| Completion { data, result, ..Completion::default() };
        let kinds = |results: Vec<io::Result<usize>>| {
            results.into_iter().map(|r| r.map_err(|error| error.kind())).collect::<Vec<_>>()
        };
        let mut calls = 0;
        let (told, is_sound) = results(3, |room| {
            calls += 1;
            match calls {
                1 => Err(ErrorKind::Interrupted.into()),
                2 => {
                    assert_eq!(room.len(), 3);
                    room[0] = completion(2, 5);
                    Ok(1)
                }
                _ => {
                    assert_eq!(room.len(), 2);
                    room.copy_from_slice(&[
                        completion(0, -i64::from(libc::EPIPE)),
                        completion(1, 7),
                    ]);
                    Ok(2)
                }
            }
        });
        assert!(is_sound);
        assert_eq!(kinds(told), [Err(ErrorKind::BrokenPipe), Ok(7), Ok(5)]);

        let (untold, is_sound) = results(2, |_| Err(io::Error::from_raw_os_error(libc::EINVAL)));
        assert!(!is_sound);
        assert_eq!(kinds(untold), [Err(ErrorKind::Other); 2]);
        let (part, is_sound) = results(2, |room| {
            let first = room.len() == 2;
            room[0] = completion(u64::from(!first) * 1000, 1);
            Ok(usize::from(first))
        });
        assert!(!is_sound);
        assert_eq!(kinds(part), [Ok(1), Err(ErrorKind::Other)]);
    }

    #[test]
    fn what_the_kernel_does_not_take_is_written_as_well() {
        let [mut batch, _] = both();
        let ((one, _one), (two, _two)) = (pair(), pair());
        add(&mut batch, 1, &one, b"abc");
        // SAFETY: that there is no such file is the point.
        unsafe { batch.add(2, -1, b"abc".as_slice()) };
        add(&mut batch, 3, &two, b"abc");
        let [(1, Ok(3)), (2, Err(error)), (3, Ok(3))] = &batch.flush()[..] else {
            panic!("three writes");
        };
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    }
}
