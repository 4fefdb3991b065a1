// The application of the matrix for Go's net/http/fcgi.
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/fcgi"
	"os"
	"strconv"
	"strings"
	"time"
)

func number(r *http.Request, key string, otherwise int) int {
	value, err := strconv.Atoi(r.URL.Query().Get(key))
	if err != nil {
		return otherwise
	}
	return value
}

func sendLines(w http.ResponseWriter, r *http.Request) {
	line := strings.Repeat("x", number(r, "width", 8)-1) + "\n"
	for count := number(r, "count", -1); count != 0; count-- {
		if _, err := io.WriteString(w, line); err != nil {
			return
		}
		w.(http.Flusher).Flush()
		time.Sleep(time.Duration(number(r, "lines", 0)) * time.Millisecond)
	}
}

func answer(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	w.Header().Set("Content-Type", "text/plain")
	if query.Has("location") {
		w.Header().Set("Location", query.Get("location"))
	}
	if query.Has("cookies") {
		w.Header().Add("Set-Cookie", "a=1; Path=/")
		w.Header().Add("Set-Cookie", "b=2")
	}
	if query.Has("stderr") {
		fmt.Fprintln(os.Stderr, query.Get("stderr"))
	}
	status := number(r, "status", 200)
	w.WriteHeader(status)
	if query.Has("lines") {
		sendLines(w, r)
		return
	}
	if status == 204 || status == 304 {
		return
	}
	fmt.Fprintf(w, "HTTP_COOKIE=%s\nQUERY_STRING=%s\nREQUEST_METHOD=%s\n\n",
		r.Header.Get("Cookie"), r.URL.RawQuery, r.Method)
	io.Copy(w, r.Body)
}

func main() {
	log.Fatal(fcgi.Serve(nil, http.HandlerFunc(answer)))
}
