//! The server that is measured: where it is, how one subscribes to it, and which processes it is.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::time::Duration;

use super::BenchError;
use super::connection::Head;
use super::options::{Common, Protocol};
use super::plan::{Plan, Transport};
use super::proc::Processes;
use super::publish::{Publishing, Way};
pub(crate) use super::started::Bounds;
use super::started::Started;

/// For an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Rows of the bench's entity that one query shows.
pub(crate) const ROWS: u32 = 10;

pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    host: String,
    path: String,
    pub(crate) protocol: Protocol,
    pub(crate) processes: Processes,
    headers: Vec<(String, String)>,
    common: Common,
    _started: Option<Started>,
}

impl Target {
    /// Finds the server, or starts one with these bounds.
    pub(crate) fn open(common: &Common, bounds: Bounds) -> Result<Self, BenchError> {
        Self::open_with(common, bounds, "")
    }

    /// The same; one that is started has these tables in its configuration beside the bench's.
    pub(crate) fn open_with(common: &Common, bounds: Bounds, tables: &str) -> Result<Self, BenchError> {
        let started = if common.url.is_none() { Some(Started::gateway(common, bounds, tables)?) } else { None };
        let url = match (&common.url, &started) {
            (Some(url), _) => url.clone(),
            (None, Some(started)) => format!("http://{}", started.address),
            (None, None) => String::new(),
        };
        let mut target = Self::at(common, &url)?;
        if let Some(started) = started {
            target.processes = Processes(vec![started.id()]);
            target._started = Some(started);
        }
        Ok(target)
    }

