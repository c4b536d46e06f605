// Command submit runs one batch: it streams a JSONL file of requests up, watches the batch to its
// end, and streams the results down.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"

	polybatch "github.com/polybatch/polybatch/clients/go"
	"github.com/polybatch/polybatch/clients/go/polybatchv1"
)

const usage = `Usage: submit [options] REQUESTS.jsonl RESULTS.jsonl
       submit --watch BATCH_ID [options] RESULTS.jsonl

Uploads the requests, prints the batch's id, watches the batch, writes its results.

  --skip-invalid    run the good lines; bad ones come back as failed lines
  --lenient         leave out what a line asks for and its provider lacks
  --request-id ID   8 to 64 characters of [A-Za-z0-9_-]: run again with the same id, it goes
                    on with the same upload, or with the batch that was made of it
  --watch ID        go on with a batch that was made before
  --help

Environment, as for the Python client:
  POLYBATCH_GATEWAY, POLYBATCH_COLLECTOR   localhost:50051, localhost:50052; grpcs://host:port
                                           for TLS; several replicas separated by commas
  POLYBATCH_API_KEY                        else the file api-key in POLYBATCH_DATA_DIR (.polybatch)
  POLYBATCH_TLS                            1 or 0; else on unless both are this machine
  POLYBATCH_TLS_CA, POLYBATCH_TLS_CLIENT_CERT, POLYBATCH_TLS_CLIENT_KEY   PEM files
  POLYBATCH_WAIT                           seconds in which nothing gets through before it
                                           gives up: 120

Exit codes: 0 all lines succeeded, 1 error, 2 bad input, 3 completed with failed lines,
4 failed, expired or cancelled, 130 Ctrl-C (a batch that was made goes on).
`

const (
	succeeded   = 0
	failed      = 1
	badInput    = 2
	linesFailed = 3
	batchFailed = 4
	interrupted = 130
)

func main() { os.Exit(run(os.Args[1:])) }

// refusal is the program's own word: what it was given cannot be used.
type refusal struct{ error }

func refuse(format string, values ...any) error { return refusal{fmt.Errorf(format, values...)} }

type job struct {
	skipInvalid, lenient bool
	requestID, batchID   string
	requests, results    string
	// Of the job as far as it has come; empty where there is nothing to go on with.
	howToGoOn string
}

func run(arguments []string) int {
	todo, err := parse(arguments)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Print(usage)
		return succeeded
	}
	if err != nil {
		say("submit: %v", err)
		fmt.Fprintf(os.Stderr, "\n%s", usage)
		return badInput
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// Whoever asks twice does not wait for what is under way.
	context.AfterFunc(ctx, stop)
	batch, err := todo.do(ctx)
	if err != nil {
		return todo.complain(err)
	}
	counts := batch.GetRequestCounts()
	switch {
	case batch.GetState() != polybatchv1.BatchState_BATCH_STATE_COMPLETED:
		return batchFailed
	case unsuccessful(counts) > 0:
		return linesFailed
	default:
		return succeeded
	}
}

