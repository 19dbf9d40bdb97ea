module guardprobe.dev/tests/tools/crds

go 1.26.0

// Nothing is built of these: the definitions of their kinds are what the tests give the API server.
require (
	github.com/cilium/cilium v1.20.2
	github.com/projectcalico/calico v1.11.0-cni-plugin.0.20250813170300-a0db560f0520
	github.com/prometheus-operator/prometheus-operator v0.85.0
)
