//go:build ignore

// Put into the package of exporter/loadbalancingexporter (opentelemetry-collector-contrib v0.161.0) without the line above, and run as
// RING_OUT=collector.txt go test -run TestWriteRing .
package loadbalancingexporter

import (
	"encoding/hex"
	"fmt"
	"os"
	"testing"
	"encoding/binary"
	"hash/fnv"
)

// Writes which member has which key, by the exporter's own ring, as collector.txt has it.
func TestWriteRing(t *testing.T) {
	var dns []string
	for i := 1; i <= 40; i++ {
		dns = append(dns, fmt.Sprintf("10.1.0.%d:4317", i))
	}
	lists := [][]string{
		{"backend-1:4317"},
		{"backend-1:4317", "backend-2:4317", "backend-3:4317"},
		{"gateway-a", "gateway-b", "gateway-a"},
		{"10.0.0.1:4317", "10.0.0.2:4317", "10.0.0.3:4317", "[fd00::1]:4317", "[fd00::2]:4317"},
		dns,
	}
	out, err := os.Create(os.Getenv("RING_OUT"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	for _, list := range lists {
		ring := newHashRing(list)
		sum := fnv.New64a()
		for _, item := range ring.items {
			binary.Write(sum, binary.LittleEndian, uint32(item.pos))
			sum.Write([]byte(item.endpoint))
		}
		fmt.Fprintf(out, "members")
		for _, member := range list {
			fmt.Fprintf(out, " %s", member)
		}
		fmt.Fprintf(out, "\npoints %d %016x\n", len(ring.items), sum.Sum64())
		keys := [][]byte{make([]byte, 16), []byte("service.name=|"), []byte("service.name=checkout|")}
		state := uint64(1)
		for len(keys) < 40 {
			id := make([]byte, 16)
			for at := 0; at < 16; at += 8 {
				state = state*6364136223846793005 + 1442695040888963407
				binary.BigEndian.PutUint64(id[at:], state)
			}
			keys = append(keys, id)
		}
		for _, key := range keys {
			fmt.Fprintf(out, "%s %s\n", hex.EncodeToString(key), ring.endpointFor(key))
		}
	}
}
