//! A TCP proxy that breaks connections in the ways that networks do.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What happens to the connections. Set at any time; it holds for those that are open and those to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// Everything passes.
    #[default]
    None,
    /// A connection ends once this many bytes of it, counted from its start, have reached the client.
    CutToClient(u64),
    /// The same towards the server.
    CutToServer(u64),
    /// As [`Fault::CutToClient`], but with a RST instead of an end.
    ResetToClient(u64),
    /// Nothing more is read from the server, as by a client that hangs.
    StopReading,
    /// Everything is read and dropped, both ways; nobody is told.
    BlackHole,
    /// Each piece is held back this long.
    Latency(Duration),
}

/// A proxy in front of one address.
pub struct Proxy {
    address: SocketAddr,
    fault: watch::Sender<Fault>,
    to_client: Arc<AtomicU64>,
    // Aborted on drop, and every connection with it.
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Starts one in front of `target`.
    ///
    /// # Errors
    /// Where no port is free.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (fault, watched) = watch::channel(Fault::None);
        let to_client = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, target, watched, to_client.clone()));
        Ok(Self { address, fault, to_client, _tasks: tasks })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets what happens from now on.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// Bytes that have reached clients, all connections together.
    #[must_use]
    pub fn bytes_to_client(&self) -> u64 {
        self.to_client.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, fault: watch::Receiver<Fault>, to_client: Arc<AtomicU64>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        connections.spawn(connection(client, target, fault.clone(), to_client.clone()));
    }
}

async fn connection(client: TcpStream, target: SocketAddr, fault: watch::Receiver<Fault>, to_client: Arc<AtomicU64>) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let mut down = Pump {
        from: server_read,
        to: client_write,
        fault: fault.clone(),
        down: true,
        passed: 0,
        swallowed: false,
        total: to_client,
    };
    let mut up = Pump {
        from: client_read,
        to: server_write,
        fault,
        down: false,
        passed: 0,
        swallowed: false,
        total: Arc::default(),
    };
    // A cut in one direction is the end of both; an end that a peer made is passed on as it is.
    let cut = tokio::select! {
        cut = down.run() => cut || up.run().await,
        cut = up.run() => cut || down.run().await,
    };
    if cut && matches!(*down.fault.borrow(), Fault::ResetToClient(_)) {
        let _ = down.to.as_ref().set_zero_linger();
        // Dropped, it would say goodbye in the orderly way first.
        down.to.forget();
    }
}

struct Pump {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    fault: watch::Receiver<Fault>,
    down: bool,
    passed: u64,
    /// Something was lost on the way: no real connection goes on after that.
    swallowed: bool,
    total: Arc<AtomicU64>,
}

impl Pump {
    /// Until the source ends (`false`) or the connection is to be cut (`true`).
    async fn run(&mut self) -> bool {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            // A cut after no more bytes is due at once, not with the next piece.
            let fault = *self.fault.borrow_and_update();
            if self.left(fault) == Some(0) || (self.swallowed && fault != Fault::BlackHole) {
                return true;
            }
            let read = tokio::select! {
                read = self.from.read(&mut buffer) => read,
                changed = self.fault.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return true,
                },
            };
            match read {
                Ok(0) => return self.to.shutdown().await.is_err(),
                Err(_) => return true,
                Ok(read) if self.pass(&buffer[..read]).await.is_err() => return true,
                Ok(_) => {}
            }
        }
    }

    /// Lets a piece pass as the fault of this moment allows.
    async fn pass(&mut self, piece: &[u8]) -> io::Result<()> {
        while self.down && *self.fault.borrow_and_update() == Fault::StopReading {
            self.fault.changed().await.map_err(io::Error::other)?;
        }
        let fault = *self.fault.borrow();
        match fault {
            Fault::BlackHole => {
                self.swallowed = true;
                return Ok(());
            }
            _ if self.swallowed => return Err(io::ErrorKind::ConnectionReset.into()),
            Fault::Latency(latency) => tokio::time::sleep(latency).await,
            _ => {}
        }
        let left = self.left(fault).map_or(piece.len(), |left| usize::try_from(left).unwrap_or(usize::MAX));
        let piece = &piece[..piece.len().min(left)];
        self.to.write_all(piece).await?;
        self.passed += piece.len() as u64;
        self.total.fetch_add(piece.len() as u64, Ordering::SeqCst);
        Ok(())
    }

    /// Bytes that may still pass.
    fn left(&self, fault: Fault) -> Option<u64> {
        match fault {
            Fault::CutToClient(bytes) | Fault::ResetToClient(bytes) if self.down => {
                Some(bytes.saturating_sub(self.passed))
            }
            Fault::CutToServer(bytes) if !self.down => Some(bytes.saturating_sub(self.passed)),
            _ => None,
        }
    }
}
