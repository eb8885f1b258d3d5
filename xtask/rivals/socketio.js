// npm `socket.io`, WebSocket transport alone, for clients that speak its framing by hand: connect to
// /socket.io/?EIO=4&transport=websocket and send `40`; who then sends `42["publish","text"]` has `42["message","text"]`
// sent to all. A ping (`2`) is to be answered within pingTimeout: both are longer than a run, so that a client which
// only listens stays.
// Usage: node socketio.js PORT
const http = require('node:http')
const { Server } = require('socket.io')

const server = http.createServer()
const io = new Server(server, { transports: ['websocket'], perMessageDeflate: false, pingInterval: 3600e3, pingTimeout: 3600e3 })
io.on('connection', socket => socket.on('publish', text => io.emit('message', text)))
server.listen({ host: '127.0.0.1', port: Number(process.argv[2]), backlog: 4096 })