func parse(arguments []string) (*job, error) {
	var todo job
	flags := flag.NewFlagSet("submit", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.BoolVar(&todo.skipInvalid, "skip-invalid", false, "")
	flags.BoolVar(&todo.lenient, "lenient", false, "")
	flags.StringVar(&todo.requestID, "request-id", "", "")
	flags.StringVar(&todo.batchID, "watch", "", "")
	if err := flags.Parse(arguments); err != nil {
		return nil, err
	}
	files := flags.Args()
	wanted := 2
	if todo.batchID != "" {
		wanted = 1
	}
	if len(files) != wanted {
		return nil, fmt.Errorf("%d file names are needed behind the options, not %d", wanted, len(files))
	}
	if todo.requestID == "" {
		todo.requestID = rand.Text()
	} else if !regexp.MustCompile(`^[A-Za-z0-9_-]{8,64}$`).MatchString(todo.requestID) {
		return nil, errors.New("the request id has to be 8 to 64 characters of [A-Za-z0-9_-]")
	}
	todo.results = files[wanted-1]
	if wanted == 2 {
		todo.requests = files[0]
	}
	return &todo, nil
}

func (j *job) do(ctx context.Context) (*polybatch.Batch, error) {
	if err := j.checkFiles(); err != nil {
		return nil, err
	}
	client, err := polybatch.New(polybatch.Config{OnRetry: func(failed *polybatch.Error, wait time.Duration) {
		if wait >= time.Second {
			say("%s; trying again in %.0f s", failed.Message, wait.Seconds())
		}
	}})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	if j.batchID == "" {
		j.howToGoOn = "to go on with this upload, run it again with --request-id " + j.requestID
		made, err := client.SubmitFile(ctx, j.requests, polybatch.SubmitOptions{
			RequestID: j.requestID,
			Batch: &polybatchv1.CreateBatchRequest{
				SkipInvalidLines:   j.skipInvalid,
				LenientTranslation: j.lenient,
			},
		})
		if err != nil {
			return nil, err
		}
		j.batchID = made.GetId()
		fmt.Println(j.batchID)
	}
	j.howToGoOn = fmt.Sprintf("%s goes on; watch it again with --watch %[1]s", j.batchID)
	var batch *polybatch.Batch
	var shown progress
	for snapshot, err := range client.Watch(ctx, j.batchID, 0) {
		if err != nil {
			return nil, err
		}
		batch = snapshot
		shown.show(batch)
	}
	j.howToGoOn = fmt.Sprintf("%s has ended; get its results with --watch %[1]s", j.batchID)
	_, err = client.Download(ctx, j.batchID, j.results, polybatch.AllLines)
	var refused *polybatch.Error
	if errors.As(err, &refused) && refused.Reason == "NO_RESULTS" {
		// It failed as such; that was shown.
		return batch, nil
	}
	return batch, err
}

// checkFiles comes before anything is sent: nobody wants to pay for results that cannot be written.
func (j *job) checkFiles() error {
	if j.requests != "" {
		requests, err := os.Open(j.requests)
		if err != nil {
			return refusal{err}
		}
		defer requests.Close()
		if info, err := requests.Stat(); err != nil {
			return refusal{err}
		} else if !info.Mode().IsRegular() {
			return refuse("%s is not a file", j.requests)
		}
	}
	if info, err := os.Stat(j.results); err == nil && !info.Mode().IsRegular() {
		return refuse("%s exists and is not a regular file", j.results)
	}
	trial, err := os.CreateTemp(filepath.Dir(j.results), ".submit-*.part")
	if err != nil {
		return refuse("%s cannot be written: %w", j.results, err)
	}
	return errors.Join(trial.Close(), os.Remove(trial.Name()))
}

// complain says what went wrong, and returns the exit code for it.
func (j *job) complain(err error) int {
	var refused *polybatch.Error
	switch {
	case errors.Is(err, context.Canceled):
		say("%s", strings.TrimSuffix("submit: stopped; "+j.howToGoOn, "; "))
		return interrupted
	case errors.As(err, &refused):
		say("submit: %s (%s)", refused.Message, refused.Name())
	default:
		say("submit: %v", err)
		if errors.As(err, &refusal{}) {
			return badInput
		}
		return failed
	}
	for _, violation := range refused.Violations {
		say("  %s: %s", violation.Field, violation.Description)
	}
	if refused.Reason == "INVALID_LINES" {
		lenient := refused.Metadata["lenient_line_count"]
		if lenient != "" && lenient != "0" {
			say("--lenient takes %s of them; --skip-invalid runs the others", lenient)
		} else {
			say("--skip-invalid runs the others")
		}
	}
	input := refused.Reason == "FILE_TOO_LARGE" || refused.Reason == "TOO_MANY_LINES"
	switch refused.Code {
	case codes.InvalidArgument, codes.OutOfRange, codes.Unimplemented:
		input = true
	case codes.Unauthenticated, codes.PermissionDenied, codes.NotFound, codes.AlreadyExists:
		// The same again is no use.
	default:
		if j.howToGoOn != "" && !input {
			say("%s", j.howToGoOn)
		}
	}
	if input {
		return badInput
	}
	return failed
}
