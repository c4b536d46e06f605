package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"google.golang.org/grpc/codes"

	polybatch "github.com/polybatch/polybatch/clients/go"
	"github.com/polybatch/polybatch/clients/go/polybatchv1"
)

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  error
		want int
	}{
		{&polybatch.Error{Code: codes.InvalidArgument, Reason: "INVALID_LINES"}, badInput},
		{&polybatch.Error{Code: codes.OutOfRange}, badInput},
		{&polybatch.Error{Code: codes.Unimplemented}, badInput},
		{&polybatch.Error{Code: codes.ResourceExhausted, Reason: "FILE_TOO_LARGE"}, badInput},
		{fmt.Errorf("wrapped: %w", &polybatch.Error{Code: codes.ResourceExhausted, Reason: "TOO_MANY_LINES"}), badInput},
		{&polybatch.Error{Code: codes.ResourceExhausted, Reason: "STORED_BYTES_LIMIT"}, failed},
		{&polybatch.Error{Code: codes.Unavailable}, failed},
		{&polybatch.Error{Code: codes.DataLoss, Reason: "DIGEST_MISMATCH"}, failed},
		{refuse("no such file"), badInput},
		{errors.New("the disk is full"), failed},
		{fmt.Errorf("wrapped: %w", context.Canceled), interrupted},
	} {
		if got := (&job{}).complain(test.err); got != test.want {
			t.Errorf("%v: got %d, want %d", test.err, got, test.want)
		}
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	got, err := parse([]string{"--skip-invalid", "--lenient", "--request-id", "my_own-id", "in.jsonl", "out.jsonl"})
	if want := (job{skipInvalid: true, lenient: true, requestID: "my_own-id", requests: "in.jsonl", results: "out.jsonl"}); err != nil || *got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	got, err = parse([]string{"--watch", "batch_1", "out.jsonl"})
	if err != nil || got.batchID != "batch_1" || got.requests != "" || got.results != "out.jsonl" {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err = parse([]string{"in.jsonl", "out.jsonl"}); err != nil || len(got.requestID) < 8 {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, wrong := range [][]string{{}, {"in.jsonl"}, {"a", "b", "c"}, {"--watch", "batch_1", "a", "b"}, {"--request-id", "short", "a", "b"}, {"--other", "a", "b"}} {
		if got, err := parse(wrong); err == nil {
			t.Errorf("%v is taken as %+v", wrong, got)
		}
	}
}

func TestWhatComesFromOutsideCannotSteerATerminal(t *testing.T) {
	t.Parallel()
	because := reasons(&polybatch.Batch{
		Errors: []*polybatchv1.BatchError{{Code: "c", Message: "m\x1b[2J\u202eé\n"}},
		Shards: []*polybatchv1.ShardStatus{{Model: "gpt", WaitingReason: "for a key"}, {Model: "other"}},
	})
	if !slices.Equal(because, []string{"c: m\x1b[2J\u202eé\n", "gpt waits: for a key"}) {
		t.Errorf("got %q", because)
	}
	if got := printable(because[0]); got != "c: m?[2J?é?" {
		t.Errorf("got %q", got)
	}
}
