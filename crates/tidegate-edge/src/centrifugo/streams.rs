//! `GET` or `POST /connection/sse` and `POST /connection/http_stream`: the protocol for those who have no WebSocket.
//!
//! The connect command, and what else is to be said at once, comes with the request: as `cf_connect` in the address, or as the
//! body. Everything later comes to `POST /emulation`, under the session and the node that the answer to the connect names.
//!
//! `GET` or `POST /connection/uni_sse` and `POST /connection/uni_http_stream`: for who is only told, and has nothing to say but
//! a connect without its envelope.

use std::rc::Rc;

use axum::extract::Query;
use axum::http::{Method, Request, Response};
use hyper::body::Incoming;
use serde::Deserialize;

use super::encoding::Encoding;
use super::endpoint::encoding;
use super::protocol::{Carriage, Centrifugo};
use crate::admitted::Link;
use crate::emulation::is_packed;
use crate::format::Format;
use crate::http::Site;
use crate::stream::{Beginning, Letterbox, Opening, Payload};
use crate::{ApiError, request_body};

#[derive(Deserialize)]
struct Asked {
    cf_connect: Option<String>,
}

/// Server-Sent Events. `EventSource` sends no body: then the command is in the address.
pub(crate) async fn sse(
    site: &Rc<Site>,
    link: &Rc<Link>,
    request: Request<Incoming>,
) -> Result<Response<Payload>, ApiError> {
    open(site, link, request, Format::Events, Encoding::Json).await
}

/// Lines of JSON; or, for who sends it or asks for it (`format=protobuf`), the binary encoding.
pub(crate) async fn http_stream(
    site: &Rc<Site>,
    link: &Rc<Link>,
    request: Request<Incoming>,
) -> Result<Response<Payload>, ApiError> {
    let (asked, _) = encoding(request.uri(), request.headers());
    let (format, encoding) = match asked == Encoding::Protobuf || is_packed(request.headers()) {
        true => (Format::Delimited, Encoding::Protobuf),
        false => (Format::Values, Encoding::Json),
    };
    open(site, link, request, format, encoding).await
}

/// Server-Sent Events, each a push.
pub(crate) async fn uni_sse(
    site: &Rc<Site>,
    link: &Rc<Link>,
    request: Request<Incoming>,
) -> Result<Response<Payload>, ApiError> {
    open(site, link, request, Format::Events, Encoding::Bare).await
}

/// Lines, each a push.
pub(crate) async fn uni_http_stream(
    site: &Rc<Site>,
    link: &Rc<Link>,
    request: Request<Incoming>,
) -> Result<Response<Payload>, ApiError> {
    open(site, link, request, Format::Values, Encoding::Bare).await
}

async fn open(
    site: &Rc<Site>,
    link: &Rc<Link>,
    request: Request<Incoming>,
    format: Format,
    encoding: Encoding,
) -> Result<Response<Payload>, ApiError> {
    let (edge, config) = (&site.worker.edge, site.worker.edge.config());
    // Who is not let in has no body read.
    let place = edge.admit(&site.outside.drain, false)?;
    let (head, body) = request.into_parts();
    let pass = site.worker.pass_or_wait_of(&head.uri, &head.headers).await?;
    let is_bare = encoding == Encoding::Bare;
    let message = match head.method == Method::GET {
        true => {
            let Query(Asked { cf_connect }) = Query::try_from_uri(&head.uri)?;
            let needed = || ApiError::malformed("is needed: the connect command as URL-encoded JSON");
            let connect = cf_connect.or_else(|| is_bare.then(|| "{}".to_owned()));
            connect.ok_or_else(|| ApiError { path: Some("cf_connect".to_owned()), ..needed() })?.into()
        }
        false => request_body::read(body, config.max_message_bytes, config).await?,
    };
    let principal = pass.as_ref().map(|pass| pass.principal().clone());
    let opening = Opening { site, link, headers: &head.headers, place, pass, format, kind: "centrifugo" };
    opening.open(|session| {
        let letterbox = (!is_bare).then(|| Letterbox::new(session.number()));
        let carriage = letterbox.map(|letterbox| Carriage {
            session: letterbox.to_string(),
            node: edge.node().to_owned(),
            ..Carriage::default()
        });
        let protocol = Centrifugo::new(edge.clone(), encoding, principal, carriage.unwrap_or_default());
        Ok(Beginning { protocol: Box::new(protocol), letterbox, message: Some(message) })
    })
}
