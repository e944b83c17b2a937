package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/minio/minio-go/v7"
)

// workersKilled kills the workers in the middle of a re-scan, which has to find what is planted all the same, each once. Nodes do no jobs
// here, so that it is the workers' alone, and no fault but this strikes meanwhile: an object that cannot be had is counted as failed.
func workersKilled(c *chaos, _ *member, lasts time.Duration) {
	if c.posted == nil {
		c.posted = c.plantPosts()
	}
	a := c.nodes[0].served
	r := a.startRescan(c.T, "old-posts")
	eventually(c, "a part of the re-scan is done", func() bool { return a.rescan(r.Id).Counts.Items > 0 })
	var folders []string
	for _, w := range c.workers {
		w.kill()
		folders = append(folders, w.data)
	}
	if at := a.rescan(r.Id); ended(at) {
		c.Errorf("the workers were killed too late: %+v", at)
	}
	time.Sleep(lasts)
	for i, folder := range folders {
		c.workers[i] = c.startWorker(folder)
	}
	c.posted.wantFound(c.T, a, r.Id, 4*time.Minute)
}

// plantPosts puts what was posted before into its bucket, and flags the picture that some of it shows. Nobody retracts that.
func (c *chaos) plantPosts() *planting {
	p := plant(1500) // 25 seconds, at the source's rate: its state is stored after 15, and workers are killed then
	for name, file := range p.files {
		_, err := c.s3.Client().PutObject(c.Context(), c.posts, name, bytes.NewReader(file), int64(len(file)), minio.PutObjectOptions{})
		must(c, err)
	}
	sum := sha256.Sum256(p.known)
	known := &mark{picture: p.known, digest: hex.EncodeToString(sum[:]), retracting: true}
	c.takes(c.nodes[0], known, "planting")
	return p
}
