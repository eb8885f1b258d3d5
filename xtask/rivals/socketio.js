// npm `socket.io`, WebSocket transport alone, for clients that speak its framing by hand: they connect to
// /socket.io/?EIO=4&transport=websocket, send `40`, and are then sent `42["message","text"]` for each text that is POSTed to
// /publish. A ping (`2`) is to be answered within pingTimeout: both are longer than a run, so that a client which only
// listens stays.
// Usage: node socketio.js PORT
const http = require('node:http')
const { Server } = require('socket.io')

const server = http.createServer((request, response) => {
  if (request.method !== 'POST' || request.url !== '/publish') return response.writeHead(404).end()
  let text = ''
  request.setEncoding('utf8')
  request.on('data', part => { text += part })
  request.on('end', () => {
    io.emit('message', text)
    response.writeHead(204).end()
  })
})
const io = new Server(server, { transports: ['websocket'], perMessageDeflate: false, pingInterval: 3600e3, pingTimeout: 3600e3 })
server.listen({ host: '127.0.0.1', port: Number(process.argv[2]), backlog: 4096 })
