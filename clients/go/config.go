package polybatch

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// TLSMode says whether to speak TLS.
type TLSMode int

const (
	// TLSAuto is TLS unless all addresses are of this machine or begin with "grpc://": a key
	// crosses a network in the clear only where somebody asked for that.
	TLSAuto TLSMode = iota
	TLSOn
	TLSOff
)

const (
	// DefaultWait is longer than any restart of a service takes.
	DefaultWait = 2 * time.Minute
	// NoWait makes every failure final.
	NoWait = time.Duration(-1)
)

// Config says where to connect, and with which key. What is left at its zero value comes from the
// environment, or else has the default that stands with it.
type Config struct {
	// Gateway and Collector are addresses of the two services, one for each replica: "host:port",
	// "grpc://host:port", or "grpcs://host:port" for TLS. POLYBATCH_GATEWAY and
	// POLYBATCH_COLLECTOR, separated by commas; else what a polybatch of this machine has left in
	// $POLYBATCH_DATA_DIR/addresses.json; else localhost:50051 and localhost:50052.
	Gateway, Collector []string
	// APIKey goes with every call. POLYBATCH_API_KEY, else the content of the file api-key in
	// $POLYBATCH_DATA_DIR (.polybatch).
	APIKey string
	// TLS is POLYBATCH_TLS, 1 or 0.
	TLS TLSMode
	// CAFile is a PEM file of the authorities to trust; those of the system if there is none.
	// POLYBATCH_TLS_CA.
	CAFile string
	// CertFile and KeyFile are PEM files of the caller's own certificate, for services that ask
	// for one. POLYBATCH_TLS_CLIENT_CERT and POLYBATCH_TLS_CLIENT_KEY.
	CertFile, KeyFile string
	// Wait is how long nothing may get through before an error is returned; NoWait is not to try
	// again at all. POLYBATCH_WAIT in seconds, else DefaultWait.
	Wait time.Duration
	// OnRetry, if set, is called before each wait, with what went wrong. Calls that are made at
	// the same time call it at the same time.
	OnRetry func(failed *Error, wait time.Duration)
}

// String leaves out the key.
func (c Config) String() string {
	return fmt.Sprintf("polybatch.Config{Gateway: %q, Collector: %q}", c.Gateway, c.Collector)
}

// GoString leaves out the key.
func (c Config) GoString() string { return c.String() }

// resolved returns the configuration with nothing left open but the files of certificates, and
// with addresses that hold no scheme but unix: and dns:.
func (c Config) resolved(getenv func(string) string) (Config, error) {
	folder := getenv("POLYBATCH_DATA_DIR")
	if folder == "" {
		folder = ".polybatch"
	}
	or := func(value *string, name string) {
		if *value == "" {
			*value = getenv(name)
		}
	}
	or(&c.APIKey, "POLYBATCH_API_KEY")
	or(&c.CAFile, "POLYBATCH_TLS_CA")
	or(&c.CertFile, "POLYBATCH_TLS_CLIENT_CERT")
	or(&c.KeyFile, "POLYBATCH_TLS_CLIENT_KEY")
	var err error
	if c.Wait, err = wait(c.Wait, getenv("POLYBATCH_WAIT")); err != nil {
		return c, err
	}
	if len(c.Gateway) == 0 {
		c.Gateway = split(getenv("POLYBATCH_GATEWAY"))
	}
	if len(c.Collector) == 0 {
		c.Collector = split(getenv("POLYBATCH_COLLECTOR"))
	}
	if len(c.Gateway) == 0 || len(c.Collector) == 0 {
		here, err := localAddresses(folder, getenv("POLYBATCH_PORT_BASE"))
		if err != nil {
			return c, err
		}
		if len(c.Gateway) == 0 {
			c.Gateway = split(here.Gateway)
		}
		if len(c.Collector) == 0 {
			c.Collector = split(here.Collector)
		}
	}
	if c.TLS, err = tlsMode(c.TLS, getenv("POLYBATCH_TLS"), slices.Concat(c.Gateway, c.Collector)); err != nil {
		return c, err
	}
	if c.Gateway, err = bare("gateway", c.Gateway); err != nil {
		return c, err
	}
	if c.Collector, err = bare("collector", c.Collector); err != nil {
		return c, err
	}
	c.APIKey, err = apiKey(c.APIKey, filepath.Join(folder, "api-key"))
	return c, err
}

