package io.polybatch.client;

import com.google.protobuf.ByteString;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.security.MessageDigest;
import java.security.SecureRandom;
import java.util.HexFormat;
import polybatch.v1.Results.DownloadResultsRequest;
import polybatch.v1.Results.DownloadResultsResponse;
import polybatch.v1.Results.Manifest;
import polybatch.v1.Results.ResultsHeader;

/** One download of a batch's results, continued at its offset after a break. */
final class Results implements AutoCloseable {
  // How often in a row late answers may come while results are saved.
  private static final int NEWER_RESULTS = 3;

  private final Replies<DownloadResultsRequest, DownloadResultsResponse> replies;
  private ResultsHeader header;
  private long received;

  Results(Caller caller, String batchId) {
    replies =
        new Replies<>(
            caller,
            Server.COLLECTOR,
            Methods.DOWNLOAD_RESULTS,
            () ->
                DownloadResultsRequest.newBuilder()
                    .setBatchId(batchId)
                    .setOffset(received)
                    // Of two revisions nothing can be put together.
                    .setResultsRevision(received > 0 ? header.getResultsRevision() : 0)
                    .build(),
            () ->
                header != null && received == header.getTotalBytes()
                    ? Replies.Ended.WHOLE
                    : Replies.Ended.EARLY,
            "download");
  }

  /** The bytes as they come, exactly as many as the header announces; null at the end. */
  ByteString next() {
    DownloadResultsResponse reply;
    while ((reply = replies.next()) != null) {
      if (reply.hasHeader()) {
        header = reply.getHeader();
      } else if (header == null) {
        throw new PolybatchException("HEADER_MISSING", "the results came without a header", null);
      } else if (!reply.getChunk().isEmpty()) {
        // A header alone is no progress: a service that always breaks after it is given up.
        replies.progress();
        received += reply.getChunk().size();
        return reply.getChunk();
      }
    }
    return null;
  }

  @Override
  public void close() {
    replies.close();
  }

  /** Writes the results to a file, whole or not at all. */
  static Manifest save(Caller caller, String batchId, Path target) throws IOException {
    // A rename would put a file in the place of a device or a pipe.
    if (Files.exists(target) && !Files.isRegularFile(target)) {
      throw new FileAlreadyExistsException(target.toString(), null, "it is not a regular file");
    }
    for (int newer = 0; ; newer++) {
      try {
        return saveOnce(caller, batchId, target);
      } catch (PolybatchException error) {
        // Late answers came meanwhile: nothing of it was kept, and the newer is better.
        if (!error.reason().equals("RESULTS_CHANGED") || newer == NEWER_RESULTS) {
          throw error;
        }
      }
    }
  }

  private static Manifest saveOnce(Caller caller, String batchId, Path target) throws IOException {
    byte[] random = new byte[4];
    new SecureRandom().nextBytes(random);
    // In the same folder, so that the last step is a rename within one file system.
    Path part =
        target.resolveSibling(
            "." + target.getFileName() + "." + HexFormat.of().formatHex(random) + ".part");
    try (Results results = new Results(caller, batchId)) {
      MessageDigest digest = Digests.sha256();
      try (FileChannel file =
          FileChannel.open(part, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
        ByteString chunk;
        while ((chunk = results.next()) != null) {
          var bytes = chunk.asReadOnlyByteBuffer();
          digest.update(bytes.duplicate());
          while (bytes.hasRemaining()) {
            file.write(bytes);
          }
        }
        file.force(true);
      }
      String found = HexFormat.of().formatHex(digest.digest());
      Manifest manifest = results.header.getManifest();
      if (!found.equals(manifest.getResultsSha256())) {
        throw new PolybatchException(
            "DIGEST_MISMATCH",
            "what came has the SHA-256 %s and is not what the manifest names, %s; download it again"
                .formatted(found, manifest.getResultsSha256()),
            null);
      }
      Files.move(part, target, StandardCopyOption.ATOMIC_MOVE);
      return manifest;
    } finally {
      Files.deleteIfExists(part);
    }
  }
}
