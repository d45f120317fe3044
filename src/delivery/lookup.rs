//! Name lookups by threads of their own.
//!
//! `getaddrinfo` cannot be cancelled, so whoever needs an answer waits for it elsewhere and no longer
//! than its own deadline. Lookups of one name are made once, however many wait for it, and in the worker each
//! by a thread of its own, so that names of which the resolver says nothing delay no others. A session has one.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::fiber::{self, Until};
use super::thread;
use super::wakeup::Wakeup;

/// The most threads of a worker that look up names at the same time. A name server that does not answer holds each for seconds.
const THREADS: usize = 64;

/// A thread without work ends after this.
const IDLE: Duration = Duration::from_secs(30);

/// The most names that wait for a thread; a lookup beyond that fails at once.
const QUEUE: usize = 64;

/// How long an answer is used. `getaddrinfo` does not tell the records' own time to live.
const FRESH: Duration = Duration::from_secs(30);

/// How long an answer may serve while a newer one does not come, so that a name server that is away for a while stops nothing.
const STALE: Duration = Duration::from_secs(600);

/// How long callers wait for a newer answer before they take the older one: longer than a name server that is well takes.
const PATIENCE: Duration = Duration::from_millis(250);

/// Names whose answers are kept. At this number those go that are older than [`FRESH`]; where none is that old, a further
/// name is not kept, and looked up each time.
const KEPT: usize = 10_000;

/// The addresses of a name, or one line that says why there are none.
pub type Addresses = Result<Vec<IpAddr>, String>;

/// Looks up names; clones share threads and answers.
#[derive(Clone)]
pub struct Lookups {
    shared: Arc<Shared>,
}

struct Shared {
    /// Threads, at the most.
    most: usize,
    state: Mutex<State>,
    queue: (Sender<String>, Receiver<String>),
}

#[derive(Default)]
struct State {
    answers: HashMap<String, (Instant, Vec<IpAddr>)>,
    waiting: HashMap<String, Waiting>,
    threads: usize,
}

/// A lookup that has not ended.
struct Waiting {
    since: Instant,
    callers: Vec<Arc<Call>>,
}

/// One caller's wait for an answer.
struct Call {
    answer: OnceLock<Addresses>,
    wakeup: Wakeup,
}

impl Call {
    fn new() -> Result<Arc<Self>, String> {
        let wakeup = Wakeup::new().map_err(|error| error.to_string())?;
        Ok(Arc::new(Self { answer: OnceLock::new(), wakeup }))
    }

    fn end(&self, answer: Addresses) {
        // There is one end to a lookup.
        let _ = self.answer.set(answer);
        self.wakeup.wake();
    }

    fn wait(&self, deadline: Option<Instant>) -> Option<Addresses> {
        fiber::wait(self.wakeup.as_fd(), Until::Readable, deadline).ok()?;
        self.answer.get().cloned()
    }
}

impl Default for Lookups {
    fn default() -> Self {
        Self::with_threads(THREADS)
    }
}

impl Lookups {
    /// By so many threads at the most.
    pub fn with_threads(most: usize) -> Self {
        Self { shared: Arc::new(Shared { most, state: Mutex::default(), queue: bounded(QUEUE) }) }
    }

    /// The addresses of `name`, waiting for at most `patience`.
    ///
    /// # Errors
    ///
    /// The resolver's refusal, a full queue, or `None` where the time was not enough.
    pub fn addresses(&self, name: &str, patience: Duration) -> Option<Addresses> {
        let deadline = Instant::now().checked_add(patience);
        let (call, stale) = {
            let mut state = self.shared.lock();
            let known = state.answers.get(name).cloned();
            let now = Instant::now();
            let silent = state.waiting.get(name).is_some_and(|w| now - w.since > PATIENCE);
            match known {
                Some((at, addresses)) if now - at < FRESH => return Some(Ok(addresses)),
                Some((at, addresses)) if silent && now - at < STALE => return Some(Ok(addresses)),
                known => {
                    let stale = known.filter(|(at, _)| now - *at < STALE).map(|(_, a)| a);
                    (self.ask(&mut state, name), stale)
                }
            }
        };
        let call = match call {
            Ok(call) => call,
            Err(reason) => return Some(stale.ok_or(reason)),
        };
        match stale {
            Some(stale) => match call.wait(Instant::now().checked_add(PATIENCE.min(patience))) {
                Some(Ok(addresses)) => Some(Ok(addresses)),
                _ => Some(Ok(stale)),
            },
            None => call.wait(deadline),
        }
    }