func wait(given time.Duration, setting string) (time.Duration, error) {
	setting = strings.TrimSpace(setting)
	switch {
	case given != 0:
		return given, nil
	case setting == "":
		return DefaultWait, nil
	}
	seconds, err := strconv.ParseFloat(setting, 64)
	if err != nil || !(seconds >= 0 && seconds < math.MaxInt64/float64(time.Second)) {
		return 0, fmt.Errorf("POLYBATCH_WAIT is %q: give seconds from 0 on; 0 is not to wait at all", setting)
	}
	if seconds == 0 {
		return NoWait, nil
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

func split(setting string) []string {
	var found []string
	for address := range strings.SplitSeq(setting, ",") {
		if address = strings.TrimSpace(address); address != "" {
			found = append(found, address)
		}
	}
	if len(found) == 0 && setting != "" {
		// It is set to something: an address that makes no sense.
		return []string{setting}
	}
	return found
}

type addresses struct {
	Gateway   string `json:"gateway"`
	Collector string `json:"collector"`
}

func localAddresses(folder, portBase string) (addresses, error) {
	var found addresses
	path := filepath.Join(folder, "addresses.json")
	content, err := os.ReadFile(path)
	if err == nil {
		if json.Unmarshal(content, &found) != nil || found.Gateway == "" || found.Collector == "" {
			return found, fmt.Errorf("the file %s does not hold the addresses of gateway and collector: start polybatch again, which writes it, or set POLYBATCH_GATEWAY and POLYBATCH_COLLECTOR", path)
		}
		return found, nil
	}
	// Nothing runs from that folder, or it is somebody else's: then the usual ports.
	base := 50051
	if portBase = strings.TrimSpace(portBase); portBase != "" {
		if base, err = strconv.Atoi(portBase); err != nil || base < 1 || base >= math.MaxUint16 {
			return found, fmt.Errorf("POLYBATCH_PORT_BASE is %q: set it to the first of the ports that polybatch listens on", portBase)
		}
	}
	return addresses{fmt.Sprintf("localhost:%d", base), fmt.Sprintf("localhost:%d", base+1)}, nil
}

func tlsMode(given TLSMode, setting string, all []string) (TLSMode, error) {
	if given == TLSAuto {
		switch setting = strings.ToLower(strings.TrimSpace(setting)); setting {
		case "":
		case "1", "true", "yes", "on":
			given = TLSOn
		case "0", "false", "no", "off":
			given = TLSOff
		default:
			return given, fmt.Errorf("POLYBATCH_TLS is %q: set it to 1 or 0", setting)
		}
	}
	inClear := true
	for _, address := range all {
		if strings.HasPrefix(address, "grpcs://") || strings.HasPrefix(address, "https://") {
			if given == TLSOff {
				return given, fmt.Errorf("TLS is turned off, but the address %s asks for it: use grpc:// in the address, or leave TLS on", address)
			}
			return TLSOn, nil
		}
		inClear = inClear && (strings.HasPrefix(address, "grpc://") || isLocal(address))
	}
	switch {
	case given != TLSAuto:
		return given, nil
	case inClear:
		return TLSOff, nil
	default:
		return TLSOn, nil
	}
}

func isLocal(address string) bool {
	if strings.HasPrefix(address, "unix:") {
		return true
	}
	host, _, err := net.SplitHostPort(address)
	return err == nil && (host == "localhost" || net.ParseIP(host).IsLoopback())
}

// bare returns the addresses without schemes that say whether to speak TLS, each once.
func bare(server string, given []string) ([]string, error) {
	var found []string
	for _, address := range given {
		rest := address
		for _, scheme := range []string{"grpc://", "grpcs://", "https://"} {
			rest = strings.TrimPrefix(rest, scheme)
		}
		rest = strings.TrimRight(rest, "/")
		if !strings.HasPrefix(rest, "unix:") && !strings.HasPrefix(rest, "dns:") {
			host, port, err := net.SplitHostPort(rest)
			number, bad := strconv.ParseUint(port, 10, 16)
			if err != nil || bad != nil || number == 0 || host == "" || strings.Contains(host, "/") {
				return nil, fmt.Errorf("the %s address %q is not host:port: give one such as localhost:50051, or several separated by commas (POLYBATCH_%s)", server, address, strings.ToUpper(server))
			}
		}
		if !slices.Contains(found, rest) {
			found = append(found, rest)
		}
	}
	return found, nil
}

// mayBeSeveral is whether the address is a name that more than one machine can have.
func mayBeSeveral(address string) bool {
	if strings.HasPrefix(address, "unix:") {
		return false
	}
	host, _, err := net.SplitHostPort(address[strings.LastIndex(address, "/")+1:])
	return err == nil && host != "localhost" && net.ParseIP(host) == nil
}

func apiKey(key, path string) (string, error) {
	if key == "" {
		content, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("no API key: set POLYBATCH_API_KEY, or POLYBATCH_DATA_DIR to the folder where polybatch keeps one: %w", err)
		}
		key = string(content)
	}
	key = strings.TrimSpace(key)
	// What metadata can hold; gRPC itself would not say where it comes from.
	if key == "" || strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "", errors.New("the API key is empty or has characters that no key has: check POLYBATCH_API_KEY or the key file")
	}
	return key, nil
}

// tlsConfig reads the files of certificates.
func (c Config) tlsConfig() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		content, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("POLYBATCH_TLS_CA: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(content) {
			return nil, &fs.PathError{Op: "POLYBATCH_TLS_CA", Path: c.CAFile, Err: errors.New("is no PEM file of certificates")}
		}
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		return nil, errors.New("a client certificate needs its key: set both POLYBATCH_TLS_CLIENT_CERT and POLYBATCH_TLS_CLIENT_KEY")
	}
	if c.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("POLYBATCH_TLS_CLIENT_CERT and POLYBATCH_TLS_CLIENT_KEY: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}
