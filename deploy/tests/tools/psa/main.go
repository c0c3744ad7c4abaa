// psa tells what the Pod Security Standards would refuse: it reads Kubernetes manifests as YAML on standard input and prints a JSON
// list with one entry per pod template, holding the violations of baseline:latest and restricted:latest as Kubernetes itself words them.
// It decodes strictly: a field that no pod has is an error, and never a pod that passes because a setting was misspelt.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

type violation struct {
	Reason string `json:"reason"`
	Detail string `json:"detail"`
}

type verdict struct {
	Kind       string      `json:"kind"`
	Namespace  string      `json:"namespace"`
	Name       string      `json:"name"`
	Baseline   []violation `json:"baseline"`
	Restricted []violation `json:"restricted"`
}

type template struct {
	metadata *metav1.ObjectMeta
	spec     *corev1.PodSpec
}

func of(pod *corev1.PodTemplateSpec) *template { return &template{&pod.ObjectMeta, &pod.Spec} }

// podTemplate gives nil for what has no pod.
func podTemplate(apiVersion, kind string, document []byte) (*template, error) {
	switch apiVersion + " " + kind {
	case "v1 Pod":
		var object corev1.Pod
		err := yaml.UnmarshalStrict(document, &object)
		return &template{&object.ObjectMeta, &object.Spec}, err
	case "v1 PodTemplate":
		var object corev1.PodTemplate
		err := yaml.UnmarshalStrict(document, &object)
		return of(&object.Template), err
	case "apps/v1 DaemonSet":
		var object appsv1.DaemonSet
		err := yaml.UnmarshalStrict(document, &object)
		return of(&object.Spec.Template), err
	case "apps/v1 Deployment":
		var object appsv1.Deployment
		err := yaml.UnmarshalStrict(document, &object)
		return of(&object.Spec.Template), err
	case "apps/v1 ReplicaSet":
		var object appsv1.ReplicaSet
		err := yaml.UnmarshalStrict(document, &object)
		return of(&object.Spec.Template), err
	case "apps/v1 StatefulSet":
		var object appsv1.StatefulSet
		err := yaml.UnmarshalStrict(document, &object)
		return of(&object.Spec.Template), err
	case "batch/v1 CronJob":
		var object batchv1.CronJob
		err := yaml.UnmarshalStrict(document, &object)
		return of(&object.Spec.JobTemplate.Spec.Template), err
	case "batch/v1 Job":
		var object batchv1.Job
		err := yaml.UnmarshalStrict(document, &object)
		return of(&object.Spec.Template), err
	}
	return nil, nil
}

func violations(evaluator policy.Evaluator, level api.Level, pod *template) []violation {
	found := []violation{}
	for _, result := range evaluator.EvaluatePod(api.LevelVersion{Level: level, Version: api.LatestVersion()}, pod.metadata, pod.spec) {
		if !result.Allowed {
			found = append(found, violation{result.ForbiddenReason, result.ForbiddenDetail})
		}
	}
	return found
}

func verdicts(manifests io.Reader, evaluator policy.Evaluator) ([]verdict, error) {
	all := []verdict{}
	documents := utilyaml.NewYAMLReader(bufio.NewReader(manifests))
	for number := 1; ; number++ {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", number, err)
		}
		var header struct {
			metav1.TypeMeta   `json:",inline"`
			metav1.ObjectMeta `json:"metadata"`
		}
		if err := yaml.Unmarshal(document, &header); err != nil {
			return nil, fmt.Errorf("document %d: %w", number, err)
		}
		pod, err := podTemplate(header.APIVersion, header.Kind, document)
		if err != nil {
			return nil, fmt.Errorf("document %d, %s %s: %w", number, header.Kind, header.Name, err)
		}
		if pod != nil {
			all = append(all, verdict{header.Kind, header.Namespace, header.Name,
				violations(evaluator, api.LevelBaseline, pod), violations(evaluator, api.LevelRestricted, pod)})
		}
	}
}

func run() error {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return err
	}
	all, err := verdicts(os.Stdin, evaluator)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(all)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "psa:", err)
		os.Exit(1)
	}
}
