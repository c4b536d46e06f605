package io.polybatch.client;

import java.io.IOException;
import java.nio.file.Path;
import polybatch.v1.Batches.Batch;
import polybatch.v1.Batches.CancelBatchRequest;
import polybatch.v1.Batches.CreateBatchRequest;
import polybatch.v1.Batches.GetBatchRequest;
import polybatch.v1.Batches.SubmitBatchRequest;
import polybatch.v1.Files.DeleteFileRequest;
import polybatch.v1.Results.Manifest;

/**
 * Submits files of requests as batches, watches them, and fetches their results.
 *
 * <p>Uploads, watches and downloads go on where a broken connection left them; calls are repeated
 * as long as that may help. A thread that waits in a method can be interrupted. All methods throw
 * {@link PolybatchException}. May be shared by threads.
 */
public final class PolybatchClient implements AutoCloseable {
  private final Caller caller;

  private PolybatchClient(Caller caller) {
    this.caller = caller;
  }

  /** A client for what the environment names, else for polybatch on this machine. */
  public static PolybatchClient create() {
    return create(ClientOptions.builder().build());
  }

  /**
   * A client with these options. It connects with its first call.
   *
   * @throws PolybatchException where no key is found, a value makes no sense, or values contradict
   *     each other
   */
  public static PolybatchClient create(ClientOptions options) {
    return new PolybatchClient(new Caller(Connection.resolve(options), options.onRetry));
  }

  /** {@link #submit(Path, CreateBatchRequest)} with no options. */
  public Batch submit(Path requests) throws IOException {
    return submit(requests, CreateBatchRequest.getDefaultInstance());
  }

  /** {@link #submit(RequestSource, SubmitBatchRequest.Spec)} of a file. */
  public Batch submit(Path requests, CreateBatchRequest options) throws IOException {
    return submit(
        RequestSource.of(requests), SubmitBatchRequest.Spec.newBuilder().setBatch(options).build());
  }

  /**
   * Uploads requests and makes a batch of them.
   *
   * <p>With a {@code request_id} the batch is made once, however often this is called, also by
   * another process: it goes on with what was uploaded, or returns the batch. The requests are read
   * once more for that.
   *
   * @param spec options of the batch; of the upload: the default provider and model, and how long
   *     the file is kept. Ids and offset of the upload are chosen here.
   * @throws PolybatchException {@code INVALID_LINES} with up to 20 violations; {@code
   *     REQUEST_ID_REUSED}: the id was used with other requests or options; and whatever {@code
   *     protos/polybatch/v1/batches.proto} names
   * @throws IOException the requests cannot be read
   */
  public Batch submit(RequestSource requests, SubmitBatchRequest.Spec spec) throws IOException {
    RequestSource fixed = requests instanceof FileSource file ? file.asItIs() : requests;
    SubmitBatchRequest.Spec.Builder full = spec.toBuilder();
    var upload = full.getUploadBuilder();
    if (upload.getFilename().isEmpty()) {
      upload.setFilename(requests.name());
    }
    String requestId = spec.getBatch().getRequestId();
    boolean again = !requestId.isEmpty();
    // Of all of it: what other content has committed is not continued.
    upload.setUploadId(
        again
            ? Digests.of(
                requestId,
                Digests.of(fixed),
                upload.getDefaultProvider(),
                upload.getDefaultModel())
            : Upload.newId());
    return new Upload(caller, fixed, full.build()).run(again);
  }

  /** The batch as it is now. */
  public Batch get(String batchId) {
    return caller.unary(
        Server.GATEWAY,
        Methods.GET_BATCH,
        GetBatchRequest.newBuilder().setBatchId(batchId).build());
  }

  /** Asks for a batch's end and returns the batch; watch it to its end. */
  public Batch cancel(String batchId) {
    return caller.unary(
        Server.GATEWAY,
        Methods.CANCEL_BATCH,
        CancelBatchRequest.newBuilder().setBatchId(batchId).build());
  }

  /**
   * The batch as it is, and then whenever it has changed, up to its end. One who is slow gets only
   * the newest.
   */
  public CloseableIterator<Batch> watch(String batchId) {
    return new Watch(caller, batchId);
  }

  /** Waits until a batch has ended and returns it: completed, failed, expired or cancelled. */
  public Batch awaitEnd(String batchId) {
    Batch last = null;
    try (CloseableIterator<Batch> snapshots = watch(batchId)) {
      while (snapshots.hasNext()) {
        last = snapshots.next();
      }
    }
    return last;
  }

  /**
   * The lines of an ended batch's results, in the order of the requests.
   *
   * @throws PolybatchException from the iterator: {@code BATCH_NOT_ENDED}; {@code NO_RESULTS}: the
   *     batch failed as such; {@code RESULTS_CHANGED}: answers came late while it was read, begin
   *     again
   */
  public CloseableIterator<ResultLine> results(String batchId) {
    return new ResultLines(new Results(caller, batchId));
  }

  /**
   * Writes the results of an ended batch to a file, whole or not at all: to a hidden file beside
   * it, which takes its name once size and SHA-256 are right.
   *
   * @throws IOException the file cannot be written, or there is something that is not a file
   */
  public Manifest downloadResults(String batchId, Path file) throws IOException {
    return Results.save(caller, batchId, file);
  }

  /**
   * Deletes an uploaded file, such as one whose lines were refused: its id is {@code file_id} in
   * the metadata of the exception.
   */
  public void deleteFile(String fileId) {
    caller.unary(
        Server.GATEWAY,
        Methods.DELETE_FILE,
        DeleteFileRequest.newBuilder().setFileId(fileId).build());
  }

  /** Ends all calls and connections. */
  @Override
  public void close() {
    caller.close();
  }
}
