//! Calls that are tried again.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use ring::rand::SecureRandom as _;
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::backoff::{Backoff, Next};
use crate::error::{CallError, Error};
use crate::replicas::{Replicas, Server, Service, Turn};

/// For one attempt of a call with one reply that does not upload; streams take what they take.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) type RetryObserver = Arc<dyn Fn(&CallError, Duration) + Send + Sync>;

/// What the clones of a client share.
pub(crate) struct Core {
    pub(crate) gateway: Replicas,
    pub(crate) collector: Replicas,
    pub(crate) wait: Duration,
    pub(crate) on_retry: RetryObserver,
}

impl Core {
    pub(crate) fn replicas(&self, server: Server) -> &Replicas {
        match server {
            Server::Gateway => &self.gateway,
            Server::Collector => &self.collector,
        }
    }

    /// One attempt at the replica whose turn it is.
    pub(crate) async fn attempt<T, F>(
        &self,
        server: Server,
        call: impl FnOnce(Service) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let replicas = self.replicas(server);
        let turn = replicas.turn();
        match call(turn.service.clone()).await {
            Ok(response) => {
                replicas.answered(&turn);
                Ok(response.into_inner())
            }
            Err(status) => Err(replicas.failed(&turn, status)),
        }
    }

    /// One request, one reply; again while the failure is one that passes.
    pub(crate) async fn unary<M, T, F>(
        &self,
        server: Server,
        message: M,
        call: impl Fn(Service, Request<M>) -> F,
    ) -> Result<T, Error>
    where
        M: Clone,
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut attempts = Attempts::new(self.wait);
        loop {
            let mut request = Request::new(message.clone());
            request.set_timeout(CALL_TIMEOUT);
            // The channel's own timer ends with the first bytes of the reply.
            let within = |service| async {
                let answer = timeout(CALL_TIMEOUT, call(service, request)).await;
                answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer within 60 s")))
            };
            match self.attempt(server, within).await {
                Ok(reply) => return Ok(reply),
                Err(error) => attempts.pause(self, error).await?,
            }
        }
    }

    /// Begins a stream of replies at the replica whose turn it is.
    pub(crate) async fn replies<T, F>(
        self: &Arc<Self>,
        server: Server,
        call: impl FnOnce(Service) -> F,
    ) -> Result<Replies<T>, CallError>
    where
        F: Future<Output = Result<Response<Streaming<T>>, Status>>,
    {
        let turn = self.replicas(server).turn();
        match call(turn.service.clone()).await {
            Ok(response) => {
                Ok(Replies { core: self.clone(), server, turn, stream: response.into_inner() })
            }
            Err(status) => Err(self.replicas(server).failed(&turn, status)),
        }
    }
}

/// A stream of replies. Dropping it cancels the call.
pub(crate) struct Replies<T> {
    core: Arc<Core>,
    server: Server,
    turn: Turn,
    stream: Streaming<T>,
}

impl<T> Replies<T> {
    /// The next reply; None where the stream has ended with OK.
    pub(crate) async fn next(&mut self) -> Result<Option<T>, CallError> {
        let replicas = self.core.replicas(self.server);
        let received = self.stream.message().await;
        match received {
            Ok(reply) => {
                replicas.answered(&self.turn);
                Ok(reply)
            }
            Err(status) => Err(replicas.failed(&self.turn, status)),
        }
    }

    /// What a stream that ended with OK before its time counts as: broken like any other.
    pub(crate) fn ended_early(&self, what: &str) -> CallError {
        let status = Status::unavailable(format!("{what} ended before its time"));
        self.core.replicas(self.server).failed(&self.turn, status)
    }
}

/// The attempts of one operation.
pub(crate) struct Attempts {
    backoff: Backoff,
    gave_up_waiting: bool,
}

impl Attempts {
    pub(crate) fn new(wait: Duration) -> Self {
        Self { backoff: Backoff::new(wait), gave_up_waiting: false }
    }

    /// Something got through: waits start over.
    pub(crate) fn progress(&mut self) {
        self.backoff.progress();
    }

    /// Whether the last failure might have passed, had there been more time.
    pub(crate) fn gave_up_waiting(&self) -> bool {
        self.gave_up_waiting
    }

    /// Waits before the next attempt; returns the error where none makes sense.
    pub(crate) async fn pause(&mut self, core: &Core, mut error: CallError) -> Result<(), Error> {
        let jitter = f64::from(random_bytes::<1>()[0]) / 255.0;
        let next = self.backoff.after(&error, Instant::now(), jitter);
        self.gave_up_waiting = matches!(next, Next::GiveUp { .. });
        match next {
            Next::RetryAfter(wait) => {
                (core.on_retry)(&error, wait);
                sleep(wait).await;
                Ok(())
            }
            Next::GiveUp { waited } => {
                if !waited.is_zero() {
                    let seconds = waited.as_secs_f64();
                    error.message = format!("{}; waited {seconds:.1} s", error.message);
                }
                Err(Box::new(error).into())
            }
            Next::Fail => Err(Box::new(error).into()),
        }
    }
}

/// # Panics
///
/// Where the operating system has no randomness to give, on which TLS could not do either.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    ring::rand::SystemRandom::new()
        .fill(&mut bytes)
        .expect("the operating system gives random bytes");
    bytes
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // a String takes everything
        text
    })
}

pub(crate) fn is_not_found(error: &Error) -> bool {
    error.call().is_some_and(|call| call.code == Code::NotFound)
}
