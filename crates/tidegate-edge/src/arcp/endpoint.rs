//! `GET /arcp`, and `GET /` where that opens a WebSocket. Who is there is said in the hello and nowhere else.

use std::rc::Rc;

use axum::http::{Method, Request, Response, Uri, header};
use hyper::body::Incoming;
use hyper::ext::Protocol as ConnectProtocol;
use tidegate_session::runtime::{Command, Link as Address, Runtime};
use tidegate_ws::handshake;
use tokio::time::Instant;

use super::Dialect;
use super::protocol::{Arcp, Busy, Desk, Place};
use crate::admitted::Link;
use crate::edge::wall_clock_ms;
use crate::http::Site;
use crate::stream::Payload;
use crate::{ApiError, upgrade};

/// Longest message of a client: as long as those that it is sent, for what a job is given may be long.
const MESSAGE_BYTES: usize = 1 << 20;

impl Desk for Runtime {
    fn send(&self, command: Command) -> Result<(), Busy> {
        Self::send(self, command).map_err(|_| Busy)
    }

    fn gone(&self, link: Address) {
        Self::gone(self, link);
    }
}

/// Whether a request opens a WebSocket.
pub(crate) fn is_socket(request: &Request<Incoming>) -> bool {
    if request.method() == Method::CONNECT {
        let protocol = request.extensions().get::<ConnectProtocol>();
        return protocol.is_some_and(|protocol| protocol.as_str() == "websocket");
    }
    let upgrades = request.headers().get_all(header::UPGRADE).into_iter().filter_map(|value| value.to_str().ok());
    request.method() == Method::GET && handshake::has_token(upgrades, "websocket")
}

pub(crate) async fn open(
    site: &Rc<Site>,
    link: &Rc<Link>,
    request: Request<Incoming>,
    runtime: &Runtime,
) -> Result<Response<Payload>, ApiError> {
    let asked = dialect(request.uri())?;
    let entrance = upgrade::enter(site, &request)?.for_messages(MESSAGE_BYTES);
    let edge = &site.worker.edge;
    let port = site.worker.mailbox().ok_or_else(|| crate::edge::busy("overloaded", "jobs are not served here now"))?;
    let config = edge.config();
    let place = Place {
        desk: runtime.clone(),
        port,
        authority: edge.authority().clone(),
        metrics: edge.metrics().clone(),
        settings: config.arcp.clone(),
        errors_per_second: config.errors_per_second,
        clock: wall_clock_ms,
        random: rand::random::<u128>,
    };
    let protocol = Arcp::new(place, asked, Instant::now());
    Ok(upgrade::switch(site, link, request, entrance, Box::new(protocol), None, "arcp"))
}

/// The dialect that the address asks for.
fn dialect(uri: &Uri) -> Result<Option<Dialect>, ApiError> {
    let mut fields = uri.query().unwrap_or_default().split('&');
    let Some(name) = fields.find_map(|field| field.strip_prefix("dialect=")) else { return Ok(None) };
    let message = "dialect must be spec, typescript, python or go";
    Dialect::named(name).map(Some).ok_or_else(|| ApiError::malformed(message))
}
