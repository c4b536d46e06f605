package io.polybatch.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import io.grpc.Grpc;
import io.grpc.InsecureServerCredentials;
import io.grpc.Server;
import io.grpc.ServerServiceDefinition;
import io.grpc.Status;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.ServerCalls;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import polybatch.v1.Batches.Batch;
import polybatch.v1.Batches.BatchState;
import polybatch.v1.Results.DownloadResultsRequest;
import polybatch.v1.Results.DownloadResultsResponse;
import polybatch.v1.Results.ResultsHeader;
import polybatch.v1.Status.WatchBatchRequest;
import polybatch.v1.Status.WatchBatchResponse;

/** What the conformance run cannot see: iterators, and how they end. */
@Timeout(30)
class PolybatchClientTest {
  private static final ByteString RESULTS =
      ByteString.copyFromUtf8(
          """
          {"custom_id": "grün", "response": null, "error": {"code": "c", "message": "é"}}

          {"custom_id": "b", "response": {"status_code": 200, "body": {}}, "error": null}
          {"custom_id": "no newline", "response": {"status_code": 200, "body": {}}}\
          """
              .strip());

  private final List<DownloadResultsRequest> downloads = new ArrayList<>();
  private final CountDownLatch watched = new CountDownLatch(1);
  private final CompletableFuture<Void> cancelled = new CompletableFuture<>();
  private final List<Long> watchedAfter = new ArrayList<>();
  private boolean endsInAnUnknownState;
  private int breakAfter = Integer.MAX_VALUE;
  private Server server;
  private ClientOptions.Builder options;
  private PolybatchClient client;

  @BeforeEach
  void start() throws IOException {
    server =
        Grpc.newServerBuilderForPort(0, InsecureServerCredentials.create())
            .addService(
                ServerServiceDefinition.builder("polybatch.v1.ResultService")
                    .addMethod(
                        Methods.DOWNLOAD_RESULTS,
                        ServerCalls.asyncServerStreamingCall(this::download))
                    .build())
            .addService(
                ServerServiceDefinition.builder("polybatch.v1.StatusService")
                    .addMethod(
                        Methods.WATCH_BATCH, ServerCalls.asyncServerStreamingCall(this::watch))
                    .build())
            .build()
            .start();
    String address = "127.0.0.1:" + server.getPort();
    options = ClientOptions.builder().gateway(address).collector(address).apiKey("pb");
    client = PolybatchClient.create(options.build());
  }

  @AfterEach
  void stop() {
    client.close();
    server.shutdownNow();
  }

  @Test
  void linesAreWholeWhereverChunksEndAndStreamsBreak() {
    breakAfter = RESULTS.toString(StandardCharsets.UTF_8).indexOf('ü') + 1;
    try (var lines = client.results("batch_a")) {
      assertEquals(
          List.of("grün", "b", "no newline"), lines.stream().map(ResultLine::customId).toList());
    }
    assertEquals(
        List.of(0L, (long) breakAfter),
        downloads.stream().map(DownloadResultsRequest::getOffset).limit(2).toList());
    assertEquals(7, downloads.get(1).getResultsRevision());
  }

  @Test
  void whoeverGoesOnAfterAnErrorMissesNothingAndGetsNothingTwice() {
    breakAfter = RESULTS.toString(StandardCharsets.UTF_8).indexOf('ü') + 1;
    try (var impatient = PolybatchClient.create(options.giveUpAfter(Duration.ZERO).build());
        var lines = impatient.results("batch_a")) {
      assertThrows(PolybatchException.class, lines::hasNext);
      assertEquals(
          List.of("grün", "b", "no newline"), lines.stream().map(ResultLine::customId).toList());
    }
  }

  @Test
  void anIteratorThatIsLeftEndsItsCall() throws Exception {
    try (var snapshots = client.watch("batch_a")) {
      assertEquals(1, snapshots.next().getRevision());
    }
    cancelled.get(20, TimeUnit.SECONDS);
  }

  @Test
  void aThreadThatWaitsCanBeInterrupted() throws Exception {
    var seen = new CompletableFuture<PolybatchException>();
    Thread waiting =
        new Thread(
            () -> {
              var error = assertThrows(PolybatchException.class, () -> client.awaitEnd("batch_a"));
              assertTrue(Thread.currentThread().isInterrupted());
              seen.complete(error);
            });
    waiting.start();
    watched.await();
    waiting.interrupt();
    assertEquals("INTERRUPTED", seen.get(20, TimeUnit.SECONDS).reason());
    cancelled.get(20, TimeUnit.SECONDS);
  }

  @Test
  void aWatchEndsInAStateOfALaterVersion() {
    endsInAnUnknownState = true;
    assertEquals(1, client.awaitEnd("batch_a").getRevision());
    // Once more than the first OK, which may be that of a service that is stopping.
    assertEquals(List.of(0L, 1L), watchedAfter);
  }

  /** Byte by byte; the first stream breaks where it is told to. */
  private synchronized void download(
      DownloadResultsRequest request, StreamObserver<DownloadResultsResponse> replies) {
    int until = downloads.isEmpty() ? Math.min(breakAfter, RESULTS.size()) : RESULTS.size();
    downloads.add(request);
    replies.onNext(
        DownloadResultsResponse.newBuilder()
            .setHeader(
                ResultsHeader.newBuilder().setTotalBytes(RESULTS.size()).setResultsRevision(7))
            .build());
    for (int at = (int) request.getOffset(); at < until; at++) {
      replies.onNext(
          DownloadResultsResponse.newBuilder().setChunk(RESULTS.substring(at, at + 1)).build());
    }
    if (until < RESULTS.size()) {
      replies.onError(Status.UNAVAILABLE.asException());
    } else {
      replies.onCompleted();
    }
  }

  /** One snapshot of a batch that does not end. */
  private void watch(WatchBatchRequest request, StreamObserver<WatchBatchResponse> replies) {
    ((ServerCallStreamObserver<WatchBatchResponse>) replies)
        .setOnCancelHandler(() -> cancelled.complete(null));
    watchedAfter.add(request.getLastRevision());
    if (endsInAnUnknownState) {
      if (request.getLastRevision() == 0) {
        var batch = Batch.newBuilder().setRevision(1).setStateValue(99);
        replies.onNext(WatchBatchResponse.newBuilder().setBatch(batch).build());
      }
      replies.onCompleted();
      return;
    }
    replies.onNext(
        WatchBatchResponse.newBuilder()
            .setBatch(
                Batch.newBuilder().setRevision(1).setState(BatchState.BATCH_STATE_IN_PROGRESS))
            .build());
    watched.countDown();
  }
}