    fn ask(&self, state: &mut State, name: &str) -> Result<Arc<Call>, String> {
        let call = Call::new()?;
        if let Some(waiting) = state.waiting.get_mut(name) {
            waiting.callers.push(Arc::clone(&call));
            return Ok(call);
        }
        if state.threads < self.shared.most && state.threads <= state.waiting.len() {
            let shared = Arc::clone(&self.shared);
            match thread::spawn("webhook lookup", move || shared.serve()) {
                Ok(_) => state.threads += 1,
                Err(error) if state.threads == 0 => return Err(format!("no thread: {error}")),
                Err(_) => {}
            }
        }
        self.shared
            .queue
            .0
            .try_send(name.to_owned())
            .map_err(|_| "too many lookups are waiting")?;
        let waiting = Waiting { since: Instant::now(), callers: vec![Arc::clone(&call)] };
        state.waiting.insert(name.to_owned(), waiting);
        Ok(call)
    }
}

impl Shared {
    /// Every update leaves the state whole, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        loop {
            let Ok(name) = self.queue.1.recv_timeout(IDLE) else {
                let mut state = self.lock();
                // Whoever queues a name does so under this lock.
                if self.queue.1.is_empty() {
                    state.threads -= 1;
                    return;
                }
                continue;
            };
            let answer = look_up(&name);
            let mut state = self.lock();
            if let Ok(addresses) = &answer {
                state.keep(&name, addresses);
            }
            let callers = state.waiting.remove(&name).map(|waiting| waiting.callers);
            for caller in callers.into_iter().flatten() {
                caller.end(answer.clone());
            }
        }
    }
}

impl State {
    fn keep(&mut self, name: &str, addresses: &[IpAddr]) {
        if self.answers.len() >= KEPT {
            self.answers.retain(|_, (at, _)| at.elapsed() < FRESH);
        }
        if self.answers.len() < KEPT {
            self.answers.insert(name.to_owned(), (Instant::now(), addresses.to_vec()));
        }
    }
}

fn look_up(name: &str) -> Addresses {
    let found: io::Result<Vec<IpAddr>> =
        (name, 0).to_socket_addrs().map(|found| found.map(|a: SocketAddr| a.ip()).collect());
    match found {
        Ok(addresses) if addresses.is_empty() => Err("the name has no address".to_owned()),
        Ok(addresses) => Ok(addresses),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLENTY: Duration = Duration::from_secs(20);

    #[test]
    fn finds_and_keeps() {
        let lookups = Lookups::default();
        let first = lookups.addresses("localhost", PLENTY).unwrap().unwrap();
        assert!(first.iter().all(IpAddr::is_loopback), "{first:?}");
        assert_eq!(lookups.addresses("localhost", Duration::ZERO), Some(Ok(first)));
    }

    #[test]
    fn every_notation_of_an_address_is_seen_as_the_address() {
        let lookups = Lookups::default();
        for name in ["2130706433", "0x7f.1", "127.1", "0177.0.0.1"] {
            let addresses = lookups.addresses(name, PLENTY).unwrap().unwrap();
            assert_eq!(addresses, ["127.0.0.1".parse::<IpAddr>().unwrap()], "{name}");
        }
    }

    #[test]
    fn many_callers_share_a_lookup_and_few_threads() {
        let lookups = Lookups::default();
        let callers: Vec<_> = (0..32)
            .map(|n| {
                let lookups = lookups.clone();
                std::thread::spawn(move || {
                    lookups.addresses(&format!("127.0.0.{}", n % 8 + 1), PLENTY).unwrap().unwrap()
                })
            })
            .collect();
        for caller in callers {
            assert_eq!(caller.join().unwrap().len(), 1);
        }
        assert!(lookups.shared.lock().threads <= THREADS);
    }

    #[test]
    fn keeps_so_many_names() {
        let mut state = State::default();
        let address = [IpAddr::from([127, 0, 0, 1])];
        for n in 0..KEPT {
            state.keep(&n.to_string(), &address);
        }
        state.keep("further", &address);
        assert!(!state.answers.contains_key("further"), "all are fresh");
        let old = Instant::now().checked_sub(FRESH).expect("the machine has run for longer");
        state.answers.values_mut().take(KEPT / 2).for_each(|(at, _)| *at = old);
        state.keep("further", &address);
        assert!(state.answers.contains_key("further"));
        assert_eq!(state.answers.len(), KEPT / 2 + 1);
    }

    #[test]
    fn one_thread_answers_all() {
        let lookups = Lookups::with_threads(1);
        let callers: Vec<_> = (1..=32)
            .map(|n| {
                let lookups = lookups.clone();
                let name = format!("127.0.1.{n}");
                std::thread::spawn(move || lookups.addresses(&name, PLENTY).unwrap().unwrap())
            })
            .collect();
        for caller in callers {
            assert_eq!(caller.join().unwrap().len(), 1);
        }
        assert_eq!(lookups.shared.lock().threads, 1);
    }
}
