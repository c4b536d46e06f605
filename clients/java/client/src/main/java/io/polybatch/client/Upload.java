package io.polybatch.client;

import com.google.protobuf.UnsafeByteOperations;
import io.grpc.CallOptions;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.stub.BlockingClientCall;
import io.grpc.stub.ClientCalls;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.security.SecureRandom;
import java.util.Base64;
import java.util.Set;
import polybatch.v1.Batches.Batch;
import polybatch.v1.Batches.SubmitBatchRequest;
import polybatch.v1.Files.GetUploadStatusRequest;
import polybatch.v1.Files.UploadStatus;

/** An upload that a batch is made of, continued after a break. */
final class Upload {
  private static final int CHUNK_BYTES = 1 << 20;

  // Nothing of the stream was taken, so there is nothing to ask; a call more would only be refused
  // as well.
  private static final Set<String> REFUSED_UNREAD =
      Set.of("REQUEST_RATE_LIMIT", "OPEN_UPLOADS_LIMIT");

  private final Caller caller;
  private final Caller.Attempts attempts;
  private final RequestSource source;
  private final SubmitBatchRequest.Spec.Builder spec;

  /**
   * @param spec with the id of the upload
   */
  Upload(Caller caller, RequestSource source, SubmitBatchRequest.Spec spec) {
    this.caller = caller;
    this.attempts = caller.attempts(Server.GATEWAY);
    this.source = source;
    this.spec = spec.toBuilder();
  }

  /** An upload id of the form that the service asks for, which nobody else chooses. */
  static String newId() {
    byte[] random = new byte[18];
    new SecureRandom().nextBytes(random);
    return Base64.getUrlEncoder().encodeToString(random);
  }

  /**
   * Sends everything, however many streams it takes, and returns the batch.
   *
   * @param resume whether there may be an upload of this id already
   */
  Batch run(boolean resume) throws IOException {
    UploadStatus status = resume ? ask() : UploadStatus.getDefaultInstance();
    while (true) {
      long before = status.getCommittedSize();
      try {
        Batch batch = send(status);
        attempts.answered();
        return batch;
      } catch (PolybatchException error) {
        boolean misplaced = error.reason().equals("WRITE_OFFSET_MISMATCH");
        if (!misplaced) {
          attempts.pause(error, () -> ask().getCommittedSize() > before);
        }
        if (REFUSED_UNREAD.contains(error.reason())) {
          continue;
        }
        status = ask();
        if (status.getCommittedSize() > before) {
          attempts.answered();
        } else if (misplaced && status.getCommittedSize() == before) {
          attempts.pause(error);
        }
      }
    }
  }

  /** How far the upload has come; nothing where the service does not know it. */
  private UploadStatus ask() {
    var request =
        GetUploadStatusRequest.newBuilder().setUploadId(spec.getUpload().getUploadId()).build();
    try {
      return caller.unary(Server.GATEWAY, Methods.GET_UPLOAD_STATUS, request);
    } catch (PolybatchException error) {
      if (error.code().orElse(null) == Status.Code.NOT_FOUND) {
        return UploadStatus.getDefaultInstance();
      }
      throw error;
    }
  }

  /** One stream, from what is committed on. */
  private Batch send(UploadStatus status) throws IOException {
    try (InputStream content = source.open()) {
      skip(content, status);
      BlockingClientCall<SubmitBatchRequest, Batch> call =
          ClientCalls.blockingClientStreamingCall(
              attempts.begin(), Methods.SUBMIT_BATCH, CallOptions.DEFAULT);
      try {
        spec.getUploadBuilder().setWriteOffset(status.getCommittedSize());
        boolean open = call.write(SubmitBatchRequest.newBuilder().setSpec(spec).build());
        while (open) {
          // A new one each time: until it is sent, gRPC keeps it as it is.
          byte[] chunk = new byte[CHUNK_BYTES];
          int length = content.readNBytes(chunk, 0, CHUNK_BYTES);
          if (length == 0) {
            break;
          }
          var bytes = UnsafeByteOperations.unsafeWrap(chunk, 0, length);
          open = call.write(SubmitBatchRequest.newBuilder().setChunk(bytes).build());
        }
        // Without it the service takes the stream for broken off.
        if (open && call.write(SubmitBatchRequest.newBuilder().setFinish(true).build())) {
          call.halfClose();
        }
        Batch batch = call.read();
        if (batch == null) {
          throw attempts.endedEarly("upload");
        }
        // The status behind it.
        call.read();
        return batch;
      } finally {
        call.cancel("no more is wanted", null);
      }
    } catch (StatusException failed) {
      throw attempts.failed(failed);
    } catch (InterruptedException interrupt) {
      throw Failures.interrupted(interrupt);
    }
  }

  /** Goes to what is still to be sent. */
  private static void skip(InputStream content, UploadStatus status) throws IOException {
    long committed = status.getCommittedSize();
    try {
      content.skipNBytes(committed);
    } catch (EOFException shorter) {
      throw changed("the service has " + committed + " bytes of it already, which is more");
    }
    if (status.getComplete() && content.read() >= 0) {
      throw changed("the service took it for complete after " + committed + " bytes");
    }
  }

  private static PolybatchException changed(String how) {
    return new PolybatchException(
        "UPLOAD_TRUNCATED",
        "what is uploaded was changed meanwhile: " + how + "; submit it again with another id",
        null);
  }
}
