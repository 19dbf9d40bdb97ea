// Pause holds the namespaces of a pod until it is asked to end: the sandbox image of the tests, since none can be pulled.
package main

import (
	"context"
	"os/signal"
	"syscall"
)

func main() {
	asked, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	<-asked.Done()
}
