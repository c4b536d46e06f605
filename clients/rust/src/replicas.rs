//! The replicas of one server, and which of them takes the next call.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::error::CallError;

const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(10);

/// One of the two public services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// Takes files and makes batches.
    Gateway,
    /// Tells of batches and holds their results.
    Collector,
}

impl Server {
    pub(crate) fn variable(self) -> &'static str {
        match self {
            Self::Gateway => "POLYBATCH_GATEWAY",
            Self::Collector => "POLYBATCH_COLLECTOR",
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Gateway => "gateway",
            Self::Collector => "collector",
        })
    }
}

/// A channel to one replica that sends the key with every call.
pub type Service = InterceptedService<Channel, Authorization>;

/// Puts the key into the metadata of a call.
#[derive(Clone, Debug)]
pub struct Authorization(pub(crate) MetadataValue<Ascii>);

impl Interceptor for Authorization {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        metadata.insert("authorization", self.0.clone());
        Ok(request)
    }
}

struct Replica {
    address: String,
    service: Service,
    /// In a row.
    failures: u32,
    rests_until: Instant,
}

/// Gives calls to the replicas by turns.
///
/// One that was away is left alone for a moment, longer each time, as long as another one can be
/// asked: so the repetition of a call goes elsewhere.
pub(crate) struct Replicas {
    server: Server,
    state: Mutex<State>,
}

struct State {
    replicas: Vec<Replica>,
    next: usize,
}

/// The replica of one call.
pub(crate) struct Turn {
    pub(crate) service: Service,
    address: String,
    index: usize,
}

impl Replicas {
    /// `first` takes the first call: a random one, as many clients make one call each.
    pub(crate) fn new(server: Server, services: Vec<(String, Service)>, first: usize) -> Self {
        let now = Instant::now();
        let replica =
            |(address, service)| Replica { address, service, failures: 0, rests_until: now };
        let replicas: Vec<_> = services.into_iter().map(replica).collect();
        let next = first % replicas.len();
        Self { server, state: Mutex::new(State { replicas, next }) }
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let addresses = state.replicas.iter().map(|replica| replica.address.clone());
        addresses.collect()
    }

    /// The next replica that does not rest; where all rest, the one that has to rest least.
    pub(crate) fn turn(&self) -> Turn {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, count, next) = (Instant::now(), state.replicas.len(), state.next);
        let index = (0..count)
            .map(|step| (next + step) % count)
            .min_by_key(|&index| state.replicas[index].rests_until.max(now))
            .unwrap_or(next);
        state.next = (index + 1) % count;
        let replica = &state.replicas[index];
        Turn { service: replica.service.clone(), address: replica.address.clone(), index }
    }

    pub(crate) fn answered(&self, turn: &Turn) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.replicas[turn.index].failures = 0;
        state.replicas[turn.index].rests_until = Instant::now();
    }

    /// Takes in how a call has failed.
    pub(crate) fn failed(&self, turn: &Turn, status: Status) -> CallError {
        let error = CallError::from(status).at(self.server, &turn.address);
        if error.code != Code::Unavailable {
            self.answered(turn);
            return error;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (replica, now) = (&mut state.replicas[turn.index], Instant::now());
        // Calls that were under way together fail together: that is one failure.
        if replica.rests_until <= now {
            let rest = FIRST_REST * 2_u32.pow(replica.failures.min(10));
            replica.failures += 1;
            replica.rests_until = now + rest.min(LONGEST_REST);
        }
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::transport::Endpoint;

    #[tokio::test(start_paused = true)]
    async fn one_that_is_away_is_left_alone_for_a_moment() {
        let key = Authorization(MetadataValue::from_static("Bearer pb"));
        let service = || {
            let channel = Endpoint::from_static("http://localhost:1").connect_lazy();
            InterceptedService::new(channel, key.clone())
        };
        let named = |name: &str| (name.to_owned(), service());
        let replicas = Replicas::new(Server::Gateway, vec![named("a"), named("b")], 3);
        let turns = |count| [(); 4][..count].iter().map(|()| replicas.turn().address).collect();
        let by_turns: Vec<_> = turns(3);
        assert_eq!(by_turns, ["b", "a", "b"]);
        let a = replicas.turn();
        assert_eq!(a.address, "a");
        replicas.failed(&a, Status::unavailable("gone"));
        let elsewhere: Vec<_> = turns(3);
        assert_eq!(elsewhere, ["b", "b", "b"]);
        tokio::time::advance(FIRST_REST).await;
        let again: Vec<_> = turns(2);
        assert_eq!(again, ["a", "b"]);
        replicas.failed(&replicas.turn(), Status::not_found("it answers"));
        let all: Vec<_> = turns(2);
        assert_eq!(all, ["b", "a"]);
    }
}
