package polybatch

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	pb "github.com/polybatch/polybatch/clients/go/polybatchv1"
)

// The most that a message of an upload may hold.
const chunkBytes = 1 << 20

// SubmitOptions may all be left out.
type SubmitOptions struct {
	// RequestID makes the submission repeatable, in another process even: with the same id and the
	// same requests it goes on with the same upload, or returns the batch that was made of it. At
	// most 128 bytes. Without one, a random one holds for this call.
	RequestID string
	// Filename is for people.
	Filename string
	// DefaultProvider is of lines that name none and whose model tells none.
	DefaultProvider string
	// DefaultModel is of lines whose form may leave it out, as Gemini's does.
	DefaultModel string
	// Batch holds everything else, such as SkipInvalidLines, MaxCost or Metadata; its InputFileId
	// and RequestId are not used.
	Batch *pb.CreateBatchRequest
}

// SubmitFile is Submit of the requests of a file.
func (c *Client) SubmitFile(ctx context.Context, path string, options SubmitOptions) (*Batch, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if options.Filename == "" {
		options.Filename = filepath.Base(path)
	}
	return c.Submit(ctx, file, options)
}

// Submit uploads all of the requests, which are JSON lines, and makes a batch of them. An upload
// that breaks goes on where it was; so the requests have to be such that Seek works, and must not
// change meanwhile.
//
// Bad lines are an *Error with the reason INVALID_LINES and a violation for each, up to 20. The
// file stays at the service then (Metadata["file_id"]).
func (c *Client) Submit(ctx context.Context, requests io.ReadSeeker, options SubmitOptions) (*Batch, error) {
	size, err := requests.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("the requests have to be such that they can be read again: %w", err)
	}
	uploadID := rand.Text()
	if options.RequestID == "" {
		options.RequestID = uploadID
	} else if uploadID, err = derivedID(requests, options); err != nil {
		return nil, err
	}
	batch := &pb.CreateBatchRequest{}
	proto.Merge(batch, options.Batch)
	batch.InputFileId, batch.RequestId = "", options.RequestID
	up := upload{client: c, requests: requests, size: size, attempts: c.gateway.tries(), spec: &pb.SubmitBatchRequest_Spec{
		Upload: &pb.UploadSpec{
			Filename:        options.Filename,
			UploadId:        uploadID,
			DefaultProvider: options.DefaultProvider,
			DefaultModel:    options.DefaultModel,
		},
		Batch: batch,
	}}
	return up.run(ctx)
}

// derivedID is the id of the upload that belongs to a request id. It is of the content too: what
// other requests had committed must not be gone on with. The Python client makes the same.
func derivedID(requests io.ReadSeeker, options SubmitOptions) (string, error) {
	if _, err := requests.Seek(0, io.SeekStart); err != nil {
		return "", fmt.Errorf("reading the requests: %w", err)
	}
	digest := sha256.New()
	if _, err := io.Copy(digest, requests); err != nil {
		return "", fmt.Errorf("reading the requests: %w", err)
	}
	parts := []string{options.RequestID, hex.EncodeToString(digest.Sum(nil)), options.DefaultProvider, options.DefaultModel}
	id := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(id[:]), nil
}

// upload is one upload, however many streams it takes.
type upload struct {
	client    *Client
	requests  io.ReadSeeker
	size      int64
	committed int64 // bytes that need not be sent again
	spec      *pb.SubmitBatchRequest_Spec
	attempts  *tries
}

func (u *upload) run(ctx context.Context) (*Batch, error) {
	if err := u.ask(ctx); err != nil {
		return nil, err
	}
	for {
		batch, failed := u.send(ctx)
		if failed == nil {
			return batch, nil
		}
		// The time is over; but in a long attempt more may have got through.
		if u.attempts.late(time.Now()) {
			if err := u.ask(ctx); err != nil {
				return nil, err
			}
		}
		if err := u.attempts.pause(ctx, failed); err != nil {
			return nil, err
		}
		if err := u.ask(ctx); err != nil {
			return nil, err
		}
	}
}

// ask learns how much is committed.
func (u *upload) ask(ctx context.Context) error {
	status, err := u.client.files.GetUploadStatus(ctx, &pb.GetUploadStatusRequest{UploadId: u.spec.Upload.UploadId})
	var failed *Error
	if errors.As(err, &failed) && failed.Code == codes.NotFound {
		u.committed = 0
		return nil
	}
	if err != nil {
		return err
	}
	committed := status.GetCommittedSize()
	if committed > u.size || status.GetComplete() && committed != u.size {
		return changed("the service has %d bytes of %d", committed, u.size)
	}
	if committed > u.committed {
		u.attempts.progress()
	}
	u.committed = committed
	return nil
}

func changed(how string, values ...any) error {
	return failure(codes.InvalidArgument, "UPLOAD_CHANGED", "the requests are not those that were begun with: %s; submit them again with another request id", fmt.Sprintf(how, values...))
}

func (u *upload) send(ctx context.Context) (*Batch, error) {
	offset := u.committed
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if _, err := u.requests.Seek(offset, io.SeekStart); err != nil {
		return nil, fmt.Errorf("reading the requests: %w", err)
	}
	stream, err := u.client.batches.SubmitBatch(ctx)
	if err != nil {
		return nil, err
	}
	u.spec.Upload.WriteOffset = offset
	err = stream.Send(&pb.SubmitBatchRequest{Payload: &pb.SubmitBatchRequest_Spec_{Spec: u.spec}})
	for err == nil && offset < u.size {
		chunk := make([]byte, min(chunkBytes, u.size-offset))
		if _, err := io.ReadFull(u.requests, chunk); err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil, changed("they have become shorter than %d bytes", u.size)
		} else if err != nil {
			return nil, fmt.Errorf("reading the requests: %w", err)
		}
		offset += int64(len(chunk))
		err = stream.Send(&pb.SubmitBatchRequest{Payload: &pb.SubmitBatchRequest_Chunk{Chunk: chunk}})
	}
	if err == nil {
		// Of a part that is finished a batch would be made.
		end, err := u.requests.Seek(0, io.SeekEnd)
		if err != nil {
			return nil, fmt.Errorf("reading the requests: %w", err)
		}
		if end != u.size {
			return nil, changed("they have %d bytes now instead of %d", end, u.size)
		}
	}
	if err == nil {
		// Without it the service takes the stream for broken off.
		err = stream.Send(&pb.SubmitBatchRequest{Payload: &pb.SubmitBatchRequest_Finish{Finish: true}})
	}
	// Its end says that the service has answered before everything was sent.
	if err != nil && err != io.EOF {
		return nil, err
	}
	return stream.CloseAndRecv()
}
