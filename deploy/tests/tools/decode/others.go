// What etcd, Ignition and kind read: decoded by their own code.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/coreos/ignition/v2/config/v3_2"
	"go.etcd.io/etcd/server/v3/embed"
	yaml "go.yaml.in/yaml/v3"
	kind "sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
)

// As etcd does with its environment, but what is no flag of it is an error: etcd itself only warns of an unknown ETCD_* and goes on.
func etcdEnvironment(data []byte) error {
	config := embed.NewConfig()
	config.LogLevel = "error"
	flags := flag.NewFlagSet("etcd", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	config.AddFlags(flags)
	count := 0
	for _, line := range strings.Split(string(data), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		variable, value, found := strings.Cut(line, "=")
		name, prefixed := strings.CutPrefix(variable, "ETCD_")
		if !found || !prefixed {
			return fmt.Errorf("%q is not ETCD_NAME=value", line)
		}
		name = strings.ToLower(strings.ReplaceAll(name, "_", "-"))
		if flags.Lookup(name) == nil {
			return fmt.Errorf("etcd has no flag --%s", name)
		}
		if err := flags.Set(name, value); err != nil {
			return fmt.Errorf("--%s: %w", name, err)
		}
		count++
	}
	if count == 0 {
		return errors.New("nothing is set in it")
	}
	if !config.EnableDistributedTracing {
		return errors.New("tracing is not turned on by it")
	}
	return config.Validate()
}

func ignition(data []byte) error {
	_, report, err := v3_2.Parse(bytes.TrimSpace(data))
	if err != nil {
		return fmt.Errorf("%w\n%s", err, report.String())
	}
	if len(report.Entries) > 0 {
		return errors.New(report.String())
	}
	return nil
}

func kindCluster(data []byte) error {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	var cluster kind.Cluster
	if err := decoder.Decode(&cluster); err != nil {
		return err
	}
	if cluster.Kind != "Cluster" || cluster.APIVersion != "kind.x-k8s.io/v1alpha4" {
		return fmt.Errorf("it is of kind %q and version %q", cluster.Kind, cluster.APIVersion)
	}
	return nil
}
