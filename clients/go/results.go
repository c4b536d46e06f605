package polybatch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"iter"

	"google.golang.org/grpc/codes"

	pb "github.com/polybatch/polybatch/clients/go/polybatchv1"
)

// ResultFilter says which lines of the results.
type ResultFilter = pb.ResultFilter

const (
	AllLines       = pb.ResultFilter_RESULT_FILTER_UNSPECIFIED
	SucceededLines = pb.ResultFilter_RESULT_FILTER_SUCCEEDED
	// FailedLines are all that did not succeed; cancelled and expired ones too.
	FailedLines = pb.ResultFilter_RESULT_FILTER_FAILED
)

// ResultLine is one line of the results.
type ResultLine struct {
	ID       string `json:"id"`
	CustomID string `json:"custom_id"`
	// Model is the one that was asked for; empty where it cannot be told.
	Model    string        `json:"model"`
	Response *LineResponse `json:"response"`
	// Error is of every line that did not succeed.
	Error *LineError `json:"error"`
	// Attempts is how often the line was sent to its provider.
	Attempts int `json:"attempts"`
	// Cost is in USD, exact to the nano-dollar; empty where the model has no price.
	Cost json.Number `json:"cost"`
	// Dropped are paths of what was left out of the request, with LenientTranslation.
	Dropped []string `json:"dropped"`
	// ReusedFrom is the ID of the line whose answer it took; empty where it was run.
	ReusedFrom string `json:"reused_from"`
	// Raw is the line as it came, without its newline.
	Raw []byte `json:"-"`
}

// OK is whether the line succeeded.
func (l *ResultLine) OK() bool {
	return l.Error == nil && l.Response != nil && l.Response.StatusCode >= 200 && l.Response.StatusCode < 300
}

// LineResponse is a provider's answer to one line.
type LineResponse struct {
	// StatusCode is that of HTTP; 0 where the provider gave none.
	StatusCode int    `json:"status_code"`
	RequestID  string `json:"request_id"`
	// Body has OpenAI's form whatever the provider.
	Body json.RawMessage `json:"body"`
}

// LineError says why one line failed.
type LineError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

var errStopped = errors.New("the caller wants no more")

// Results yields the results of an ended batch in input order, line by line. An error is the last
// that is yielded: also a DIGEST_MISMATCH behind all lines, where they are not what the service
// has written.
func (c *Client) Results(ctx context.Context, batchID string, which ResultFilter) iter.Seq2[*ResultLine, error] {
	return func(yield func(*ResultLine, error) bool) {
		show := func(raw []byte) error {
			line := &ResultLine{Raw: raw}
			if err := json.Unmarshal(raw, line); err != nil {
				return failure(codes.DataLoss, "RESULT_UNREADABLE", "a line of the results of %s cannot be read: %v", batchID, err)
			}
			if !yield(line, nil) {
				return errStopped
			}
			return nil
		}
		var begun []byte
		_, err := c.download(ctx, batchID, which, func(chunk []byte) error {
			for {
				end := bytes.IndexByte(chunk, '\n')
				if end < 0 {
					begun = append(begun, chunk...)
					return nil
				}
				line := chunk[:end:end]
				if len(begun) > 0 {
					line, begun = append(begun, line...), nil
				}
				if err := show(line); err != nil {
					return err
				}
				chunk = chunk[end+1:]
			}
		})
		if err == nil && len(begun) > 0 {
			err = show(begun)
		}
		if err != nil && err != errStopped {
			yield(nil, err)
		}
	}
}

// download hands the bytes of the results to take as they come, however many streams they take.
// What take returns ends it.
func (c *Client) download(ctx context.Context, batchID string, which ResultFilter, take func([]byte) error) (*pb.ResultsHeader, error) {
	attempts := c.collector.tries()
	request := &pb.DownloadResultsRequest{BatchId: batchID, Filter: which}
	digest := sha256.New()
	var header *pb.ResultsHeader
	attempt := func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		if request.Offset > 0 {
			// Of two revisions nothing can be put together.
			request.ResultsRevision = header.GetResultsRevision()
		}
		stream, err := c.results.DownloadResults(ctx, request)
		if err != nil {
			return err
		}
		for {
			reply, err := stream.Recv()
			switch {
			case err == io.EOF && header != nil && request.Offset == header.GetTotalBytes():
				return nil
			case err == io.EOF:
				return c.collector.endedEarly("download")
			case err != nil:
				return err
			case reply.GetHeader() != nil:
				header = reply.GetHeader()
				continue
			case header == nil:
				return failure(codes.DataLoss, "HEADER_MISSING", "the results of %s came without a header", batchID)
			}
			chunk := reply.GetChunk()
			digest.Write(chunk)
			if err := take(chunk); err != nil {
				return err
			}
			request.Offset += int64(len(chunk))
			attempts.progress()
		}
	}
	for err := attempt(ctx); err != nil; err = attempt(ctx) {
		if err = attempts.pause(ctx, err); err != nil {
			return nil, err
		}
	}
	if got, want := hex.EncodeToString(digest.Sum(nil)), header.GetManifest().GetResultsSha256(); which == AllLines && want != "" && got != want {
		return nil, failure(codes.DataLoss, "DIGEST_MISMATCH", "what came of %s has the SHA-256 %s, not %s; download it again", batchID, got, want)
	}
	return header, nil
}
