package polybatch_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"testing"

	polybatch "github.com/polybatch/polybatch/clients/go"
)

func Example() {
	ctx := context.Background()
	client, err := polybatch.New(polybatch.Config{}) // addresses and key from the environment
	if err != nil {
		log.Fatal(err)
	}
	batch, err := client.SubmitFile(ctx, "requests.jsonl", polybatch.SubmitOptions{})
	if err != nil {
		log.Fatal(err)
	}
	if batch, err = client.Wait(ctx, batch.GetId()); err != nil {
		log.Fatal(err)
	}
	for line, err := range client.Results(ctx, batch.GetId(), polybatch.AllLines) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(line.CustomID, line.OK())
	}
	// Output:
	// question-1 true
	// question-2 true
}

// readme is read before TestMain goes to the folder of the example.
var readme, source []byte

// TestMain gives the example what it runs on.
func TestMain(m *testing.M) {
	f := &fake{chunkBytes: 100}
	stop, err := f.start()
	check(err)
	for _, name := range os.Environ() {
		if name, _, _ := strings.Cut(name, "="); strings.HasPrefix(name, "POLYBATCH_") {
			check(os.Unsetenv(name))
		}
	}
	check(os.Setenv("POLYBATCH_GATEWAY", f.address))
	check(os.Setenv("POLYBATCH_COLLECTOR", f.address))
	check(os.Setenv("POLYBATCH_API_KEY", "pb-test"))
	readme, err = os.ReadFile("README.md")
	check(err)
	source, err = os.ReadFile("example_test.go")
	check(err)
	folder, err := os.MkdirTemp("", "polybatch")
	check(err)
	check(os.Chdir(folder))
	check(os.WriteFile("requests.jsonl", []byte(`{"custom_id": "question-1"}`+"\n"+`{"custom_id": "question-2"}`+"\n"), 0o600))
	code := m.Run()
	check(os.Chdir(os.TempDir()))
	check(os.RemoveAll(folder))
	stop()
	os.Exit(code)
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func TestTheReadmeShowsTheExample(t *testing.T) {
	t.Parallel()
	_, text, _ := strings.Cut(string(source), "func Example() {")
	text, _, found := strings.Cut(text, "\t// Output:")
	if !found {
		t.Fatal("there is no example")
	}
	text = strings.ReplaceAll(text, "\n\t", "\n")
	if !strings.Contains(string(readme), "```go"+text+"```") {
		t.Errorf("README.md does not hold:%s", text)
	}
}
