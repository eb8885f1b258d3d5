//! A client of agents' jobs, as cheap as one can be: a blocking socket, and events only counted.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use memchr::memmem::Finder;
use serde_json::{Value, json};
use tidegate_ws::{OpCode, write_masked};

use super::BenchError;
use super::connection::{Came, MASK, Wire};
use super::plan::Plan;

/// Read at once.
const READ_BYTES: usize = 256 << 10;
/// What a message has that is an event of a job.
const EVENT: &str = r#""job.event""#;

/// What a client says first: everything that a bench needs, and nothing that has it wait.
pub(crate) fn hello() -> String {
    let payload = json!({ "capabilities": { "encodings": ["json"], "features": ["subscribe"] } });
    json!({ "arcp": "1.1", "id": "hello", "type": "session.hello", "payload": payload }).to_string()
}

/// One with a session.
pub(crate) struct Client {
    stream: TcpStream,
    wire: Wire,
    plan: Plan,
    session: String,
    said: u32,
    buffer: Vec<u8>,
    /// Events of jobs that have come.
    pub(crate) events: u64,
    /// What else has come and was not asked for yet.
    others: VecDeque<Vec<u8>>,
}

impl Client {
    /// Connects and says hello.
    pub(crate) fn connect(plan: &Plan, patience: Duration) -> Result<Self, BenchError> {
        let stream = TcpStream::connect(plan.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        let (wire, buffer, others) = (Wire::new(), vec![0; READ_BYTES], VecDeque::new());
        let (session, said, events) = (String::new(), 0, 0);
        let mut client = Self { stream, wire, plan: plan.clone(), session, said, buffer, events, others };
        client.stream.write_all(&plan.request(0))?;
        let mut out = Vec::new();
        write_masked(OpCode::Text, hello().as_bytes(), MASK, &mut out);
        client.stream.write_all(&out)?;
        let welcome = client.wait("session.welcome")?;
        client.session = welcome["session_id"].as_str().unwrap_or_default().to_owned();
        Ok(client)
    }

    /// Says something in its session.
    pub(crate) fn say(&mut self, kind: &str, payload: &Value) -> Result<(), BenchError> {
        self.said += 1;
        let id = format!("m{}", self.said);
        let message = json!({ "arcp": "1.1", "id": id, "type": kind, "session_id": self.session, "payload": payload });
        let mut out = Vec::new();
        write_masked(OpCode::Text, message.to_string().as_bytes(), MASK, &mut out);
        Ok(self.stream.write_all(&out)?)
    }

    /// Waits for the next that is no event, which has to be of this type.
    pub(crate) fn wait(&mut self, kind: &str) -> Result<Value, BenchError> {
        while self.others.is_empty() {
            self.read()?;
        }
        let message = self.others.pop_front().unwrap_or_default();
        let message: Value = serde_json::from_slice(&message).map_err(|error| BenchError::Failed(error.to_string()))?;
        match message["type"] == kind {
            true => Ok(message),
            false => Err(BenchError::Failed(format!("{kind} was waited for, and this came: {message}"))),
        }
    }

    fn read(&mut self) -> Result<(), BenchError> {
        let count = self.stream.read(&mut self.buffer)?;
        if count == 0 {
            return Err(BenchError::Failed("the server has left".to_owned()));
        }
        let (event, mut pongs, mut refused) = (Finder::new(EVENT), Vec::new(), None);
        let (events, others) = (&mut self.events, &mut self.others);
        let came = |came: Came<'_>| match came {
            Came::Head { status, .. } if !self.plan.accepts(status) => refused = Some(status),
            Came::Head { .. } => {}
            Came::Payload(message, _) if event.find(message).is_some() => *events += 1,
            Came::Payload(message, _) => others.push_back(message.to_vec()),
        };
        let fed = self.wire.feed(self.plan.transport, &mut self.buffer[..count], &mut pongs, came);
        fed.map_err(|broken| BenchError::Failed(broken.to_string()))?;
        if let Some(status) = refused {
            return Err(BenchError::Failed(format!("the server answered {status}: are agents served there?")));
        }
        Ok(self.stream.write_all(&pongs)?)
    }
}
