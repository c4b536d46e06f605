package polybatch_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	polybatch "github.com/polybatch/polybatch/clients/go"
	"github.com/polybatch/polybatch/clients/go/polybatchv1"
)

// fake is a polybatch whose batches have ended as soon as they are made. It keeps what it is asked,
// and breaks streams where it is told to.
type fake struct {
	polybatchv1.UnimplementedBatchServiceServer
	polybatchv1.UnimplementedFileServiceServer
	polybatchv1.UnimplementedStatusServiceServer
	polybatchv1.UnimplementedResultServiceServer

	address    string
	chunkBytes int
	digest     string                 // instead of the right one
	state      polybatchv1.BatchState // of the batch at its end, instead of completed
	// What it says is committed of an upload, one after the other; then nothing more is.
	committed []int64

	mutex   sync.Mutex
	results map[string][]byte
	asked   []proto.Message
	breaks  []breakage
	// Has a value for each stream of replies that its client has ended.
	cancelled chan struct{}
}

// breakage ends a stream of replies after so many messages, well where there is no error; and an
// upload where that is 0.
type breakage struct {
	after int
	err   error
}

const batchID = "batch_1"

// stopping is an error after which a client goes on at once.
func stopping() error {
	said, err := status.New(codes.Unavailable, "stopping").WithDetails(&errdetails.ErrorInfo{Reason: "SERVER_STOPPING"})
	if err != nil {
		panic(err)
	}
	return said.Err()
}

// start serves until the returned function is called.
func (f *fake) start() (stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	f.address = listener.Addr().String()
	f.results = map[string][]byte{}
	f.cancelled = make(chan struct{}, 100)
	server := grpc.NewServer()
	polybatchv1.RegisterBatchServiceServer(server, f)
	polybatchv1.RegisterFileServiceServer(server, f)
	polybatchv1.RegisterStatusServiceServer(server, f)
	polybatchv1.RegisterResultServiceServer(server, f)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	return func() {
		server.Stop()
		if err := <-served; err != nil {
			panic(err)
		}
	}, nil
}

// with returns the fake, serving, and a client of it.
func (f *fake) with(t *testing.T) (*fake, *polybatch.Client) {
	t.Helper()
	stop, err := f.start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	client, err := polybatch.New(polybatch.Config{
		Gateway: []string{f.address}, Collector: []string{f.address}, APIKey: "pb-test", Wait: 20 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return f, client
}

func (f *fake) note(request proto.Message) breakage {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.asked = append(f.asked, request)
	if len(f.breaks) == 0 {
		return breakage{after: -1}
	}
	next := f.breaks[0]
	f.breaks = f.breaks[1:]
	return next
}

// requests returns what it was asked, the first first.
func (f *fake) requests() []proto.Message {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.asked
}

func (f *fake) GetUploadStatus(context.Context, *polybatchv1.GetUploadStatusRequest) (*polybatchv1.UploadStatus, error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if len(f.committed) == 0 {
		return nil, status.Error(codes.NotFound, "nothing is committed")
	}
	next := f.committed[0]
	f.committed = f.committed[1:]
	return &polybatchv1.UploadStatus{CommittedSize: next}, nil
}

func (f *fake) SubmitBatch(stream grpc.ClientStreamingServer[polybatchv1.SubmitBatchRequest, polybatchv1.Batch]) error {
	var content []byte
	for {
		request, err := stream.Recv()
		if err != nil {
			return err
		}
		if request.GetSpec() != nil {
			if here := f.note(request); here.after == 0 {
				return here.err
			}
		}
		content = append(content, request.GetChunk()...)
		if request.GetFinish() {
			break
		}
	}
	var results bytes.Buffer
	lines := bufio.NewScanner(bytes.NewReader(content))
	for number := 1; lines.Scan(); number++ {
		var line struct {
			CustomID string `json:"custom_id"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return status.Error(codes.InvalidArgument, err.Error())
		}
		fmt.Fprintf(&results, `{"id":"%s-%d","custom_id":%q,"model":"m","response":{"status_code":200,"request_id":"r","body":{"n":%d}},"error":null,"attempts":1,"cost":0.000000001}`+"\n", batchID, number, line.CustomID, number)
	}
	f.put(results.Bytes())
	return stream.SendAndClose(ended(2))
}

func (f *fake) put(results []byte) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.results[batchID] = results
}

// made is whether a batch was made of an upload.
func (f *fake) made() bool {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.results[batchID] != nil
}

func ended(revision int64) *polybatch.Batch {
	return &polybatch.Batch{Id: batchID, Revision: revision, State: polybatchv1.BatchState_BATCH_STATE_COMPLETED}
}

func (f *fake) ended(revision int64) *polybatch.Batch {
	batch := ended(revision)
	if f.state != 0 {
		batch.State = f.state
	}
	return batch
}

// CreateBatch makes a batch; the answer is lost where a breakage says so.
func (f *fake) CreateBatch(_ context.Context, request *polybatchv1.CreateBatchRequest) (*polybatch.Batch, error) {
	if here := f.note(request); here.err != nil {
		return nil, here.err
	}
	return ended(2), nil
}

func (f *fake) GetBatch(context.Context, *polybatchv1.GetBatchRequest) (*polybatch.Batch, error) {
	return f.ended(2), nil
}

func (f *fake) WatchBatch(request *polybatchv1.WatchBatchRequest, stream grpc.ServerStreamingServer[polybatchv1.WatchBatchResponse]) error {
	here := f.note(request)
	sent := 0
	for revision := request.GetLastRevision() + 1; revision <= 2; revision++ {
		if sent == here.after {
			return here.err
		}
		batch := f.ended(revision)
		if revision == 1 {
			batch.State = polybatchv1.BatchState_BATCH_STATE_IN_PROGRESS
		}
		if err := stream.Send(&polybatchv1.WatchBatchResponse{Batch: batch}); err != nil {
			return err
		}
		sent++
	}
	if sent == here.after {
		return here.err
	}
	return nil
}

func (f *fake) DownloadResults(request *polybatchv1.DownloadResultsRequest, stream grpc.ServerStreamingServer[polybatchv1.DownloadResultsResponse]) error {
	here := f.note(request)
	f.mutex.Lock()
	results := f.results[request.GetBatchId()]
	f.mutex.Unlock()
	digest := sha256.Sum256(results)
	manifest := &polybatchv1.Manifest{ResultsSha256: hex.EncodeToString(digest[:])}
	if f.digest != "" {
		manifest.ResultsSha256 = f.digest
	}
	header := &polybatchv1.ResultsHeader{TotalBytes: int64(len(results)), ResultsRevision: 3, Manifest: manifest}
	err := stream.Send(&polybatchv1.DownloadResultsResponse{Payload: &polybatchv1.DownloadResultsResponse_Header{Header: header}})
	rest := results[request.GetOffset():]
	for sent := 0; err == nil && len(rest) > 0; sent++ {
		if sent == here.after {
			return here.err
		}
		chunk := rest[:min(f.chunkBytes, len(rest))]
		rest = rest[len(chunk):]
		err = stream.Send(&polybatchv1.DownloadResultsResponse{Payload: &polybatchv1.DownloadResultsResponse_Chunk{Chunk: chunk}})
	}
	if stream.Context().Err() != nil {
		f.cancelled <- struct{}{}
	}
	return err
}
