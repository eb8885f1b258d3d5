//! WebSocket protocols of whoever embeds the edge: see [`Edge::socket`](crate::Edge::socket).

use std::rc::Rc;
use std::sync::Arc;

use axum::http::{Request, Response};
use hyper::body::Incoming;
use tidegate_identity::Principal;

use crate::admitted::Link;
use crate::http::Site;
use crate::protocol::Protocol;
use crate::stream::Payload;
use crate::{ApiError, upgrade};

pub(crate) async fn open(
    site: &Rc<Site>,
    link: &Rc<Link>,
    request: Request<Incoming>,
    make: &dyn Fn(&Arc<Principal>) -> Box<dyn Protocol>,
) -> Result<Response<Payload>, ApiError> {
    let entrance = upgrade::enter(site, &request)?;
    let pass = site.worker.pass(&request).await?;
    let protocol = make(pass.principal());
    Ok(upgrade::switch(site, link, request, entrance, protocol, Some(pass), "embedded"))
}
