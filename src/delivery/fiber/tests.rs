use super::*;
use crate::wakeup::Wakeup;
use std::cell::RefCell;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

const SOON: Duration = Duration::from_millis(20);
const LATE: Duration = Duration::from_secs(20);

struct Stage {
    fibers: Fibers,
    wakeup: Wakeup,
    /// What the fibers say.
    said: Rc<RefCell<Vec<String>>>,
}

impl Stage {
    fn new() -> Self {
        let wakeup = Wakeup::new().unwrap();
        let fibers = Fibers::new(waiting_room(wakeup.as_fd()).unwrap());
        Self { fibers, wakeup, said: Rc::default() }
    }

    /// A fiber that says what it reads, or why it does not.
    fn read(&mut self, file: UnixStream, patience: Duration) {
        let said = Rc::clone(&self.said);
        self.fibers.prepare().unwrap();
        self.fibers.start(move || {
            let outcome = wait(file.as_fd(), Until::Readable, Some(Instant::now() + patience));
            let mut byte = [0];
            said.borrow_mut().push(match outcome {
                Ok(()) => (&file).read(&mut byte).map(|_| (byte[0] as char).into()).unwrap(),
                Err(error) => error.kind().to_string(),
            });
        });
    }

    fn turn(&mut self, patience: Duration) -> bool {
        self.fibers.flush();
        self.fibers.wait(patience);
        self.fibers.go_on()
    }

    fn said(&self) -> String {
        self.said.borrow().join(" ")
    }
}

#[test]
fn fibers_wait_side_by_side() {
    let mut stage = Stage::new();
    let mut ends = Vec::new();
    for _ in 0..3 {
        let (near, far) = UnixStream::pair().unwrap();
        stage.read(near, LATE);
        ends.push(far);
    }
    assert!(!stage.turn(Duration::ZERO));
    for (at, byte) in [(2, b"c"), (0, b"a"), (1, b"b")] {
        ends[at].write_all(byte).unwrap();
        assert!(stage.turn(LATE));
    }
    assert_eq!(stage.said(), "c a b");
    assert!(stage.fibers.is_empty());
}

#[test]
fn a_deadline_ends_a_wait_and_only_that_one() {
    let mut stage = Stage::new();
    let (one, mut other_end) = UnixStream::pair().unwrap();
    let (two, _silent) = UnixStream::pair().unwrap();
    stage.read(one, LATE);
    stage.read(two, SOON);
    assert!(stage.turn(LATE));
    assert_eq!(stage.said(), "timed out");
    other_end.write_all(b"a").unwrap();
    assert!(stage.turn(LATE));
    assert_eq!(stage.said(), "timed out a");
}

#[test]
fn what_is_ready_counts_even_if_its_deadline_has_passed() {
    let mut stage = Stage::new();
    let (near, mut far) = UnixStream::pair().unwrap();
    stage.read(near, Duration::ZERO);
    far.write_all(b"a").unwrap();
    stage.turn(LATE);
    assert_eq!(stage.said(), "a");
}

#[test]
fn a_file_is_waited_for_again_and_again_and_old_events_wake_nobody() {
    let mut stage = Stage::new();
    let (near, mut far) = UnixStream::pair().unwrap();
    stage.read(near.try_clone().unwrap(), SOON);
    assert!(stage.turn(LATE));
    // Still armed for the one that has gone; the next fiber has its place.
    far.write_all(b"a").unwrap();
    let (other, mut other_end) = UnixStream::pair().unwrap();
    stage.read(other, LATE);
    stage.turn(LATE);
    assert_eq!(stage.said(), "timed out");
    for byte in [b"b", b"c"] {
        stage.read(near.try_clone().unwrap(), LATE);
        far.write_all(byte).unwrap();
        assert!(stage.turn(LATE));
    }
    other_end.write_all(b"d").unwrap();
    assert!(stage.turn(LATE));
    assert_eq!(stage.said(), "timed out a b d", "one byte after the other");
}

