package io.polybatch.client;

import java.util.EnumSet;
import java.util.Set;
import polybatch.v1.Batches.Batch;
import polybatch.v1.Batches.BatchState;
import polybatch.v1.Status.WatchBatchRequest;
import polybatch.v1.Status.WatchBatchResponse;

/**
 * Snapshots of a batch with rising revisions, the last one of the batch when it has ended, be it in
 * a state that is not known here.
 */
final class Watch extends Ahead<Batch> {
  private static final Set<BatchState> ENDED =
      EnumSet.of(
          BatchState.BATCH_STATE_COMPLETED,
          BatchState.BATCH_STATE_FAILED,
          BatchState.BATCH_STATE_EXPIRED,
          BatchState.BATCH_STATE_CANCELLED);

  // The first one may be that of a service that is stopping.
  private static final int ENDS_OF_UNKNOWN_STATE = 2;

  private final Replies<WatchBatchRequest, WatchBatchResponse> replies;
  private long revision;
  // Of a later version: only the service knows whether it is of the end.
  private boolean unknownState;
  // Streams that ended with OK since the last revision.
  private int ends;
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
            this::afterOk,
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
        unknownState =
            batch.getState() == BatchState.UNRECOGNIZED
                || batch.getState() == BatchState.BATCH_STATE_UNSPECIFIED;
        ends = 0;
        if (ENDED.contains(batch.getState())) {
          ended = true;
          close();
        }
        return batch;
      }
    }
    return null;
  }

  private Replies.Ended afterOk() {
    if (ended) {
      return Replies.Ended.WHOLE;
    }
    if (!unknownState) {
      return Replies.Ended.EARLY;
    }
    ends++;
    return ends == ENDS_OF_UNKNOWN_STATE ? Replies.Ended.WHOLE : Replies.Ended.UNCLEAR;
  }

  @Override
  public void close() {
    replies.close();
  }
}
