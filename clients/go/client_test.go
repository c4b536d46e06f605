package polybatch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	polybatch "github.com/polybatch/polybatch/clients/go"
	"github.com/polybatch/polybatch/clients/go/polybatchv1"
)

func resultLines(count int) []byte {
	var lines bytes.Buffer
	for i := range count {
		fmt.Fprintf(&lines, `{"id":"%s-%d","custom_id":"c%d","response":null,"error":{"code":"e","message":"m"},"attempts":0,"cost":null}`+"\n", batchID, i+1, i)
	}
	return lines.Bytes()
}

func TestResultsGoOnWhereTheyBroke(t *testing.T) {
	t.Parallel()
	want := resultLines(100)
	f, client := (&fake{chunkBytes: 37, breaks: []breakage{{after: 0, err: stopping()}, {after: 3, err: stopping()}, {after: 5}}}).with(t)
	f.put(want)
	var got []byte
	for line, err := range client.Results(t.Context(), batchID, polybatch.AllLines) {
		if err != nil {
			t.Fatal(err)
		}
		if line.CustomID != fmt.Sprintf("c%d", bytes.Count(got, []byte("\n"))) || line.Error.Code != "e" || line.Cost != "" || line.OK() {
			t.Errorf("got %+v", line)
		}
		got = append(append(got, line.Raw...), '\n')
	}
	if !bytes.Equal(got, want) {
		t.Error("the lines are not those of the service")
	}
	var offsets []int64
	for _, asked := range f.requests() {
		request := asked.(*polybatchv1.DownloadResultsRequest)
		offsets = append(offsets, request.GetOffset())
		if revision := request.GetResultsRevision(); (revision == 3) != (request.GetOffset() > 0) {
			t.Errorf("revision %d was asked for at %d", revision, request.GetOffset())
		}
	}
	if !slices.Equal(offsets, []int64{0, 0, 3 * 37, 8 * 37}) {
		t.Errorf("got %v", offsets)
	}
}

func TestResultsThatAreNotWhatTheManifestNames(t *testing.T) {
	t.Parallel()
	f, client := (&fake{chunkBytes: 1000, digest: strings.Repeat("0", 64)}).with(t)
	f.put(resultLines(3))
	lines := 0
	var last error
	for _, err := range client.Results(t.Context(), batchID, polybatch.AllLines) {
		if last = err; err == nil {
			lines++
		}
	}
	folder := t.TempDir()
	_, saved := client.Download(t.Context(), batchID, filepath.Join(folder, "results.jsonl"), polybatch.AllLines)
	for _, err := range []error{last, saved} {
		var failed *polybatch.Error
		if !errors.As(err, &failed) || failed.Reason != "DIGEST_MISMATCH" || lines != 3 {
			t.Errorf("got %v after %d lines", err, lines)
		}
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
		t.Errorf("it has left %v, %v", left, err)
	}
	if _, err := client.Download(t.Context(), batchID, filepath.Join(folder, "some.jsonl"), polybatch.FailedLines); err != nil {
		t.Errorf("the manifest does not name the digest of some lines, but: %v", err)
	}
}

func TestLeavingResultsEndsTheCall(t *testing.T) {
	t.Parallel()
	f, client := (&fake{chunkBytes: 1000}).with(t)
	f.put(resultLines(200_000)) // more than fits into what a connection holds
	for _, err := range client.Results(t.Context(), batchID, polybatch.AllLines) {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	select {
	case <-f.cancelled:
	case <-time.After(20 * time.Second):
		t.Error("the service streams on")
	}
}

func TestAWatchGoesOnAfterTheRevisionSeenLast(t *testing.T) {
	t.Parallel()
	f, client := (&fake{breaks: []breakage{{after: 1}, {after: 0, err: stopping()}}}).with(t)
	var seen []int64
	for batch, err := range client.Watch(t.Context(), batchID, 0) {
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, batch.GetRevision())
	}
	if !slices.Equal(seen, []int64{1, 2}) {
		t.Errorf("got %v", seen)
	}
	var asked []int64
	for _, request := range f.requests() {
		asked = append(asked, request.(*polybatchv1.WatchBatchRequest).GetLastRevision())
	}
	if !slices.Equal(asked, []int64{0, 1, 1}) {
		t.Errorf("asked after %v", asked)
	}
	for batch, err := range client.Watch(t.Context(), batchID, 2) {
		t.Errorf("after the last revision: got %v, %v", batch, err)
	}
}

func TestAWatchEndsInAStateOfALaterVersion(t *testing.T) {
	t.Parallel()
	f, client := (&fake{state: 99}).with(t)
	for _, after := range []int64{0, 2} {
		var seen []int64
		for batch, err := range client.Watch(t.Context(), batchID, after) {
			if err != nil {
				t.Fatal(err)
			}
			seen = append(seen, batch.GetRevision())
		}
		if len(seen) != int(2-after) {
			t.Errorf("after %d: got %v", after, seen)
		}
	}
	// Each once more than the first OK, which may be that of a service that is stopping.
	if asked := len(f.requests()); asked != 4 {
		t.Errorf("watched %d times", asked)
	}
	if batch, err := client.Wait(t.Context(), batchID); err != nil || batch.GetState() != 99 {
		t.Errorf("got %v, %v", batch, err)
	}
}

