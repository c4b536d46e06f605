//! When to try again, how long to wait first, and when to give up.

use std::time::Duration;

use tokio::time::Instant;
use tonic::Code;

use crate::error::{CallError, TLS_FAILED};

const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Attempts that fail for a reason that rarely passes by itself, in a row.
const UNCLEAR_LIMIT: u32 = 3;

/// What is to follow a failure.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    RetryAfter(Duration),
    /// It does not pass by itself.
    Fail,
    /// It might pass, but nothing has got through for as long as was to be waited.
    GiveUp {
        waited: Duration,
    },
}

/// The waits of one operation.
#[derive(Debug)]
pub(crate) struct Backoff {
    give_up_after: Duration,
    failures: u32,
    unclear_failures: u32,
    first_failure: Option<Instant>,
}

impl Backoff {
    pub(crate) fn new(give_up_after: Duration) -> Self {
        Self { give_up_after, failures: 0, unclear_failures: 0, first_failure: None }
    }

    /// Something got through: the next failure is a first one again.
    pub(crate) fn progress(&mut self) {
        *self = Self::new(self.give_up_after);
    }

    /// `jitter` is from 0 to 1.
    pub(crate) fn after(&mut self, error: &CallError, now: Instant, jitter: f64) -> Next {
        let waited = now.duration_since(*self.first_failure.get_or_insert(now));
        self.failures += 1;
        if !self.passes(error) {
            return Next::Fail;
        }
        let left = self.give_up_after.saturating_sub(waited);
        let told = error.retry_delay.unwrap_or_default();
        if left.is_zero() || told > left {
            return Next::GiveUp { waited };
        }
        if error.reason == "SERVER_STOPPING" && self.failures == 1 {
            return Next::RetryAfter(Duration::ZERO);
        }
        let ceiling = LONGEST_WAIT.min(FIRST_WAIT * 2_u32.pow((self.failures - 1).min(10)));
        let wait = ceiling.mul_f64(0.5 + jitter / 2.0).max(told);
        // The last attempt comes when the time is over, not before.
        Next::RetryAfter(wait.min(left))
    }

    /// Whether the same again may succeed. Every call may be repeated; see clients/README.md.
    fn passes(&mut self, error: &CallError) -> bool {
        match (error.code, error.reason.as_str()) {
            // Only what somebody does ends these.
            (_, "STORED_BYTES_LIMIT" | "WEBHOOKS_LIMIT" | TLS_FAILED) => false,
            // Another stream of the same upload was there, and took back what it had committed.
            (Code::Internal | Code::Unknown | Code::DataLoss, _) | (_, "WRITE_OFFSET_MISMATCH") => {
                self.unclear_failures += 1;
                self.unclear_failures <= UNCLEAR_LIMIT
            }
            (Code::ResourceExhausted, _) => error.retry_delay.is_some(),
            (Code::Unavailable | Code::Aborted | Code::Cancelled | Code::DeadlineExceeded, _) => {
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(120);

    fn error(code: Code, reason: &str, retry_delay: Option<u64>) -> CallError {
        CallError {
            reason: reason.to_owned(),
            retry_delay: retry_delay.map(Duration::from_secs),
            ..CallError::new(code, "")
        }
    }

    #[test]
    fn what_passes_by_itself_is_tried_again() {
        let wait = |millis| Next::RetryAfter(Duration::from_millis(millis));
        let rules = [
            (Code::Unavailable, "", None, wait(200)),
            (Code::Aborted, "UPLOAD_CONFLICT", None, wait(200)),
            (Code::DeadlineExceeded, "", None, wait(200)),
            (Code::Internal, "", None, wait(200)),
            (Code::FailedPrecondition, "WRITE_OFFSET_MISMATCH", None, wait(200)),
            (Code::Unavailable, "SERVER_STOPPING", None, wait(0)),
            (Code::Unavailable, "", Some(3), wait(3000)),
            (Code::ResourceExhausted, "REQUEST_RATE_LIMIT", Some(1), wait(1000)),
            (Code::ResourceExhausted, "BATCHES_LIMIT", None, Next::Fail),
            (Code::ResourceExhausted, "STORED_BYTES_LIMIT", Some(1), Next::Fail),
            (Code::Unauthenticated, "API_KEY_REVOKED", None, Next::Fail),
            (Code::InvalidArgument, "INVALID_LINES", None, Next::Fail),
            (Code::NotFound, "BATCH_NOT_FOUND", None, Next::Fail),
            (Code::Unavailable, TLS_FAILED, None, Next::Fail),
        ];
        for (code, reason, delay, expected) in rules {
            let error = error(code, reason, delay);
            let next = Backoff::new(WAIT).after(&error, Instant::now(), 1.0);
            assert_eq!(next, expected, "{code:?} {reason}");
        }
    }

    #[test]
    fn waits_double_until_the_time_is_over() {
        let unavailable = error(Code::Unavailable, "SERVER_STOPPING", None);
        let mut backoff = Backoff::new(WAIT);
        let start = Instant::now();
        let waits = |backoff: &mut Backoff, count: usize| -> Vec<Next> {
            let waits = (0..count).map(|_| backoff.after(&unavailable, start, 0.0));
            waits.collect()
        };
        let expected = [0, 200, 400, 800, 1600, 2500, 2500]
            .map(|millis| Next::RetryAfter(Duration::from_millis(millis)));
        assert_eq!(waits(&mut backoff, 7), expected);
        let late = start + Duration::from_secs(119);
        let last = backoff.after(&unavailable, late, 1.0);
        assert_eq!(last, Next::RetryAfter(Duration::from_secs(1)));
        let over = backoff.after(&unavailable, start + WAIT, 1.0);
        assert_eq!(over, Next::GiveUp { waited: WAIT });
        backoff.progress();
        assert_eq!(waits(&mut backoff, 2), expected[..2]);
        let at_once = Backoff::new(Duration::ZERO).after(&unavailable, start, 1.0);
        assert_eq!(at_once, Next::GiveUp { waited: Duration::ZERO });
    }

    #[test]
    fn what_rarely_passes_is_tried_three_times() {
        let internal = error(Code::Internal, "", None);
        let mut backoff = Backoff::new(WAIT);
        let nexts = [0; 4].map(|_| backoff.after(&internal, Instant::now(), 0.0));
        assert!(nexts[..3].iter().all(|next| matches!(next, Next::RetryAfter(_))));
        assert_eq!(nexts[3], Next::Fail);
    }
}
