//! Watches, continued at their revision after a break.

use std::sync::Arc;

use crate::attempts::{Attempts, Core, Replies};
use crate::client::has_ended;
use crate::error::{CallError, Error};
use crate::replicas::Server;
use crate::v1::status_service_client::StatusServiceClient;
use crate::v1::{Batch, BatchState, WatchBatchRequest, WatchBatchResponse};

/// The first one may be that of a server that is stopping.
const ENDS_OF_AN_UNKNOWN_STATE: u32 = 2;

pub(crate) struct Watch {
    core: Arc<Core>,
    batch_id: String,
    revision: i64,
    /// Of the last snapshot.
    state: Option<BatchState>,
    /// Streams that ended with OK since then.
    ends: u32,
    ended: bool,
    attempts: Attempts,
    replies: Option<Replies<WatchBatchResponse>>,
}

impl Watch {
    pub(crate) fn new(core: Arc<Core>, batch_id: String) -> Self {
        let attempts = Attempts::new(core.wait);
        Self {
            core,
            batch_id,
            revision: 0,
            state: None,
            ends: 0,
            ended: false,
            attempts,
            replies: None,
        }
    }

    /// The next snapshot; None after the last one.
    pub(crate) async fn next(&mut self) -> Result<Option<Batch>, Error> {
        if self.ended {
            return Ok(None);
        }
        loop {
            match self.receive().await {
                // A sign of life holds no batch; an old revision is a replica's lag.
                Ok(Some(WatchBatchResponse { batch: Some(batch) }))
                    if batch.revision > self.revision =>
                {
                    self.revision = batch.revision;
                    self.state = Some(batch.state());
                    self.ends = 0;
                    self.ended = has_ended(&batch);
                    return Ok(Some(batch));
                }
                Ok(Some(_)) => {}
                // A state of a later version: whether it is one of the end only the service knows.
                Ok(None) => {
                    self.ends += 1;
                    self.ended = self.ends == ENDS_OF_AN_UNKNOWN_STATE;
                    if self.ended {
                        return Ok(None);
                    }
                }
                Err(error) => {
                    self.replies = None;
                    self.attempts.pause(&self.core, error).await?;
                }
            }
        }
    }

    /// None where the stream has ended and the batch may have, in a state that is not known.
    async fn receive(&mut self) -> Result<Option<WatchBatchResponse>, CallError> {
        let replies = match &mut self.replies {
            Some(replies) => replies,
            None => {
                let request = WatchBatchRequest {
                    batch_id: self.batch_id.clone(),
                    last_revision: self.revision,
                };
                let call = |service| async move {
                    StatusServiceClient::new(service).watch_batch(request).await
                };
                let begun = self.core.replies(Server::Collector, call).await?;
                self.replies.insert(begun)
            }
        };
        let reply = replies.next().await?;
        if reply.is_some() {
            self.attempts.progress();
        } else if self.state == Some(BatchState::Unspecified) {
            self.replies = None;
        } else {
            return Err(replies.ended_early("the watch"));
        }
        Ok(reply)
    }
}
