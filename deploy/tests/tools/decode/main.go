// decode reads a configuration file as the component that it is for would, with that component's own types and rules, but always
// strictly: a key that the component does not know is an error. It stands in for kube-apiserver, kubelet, kubeadm, etcd, kind and
// Ignition in the checks of deploy/node and deploy/openshift.
package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
)

const usage = `usage: decode KIND FILE              exit 1 and the reason if the file is not a correct KIND
       decode patch FOLDER TARGET FILE  print FILE after kubeadm's --patches FOLDER for TARGET
KIND:
  TracingConfiguration  --tracing-config-file of kube-apiserver, every apiVersion that it has
  KubeletConfiguration  --config of a kubelet, or a drop-in file of its --config-dir
  kubeadm               documents of kubeadm's --config, each by its own kind
  Pod                   manifest of a static pod
  etcd                  environment file of etcd: ETCD_NAME=value lines
  kind                  --config of kind create cluster
  Ignition              Ignition configuration as JSON, version 3.2.0
`

var kinds = map[string]func([]byte) error{
	"TracingConfiguration": eachDocument(tracingConfiguration),
	"KubeletConfiguration": eachDocument(kubeletConfiguration),
	"kubeadm":              eachDocument(kubeadmDocument),
	"Pod":                  eachDocument(pod),
	"etcd":                 etcdEnvironment,
	"kind":                 kindCluster,
	"Ignition":             ignition,
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "decode:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 4 && args[0] == "patch" {
		return patch(args[1], args[2], args[3])
	}
	if len(args) != 2 || kinds[args[0]] == nil {
		return errors.New("which kind and file?\n" + usage)
	}
	data, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	if err := kinds[args[0]](data); err != nil {
		return fmt.Errorf("%s: %w", args[1], err)
	}
	return nil
}

// eachDocument refuses a file without any: it would be correct whatever the rules.
func eachDocument(decode func([]byte) error) func([]byte) error {
	return func(data []byte) error {
		reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
		for number := 1; ; number++ {
			document, err := reader.Read()
			if errors.Is(err, io.EOF) && number > 1 {
				return nil
			}
			if err != nil {
				return fmt.Errorf("document %d: %w", number, err)
			}
			if err := decode(document); err != nil {
				return fmt.Errorf("document %d: %w", number, err)
			}
		}
	}
}
