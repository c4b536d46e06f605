package polybatch

import (
	"context"
	"io"
	"iter"

	pb "github.com/polybatch/polybatch/clients/go/polybatchv1"
)

// Watch yields snapshots of a batch with rising revisions, all later than `after`, the last one
// when it has ended, be it in a state that is not known here. `after` is 0, or the revision seen last by whoever goes on with a watch. An
// error is the last that is yielded.
func (c *Client) Watch(ctx context.Context, batchID string, after int64) iter.Seq2[*Batch, error] {
	return func(yield func(*Batch, error) bool) {
		w := watch{client: c, batchID: batchID, seen: after, attempts: c.collector.tries(), yield: yield}
		for {
			over, err := w.attempt(ctx)
			if over {
				return
			}
			if err == nil {
				continue
			}
			if err = w.attempts.pause(ctx, err); err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

// Wait returns the batch once it has ended.
func (c *Client) Wait(ctx context.Context, batchID string) (*Batch, error) {
	var last *Batch
	for batch, err := range c.Watch(ctx, batchID, 0) {
		if err != nil {
			return nil, err
		}
		last = batch
	}
	return last, nil
}

// The first one may be that of a service that is stopping.
const endsOfUnknownState = 2

type watch struct {
	client   *Client
	batchID  string
	seen     int64 // revision
	unknown  bool  // whether its state is of a later version than this client
	ends     int   // streams that ended with OK since a revision was seen
	attempts *tries
	yield    func(*Batch, error) bool
}

// attempt watches over one stream, and returns whether nothing more is to come; with neither that
// nor an error, it is to be watched on at once.
func (w *watch) attempt(ctx context.Context) (over bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := w.client.status.WatchBatch(ctx, &pb.WatchBatchRequest{BatchId: w.batchID, LastRevision: w.seen})
	if err != nil {
		return false, err
	}
	before := w.seen
	for {
		reply, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			return false, err
		}
		w.attempts.progress()
		if w.show(reply.GetBatch()) {
			return true, nil
		}
	}
	if w.seen == before {
		// The last revision may be the one that the caller has seen before.
		batch, err := w.client.Get(ctx, w.batchID)
		if err != nil {
			return false, err
		}
		if w.show(batch) || Ended(batch) {
			return true, nil
		}
		w.unknown = unknown(batch)
	}
	if w.unknown {
		w.ends++
		return w.ends == endsOfUnknownState, nil
	}
	return false, w.client.collector.endedEarly("watch")
}

// show yields what is news, and returns whether nothing more is to come.
func (w *watch) show(batch *Batch) bool {
	// A sign of life holds no batch; an old revision is a replica's lag.
	if batch == nil || batch.GetRevision() <= w.seen {
		return false
	}
	w.seen, w.unknown, w.ends = batch.GetRevision(), unknown(batch), 0
	return !w.yield(batch, nil) || Ended(batch)
}

// unknown is whether only the service can tell if the batch has ended.
func unknown(batch *Batch) bool {
	_, known := pb.BatchState_name[int32(batch.GetState())]
	return !known || batch.GetState() == pb.BatchState_BATCH_STATE_UNSPECIFIED
}
