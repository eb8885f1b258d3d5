//! `GET /connection/websocket` and `GET /connection/uni_websocket`.

use std::rc::Rc;

use axum::http::{HeaderMap, Request, Response, Uri, header};
use hyper::body::Incoming;

use super::encoding::Encoding;
use super::protocol::{Carriage, Centrifugo};
use crate::admitted::Link;
use crate::http::Site;
use crate::stream::Payload;
use crate::{ApiError, upgrade};

const JSON: &str = "centrifuge-json";
const PROTOBUF: &str = "centrifuge-protobuf";

pub(crate) async fn open(
    site: &Rc<Site>,
    link: &Rc<Link>,
    request: Request<Incoming>,
) -> Result<Response<Payload>, ApiError> {
    let (encoding, subprotocol) = encoding(request.uri(), request.headers());
    let carriage = Carriage { has_own_pings: asks(request.uri(), "cf_ws_frame_ping_pong=true"), ..Carriage::default() };
    let entrance = upgrade::enter(site, &request)?.speaking(subprotocol);
    let pass = site.worker.pass_or_wait(&request).await?;
    let principal = pass.as_ref().map(|pass| pass.principal().clone());
    let protocol = Centrifugo::new(site.worker.edge.clone(), encoding, principal, carriage);
    Ok(upgrade::switch(site, link, request, entrance, Box::new(protocol), pass, "centrifugo"))
}

/// For who is only told: its first message is its last.
pub(crate) async fn uni(
    site: &Rc<Site>,
    link: &Rc<Link>,
    request: Request<Incoming>,
) -> Result<Response<Payload>, ApiError> {
    let entrance = upgrade::enter(site, &request)?;
    let pass = site.worker.pass_or_wait(&request).await?;
    let principal = pass.as_ref().map(|pass| pass.principal().clone());
    let protocol = Centrifugo::new(site.worker.edge.clone(), Encoding::Bare, principal, Carriage::default());
    Ok(upgrade::switch(site, link, request, entrance, Box::new(protocol), pass, "centrifugo"))
}

/// How the client wants to speak, and the subprotocol to be answered if it offered one: the first that is known.
pub(crate) fn encoding(uri: &Uri, headers: &HeaderMap) -> (Encoding, Option<&'static str>) {
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter().filter_map(|value| value.to_str().ok());
    let known = offered.flat_map(|value| value.split(',')).find_map(|offered| match offered.trim() {
        JSON => Some((Encoding::Json, JSON)),
        PROTOBUF => Some((Encoding::Protobuf, PROTOBUF)),
        _ => None,
    });
    match known {
        Some((encoding, name)) => (encoding, Some(name)),
        None if asks(uri, "cf_protocol=protobuf") || asks(uri, "format=protobuf") => (Encoding::Protobuf, None),
        None => (Encoding::Json, None),
    }
}

fn asks(uri: &Uri, field: &str) -> bool {
    uri.query().is_some_and(|query| query.split('&').any(|other| other == field))
}
