//! The queue of one endpoint, and how many threads may serve it at once.
//!
//! A lane with messages is represented in the pool by runners: each is a claim on one thread, and
//! there are never more of them than the lane's limit. A slow endpoint therefore holds its own
//! runners and nothing else. After so many failures in a row that the breaker will open, the lane
//! holds: its runners end, and the messages wait until the leader has decided.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::attempt::Message;
use super::client::Endpoint;
use crate::domain::breaker;

/// An attempt that takes longer than this is slow.
const SLOW: Duration = Duration::from_millis(100);

/// Attempts in a row that change what is known of an endpoint: one may be an accident.
const CONVINCING: u32 = 3;

/// What is known of an endpoint's speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Attempts end soon.
    Fast,
    /// None has ended yet.
    Unknown,
    /// An attempt holds its thread for long.
    Slow,
}

/// One endpoint's waiting messages.
pub struct Lane {
    webhook: i32,
    state: Mutex<State>,
}

struct State {
    endpoint: Arc<Endpoint>,
    queue: VecDeque<(Instant, Message)>,
    limit: usize,
    runners: usize,
    /// In a row.
    failures: u32,
    pace: Pace,
    /// Attempts in a row that say otherwise.
    doubts: u32,
}

impl Lane {
    /// An empty lane of `webhook` that at most `limit` threads serve.
    pub fn new(webhook: i32, endpoint: Arc<Endpoint>, limit: usize) -> Self {
        let state = State {
            endpoint,
            queue: VecDeque::new(),
            limit,
            runners: 0,
            failures: 0,
            pace: Pace::Unknown,
            doubts: 0,
        };
        Self { webhook, state: Mutex::new(state) }
    }

    /// Whose messages these are.
    pub fn webhook(&self) -> i32 {
        self.webhook
    }

    /// Messages taken from now on go where those of `new` would, by as many threads.
    pub fn take_over(&self, new: &Self) {
        let (endpoint, limit) = {
            let new = new.lock();
            (Arc::clone(&new.endpoint), new.limit)
        };
        let mut state = self.lock();
        state.endpoint = endpoint;
        state.limit = limit;
    }

    /// How long the oldest message that no thread has taken has waited.
    pub fn lag(&self) -> Duration {
        self.lock().queue.front().map_or(Duration::ZERO, |(since, _)| since.elapsed())
    }

    /// Removes and returns what no thread has taken.
    pub fn take_back(&self) -> Vec<Message> {
        self.lock().queue.drain(..).map(|(_, message)| message).collect()
    }

    /// Whether it waits for the leader's decision.
    pub fn holds(&self) -> bool {
        self.lock().failures >= breaker::TRIPS_AT
    }

    /// How fast its endpoint has been.
    pub(super) fn pace(&self) -> Pace {
        self.lock().pace
    }

    /// Counts an attempt that has ended.
    pub(super) fn note(&self, failed: bool, took: Duration) {
        let mut state = self.lock();
        state.failures = if failed { state.failures.saturating_add(1) } else { 0 };
        let seen = if took > SLOW { Pace::Slow } else { Pace::Fast };
        state.doubts = if seen == state.pace { 0 } else { state.doubts + 1 };
        if state.pace == Pace::Unknown || state.doubts >= CONVINCING {
            state.pace = seen;
            state.doubts = 0;
        }
    }

    /// Appends `messages` and ends a hold; returns how many runners the caller must start.
    pub(super) fn push(&self, messages: impl IntoIterator<Item = Message>) -> usize {
        let now = Instant::now();
        let mut state = self.lock();
        state.queue.extend(messages.into_iter().map(|message| (now, message)));
        // One more failure makes it hold again.
        state.failures = state.failures.min(breaker::TRIPS_AT - 1);
        let wanted = state.limit.min(state.queue.len() + state.runners);
        let missing = wanted.saturating_sub(state.runners);
        state.runners += missing;
        missing
    }

    /// The next message for a runner, with the endpoint as it is now. `None` ends the runner.
    pub(super) fn next(&self) -> Option<(Arc<Endpoint>, Message)> {
        let mut state = self.lock();
        if state.runners <= state.limit
            && state.failures < breaker::TRIPS_AT
            && let Some((_, message)) = state.queue.pop_front()
        {
            return Some((Arc::clone(&state.endpoint), message));
        }
        state.runners -= 1;
        None
    }

    /// Every update leaves the state whole, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
