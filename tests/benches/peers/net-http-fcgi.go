// The server of Go's net/http/fcgi: `net-http-fcgi WORKLOAD ADDRESS`.
package main

import (
	"bytes"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/fcgi"
	"os"
	"strings"
)

const large = 1024 * 1024

var page = bytes.Repeat([]byte("x"), large)

func small(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	host, _, _ := strings.Cut(r.RemoteAddr, ":")
	fmt.Fprintf(w, "Hello, %s.\n", host)
}

func response(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	w.Write(page)
}

func body(w http.ResponseWriter, r *http.Request) {
	buffer, length := make([]byte, 64*1024), 0
	for {
		n, err := r.Body.Read(buffer)
		length += n
		if err != nil {
			break
		}
	}
	w.Header().Set("Content-Type", "text/plain")
	fmt.Fprintf(w, "%d\n", length)
}

func main() {
	network := "tcp"
	if strings.Contains(os.Args[2], "/") {
		network = "unix"
	}
	listener, err := net.Listen(network, os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	handlers := map[string]http.HandlerFunc{"small": small, "response": response, "body": body}
	log.Fatal(fcgi.Serve(listener, handlers[os.Args[1]]))
}
