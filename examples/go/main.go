// Shows: a job published from Go, with a NATS client and nothing of Fleet's, and its result as one line of JSON.
// Needs: a running fleet (`make up` in another terminal), and `go mod tidy` once in examples/go.
// Run:   cd examples/go && go run . nats://127.0.0.1:4222 demo "Katapu: The meeting with Vuhis was smooth."
package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/nats-io/nats.go"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: go run . <nats-url> <tenant> <text>")
	}
	url, tenant, text := os.Args[1], os.Args[2], os.Args[3]
	result, err := answer(url, tenant, text)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(result))
}

// answer publishes one job and waits for its result.
func answer(url, tenant, text string) ([]byte, error) {
	nc, err := nats.Connect(url)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	id, lane := rand.Text(), "standard"
	results, err := nc.SubscribeSync(fmt.Sprintf("results.%s.%s", tenant, id)) // subscribe before publishing
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(map[string]any{
		"id":      id,
		"task":    "classify.sentiment",
		"request": map[string]any{"messages": []any{map[string]string{"role": "user", "content": text}}},
	})
	if err != nil {
		return nil, err
	}
	job := nats.NewMsg(fmt.Sprintf("jobs.%s.%s", lane, tenant))
	job.Header.Set("Nats-Msg-Id", fmt.Sprintf("%s.%s", tenant, id)) // a second publish of it changes nothing
	job.Data = body
	if err := publish(nc, job); err != nil {
		return nil, err
	}
	message, err := results.NextMsg(10 * time.Minute)
	if err != nil {
		return nil, err
	}
	return message.Data, nil
}

// publish returns once the job is stored: from then on it will get exactly one result.
func publish(nc *nats.Conn, job *nats.Msg) error {
	reply, err := nc.RequestMsg(job, 5*time.Second)
	if err != nil {
		return err // not known whether it is stored: the same message may be sent again
	}
	var stored struct {
		Stream string `json:"stream"`
	}
	if err := json.Unmarshal(reply.Data, &stored); err != nil {
		return err
	}
	if stored.Stream != "JOBS" {
		return fmt.Errorf("not stored: %s", reply.Data)
	}
	return nil
}
