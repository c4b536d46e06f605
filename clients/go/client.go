// Package polybatch is a client of polybatch, which runs one JSONL file of language-model requests
// at providers' batch prices.
//
// Uploads, watches and downloads outlive broken connections, and services that are away for a
// while, by themselves: see [Config].Wait. A context that is done ends every call; a batch that
// was made goes on without it.
//
// What this package does not wrap is called over the generated stubs of polybatchv1:
//
//	prices, err := polybatchv1.NewPriceServiceClient(client.Gateway()).ListPrices(ctx, &polybatchv1.ListPricesRequest{})
package polybatch

import (
	"context"
	"os"

	"google.golang.org/grpc"

	pb "github.com/polybatch/polybatch/clients/go/polybatchv1"
)

// Version is that of this module.
const Version = "0.1.0"

// Batch is a snapshot of a batch.
type Batch = pb.Batch

// Client speaks to the two services of one polybatch. It may be used by many goroutines at once.
type Client struct {
	gateway, collector *server
	batches            pb.BatchServiceClient
	files              pb.FileServiceClient
	status             pb.StatusServiceClient
	results            pb.ResultServiceClient
}

// New returns a client; what the configuration leaves open comes from the environment. It does not
// connect yet: the first call does.
func New(config Config) (*Client, error) {
	config, err := config.resolved(os.Getenv)
	if err != nil {
		return nil, err
	}
	gateway, err := newServer("gateway", config.Gateway, config)
	if err != nil {
		return nil, err
	}
	collector, err := newServer("collector", config.Collector, config)
	if err != nil {
		gateway.close()
		return nil, err
	}
	return &Client{
		gateway: gateway, collector: collector,
		batches: pb.NewBatchServiceClient(gateway),
		files:   pb.NewFileServiceClient(gateway),
		status:  pb.NewStatusServiceClient(collector),
		results: pb.NewResultServiceClient(collector),
	}, nil
}

// Close ends the calls that are open, and the connections. Those calls, and all that come after,
// fail with the reason CLIENT_CLOSED.
func (c *Client) Close() {
	c.gateway.close()
	c.collector.close()
}

// Gateway is for the stubs of all services but StatusService and ResultService. Calls with one
// reply are tried again, streams are not; the errors of both are as of this package. What makes a
// batch is given a random request id where it has none, so that it makes one however often it is
// tried.
func (c *Client) Gateway() grpc.ClientConnInterface { return c.gateway }

// Collector is for the stubs of StatusService and ResultService.
func (c *Client) Collector() grpc.ClientConnInterface { return c.collector }

// Get returns a batch as it is now.
func (c *Client) Get(ctx context.Context, batchID string) (*Batch, error) {
	return c.batches.GetBatch(ctx, &pb.GetBatchRequest{BatchId: batchID})
}

// Cancel asks for the end of a batch; wait for it to see it end. What was answered is kept.
func (c *Client) Cancel(ctx context.Context, batchID string) (*Batch, error) {
	return c.batches.CancelBatch(ctx, &pb.CancelBatchRequest{BatchId: batchID})
}

// Ended is whether nothing more will run of the batch.
func Ended(batch *Batch) bool {
	switch batch.GetState() {
	case pb.BatchState_BATCH_STATE_COMPLETED, pb.BatchState_BATCH_STATE_FAILED,
		pb.BatchState_BATCH_STATE_EXPIRED, pb.BatchState_BATCH_STATE_CANCELLED:
		return true
	default:
		return false
	}
}
