// npm `ws`: each message that a client sends on /publish goes to all who are on /subscribe; /echo sends back.
// Usage: node ws.js PORT
const { WebSocketServer, WebSocket } = require('ws')

const server = new WebSocketServer({ host: '127.0.0.1', port: Number(process.argv[2]), perMessageDeflate: false, backlog: 4096 })
const subscribers = new Set()

server.on('connection', (socket, request) => {
  socket.on('error', () => socket.terminate())
  if (request.url === '/subscribe') {
    subscribers.add(socket)
    socket.on('close', () => subscribers.delete(socket))
  } else if (request.url === '/publish') {
    socket.on('message', message => {
      for (const subscriber of subscribers) {
        if (subscriber.readyState === WebSocket.OPEN) subscriber.send(message, { binary: false })
      }
    })
  } else if (request.url === '/echo') {
    socket.on('message', (message, binary) => socket.send(message, { binary }))
  } else {
    socket.close(1008)
  }
})
