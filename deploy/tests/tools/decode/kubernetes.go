// What Kubernetes itself reads: decoded by the code of kube-apiserver, kubelet and kubeadm.
package main

import (
	"errors"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	tracing "k8s.io/component-base/tracing/api/v1"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
	kubeadmscheme "k8s.io/kubernetes/cmd/kubeadm/app/apis/kubeadm/scheme"
	"k8s.io/kubernetes/cmd/kubeadm/app/util/config/strict"
	"k8s.io/kubernetes/cmd/kubeadm/app/util/patches"
	kubeletconfig "k8s.io/kubernetes/pkg/kubelet/apis/config"
	kubeletscheme "k8s.io/kubernetes/pkg/kubelet/apis/config/scheme"
	"sigs.k8s.io/yaml"
)

// As ReadTracingConfiguration and what follows it in apiserver/pkg/server/options/tracing.go.
func tracingConfiguration(data []byte) error {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	codecs := serializer.NewCodecFactory(scheme, serializer.EnableStrict)
	object := &apiserver.TracingConfiguration{}
	if err := runtime.DecodeInto(codecs.UniversalDecoder(), data, object); err != nil {
		return err
	}
	return tracing.ValidateTracingConfiguration(&object.TracingConfiguration, utilfeature.DefaultFeatureGate, nil).ToAggregate()
}

func kubeletConfiguration(data []byte) error {
	_, codecs, err := kubeletscheme.NewSchemeAndCodecs(serializer.EnableStrict)
	if err != nil {
		return err
	}
	object := &kubeletconfig.KubeletConfiguration{}
	if err := runtime.DecodeInto(codecs.UniversalDecoder(), data, object); err != nil {
		return err
	}
	if object.Tracing == nil {
		return errors.New("there is no tracing in it")
	}
	return tracing.ValidateTracingConfiguration(object.Tracing, utilfeature.DefaultFeatureGate, nil).ToAggregate()
}

func kubeadmDocument(data []byte) error {
	var meta runtime.TypeMeta
	if err := yaml.Unmarshal(data, &meta); err != nil {
		return err
	}
	if meta.Kind == "KubeletConfiguration" {
		return kubeletConfiguration(data)
	}
	return strict.VerifyUnmarshalStrict([]*runtime.Scheme{kubeadmscheme.Scheme}, meta.GroupVersionKind(), data)
}

func pod(data []byte) error {
	var object corev1.Pod
	if err := yaml.UnmarshalStrict(data, &object); err != nil {
		return err
	}
	if object.Kind != "Pod" || object.APIVersion != "v1" {
		return fmt.Errorf("it is of kind %q and version %q, not Pod v1", object.Kind, object.APIVersion)
	}
	return nil
}

func patch(folder, target, file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	manager, err := patches.GetPatchManagerForPath(folder, patches.KnownTargets(), os.Stderr)
	if err != nil {
		return err
	}
	object := any(corev1.Pod{})
	if target == "kubeletconfiguration" {
		object = kubeletv1beta1.KubeletConfiguration{}
	}
	patched := &patches.PatchTarget{Name: target, StrategicMergePatchObject: object, Data: data}
	if err := manager.ApplyPatchesToTarget(patched); err != nil {
		return err
	}
	text, err := yaml.JSONToYAML(patched.Data)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(text)
	return err
}
