use super::*;
use std::env;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsRawFd;
use std::process::Command;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// A head start for tests in which each one is spent.
const SHORT: Duration = Duration::from_millis(20);

/// An address that neither accepts nor refuses, and what keeps it so: its queue is full.
fn silent() -> (SocketAddr, Vec<Socket>) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let mut kept = vec![listener];
    for _ in 0..3 {
        kept.push(begin(address).unwrap().0);
    }
    std::thread::sleep(Duration::from_millis(20));
    (address, kept)
}

fn refusing() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(60))
}

/// Runs `test`, which is all of the test of that name, in a process of its own: limits are those of a process.
fn alone(name: &str, test: impl FnOnce()) {
    const MARK: &str = "PG_WEBHOOK_TEST_ALONE";
    if env::var_os(MARK).is_some() {
        return test();
    }
    let path = format!("{}::{name}", module_path!().split_once("::").unwrap().1);
    let mut again = Command::new(env::current_exe().unwrap());
    let ended = again.args(["--exact", &path, "--nocapture"]).env(MARK, "").output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && said.contains("1 passed"), "{ended:?}");
}

/// The next file that is opened has this number.
fn next_file() -> u64 {
    File::open("/dev/null").unwrap().as_raw_fd() as u64
}

#[test]
fn without_files_the_race_goes_on_with_fewer() {
    alone("without_files_the_race_goes_on_with_fewer", || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        let ((first, _first), (second, _second)) = (silent(), silent());
        let (used, (soft, hard)) = (next_file(), getrlimit(Resource::RLIMIT_NOFILE).unwrap());
        for free in 1..=3 {
            setrlimit(Resource::RLIMIT_NOFILE, used + free, hard).unwrap();
            let connected = race(&[first, second, good], soon(), SHORT);
            assert_eq!(connected.unwrap().address, good, "{free}");
        }
        setrlimit(Resource::RLIMIT_NOFILE, used, hard).unwrap();
        assert!(matches!(race(&[good], soon(), SHORT), Err(Lost::Broken(_))));
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    });
}

#[test]
fn where_files_are_scarce_a_dead_address_has_a_part_of_the_time() {
    alone("where_files_are_scarce_a_dead_address_has_a_part_of_the_time", || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        let (silent, _kept) = silent();
        let few = next_file() + 10;
        setrlimit(Resource::RLIMIT_NOFILE, few, few).unwrap();
        files::make_room(1);
        assert!(!files::may_keep());
        let (began, time) = (Instant::now(), Duration::from_secs(2));
        let connected = race(&[silent, good], Some(began + time), SHORT);
        assert_eq!(connected.unwrap().address, good);
        assert!(began.elapsed() >= time / 2);
    });
}

#[test]
fn dead_addresses_cost_a_head_start_each() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let good = listener.local_addr().unwrap();
    let ((first, _first), (second, _second)) = (silent(), silent());
    let began = Instant::now();
    // Neither ends by itself, and nobody waits for that.
    let connected = race(&[first, second, good], None, SHORT).unwrap();
    assert_eq!(connected.address, good);
    assert!(began.elapsed() >= 2 * SHORT);
}

#[test]
fn one_that_refuses_hands_over_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let good = listener.local_addr().unwrap();
    let by_turns = |addresses: &[SocketAddr]| race(addresses, soon(), Duration::MAX);
    assert_eq!(by_turns(&[refusing(), good]).unwrap().address, good);
    assert!(matches!(by_turns(&[refusing(), refusing()]), Err(Lost::Refused(..))));
    assert!(matches!(by_turns(&[]), Err(Lost::NoAddress)));
}

#[test]
fn a_race_that_nobody_wins_ends_in_time() {
    let (silent, _kept) = silent();
    let deadline = Some(Instant::now() + 3 * SHORT);
    assert!(matches!(connect(&[silent, silent], deadline), Err(Lost::Late)));
}

#[test]
fn what_is_told_is_what_an_address_said_itself() {
    let [a, b] = ["1.1.1.1:1", "[::1]:1"].map(|address| address.parse().unwrap());
    let refused = || io::Error::from_raw_os_error(libc::ECONNREFUSED);
    let unreachable = || io::Error::from_raw_os_error(libc::ENETUNREACH);
    let lost = Lost::NoAddress.and(a, refused()).and(b, unreachable());
    assert!(matches!(lost, Lost::Refused(address, _) if address == a));
    let lost = Lost::NoAddress.and(b, unreachable()).and(a, refused());
    assert!(matches!(lost, Lost::Refused(address, _) if address == a));
    assert!(is_ours(&io::Error::from_raw_os_error(libc::EMFILE)) && !is_ours(&refused()));
}

#[test]
fn families_take_turns_after_the_one_that_answered() {
    let [a, b, c, d] = ["[::1]:1", "[::2]:1", "1.1.1.1:1", "1.1.1.2:1"]
        .map(|address| address.parse::<SocketAddr>().unwrap());
    assert_eq!(order(&[a, b, c, d], None), [a, c, b, d]);
    assert_eq!(order(&[a, b, c, d], Some(d)), [d, a, c, b]);
    assert_eq!(order(&[a, b], Some(c)), [a, b]);
}
