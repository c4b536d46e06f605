package polybatch

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	pb "github.com/polybatch/polybatch/clients/go/polybatchv1"
)

// How often in a row late answers may come while results are written.
const newerResults = 3

// Download writes the results of an ended batch to a file, and returns the proof of completeness
// that came with them. The file is written whole or not at all: to a hidden one beside it, which
// takes its place when its size and SHA-256 are right (the latter of AllLines only).
func (c *Client) Download(ctx context.Context, batchID, path string, which ResultFilter) (*pb.Manifest, error) {
	// A rename would put a file in the place of a device or a folder.
	if there, err := os.Stat(path); err == nil && !there.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "write", Path: path, Err: errors.New("exists and is not a regular file")}
	}
	for again := 0; ; again++ {
		manifest, err := c.downloadOnce(ctx, batchID, path, which)
		var failed *Error
		// Nothing of it was kept, and the newer is better.
		if errors.As(err, &failed) && failed.Reason == "RESULTS_CHANGED" && again < newerResults {
			continue
		}
		return manifest, err
	}
}

func (c *Client) downloadOnce(ctx context.Context, batchID, path string, which ResultFilter) (manifest *pb.Manifest, err error) {
	// In the same folder, so that the last step is a rename within one file system.
	unfinished := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%s.part", filepath.Base(path), rand.Text()[:8]))
	file, err := os.OpenFile(unfinished, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err == nil {
			return
		}
		if left := os.Remove(unfinished); left != nil {
			err = errors.Join(err, left)
		}
	}()
	header, err := c.download(ctx, batchID, which, func(chunk []byte) error {
		_, err := file.Write(chunk)
		return err
	})
	if err == nil {
		err = file.Sync()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(unfinished, path)
	}
	return header.GetManifest(), err
}