#[test]
fn a_wakeup_lets_no_fiber_go_on() {
    let mut stage = Stage::new();
    let (near, _far) = UnixStream::pair().unwrap();
    stage.read(near, LATE);
    stage.wakeup.wake();
    assert!(stage.turn(LATE));
    stage.wakeup.clear();
    assert!(!stage.turn(SOON));
    assert_eq!(stage.said(), "");
}

#[test]
fn what_cannot_be_waited_for_is_an_error() {
    let mut stage = Stage::new();
    let said = Rc::clone(&stage.said);
    let file = std::fs::File::open("Cargo.toml").unwrap();
    stage.fibers.prepare().unwrap();
    stage.fibers.start(move || {
        let outcome = wait(file.as_fd(), Until::Readable, None);
        said.borrow_mut().push(format!("{:?}", outcome.map_err(|error| error.kind())));
    });
    assert_eq!(stage.said(), "Err(PermissionDenied)");
}

#[test]
fn a_panic_ends_its_fiber_and_no_other() {
    let mut stage = Stage::new();
    let (near, mut far) = UnixStream::pair().unwrap();
    stage.read(near, LATE);
    stage.fibers.prepare().unwrap();
    stage.fibers.start(|| panic!("as a test"));
    far.write_all(b"a").unwrap();
    assert!(stage.turn(LATE));
    assert_eq!(stage.said(), "a");
    assert!(stage.fibers.is_empty());
}

#[test]
fn no_deadline_is_left_when_all_have_ended() {
    let mut stage = Stage::new();
    let (near, mut far) = UnixStream::pair().unwrap();
    stage.read(near, LATE);
    assert!(stage.fibers.soonest.is_some());
    far.write_all(b"a").unwrap();
    assert!(stage.turn(LATE));
    assert_eq!(stage.fibers.soonest, None, "which would cut the next wait");
}

#[test]
fn fibers_write_together_and_each_goes_on() {
    let mut stage = Stage::new();
    let mut ends = Vec::new();
    for byte in [b"a", b"b"] {
        let (near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        far.set_nonblocking(true).unwrap();
        let said = Rc::clone(&stage.said);
        stage.fibers.prepare().unwrap();
        stage.fibers.start(move || {
            let written = [write(&near, byte), write(&near, b"c")];
            said.borrow_mut().push(format!("{written:?}"));
        });
        ends.push(far);
    }
    let none = ends[0].read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(none, Err(ErrorKind::WouldBlock), "not before all have had their turn");
    stage.fibers.flush();
    assert_eq!(stage.said(), "[Ok(1), Ok(1)] [Ok(1), Ok(1)]");
    for (mut end, expected) in ends.into_iter().zip(["ac", "bc"]) {
        let mut text = String::new();
        end.read_to_string(&mut text).unwrap();
        assert_eq!(text, expected);
    }
    assert!(stage.fibers.is_empty());
}

#[test]
fn nothing_but_its_end_lets_a_write_go_on() {
    let mut stage = Stage::new();
    let (near, mut far) = UnixStream::pair().unwrap();
    let (writing, mut writing_end) = UnixStream::pair().unwrap();
    stage.read(near.try_clone().unwrap(), SOON);
    assert!(stage.turn(LATE));
    // An event is still armed for the one that has gone. Waits are counted from the beginning again at some time: the next
    // fiber has the place, and the number.
    stage.fibers.slots[0].wait = 0;
    let said = Rc::clone(&stage.said);
    stage.fibers.prepare().unwrap();
    stage.fibers.start(move || {
        let written = write(&writing, b"abc");
        said.borrow_mut().push(format!("{written:?}"));
    });
    assert_eq!(stage.fibers.slots[0].wait, 1);
    far.write_all(b"a").unwrap();
    stage.fibers.wait(LATE);
    assert!(stage.fibers.go_on(), "the event has come");
    assert_eq!(stage.said(), "timed out");
    stage.fibers.flush();
    assert_eq!(stage.said(), "timed out Ok(3)");
    let mut text = String::new();
    writing_end.read_to_string(&mut text).unwrap();
    assert_eq!(text, "abc");
}

#[test]
fn a_wait_is_never_shorter_than_asked() {
    for (nanos, rounded) in [(0, 0), (1, 1), (1_000_000, 1), (1_000_001, 2), (u64::MAX, i32::MAX)] {
        assert_eq!(millis(Duration::from_nanos(nanos)), rounded, "{nanos}");
    }
}

#[test]
fn outside_of_fibers_the_thread_waits() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let waited = |patience| {
        let deadline = Some(Instant::now() + patience);
        wait(near.as_fd(), Until::Readable, deadline).map_err(|error| error.kind())
    };
    assert_eq!(waited(SOON), Err(ErrorKind::TimedOut));
    far.write_all(b"a").unwrap();
    assert_eq!(waited(LATE), Ok(()));
    assert_eq!(wait(near.as_fd(), Until::Writable, None).unwrap(), ());
}