    fn at(common: &Common, url: &str) -> Result<Self, BenchError> {
        let wrong = |rule: &str| BenchError::Usage(format!("--url {url}: {rule}"));
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("must begin with ws:// or http://"))?;
        let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let protocol = match (scheme, common.via) {
            ("ws" | "http", Some(via)) => via,
            ("ws" | "http", None) if path == "/" => Protocol::Events,
            ("ws", None) => Protocol::Ws,
            ("http", None) => Protocol::Sse,
            _ => {
                return Err(wrong("only ws:// and http:// are spoken; a TLS proxy in front would be measured with it"));
            }
        };
        let named = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
        let address = named.to_socket_addrs().ok().and_then(|mut found| found.next());
        let address = address.ok_or_else(|| wrong("there is no such host"))?;
        let processes = if common.pid.is_empty() && address.ip().is_loopback() {
            Processes::listening_on(address.port())
        } else {
            Processes(common.pid.clone())
        };
        let header = |line: &String| {
            let (name, value) =
                line.split_once(':').ok_or_else(|| BenchError::Usage(format!("--header {line}: no colon")))?;
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        };
        let headers = common.header.iter().map(header).collect::<Result<_, BenchError>>()?;
        let (host, path, common) = (host.to_owned(), path.to_owned(), common.clone());
        Ok(Self { address, host, path, protocol, processes, headers, common, _started: None })
    }

    /// What connections say that subscribe: to one query, or to as many as there are groups.
    pub(crate) fn plan(&self, groups: u32, keeps: bool) -> Plan {
        let query = self.common.query.clone().unwrap_or_else(|| {
            let entity = &self.common.entity;
            format!(
                r#"{{"entity":"{entity}","where":[{{"column":"group","op":"eq","value":{{group}}}}],"limit":{ROWS},"select":["mark","pad"]}}"#
            )
        });
        let ready = Some(r#""op":"ready""#.to_owned());
        let common = &self.common;
        let plan = Plan {
            hello: common.subscribe.clone(),
            ready: common.ready.clone(),
            groups,
            keeps,
            ..Plan::new(self.address, self.host.clone(), self.path.clone(), self.headers.clone())
        };
        match self.protocol {
            Protocol::Ws => plan,
            Protocol::Sse => Plan { transport: Transport::Events, ..plan },
            Protocol::Events => {
                let data = format!(r#"{{"event":"live.subscribe","data":{{"sub":"s","query":{query}}}}}"#);
                let hello = plan.hello.or(Some(data));
                Plan { path: self.or("/ws"), hello, ready: plan.ready.or(ready), ..plan }
            }
            Protocol::Live => {
                let hello = Some(format!(r#"{{"action":"subscribe","query":{query}}}"#));
                Plan { path: self.or("/v1/live/ws"), hello, ready: plan.ready.or(ready), ..plan }
            }
            Protocol::Topic => {
                let subscribe = r#"{"event":"topic.subscribe","id":1,"data":{"topic":"bench:{group}"}}"#;
                let hello = plan.hello.or(Some(subscribe.to_owned()));
                let ready = plan.ready.or(Some(r#""event":"reply""#.to_owned()));
                Plan { path: self.or("/ws"), hello, ready, ..plan }
            }
            Protocol::Centrifugo => {
                let commands = "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"bench:{group}\"}}";
                let hello = plan.hello.or(Some(commands.to_owned()));
                let ready = plan.ready.or(Some(r#""id":2"#.to_owned()));
                Plan { path: self.or("/connection/websocket"), hello, ready, ..plan }
            }
            Protocol::LiveSse | Protocol::LiveNdjson => {
                let (path, ready) = (self.or("/v1/live"), plan.ready.or(ready));
                let as_lines = self.protocol == Protocol::LiveNdjson;
                let transport = if as_lines { Transport::Lines } else { Transport::Events };
                Plan { path, ready, body: Some(query), hello: None, transport, ..plan }
            }
        }
    }

    /// Where agents' jobs are served.
    pub(crate) fn agents(&self) -> Plan {
        Plan::new(self.address, self.host.clone(), self.or("/arcp"), self.headers.clone())
    }

    /// The store's, of a server that was started.
    pub(crate) fn data_directory(&self) -> Option<&Path> {
        self._started.as_ref().map(Started::data_directory)
    }

    fn or(&self, path: &str) -> String {
        if self.path == "/" { path.to_owned() } else { self.path.clone() }
    }

    pub(crate) fn is_tidegate(&self) -> bool {
        !matches!(self.protocol, Protocol::Ws | Protocol::Sse)
    }

    /// Whether what is published is a row, or else a publication in a topic.
    pub(crate) fn has_rows(&self) -> bool {
        self.is_tidegate() && !matches!(self.protocol, Protocol::Topic | Protocol::Centrifugo)
    }

    /// How one publishes there; `bytes` is the size of what is published.
    pub(crate) fn publishing(&self, bytes: usize, groups: u32) -> Result<Publishing, BenchError> {
        let common = &self.common;
        let base = Publishing {
            address: self.address,
            host: self.host.clone(),
            path: self.path.clone(),
            headers: self.headers.clone(),
            way: Way::Post,
            body: String::new(),
            primer: None,
            bytes,
            groups,
        };
        if let Some(url) = &common.publish_url {
            let to = Self::at(&Common { pid: vec![0], ..common.clone() }, url)?;
            let body = common.publish_body.clone().unwrap_or_else(|| "{mark}{pad}".to_owned());
            return Ok(Publishing { address: to.address, host: to.host, path: to.path, body, ..base });
        }
        if let Some(message) = &common.publish_message {
            let path = common.publish_path.clone().unwrap_or(base.path);
            return Ok(Publishing { way: Way::Message, body: message.clone(), path, ..base });
        }
        if !self.is_tidegate() {
            let rule = "say how to publish there: --publish-url with --publish-body, or --publish-message";
            return Err(BenchError::Usage(rule.to_owned()));
        }
        if !self.has_rows() {
            let body = r#"{"topics":["bench:{group}"],"data":"{mark}{pad}"}"#.to_owned();
            return Ok(Publishing { path: "/v1/topics/broadcast".to_owned(), body, ..base });
        }
        let path = format!("/v1/entities/{}/changes", common.entity);
        let body = r#"{"changes":[{"upsert":{"id":{row},"group":{group},"mark":"{mark}","pad":"{pad}"}}]}"#.to_owned();
        // A group that nobody asks for.
        let primer = r#"{"changes":[{"upsert":{"id":-1,"group":-1,"mark":"","pad":""}}]}"#.to_owned();
        Ok(Publishing { path, body, primer: Some(primer), ..base })
    }

    /// Fills the bench's entity, so that every query has its rows.
    pub(crate) fn seed(&self, groups: u32) -> Result<(), BenchError> {
        if !self.has_rows() {
            return Ok(());
        }
        let rows: Vec<u32> = (0..groups * ROWS).collect();
        for rows in rows.chunks(5_000) {
            let row = |row: &u32| {
                let group = row / ROWS;
                format!(r#"{{"upsert":{{"id":{row},"group":{group},"mark":"","pad":""}}}}"#)
            };
            let changes: Vec<String> = rows.iter().map(row).collect();
            self.post(&format!("/v1/entities/{}/changes", self.common.entity), &changes.join(","))?;
        }
        Ok(())
    }

    fn post(&self, path: &str, changes: &str) -> Result<(), BenchError> {
        let body = format!(r#"{{"changes":[{changes}]}}"#);
        let mut request = format!("POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.host);
        for (name, value) in &self.headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let end = memchr::memmem::find(&answer, b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
        match Head::parse(&answer[..end]) {
            Some(Head { status: 200..=299, .. }) => Ok(()),
            _ => Err(BenchError::Seed(String::from_utf8_lossy(&answer).into_owned())),
        }
    }
}
