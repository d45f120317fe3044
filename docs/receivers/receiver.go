// A receiver of signed webhooks: answers 204 where the signature holds, 400 otherwise.
//
//	WEBHOOK_SECRET=whsec_... PORT=8080 go run receiver.go
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

const tolerance, longest = 5 * time.Minute, 32 << 20 // bytes

func genuine(key []byte, header http.Header, body []byte) bool {
	id, timestamp := header.Get("webhook-id"), header.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if id == "" || err != nil {
		return false
	}
	if age := time.Since(time.Unix(seconds, 0)); age > tolerance || age < -tolerance {
		return false
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.", id, timestamp)
	mac.Write(body)
	expected := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	// While a secret is being rotated there are two, and one that holds is enough.
	for _, given := range strings.Fields(header.Get("webhook-signature")) {
		if hmac.Equal([]byte(given), []byte(expected)) {
			return true
		}
	}
	return false
}

func handle(id string, body []byte) {
	// The same id can come again: keep the ids that you have dealt with, and skip those.
	log.Printf("%s %s", id, body)
}

func main() {
	encoded := strings.TrimPrefix(os.Getenv("WEBHOOK_SECRET"), "whsec_")
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(key) == 0 {
		log.Fatal("WEBHOOK_SECRET is not a secret")
	}
	receive := func(w http.ResponseWriter, r *http.Request) {
		// The bytes as they came: parsing is for later.
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, longest))
		if r.Method != http.MethodPost || err != nil || !genuine(key, r.Header, body) {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		handle(r.Header.Get("webhook-id"), body) // where this panics, it is sent again
		w.WriteHeader(http.StatusNoContent)
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), http.HandlerFunc(receive)))
}