/// Says what comes of waiting and writing when it is dropped.
struct Last {
    file: UnixStream,
    said: Rc<RefCell<Vec<String>>>,
}

impl Drop for Last {
    fn drop(&mut self) {
        let waited = wait(self.file.as_fd(), Until::Readable, Some(Instant::now() + LATE));
        let written = write(&self.file, b"b");
        let say = |outcome: &io::Error| outcome.to_string();
        self.said.borrow_mut().push(waited.map_err(|e| say(&e)).unwrap_err());
        self.said.borrow_mut().push(written.map_err(|e| say(&e)).unwrap_err());
    }
}

#[test]
fn a_fiber_that_panics_does_not_give_way() {
    let mut stage = Stage::new();
    let ((near, _far), (other, mut other_end)) =
        (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
    stage.read(other, LATE);
    let last = Last { file: near, said: Rc::clone(&stage.said) };
    stage.fibers.prepare().unwrap();
    stage.fibers.start(move || {
        let _last = last;
        panic!("as a test");
    });
    assert_eq!(stage.said(), "this fiber panics this fiber panics");
    assert!(!std::thread::panicking());
    other_end.write_all(b"a").unwrap();
    assert!(stage.turn(LATE));
    assert_eq!(stage.said(), "this fiber panics this fiber panics a");
    assert!(stage.fibers.is_empty());
}

#[test]
fn fibers_that_are_dropped_do_nothing_any_more() {
    let mut stage = Stage::new();
    let (waiting, mut waiting_end) = UnixStream::pair().unwrap();
    let (writing, writing_end) = UnixStream::pair().unwrap();
    writing_end.set_nonblocking(true).unwrap();
    stage.read(waiting, LATE);
    let said = Rc::clone(&stage.said);
    stage.fibers.prepare().unwrap();
    stage.fibers.start(move || {
        let text = b"abc".to_vec();
        let written = write(&writing, &text);
        said.borrow_mut().push(format!("{written:?}"));
    });
    waiting_end.write_all(b"a").unwrap();
    let said = Rc::clone(&stage.said);
    drop(stage);
    assert!(said.borrow().is_empty(), "{said:?}");
    let unwritten = (&writing_end).read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(
        unwritten,
        Err(ErrorKind::WouldBlock),
        "its file is open still, and nothing is written"
    );
    waiting_end.write_all(b"a").unwrap();
}

#[test]
fn a_panic_whose_payload_panics_ends_its_fiber_and_no_other() {
    struct Bad;
    impl Drop for Bad {
        fn drop(&mut self) {
            panic!("as a test");
        }
    }
    let mut stage = Stage::new();
    stage.fibers.prepare().unwrap();
    stage.fibers.start(|| std::panic::panic_any(Bad));
    assert!(stage.fibers.is_empty());
}
