// An application made with Go's net/http/fcgi: `go NETWORK ADDRESS`. It says what it was asked, and sends the body back as
// it comes.
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
)

func answer(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	fmt.Fprintf(w, "%s %s\n", r.Method, r.URL.RawQuery)
	if !strings.Contains(r.URL.RawQuery, "noread") {
		io.Copy(w, r.Body)
	}
}

func main() {
	listener, err := net.Listen(os.Args[1], os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(fcgi.Serve(listener, http.HandlerFunc(answer)))
}
