package polybatch

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

type environment map[string]string

func (e environment) get(name string) string { return e[name] }

func TestAddressesAndTLS(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name        string
		given       Config
		environment environment
		gateway     []string
		collector   []string
		tls         TLSMode
		refused     string
	}{
		{name: "nothing is set", gateway: []string{"localhost:50051"}, collector: []string{"localhost:50052"}, tls: TLSOff},
		{name: "other ports", environment: environment{"POLYBATCH_PORT_BASE": "7000"}, gateway: []string{"localhost:7000"}, collector: []string{"localhost:7001"}, tls: TLSOff},
		{
			name:        "several replicas, one of them named twice",
			environment: environment{"POLYBATCH_GATEWAY": "a.example:1, b.example:1,a.example:1", "POLYBATCH_COLLECTOR": "grpc://[::1]:2/"},
			gateway:     []string{"a.example:1", "b.example:1"}, collector: []string{"[::1]:2"}, tls: TLSOn,
		},
		{
			name:        "what is given goes before the environment",
			given:       Config{Gateway: []string{"127.0.0.1:1"}, Collector: []string{"unix:/run/collector"}},
			environment: environment{"POLYBATCH_GATEWAY": "grpcs://far.example:1"},
			gateway:     []string{"127.0.0.1:1"}, collector: []string{"unix:/run/collector"}, tls: TLSOff,
		},
		{name: "a far host in the clear, as asked for", given: Config{Gateway: []string{"grpc://far.example:1"}}, gateway: []string{"far.example:1"}, collector: []string{"localhost:50052"}, tls: TLSOff},
		{name: "a far host in the clear, by the setting", given: Config{Gateway: []string{"far.example:1"}}, environment: environment{"POLYBATCH_TLS": "no"}, gateway: []string{"far.example:1"}, collector: []string{"localhost:50052"}, tls: TLSOff},
		{name: "one address asks for TLS", given: Config{Collector: []string{"grpcs://localhost:2"}}, gateway: []string{"localhost:50051"}, collector: []string{"localhost:2"}, tls: TLSOn},
		{name: "TLS on this machine", given: Config{TLS: TLSOn}, gateway: []string{"localhost:50051"}, collector: []string{"localhost:50052"}, tls: TLSOn},
		{name: "contradiction", given: Config{Gateway: []string{"grpcs://far.example:1"}, TLS: TLSOff}, refused: "asks for it"},
		{name: "no port", given: Config{Gateway: []string{"far.example"}}, refused: `the gateway address "far.example" is not host:port`},
		{name: "an address is set, and there is none", environment: environment{"POLYBATCH_GATEWAY": ","}, refused: "is not host:port"},
		{name: "port out of range", given: Config{Collector: []string{"localhost:70000"}}, refused: "is not host:port"},
		{name: "another scheme", given: Config{Collector: []string{"ftp://localhost:7"}}, refused: "is not host:port"},
		{name: "no answer to yes or no", environment: environment{"POLYBATCH_TLS": "maybe"}, refused: "POLYBATCH_TLS"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			values := environment{"POLYBATCH_API_KEY": "pb-key", "POLYBATCH_DATA_DIR": t.TempDir()}
			for name, value := range test.environment {
				values[name] = value
			}
			found, err := test.given.resolved(values.get)
			if test.refused != "" {
				if err == nil || !strings.Contains(err.Error(), test.refused) {
					t.Fatalf("got %v, want %q", err, test.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(found.Gateway, test.gateway) || !slices.Equal(found.Collector, test.collector) || found.TLS != test.tls {
				t.Errorf("got %v, TLS %v", found, found.TLS)
			}
		})
	}
}

func TestWhatAPolybatchOfThisMachineLeavesIsFound(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	values := environment{"POLYBATCH_DATA_DIR": folder}
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := (Config{}).resolved(values.get); err == nil || !strings.Contains(err.Error(), "no API key") {
		t.Errorf("got %v", err)
	}
	write("api-key", "pb-from-the-file\n")
	write("addresses.json", `{"gateway": "127.0.0.1:7", "collector": "127.0.0.1:8"}`)
	found, err := (Config{}).resolved(values.get)
	if err != nil || found.APIKey != "pb-from-the-file" || found.Gateway[0] != "127.0.0.1:7" || found.Collector[0] != "127.0.0.1:8" {
		t.Errorf("got %v, %v", found, err)
	}
	write("addresses.json", `{}`)
	if _, err := (Config{}).resolved(values.get); err == nil || !strings.Contains(err.Error(), "does not hold the addresses") {
		t.Errorf("got %v", err)
	}
	write("api-key", "with a\nnewline")
	if _, err := (Config{Gateway: []string{"localhost:1"}, Collector: []string{"localhost:2"}}).resolved(values.get); err == nil || strings.Contains(err.Error(), "newline") {
		t.Errorf("got %v", err)
	}
}

func TestWait(t *testing.T) {
	t.Parallel()
	for setting, want := range map[string]time.Duration{"": DefaultWait, "1.5": 1500 * time.Millisecond, "0": NoWait} {
		if got, err := wait(0, setting); got != want || err != nil {
			t.Errorf("%q: got %v, %v", setting, got, err)
		}
	}
	for _, setting := range []string{"-1", "soon", "NaN", "Inf", "1e300"} {
		if _, err := wait(0, setting); err == nil {
			t.Errorf("%q is taken", setting)
		}
	}
	if got, err := wait(time.Second, "soon"); got != time.Second || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestAConfigurationIsPrintedWithoutItsKey(t *testing.T) {
	t.Parallel()
	config := Config{APIKey: "pb-secret", Gateway: []string{"localhost:1"}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		for _, value := range []any{config, &config} {
			if text := fmt.Sprintf(verb, value); strings.Contains(text, "secret") {
				t.Error(text)
			}
		}
	}
}