func TestAContextThatIsDoneEndsTheWaiting(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	client, err := polybatch.New(polybatch.Config{
		Gateway: []string{"127.0.0.1:1"}, Collector: []string{"127.0.0.1:1"}, APIKey: "pb-test", Wait: time.Hour,
		OnRetry: func(failed *polybatch.Error, _ time.Duration) {
			if failed.Code != codes.Unavailable || failed.Address != "127.0.0.1:1" {
				t.Errorf("got %v", failed)
			}
			cancel()
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Wait(ctx, batchID); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestAClosedClientSaysSoAndTriesNothingAgain(t *testing.T) {
	t.Parallel()
	f, client := (&fake{breaks: []breakage{{after: 1}}}).with(t)
	closed := func(err error) {
		t.Helper()
		var failed *polybatch.Error
		if !errors.As(err, &failed) || failed.Reason != "CLIENT_CLOSED" {
			t.Errorf("got %v", err)
		}
	}
	var last error
	for _, err := range client.Watch(t.Context(), batchID, 0) {
		client.Close()
		last = err
	}
	closed(last)
	_, err := client.Get(t.Context(), batchID)
	closed(err)
	_, err = client.Submit(t.Context(), strings.NewReader("{}\n"), polybatch.SubmitOptions{})
	closed(err)
	if asked := f.requests(); len(asked) != 1 {
		t.Errorf("asked for %v", asked)
	}
}

func TestASubmissionHasTheUploadIDOfTheOtherClients(t *testing.T) {
	t.Parallel()
	f, client := (&fake{}).with(t)
	options := polybatch.SubmitOptions{
		RequestID: "my-request", DefaultProvider: "openai",
		Batch: &polybatchv1.CreateBatchRequest{SkipInvalidLines: true, InputFileId: "another"},
	}
	if _, err := client.Submit(t.Context(), strings.NewReader(`{"custom_id": "a"}`+"\n"), options); err != nil {
		t.Fatal(err)
	}
	spec := f.requests()[0].(*polybatchv1.SubmitBatchRequest).GetSpec()
	// As clients/python reckons it, so that each goes on with an upload that the other began.
	if got := spec.GetUpload().GetUploadId(); got != "4b899b4f638293fdcbd12ba59f4417f05d84cfdd0c3c68e684680108b5cc452c" {
		t.Errorf("got %s", got)
	}
	if batch := spec.GetBatch(); batch.GetRequestId() != "my-request" || !batch.GetSkipInvalidLines() || batch.GetInputFileId() != "" {
		t.Errorf("got %v", batch)
	}
}

func TestAnUploadThatGetsOnIsNotGivenUp(t *testing.T) {
	t.Parallel()
	line := `{"custom_id": "a"}` + "\n"
	away := breakage{err: status.Error(codes.Unavailable, "gone for now")}
	// The second failure comes when the time is over, and a line has got through meanwhile.
	one := int64(len(line))
	f, _ := (&fake{breaks: []breakage{away, away}, committed: []int64{0, 0, one, one}}).with(t)
	client, err := polybatch.New(polybatch.Config{
		Gateway: []string{f.address}, Collector: []string{f.address}, APIKey: "pb-test", Wait: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Submit(t.Context(), strings.NewReader(line+line), polybatch.SubmitOptions{}); err != nil {
		t.Fatal(err)
	}
	var offsets []int64
	for _, request := range f.requests() {
		offsets = append(offsets, request.(*polybatchv1.SubmitBatchRequest).GetSpec().GetUpload().GetWriteOffset())
	}
	if !slices.Equal(offsets, []int64{0, 0, one}) {
		t.Errorf("got %v", offsets)
	}
}

// growing is a file that somebody else writes on while it is read.
type growing struct {
	*os.File
	more string
}

func (g *growing) Read(into []byte) (int, error) {
	count, err := g.File.Read(into)
	if err == nil {
		_, err = g.WriteAt([]byte(g.more), int64(count))
	}
	return count, err
}

func TestNoBatchIsMadeOfAFileThatGrows(t *testing.T) {
	t.Parallel()
	file, err := os.Create(filepath.Join(t.TempDir(), "requests.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	line := `{"custom_id": "a"}` + "\n"
	if _, err := file.WriteString(line); err != nil {
		t.Fatal(err)
	}
	f, client := (&fake{}).with(t)
	_, err = client.Submit(t.Context(), &growing{file, line}, polybatch.SubmitOptions{})
	var failed *polybatch.Error
	if !errors.As(err, &failed) || failed.Reason != "UPLOAD_CHANGED" {
		t.Errorf("got %v", err)
	}
	if f.made() {
		t.Error("a batch was made of its first part")
	}
}

func TestOtherServicesAreCalledOverTheSameConnections(t *testing.T) {
	t.Parallel()
	_, client := (&fake{}).with(t)
	_, err := polybatchv1.NewPriceServiceClient(client.Gateway()).ListPrices(t.Context(), &polybatchv1.ListPricesRequest{})
	var failed *polybatch.Error
	if !errors.As(err, &failed) || failed.Name() != "UNIMPLEMENTED" || status.Code(err) != codes.Unimplemented {
		t.Errorf("got %v", err)
	}
}

func TestACallOfAStubMakesOneBatchHoweverOftenItIsTriedAgain(t *testing.T) {
	t.Parallel()
	f, client := (&fake{breaks: []breakage{{err: stopping()}}}).with(t)
	stub := polybatchv1.NewBatchServiceClient(client.Gateway())
	request := &polybatchv1.CreateBatchRequest{InputFileId: "file_1"}
	for range 2 {
		if _, err := stub.CreateBatch(t.Context(), request); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := stub.CreateBatch(t.Context(), &polybatchv1.CreateBatchRequest{RequestId: "mine"}); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, asked := range f.requests() {
		ids = append(ids, asked.(*polybatchv1.CreateBatchRequest).GetRequestId())
	}
	// The first answer was lost; the second call is another batch.
	if len(ids) != 4 || ids[0] == "" || ids[0] != ids[1] || ids[1] == ids[2] || ids[3] != "mine" {
		t.Errorf("got %q", ids)
	}
	if request.GetRequestId() != "" {
		t.Error("the caller's request was changed")
	}
}
