// A program that is traced as most are: the OpenTelemetry SDK for Go with its default settings (batch span processor, OTLP/gRPC exporter), told by
// OTEL_EXPORTER_OTLP_ENDPOINT where to send. It makes spans at a steady rate until SIGTERM, then shuts the SDK down and prints one JSON object:
// what it handed to the SDK, what the SDK handed to its exporter, what that called exported, and what the SDK's error handler was told.
//
// Must never set an option of the SDK that changes how it batches, tries again or gives up.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// How long the SDK may take for what it still has at the end.
const shutdownTime = 30 * time.Second

// Of the errors, as many are printed.
const errorsShown = 5

// counting passes everything on to the exporter and counts spans.
type counting struct {
	sdk.SpanExporter
	handed, exported atomic.Int64
}

func (c *counting) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	c.handed.Add(int64(len(spans)))
	err := c.SpanExporter.ExportSpans(ctx, spans)
	if err == nil {
		c.exported.Add(int64(len(spans)))
	}
	return err
}

func main() {
	service := flag.String("service", "go-sdk", "service.name of the spans")
	rate := flag.Float64("rate", 200, "spans per second")
	flag.Parse()
	if err := run(*service, *rate); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(service string, rate float64) error {
	end, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	var lock sync.Mutex
	var told []string
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		lock.Lock()
		defer lock.Unlock()
		told = append(told, err.Error())
		fmt.Fprintln(os.Stderr, time.Now().Format(time.StampMilli), err)
	}))
	exporter, err := otlptracegrpc.New(context.Background(), otlptracegrpc.WithInsecure())
	if err != nil {
		return err
	}
	counted := &counting{SpanExporter: exporter}
	named := resource.NewSchemaless(attribute.String("service.name", service))
	provider := sdk.NewTracerProvider(sdk.WithBatcher(counted), sdk.WithResource(named))
	tracer := provider.Tracer("relay.e2e")
	ended := 0
	for started := time.Now(); end.Err() == nil; ended++ {
		due := started.Add(time.Duration(float64(ended) / rate * float64(time.Second)))
		select {
		case <-time.After(time.Until(due)):
		case <-end.Done():
		}
		_, span := tracer.Start(context.Background(), "work")
		span.SetAttributes(attribute.Int("number", ended))
		span.End()
	}
	patience, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	shutdown := provider.Shutdown(patience)
	lock.Lock()
	defer lock.Unlock()
	answer := map[string]any{
		"ended": ended, "handed": counted.handed.Load(), "exported": counted.exported.Load(), "errors": len(told),
		"told": told[:min(len(told), errorsShown)], "shutdown": fmt.Sprint(shutdown),
	}
	return json.NewEncoder(os.Stdout).Encode(answer)
}
