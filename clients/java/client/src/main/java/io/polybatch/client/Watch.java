package io.polybatch.client;

import java.util.EnumSet;
import java.util.Set;
import polybatch.v1.Batches.Batch;
import polybatch.v1.Batches.BatchState;
import polybatch.v1.Status.WatchBatchRequest;
import polybatch.v1.Status.WatchBatchResponse;

/** Snapshots of a batch with rising revisions, the last one of the batch when it has ended. */
final class Watch extends Ahead<Batch> {
  private static final Set<BatchState> ENDED =
      EnumSet.of(
          BatchState.BATCH_STATE_COMPLETED,
          BatchState.BATCH_STATE_FAILED,
          BatchState.BATCH_STATE_EXPIRED,
          BatchState.BATCH_STATE_CANCELLED);

  private final Replies<WatchBatchRequest, WatchBatchResponse> replies;
  private long revision;
  private boolean ended;

  Watch(Caller caller, String batchId) {
    replies =
        new Replies<>(
            caller,
            Server.COLLECTOR,
            Methods.WATCH_BATCH,
            () ->
                WatchBatchRequest.newBuilder()
                    .setBatchId(batchId)
                    .setLastRevision(revision)
                    .build(),
            () -> ended,
            "watch");
  }

  @Override
  Batch find() {
    while (!ended) {
      WatchBatchResponse reply = replies.next();
      if (reply == null) {
        return null;
      }
      replies.progress();
      // A sign of life holds no batch; an old revision is a replica's lag.
      if (reply.hasBatch() && reply.getBatch().getRevision() > revision) {
        Batch batch = reply.getBatch();
        revision = batch.getRevision();
        if (ENDED.contains(batch.getState())) {
          ended = true;
          close();
        }
        return batch;
      }
    }
    return null;
  }

  @Override
  public void close() {
    replies.close();
  }
}
