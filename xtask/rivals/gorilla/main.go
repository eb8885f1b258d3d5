// Go with gorilla/websocket, the usual way: a goroutine and a channel a subscriber, messages prepared once.
// Each message that a client sends on /publish goes to all who are on /subscribe; /echo sends back.
// Usage: gorilla PORT
package main

import (
	"log"
	"net/http"
	"os"
	"sync"

	"github.com/gorilla/websocket"
)

// Who has so much waiting is closed.
const backlog = 1024

var (
	upgrader    = websocket.Upgrader{ReadBufferSize: 1024, WriteBufferPool: &sync.Pool{}}
	lock        sync.RWMutex
	subscribers = map[*websocket.Conn]chan *websocket.PreparedMessage{}
)

func serve(handle func(*websocket.Conn)) http.HandlerFunc {
	return func(response http.ResponseWriter, request *http.Request) {
		if connection, err := upgrader.Upgrade(response, request, nil); err == nil {
			defer connection.Close()
			handle(connection)
		}
	}
}

func subscribe(connection *websocket.Conn) {
	queue := make(chan *websocket.PreparedMessage, backlog)
	lock.Lock()
	subscribers[connection] = queue
	lock.Unlock()
	go func() {
		for message := range queue {
			if connection.WritePreparedMessage(message) != nil {
				connection.Close()
			}
		}
	}()
	for {
		if _, _, err := connection.ReadMessage(); err != nil {
			break
		}
	}
	lock.Lock()
	delete(subscribers, connection)
	close(queue)
	lock.Unlock()
}

func publish(connection *websocket.Conn) {
	for {
		_, text, err := connection.ReadMessage()
		if err != nil {
			return
		}
		message, err := websocket.NewPreparedMessage(websocket.TextMessage, text)
		if err != nil {
			return
		}
		lock.RLock()
		for connection, queue := range subscribers {
			select {
			case queue <- message:
			default:
				connection.Close()
			}
		}
		lock.RUnlock()
	}
}

func echo(connection *websocket.Conn) {
	for {
		kind, message, err := connection.ReadMessage()
		if err != nil || connection.WriteMessage(kind, message) != nil {
			return
		}
	}
}

func main() {
	http.HandleFunc("/subscribe", serve(subscribe))
	http.HandleFunc("/publish", serve(publish))
	http.HandleFunc("/echo", serve(echo))
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
