// An application that uses Go's net/http/fcgi: `go NETWORK ADDRESS`. It writes the method and the
// query string, and copies the body while it arrives. If the query string begins with `n=`, it adds
// the maximum number of requests that were in flight at once.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/fcgi"
	"os"
	"strings"
	"sync/atomic"
)

// The number of requests in flight, and its maximum.
var running, most int64

func begin() {
	now := atomic.AddInt64(&running, 1)
	for {
		before := atomic.LoadInt64(&most)
		if now <= before || atomic.CompareAndSwapInt64(&most, before, now) {
			return
		}
	}
}

func answer(w http.ResponseWriter, r *http.Request) {
	begin()
	defer atomic.AddInt64(&running, -1)
	w.Header().Set("Content-Type", "text/plain")
	fmt.Fprintf(w, "%s %s\n", r.Method, r.URL.RawQuery)
	if !strings.Contains(r.URL.RawQuery, "noread") {
		io.Copy(w, r.Body)
	}
	if strings.HasPrefix(r.URL.RawQuery, "n=") {
		fmt.Fprintf(w, "\n%s, %d at once\n", r.URL.RawQuery, atomic.LoadInt64(&most))
	}
}

func main() {
	listener, err := net.Listen(os.Args[1], os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(fcgi.Serve(listener, http.HandlerFunc(answer)))
}
