// A client of the Container Runtime Interface that does what a kubelet does with a pod: runs its sandbox and one container of an image that the
// runtime has, waits until the container has ended or has run for a while, and removes both. Every call carries the given W3C traceparent, so that
// the runtime's spans join the caller's trace. Prints one JSON object: the calls, the container's exit code and what it wrote.
// With -pause it is what sandboxes hold open instead: it waits for SIGTERM and does nothing else.
//
// Must never end without having removed what it made.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// For all calls of a pod together, and for each of those that clean up.
const podTime, cleanUpTime = 60 * time.Second, 20 * time.Second

type report struct {
	Runtime  string   `json:"runtime"`
	Calls    []string `json:"calls"`
	Running  bool     `json:"running"`
	ExitCode int32    `json:"exit_code"`
	Log      string   `json:"log"`
}

type pod struct {
	runtime     cri.RuntimeServiceClient
	traceparent string
	report      report
}

func main() {
	pause := flag.Bool("pause", false, "wait for SIGTERM")
	socket := flag.String("socket", "", "unix socket of the runtime")
	traceparent := flag.String("traceparent", "", "W3C traceparent of every call")
	image := flag.String("image", "", "image of the container")
	cgroup := flag.String("cgroup", "", "parent of the pod's cgroup")
	runFor := flag.Duration("for", 5*time.Second, "how long the container may run before it is stopped")
	flag.Parse()
	if *pause {
		wait()
		return
	}
	one := &pod{traceparent: *traceparent}
	err := one.run(*socket, *image, *cgroup, flag.Args(), *runFor)
	if printed := json.NewEncoder(os.Stdout).Encode(one.report); err == nil {
		err = printed
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func wait() {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	<-end
}

func (p *pod) context(limit time.Duration) (context.Context, context.CancelFunc) {
	ctx := context.Background()
	if p.traceparent != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", p.traceparent)
	}
	return context.WithTimeout(ctx, limit)
}

// called notes a call and names it in its error.
func (p *pod) called(name string, err error) error {
	p.report.Calls = append(p.report.Calls, name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func (p *pod) run(socket, image, cgroup string, args []string, runFor time.Duration) (failed error) {
	connection, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	p.runtime = cri.NewRuntimeServiceClient(connection)
	ctx, cancel := p.context(podTime)
	defer cancel()
	version, err := p.runtime.Version(ctx, &cri.VersionRequest{})
	if err := p.called("Version", err); err != nil {
		return err
	}
	p.report.Runtime = version.RuntimeName + " " + version.RuntimeVersion
	logs, err := os.MkdirTemp("", "cri-probe")
	if err != nil {
		return err
	}
	defer os.RemoveAll(logs)
	// The network and the cgroup parent of a static pod on a control-plane node.
	sandbox := &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: "probe", Namespace: "default", Uid: fmt.Sprint(time.Now().UnixNano())},
		LogDirectory: logs,
		Linux: &cri.LinuxPodSandboxConfig{CgroupParent: cgroup, SecurityContext: &cri.LinuxSandboxSecurityContext{
			NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_NODE, Pid: cri.NamespaceMode_CONTAINER}}},
	}
	ran, err := p.runtime.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: sandbox})
	if err := p.called("RunPodSandbox", err); err != nil {
		return err
	}
	defer func() { failed = errors.Join(failed, p.removeSandbox(ran.PodSandboxId)) }()
	created, err := p.runtime.CreateContainer(ctx, &cri.CreateContainerRequest{
		PodSandboxId: ran.PodSandboxId, SandboxConfig: sandbox, Config: container(image, args)})
	if err := p.called("CreateContainer", err); err != nil {
		return err
	}
	defer func() { failed = errors.Join(failed, p.removeContainer(created.ContainerId)) }()
	_, err = p.runtime.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: created.ContainerId})
	if err := p.called("StartContainer", err); err != nil {
		return err
	}
	if err := p.watch(ctx, created.ContainerId, runFor); err != nil {
		return err
	}
	written, err := os.ReadFile(filepath.Join(logs, "main.log"))
	p.report.Log = string(written)
	return err
}

// As the chart has the agent's container: an unprivileged user, a read-only root, no capability.
func container(image string, args []string) *cri.ContainerConfig {
	return &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: "main"}, Image: &cri.ImageSpec{Image: image}, Args: args, LogPath: "main.log",
		Linux: &cri.LinuxContainerConfig{SecurityContext: &cri.LinuxContainerSecurityContext{
			NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_NODE, Pid: cri.NamespaceMode_CONTAINER},
			RunAsUser:        &cri.Int64Value{Value: 10001}, RunAsGroup: &cri.Int64Value{Value: 10001}, ReadonlyRootfs: true, NoNewPrivs: true,
			Capabilities: &cri.Capability{DropCapabilities: []string{"ALL"}},
		}},
	}
}

func (p *pod) watch(ctx context.Context, id string, runFor time.Duration) error {
	for until := time.Now().Add(runFor); ; time.Sleep(100 * time.Millisecond) {
		found, err := p.runtime.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: id})
		if err != nil {
			return p.called("ContainerStatus", err)
		}
		if found.Status.State == cri.ContainerState_CONTAINER_EXITED {
			p.report.ExitCode = found.Status.ExitCode
			return p.called("ContainerStatus", nil)
		}
		if time.Now().After(until) {
			p.report.Running = true
			stop, cancel := p.context(cleanUpTime)
			defer cancel()
			_, err = p.runtime.StopContainer(stop, &cri.StopContainerRequest{ContainerId: id, Timeout: 10})
			if err := p.called("StopContainer", err); err != nil {
				return err
			}
			found, err = p.runtime.ContainerStatus(stop, &cri.ContainerStatusRequest{ContainerId: id})
			if err := p.called("ContainerStatus", err); err != nil {
				return err
			}
			p.report.ExitCode = found.Status.ExitCode
			return nil
		}
	}
}

func (p *pod) removeContainer(id string) error {
	ctx, cancel := p.context(cleanUpTime)
	defer cancel()
	_, err := p.runtime.RemoveContainer(ctx, &cri.RemoveContainerRequest{ContainerId: id})
	return p.called("RemoveContainer", err)
}

func (p *pod) removeSandbox(id string) error {
	ctx, cancel := p.context(cleanUpTime)
	defer cancel()
	_, err := p.runtime.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: id})
	err = p.called("StopPodSandbox", err)
	_, removed := p.runtime.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: id})
	return errors.Join(err, p.called("RemovePodSandbox", removed))
}
